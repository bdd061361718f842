"""The keys that verify tokens: a secret, a PEM file or a JWK Set, and the tokens that they verified.

A key file that changed is read again, so keys can be rotated without a restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, get_algorithm_by_name
from jwt.exceptions import InvalidKeyError, PyJWTError

from api.token_claims import Identity
from api.unauthorized import Unauthorized
from settings import JwtAlgorithm, Settings
from workspace.strict_json import InvalidJson, loads

Key: TypeAlias = str | RSAPublicKey | EllipticCurvePublicKey

MIN_RSA_BITS = 2_048
"""RFC 7518, 3.3."""
KEY_FILE_CHECK_INTERVAL = 5.0
"""Seconds between two looks at the key file: one stat each, and how late a rotation may be noticed."""
CACHE_SIZE = 8_192
"""Verified tokens remembered, about 0.7 KB each."""

_log = structlog.get_logger(__name__)


class InvalidKeys(Exception):
    """The key that verifies tokens cannot be used."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A token that was verified."""

    identity: Identity
    refused_from: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one moment, and the tokens they verified: replacing the keys forgets those tokens with them."""

    by_id: Mapping[str, Key]
    unnamed: Key | None
    """The key of a token without `kid`; None where that would be a guess among several."""
    ids_matter: bool = True
    verified: dict[bytes, Remembered] = field(default_factory=dict)

    @classmethod
    def of_one(cls, key: Key) -> "KeySet":
        """Return a set of the one key there is, whatever name a token gives it."""
        return cls(by_id={}, unnamed=key, ids_matter=False)

    def select(self, key_id: str | None) -> Key:
        """Return the key a token names."""
        key = self.by_id.get(key_id) if self.ids_matter and key_id is not None else self.unnamed
        if key is None:
            raise Unauthorized("key")
        return key

    def remember(self, digest: bytes, entry: Remembered) -> None:
        """Keep a verified token; a full memory starts anew, which needs no lock and costs one check per token."""
        if len(self.verified) >= CACHE_SIZE:
            self.verified.clear()
        self.verified[digest] = entry


class TokenKeys:
    """The current keys; a key file that changed is read again, and a broken one leaves the keys as they are."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._algorithm = settings.jwt_algorithm
        self._secret = settings.jwt_secret.get_secret_value()
        self._pem, self._jwks = settings.jwt_public_key_file, settings.jwt_jwks_file
        self._path = None if self._algorithm is JwtAlgorithm.HS256 else self._pem or self._jwks
        self._monotonic = monotonic
        self._next_check = monotonic() + KEY_FILE_CHECK_INTERVAL
        self._stamp, self._current = self._load()

    def current(self) -> KeySet:
        """Return the keys, at most `KEY_FILE_CHECK_INTERVAL` seconds behind the file."""
        now = self._monotonic()
        if self._path is not None and now >= self._next_check:
            self._next_check = now + KEY_FILE_CHECK_INTERVAL
            self._reload(self._path)
        return self._current

    def _reload(self, path: Path) -> None:
        try:
            if _stamp(path) != self._stamp:
                self._stamp, self._current = self._load()
                _log.info("token_keys_reloaded", path=str(path))
        except (InvalidKeys, OSError) as error:
            _log.error("token_keys_not_reloaded", path=str(path), error=str(error))

    def _load(self) -> tuple[tuple[int, ...], KeySet]:
        """Return the keys with the stamp their file had just before, so that a change in between is seen later."""
        if self._path is None:
            return (), _secret_key(self._secret)
        try:
            stamp, content = _stamp(self._path), self._path.read_bytes()
        except OSError as error:
            raise InvalidKeys(f"{self._path}: {error.strerror}") from error
        try:
            return stamp, (_pem_key if self._pem else _jwks_keys)(content, self._algorithm)
        except InvalidKeys as error:
            raise InvalidKeys(f"{self._path}: {error}") from error


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, replaced, or a link on its way is turned."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev


def _secret_key(secret: str) -> KeySet:
    try:
        get_algorithm_by_name(JwtAlgorithm.HS256).prepare_key(secret)
    except InvalidKeyError as error:
        raise InvalidKeys(f"JWT_SECRET: {error}") from error
    return KeySet.of_one(secret)


def _pem_key(content: bytes, algorithm: JwtAlgorithm) -> KeySet:
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeys("not a public key in PEM form (-----BEGIN PUBLIC KEY-----)") from error
    usable = _fitting(key, algorithm)
    if usable is None:
        raise InvalidKeys(f"not a key for {algorithm}")
    return KeySet.of_one(usable)


def _jwks_keys(content: bytes, algorithm: JwtAlgorithm) -> KeySet:
    """Read a JWK Set; keys of other types, uses and algorithms are skipped, as RFC 7517, 5 wants it."""
    usable = [(entry.get("kid"), key) for entry in _jwks_entries(content) if (key := _jwk(entry, algorithm))]
    if not usable:
        raise InvalidKeys(f"no usable key for {algorithm}")
    names = [name for name, _ in usable if isinstance(name, str)]
    if len(set(names)) != len(names):
        raise InvalidKeys("two usable keys have the same kid")
    by_id = {name: key for name, key in usable if isinstance(name, str)}
    return KeySet(by_id=by_id, unnamed=usable[0][1] if len(usable) == 1 else None)


def _jwks_entries(content: bytes) -> list[dict[str, Any]]:
    try:
        document = loads(content)
    except InvalidJson as error:
        raise InvalidKeys(f"not JSON: {error.detail}") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise InvalidKeys("not a JWK Set: an object with a list `keys` is needed")
    return [entry for entry in keys if isinstance(entry, dict)]


def _jwk(entry: dict[str, Any], algorithm: JwtAlgorithm) -> Key | None:
    """Return the key, or None where it is of another type or not meant for this use."""
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    if "d" in entry:
        raise InvalidKeys("holds a private key; verification needs the public half only")
    try:
        return _fitting(PyJWK(entry, algorithm).key, algorithm)
    except PyJWTError:
        return None


def _fitting(key: object, algorithm: JwtAlgorithm) -> Key | None:
    """Return `key` if it is of the type and strength that `algorithm` asks for."""
    if algorithm is JwtAlgorithm.RS256:
        return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None
