"""Only a token that obeys every rule gets in; anything else is one exception, whatever the header holds."""

import base64
import hashlib
import hmac
import json
import os
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from time import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flask import Flask, Request
from flask_jwt_extended import decode_token
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from api import token_keys, tokens
from api.token_claims import Identity
from api.token_keys import CACHE_SIZE, KEY_FILE_CHECK_INTERVAL, InvalidKeys
from api.tokens import TokenVerifier
from api.unauthorized import Unauthorized
from settings import JwtAlgorithm, Settings

SECRET = "a-secret-for-these-tests-only-of-more-than-32-bytes"
AUDIENCE, ISSUER = "codelab-core", "https://issuer.example/"
LEEWAY = 10
LIFETIME = 3_600

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
AnyPrivateKey = PrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey


# Making tokens and keys ---------------------------------------------------------------------------------------------


def settings(**changes: Any) -> Settings:
    values: dict[str, Any] = {
        "database_url": "postgresql://localhost/none",
        "redis_url": "redis://localhost/0",
        "jwt_algorithm": "HS256",
        "jwt_secret": SECRET,
        "jwt_public_key_file": None,
        "jwt_jwks_file": None,
        "jwt_audience": AUDIENCE,
        "jwt_issuer": ISSUER,
        "jwt_max_lifetime": LIFETIME,
        "jwt_leeway": LEEWAY,
    }
    return Settings(**(values | changes))


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, changed; a change to `...` removes a claim."""
    now = int(time())
    good = {"sub": "auth0|user-1", "iat": now, "exp": now + 600, "aud": AUDIENCE, "iss": ISSUER}
    return {name: value for name, value in (good | changes).items() if value is not ...}


def encoded(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(payload: Any, *, header: Any = None, secret: bytes | str = SECRET) -> str:
    """Sign anything at all, as no library would."""
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{encoded(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{encoded(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


@cache
def rsa_key(name: str = "a", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def ec_key(name: str = "a", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def signed(key: PrivateKey, *, kid: str | None = None, **changes: Any) -> str:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


def public_pem(key: AnyPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_jwk(key: PrivateKey, **changes: Any) -> dict[str, Any]:
    algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    entry: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    entry.pop("key_ops", None)
    return entry | changes


def private_jwk(key: PrivateKey) -> dict[str, Any]:
    algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
    entry: dict[str, Any] = algorithm.to_jwk(key, as_dict=True)
    return entry


# Asking the verifier ------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Door:
    """An application with a verifier, and requests to knock with."""

    def __init__(self, options: Settings | None = None) -> None:
        self.clock, self.monotonic = Clock(time()), Clock(0.0)
        self.verifier = TokenVerifier(options or settings(), clock=self.clock, monotonic=self.monotonic)
        self.app = Flask(__name__)
        self.verifier.init_app(self.app)

    def header(self, value: str | None, method: str = "GET", **environ: str) -> Identity:
        if value is not None:
            environ["HTTP_AUTHORIZATION"] = value
        with self.app.test_request_context("/my/", method=method, environ_overrides=environ) as context:
            request: Request = context.request
            return self.verifier.verify(request)

    def token(self, token: str) -> Identity:
        return self.header(f"Bearer {token}")

    def refusal(self, token: str) -> str:
        return self.header_refusal(f"Bearer {token}")

    def header_refusal(self, value: str | None, **options: str) -> str:
        with pytest.raises(Unauthorized) as caught:
            self.header(value, **options)
        return caught.value.reason


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def pem_door(path: Path, key: PrivateKey, algorithm: str = "RS256") -> Door:
    path.write_bytes(public_pem(key))
    return Door(settings(jwt_algorithm=algorithm, jwt_secret="", jwt_public_key_file=path))


def jwks_door(path: Path, *entries: Any, algorithm: str = "RS256") -> Door:
    path.write_text(json.dumps({"keys": entries}))
    return Door(settings(jwt_algorithm=algorithm, jwt_secret="", jwt_jwks_file=path))


# A good token -------------------------------------------------------------------------------------------------------


def test_a_good_token_says_who_sends_the_request(door: Door) -> None:
    expires = int(time()) + 600
    token = hs256(claims(exp=expires, email="user@example.com", jti="token-1", role="admin"))
    assert door.token(token) == Identity(
        subject="auth0|user-1",
        email="user@example.com",
        is_admin=True,
        expires_at=datetime.fromtimestamp(expires, UTC),
        token_id="token-1",
    )


def test_what_is_optional_may_be_absent(door: Door) -> None:
    identity = door.token(hs256(claims()))
    assert (identity.email, identity.is_admin, identity.token_id) == (None, False, None)


def test_an_identity_cannot_be_changed(door: Door) -> None:
    identity = door.token(hs256(claims()))
    with pytest.raises(FrozenInstanceError):
        identity.is_admin = True  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_is_bearer_in_any_case(door: Door, scheme: str) -> None:
    assert door.header(f"{scheme}{hs256(claims())}").subject == "auth0|user-1"


def test_audience_and_issuer_are_free_where_none_is_configured() -> None:
    free = Door(settings(jwt_audience=None, jwt_issuer=None))
    assert free.token(hs256(claims(aud=..., iss=...)))
    assert free.token(hs256(claims(aud="another", iss="another")))


def test_one_fitting_audience_of_several_is_enough(door: Door) -> None:
    assert door.token(hs256(claims(aud=["another", AUDIENCE])))


def test_fractions_of_a_second_are_times_and_are_cut_off(door: Door) -> None:
    now = int(time())
    token = hs256(claims(iat=now - 0.5, nbf=now - 0.5, exp=now + 60.5))
    assert door.token(token).expires_at.timestamp() == now + 60


def test_the_clock_of_the_issuer_may_differ_by_the_leeway(door: Door) -> None:
    now = int(time())
    assert door.token(hs256(claims(iat=now + LEEWAY - 2, nbf=now + LEEWAY - 2)))
    assert door.token(hs256(claims(iat=now - 60, exp=now - LEEWAY + 2)))


def test_a_token_may_live_as_long_as_the_settings_say(door: Door) -> None:
    now = int(time())
    assert door.token(hs256(claims(iat=now, exp=now + LIFETIME)))


@pytest.mark.parametrize("subject", ["a", "0", "A" * 128, "auth0|5f-x", "user.name@example.com", "urn:user:1_2"])
def test_a_subject_of_the_allowed_characters_is_accepted(door: Door, subject: str) -> None:
    assert door.token(hs256(claims(sub=subject))).subject == subject


def test_an_access_token_may_say_that_it_is_one(door: Door) -> None:
    assert door.token(hs256(claims(type="access")))


@pytest.mark.parametrize("role", ["Admin", "admin ", "administrator", "", ["admin"], {"admin": True}, True, 1, None])
def test_only_the_exact_role_makes_an_admin(door: Door, role: Any) -> None:
    assert door.token(hs256(claims(role=role, admin=True, roles=["admin"]))).is_admin is False


@pytest.mark.parametrize(
    "email",
    [
        "",
        "no-at-sign",
        "two@at@signs",
        "@example.com",
        "user@",
        "line\n@example.com",
        "user@example.com\n",
        "us er@example.com",
        "nul\0@example.com",
        "\u202euser@example.com",
        "\ud800@example.com",
        "u@" + "e" * 253,
        "u" * 65 + "@example.com",
        5,
        True,
        None,
        ["user@example.com"],
    ],
)
def test_an_implausible_email_is_dropped_and_not_an_error(door: Door, email: Any) -> None:
    assert door.token(hs256(claims(email=email))).email is None


def test_an_email_of_254_characters_is_kept(door: Door) -> None:
    email = "u@" + "e" * 252
    assert door.token(hs256(claims(email=email))).email == email


@pytest.mark.parametrize("token_id", ["", "x" * 129, "line\nbreak", "\ud800"])
def test_an_implausible_token_id_is_dropped(door: Door, token_id: str) -> None:
    assert door.token(hs256(claims(jti=token_id))).token_id is None


# The header ---------------------------------------------------------------------------------------------------------


def test_a_request_without_the_header_is_refused(door: Door) -> None:
    assert door.header_refusal(None) == "missing"


@pytest.mark.parametrize(
    "template",
    [
        "",
        "Bearer",
        "Bearer ",
        "{token}",
        "Basic {token}",
        "JWT {token}",
        "Bearer{token}",
        "Bearer\t{token}",
        " Bearer {token}",
        "Bearer {token} ",
        "Bearer {token}\n",
        "Bearer {token}=",
        "Bearer {token}==",
        "Bearer {token}.",
        "Bearer {token}.e30",
        "Bearer .{token}",
        "Bearer {token},",
        "Bearer {token}, Bearer {token}",
        "Bearer {token},Basic dXNlcjpwYXNz",
        "Basic dXNlcjpwYXNz, Bearer {token}",
        'Bearer "{token}"',
        "Bearer {token} {token}",
        "Bearer token={token}",
        "Bearer \u00e9{token}",
        "Bearer \0{token}",
    ],
)
def test_any_other_shape_of_the_header_is_refused(door: Door, template: str) -> None:
    assert door.header_refusal(template.format(token=hs256(claims()))) == "malformed"


def test_a_token_outside_the_header_does_not_count(door: Door) -> None:
    token = hs256(claims())
    assert (
        door.header_refusal(None, QUERY_STRING=f"jwt={token}", HTTP_COOKIE=f"access_token_cookie={token}") == "missing"
    )


def test_no_method_is_exempt(door: Door) -> None:
    for method in ("OPTIONS", "HEAD", "GET", "POST"):
        assert door.header_refusal(None, method=method) == "missing"


def test_a_header_longer_than_the_limit_is_refused_before_any_decoding(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "decode_token", lambda _token: pytest.fail("was decoded"))
    assert door.refusal(hs256(claims(filler="x" * 8_192))) == "malformed"


# The attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        pytest.param(f"{encoded({'alg': 'none'})}.{encoded(claims())}.", "malformed", id="alg none, no signature"),
        pytest.param(hs256(claims(), header={"alg": "none"}), "algorithm", id="alg none, signed"),
        pytest.param(hs256(claims(), header={"alg": "NONE"}), "algorithm", id="alg NONE"),
        pytest.param(hs256(claims(), header={"alg": ""}), "algorithm", id="alg empty"),
        pytest.param(hs256(claims(), header={"alg": None}), "algorithm", id="alg null"),
        pytest.param(hs256(claims(), header={"alg": ["HS256"]}), "algorithm", id="alg a list"),
        pytest.param(hs256(claims(), header={"alg": {"HS256": 1}}), "algorithm", id="alg an object"),
        pytest.param(hs256(claims(), header={"alg": "hs256"}), "algorithm", id="alg in lower case"),
        pytest.param(hs256(claims(), header={}), "algorithm", id="no alg"),
        pytest.param(jwt.encode(claims(), SECRET * 2, "HS512"), "algorithm", id="HS512"),
        pytest.param(jwt.encode(claims(), rsa_key(), "RS256"), "algorithm", id="RS256 where HS256 is configured"),
        pytest.param(jwt.encode(claims(), ec_key(), "ES256"), "algorithm", id="ES256 where HS256 is configured"),
        pytest.param(hs256(claims(), secret="x" * 48), "signature", id="another secret"),
        pytest.param(hs256(claims(), secret=b""), "signature", id="no secret"),
        pytest.param(hs256(claims())[:-2] + "AA", "signature", id="a changed signature"),
        pytest.param(hs256(claims()).rsplit(".", 1)[0] + ".AA", "signature", id="a short signature"),
        pytest.param(
            hs256(claims(), secret="x" * 48, header={"alg": "HS256", "jwk": {"kty": "oct", "k": encoded(b"x" * 48)}}),
            "signature",
            id="a key brought along",
        ),
        pytest.param(
            hs256(claims(), header={"alg": "HS256", "crit": ["b64"], "b64": True}), "malformed", id="crit b64"
        ),
        pytest.param(hs256(claims(), header={"alg": "HS256", "crit": ["exp"]}), "malformed", id="crit exp"),
        pytest.param(hs256(claims(), header={"alg": "HS256", "crit": []}), "malformed", id="crit empty"),
        pytest.param(hs256(claims(), header={"alg": "HS256", "b64": False}), "malformed", id="b64 false"),
        pytest.param(hs256(claims(), header={"alg": "HS256", "kid": 7}), "malformed", id="kid a number"),
        pytest.param(hs256(claims(), header=b"[]"), "malformed", id="header a list"),
        pytest.param(hs256(claims(), header=b"[" * 5_000), "malformed", id="header deeply nested"),
        pytest.param(hs256(claims(), header=b"\xff"), "malformed", id="header not UTF-8"),
        pytest.param(hs256(b"[]"), "malformed", id="claims a list"),
        pytest.param(hs256(b"null"), "malformed", id="claims null"),
        pytest.param(hs256(b"{"), "malformed", id="claims broken"),
        pytest.param(hs256(b'{"exp":' * 700), "malformed", id="claims deeply nested"),
        pytest.param(hs256(b'{"exp":' + b"1" * 5_000 + b"}"), "malformed", id="an integer of 5000 digits"),
        pytest.param(hs256(b"\xff"), "malformed", id="claims not UTF-8"),
        pytest.param("a.b.c", "malformed", id="not base64url"),
        pytest.param("....", "malformed", id="dots"),
    ],
)
def test_an_attack_on_the_envelope_is_refused(door: Door, token: str, reason: str) -> None:
    assert door.refusal(token) == reason


NOW = int(time())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 600, "iat": NOW - 900}, "expired"),
        ({"exp": NOW - LEEWAY - 1, "iat": NOW - 900}, "expired"),
        ({"exp": 0, "iat": 0}, "expired"),
        ({"iat": NOW + 3_600, "exp": NOW + 3_700}, "not_yet_valid"),
        ({"nbf": NOW + 3_600}, "not_yet_valid"),
        ({"exp": NOW + LIFETIME + 1, "iat": NOW}, "lifetime"),
        ({"iat": 0}, "lifetime"),
        ({"exp": 253_000_000_000}, "lifetime"),
        ({"aud": "another"}, "audience"),
        ({"aud": ["another"]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"aud": [AUDIENCE, 1]}, "audience"),
        ({"aud": ...}, "audience"),
        ({"aud": None}, "audience"),
        ({"iss": "https://issuer.example"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": ...}, "issuer"),
        ({"sub": ...}, "malformed"),
        ({"sub": None}, "subject"),
        ({"sub": 1}, "subject"),
        ({"sub": True}, "subject"),
        ({"sub": ["user"]}, "subject"),
        ({"sub": {"a": 1}}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": "user\n"}, "subject"),
        ({"sub": "user\0"}, "subject"),
        ({"sub": "us er"}, "subject"),
        ({"sub": "*"}, "subject"),
        ({"sub": "-user"}, "subject"),
        ({"sub": "../user"}, "subject"),
        ({"sub": "us/er"}, "subject"),
        ({"sub": "us\u00e9r"}, "subject"),
        ({"sub": "user\u0661"}, "subject"),
        ({"sub": "\ud800"}, "subject"),
        ({"sub": "a" * 129}, "subject"),
        ({"type": "refresh"}, "token_type"),
        ({"jti": 5}, "malformed"),
    ],
)
def test_a_claim_that_breaks_a_rule_is_refused(door: Door, changes: dict[str, Any], reason: str) -> None:
    assert door.refusal(hs256(claims(**changes))) == reason


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_a_token_without_its_times_is_refused(door: Door, name: str) -> None:
    assert door.refusal(hs256(claims(**{name: ...}))) == "malformed"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value",
    [None, True, False, "", str(NOW), str(NOW + 60), "1e3", [NOW], {"t": NOW}, -1, -1e308, 1e308, 10**30, 10**400],
)
def test_a_time_that_is_no_sane_number_is_refused(door: Door, name: str, value: Any) -> None:
    assert door.refusal(hs256(claims(**{name: value}))) in {"malformed", "expired", "not_yet_valid"}


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_time_that_is_not_finite_is_refused(door: Door, name: str, value: str) -> None:
    text = json.dumps(claims(**{name: "here"})).replace('"here"', value)
    assert door.refusal(hs256(text.encode())) == "malformed"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_a_time_spelt_as_a_string_is_refused_as_malformed(door: Door, name: str) -> None:
    now = int(time())
    good = {"exp": now + 60, "iat": now, "nbf": now}[name]
    assert door.refusal(hs256(claims(**{name: str(good)}))) == "malformed"


def test_numbers_the_library_would_accept_as_times_are_refused_as_malformed(door: Door) -> None:
    assert door.refusal(hs256(claims(exp=1e308))) == "malformed"
    assert door.refusal(hs256(claims(iat=False))) == "malformed"
    assert door.refusal(hs256(claims(nbf=-1))) == "malformed"


def test_an_error_nobody_foresaw_is_a_refusal_and_a_line_in_the_log(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = hs256(claims())

    def surprise(_token: str) -> None:
        raise ZeroDivisionError(token)

    monkeypatch.setattr(tokens, "decode_token", surprise)
    with capture_logs() as lines:
        assert door.refusal(token) == "unexpected"
    assert lines == [{"event": "token_check_failed", "log_level": "error", "error": "ZeroDivisionError"}]


def test_a_refusal_says_nothing_but_its_code(door: Door) -> None:
    with pytest.raises(Unauthorized) as caught:
        door.token(hs256(claims(sub="se cret")))
    assert str(caught.value) == "subject"


# Whatever a stranger sends ------------------------------------------------------------------------------------------

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)
claim_values = json_values | st.sampled_from([NOW, NOW + 60, AUDIENCE, ISSUER, "user", "refresh", "admin"])
claim_names = st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "jti", "type", "role", "email"]) | st.text()
header_names = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "zip", "jwk", "jku", "x5u"]) | st.text()
header_values = json_values | st.sampled_from(["HS256", "none", "RS256", ["b64"], "JWT"])
random_door = Door()


def outcome(value: str) -> Identity | str:
    """Return what the verifier says; any exception but its own fails the test."""
    try:
        return random_door.header(value)
    except Unauthorized as error:
        return error.reason


def one_of_the_reasons(result: Identity | str) -> bool:
    return isinstance(result, str) and result != "unexpected"


at_any_speed = hypothesis_settings(deadline=None)
latin_text = st.text(st.characters(max_codepoint=255))
base64_text = st.text("ABCabc019-_", max_size=40)


@at_any_speed
@given(latin_text | latin_text.map("Bearer {}".format) | st.lists(base64_text).map(".".join).map("Bearer {}".format))
@example("Bearer e30.e30.e30")
def test_no_header_brings_down_the_verifier_or_gets_in(value: str) -> None:
    assert one_of_the_reasons(outcome(value))


@at_any_speed
@given(st.dictionaries(header_names, header_values), st.binary(max_size=40) | json_values)
def test_no_envelope_without_the_right_key_gets_in(header: dict[str, Any], payload: Any) -> None:
    token = hs256(payload, header={"alg": "HS256"} | header, secret="another secret of at least 32 bytes, or so")
    assert one_of_the_reasons(outcome(f"Bearer {token}"))


@at_any_speed
@given(st.dictionaries(claim_names, claim_values))
def test_no_signed_claims_bring_down_the_verifier(changes: dict[str, Any]) -> None:
    result = outcome(f"Bearer {hs256(claims(**changes))}")
    assert isinstance(result, Identity) or one_of_the_reasons(result)
    if isinstance(result, Identity):
        assert result.expires_at.timestamp() + LEEWAY > time() - 1
        for text in (result.subject, result.email, result.token_id):
            assert text is None or (text.encode() and text.isprintable())


@at_any_speed
@given(st.dictionaries(header_names, header_values))
def test_no_signed_header_brings_down_the_verifier(header: dict[str, Any]) -> None:
    result = outcome(f"Bearer {hs256(claims(), header={'alg': 'HS256'} | header)}")
    assert isinstance(result, Identity) or one_of_the_reasons(result)


@at_any_speed
@given(st.binary() | latin_text.map(str.encode))
def test_no_signed_bytes_bring_down_the_verifier(payload: bytes) -> None:
    assert one_of_the_reasons(outcome(f"Bearer {hs256(payload)}"))


# Public keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", rsa_key()), ("ES256", ec_key())])
def test_a_public_key_file_verifies_tokens_whatever_kid_they_name(
    key_file: Path, algorithm: str, key: PrivateKey
) -> None:
    door = pem_door(key_file, key, algorithm)
    assert door.token(signed(key)).subject == "auth0|user-1"
    assert door.token(signed(key, kid="any")).subject == "auth0|user-1"


@pytest.mark.parametrize(
    ("algorithm", "key", "other"), [("RS256", rsa_key(), rsa_key("b")), ("ES256", ec_key(), ec_key("b"))]
)
def test_a_token_signed_by_another_private_key_is_refused(
    key_file: Path, algorithm: str, key: PrivateKey, other: PrivateKey
) -> None:
    assert pem_door(key_file, key, algorithm).refusal(signed(other)) == "signature"


def test_the_public_key_does_not_serve_as_a_secret(key_file: Path) -> None:
    key = rsa_key()
    door = pem_door(key_file, key)
    for secret in (public_pem(key), public_pem(key).strip(), json.dumps(public_jwk(key)).encode()):
        assert door.refusal(hs256(claims(), secret=secret)) == "algorithm"


def test_a_deployment_of_one_algorithm_refuses_every_other(key_file: Path) -> None:
    door = pem_door(key_file, rsa_key())
    others = [hs256(claims()), signed(ec_key()), jwt.encode(claims(), rsa_key(), "PS256")]
    others += [jwt.encode(claims(), rsa_key(), "RS512"), hs256(claims(), header={"alg": "none"})]
    assert {door.refusal(token) for token in others} == {"algorithm"}


def test_signatures_of_any_length_are_refused_by_every_algorithm(key_file: Path, tmp_path: Path) -> None:
    doors = [pem_door(key_file, rsa_key()), pem_door(tmp_path / "ec", ec_key(), "ES256")]
    for door, token in zip(doors, (signed(rsa_key()), signed(ec_key())), strict=True):
        unsigned = token.rsplit(".", 1)[0]
        for length in (1, 32, 63, 64, 65, 256, 512):
            assert door.refusal(f"{unsigned}.{encoded(bytes(length))}") == "signature"


@pytest.mark.parametrize(
    ("algorithm", "first", "second"), [("RS256", rsa_key(), rsa_key("b")), ("ES256", ec_key(), ec_key("b"))]
)
def test_the_kid_selects_the_key_of_a_set(
    key_file: Path, algorithm: str, first: PrivateKey, second: PrivateKey
) -> None:
    entries = [public_jwk(first, kid="1"), public_jwk(second, kid="2", use="sig", alg=algorithm)]
    door = jwks_door(key_file, *entries, algorithm=algorithm)
    assert door.token(signed(first, kid="1"))
    assert door.token(signed(second, kid="2"))
    assert door.refusal(signed(first, kid="2")) == "signature"


def test_an_unknown_kid_is_refused(key_file: Path) -> None:
    assert jwks_door(key_file, public_jwk(rsa_key(), kid="1")).refusal(signed(rsa_key(), kid="2")) == "key"


def test_a_kid_is_unknown_to_a_key_without_one(key_file: Path) -> None:
    door = jwks_door(key_file, public_jwk(rsa_key()))
    assert door.token(signed(rsa_key()))
    assert door.refusal(signed(rsa_key(), kid="1")) == "key"


def test_a_missing_kid_means_the_only_key_and_is_refused_where_there_are_more(key_file: Path) -> None:
    one = jwks_door(key_file, public_jwk(rsa_key(), kid="1"))
    assert one.token(signed(rsa_key()))
    two = jwks_door(key_file, public_jwk(rsa_key(), kid="1"), public_jwk(rsa_key("b"), kid="2"))
    assert two.refusal(signed(rsa_key())) == "key"
    unnamed = jwks_door(key_file, public_jwk(rsa_key()), public_jwk(rsa_key("b"), kid="2"))
    assert unnamed.refusal(signed(rsa_key())) == "key"


UNFIT_FOR_RS256 = [
    pytest.param(public_jwk(rsa_key("b"), kid="x", use="enc"), id="for encryption"),
    pytest.param(public_jwk(rsa_key("b"), kid="x", use=None), id="use null"),
    pytest.param(public_jwk(rsa_key("b"), kid="x", alg="RS512"), id="for another algorithm"),
    pytest.param(public_jwk(rsa_key("b"), kid="x", alg=["RS256"]), id="alg a list"),
    pytest.param(public_jwk(rsa_key("b"), kid="x", kty="EC"), id="labelled as another type"),
    pytest.param(public_jwk(ec_key(), kid="x"), id="of another type"),
    pytest.param({"kty": "oct", "kid": "x", "k": encoded(b"x" * 32)}, id="a secret"),
    pytest.param({"kty": ["RSA"], "kid": "x"}, id="kty a list"),
    pytest.param({"kty": "RSA", "kid": "x"}, id="without numbers"),
    pytest.param({"kty": "RSA", "kid": "x", "n": 5, "e": "AQAB"}, id="with a number as a number"),
    pytest.param({"kty": "RSA", "kid": "x", "n": "AQAB", "e": "AQAB"}, id="with a tiny modulus"),
    pytest.param({"kid": "x"}, id="without a type"),
    pytest.param("x", id="not an object"),
]


@pytest.mark.parametrize("unfit", UNFIT_FOR_RS256)
def test_a_key_that_does_not_fit_is_skipped(key_file: Path, unfit: Any) -> None:
    door = jwks_door(key_file, unfit, public_jwk(rsa_key(), kid="good"))
    assert door.token(signed(rsa_key(), kid="good"))
    assert door.token(signed(rsa_key()))
    assert door.refusal(signed(rsa_key("b"), kid="x")) == "key"


@pytest.mark.parametrize("unfit", UNFIT_FOR_RS256)
def test_a_set_without_a_fitting_key_fails_at_start(key_file: Path, unfit: Any) -> None:
    with pytest.raises(InvalidKeys, match=r"keys: no usable key for RS256$"):
        jwks_door(key_file, unfit)


def test_a_short_rsa_key_is_not_used(key_file: Path) -> None:
    short = rsa_key("short", 1024)
    with pytest.raises(InvalidKeys, match="no usable key"):
        jwks_door(key_file, public_jwk(short))
    with pytest.raises(InvalidKeys, match="not a key for RS256"):
        pem_door(key_file, short)


def test_es256_takes_keys_on_p_256_only(key_file: Path) -> None:
    other = ec_key("other", ec.SECP384R1)
    with pytest.raises(InvalidKeys, match="no usable key"):
        jwks_door(key_file, public_jwk(other), algorithm="ES256")
    with pytest.raises(InvalidKeys, match="not a key for ES256"):
        pem_door(key_file, other, "ES256")
    off_curve = public_jwk(ec_key()) | {"y": public_jwk(ec_key("b"))["y"]}
    with pytest.raises(InvalidKeys, match="no usable key"):
        jwks_door(key_file, off_curve, algorithm="ES256")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON: the body is empty"),
        (b"{", "not JSON"),
        (b"[]", "not a JWK Set"),
        (b"{}", "not a JWK Set"),
        (b'{"keys": {}}', "not a JWK Set"),
        (b'{"keys": []}', "no usable key for RS256"),
        (b'{"keys": [], "keys": []}', "not JSON: an object holds the same key twice"),
        (json.dumps({"keys": [private_jwk(rsa_key())]}).encode(), "holds a private key"),
        (json.dumps({"keys": [public_jwk(rsa_key(), kid="1")] * 2}).encode(), "two usable keys have the same kid"),
    ],
)
def test_a_broken_key_set_fails_at_start_and_names_the_file(key_file: Path, content: bytes, complaint: str) -> None:
    key_file.write_bytes(content)
    with pytest.raises(InvalidKeys, match=complaint) as caught:
        TokenVerifier(settings(jwt_algorithm="RS256", jwt_jwks_file=key_file))
    assert str(caught.value).startswith(f"{key_file}: ")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a public key in PEM form"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key in PEM form"),
        (private_pem(rsa_key()), "not a public key in PEM form"),
        (public_pem(ec_key()), "not a key for RS256"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "not a key for RS256"),
        (public_pem(dsa.generate_private_key(2048)), "not a key for RS256"),
    ],
)
def test_a_broken_public_key_file_fails_at_start_and_names_the_file(
    key_file: Path, content: bytes, complaint: str
) -> None:
    key_file.write_bytes(content)
    with pytest.raises(InvalidKeys, match=complaint) as caught:
        TokenVerifier(settings(jwt_algorithm="RS256", jwt_public_key_file=key_file))
    assert str(caught.value).startswith(f"{key_file}: ")


@pytest.mark.parametrize("option", ["jwt_public_key_file", "jwt_jwks_file"])
def test_an_absent_key_file_fails_at_start(key_file: Path, option: str) -> None:
    with pytest.raises(InvalidKeys, match="No such file"):
        TokenVerifier(settings(jwt_algorithm="RS256", **{option: key_file}))


def test_a_secret_that_is_a_public_key_fails_at_start() -> None:
    with pytest.raises(InvalidKeys, match="JWT_SECRET"):
        TokenVerifier(settings(jwt_secret=public_pem(rsa_key()).decode()))


@at_any_speed
@given(
    st.sampled_from(["RS256", "ES256"]),
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "use", "alg", "kid", "crv", "n", "e", "x", "y", "d"]),
            json_values | st.sampled_from(["RSA", "EC", "sig", "P-256", "AQAB", "RS256", "ES256"]),
        )
    ),
)
def test_no_key_set_breaks_the_loader_in_an_unforeseen_way(algorithm: str, entries: list[dict[str, Any]]) -> None:
    content = json.dumps({"keys": [{"kty": "RSA" if algorithm == "RS256" else "EC"} | entry for entry in entries]})
    with pytest.raises(InvalidKeys):
        token_keys._jwks_keys(content.encode(), JwtAlgorithm(algorithm))


# Rotation -----------------------------------------------------------------------------------------------------------


def replace(path: Path, *entries: Any) -> None:
    """Replace a key set as a deployment does, by renaming a new file over it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": entries}))
    fresh.rename(path)


def test_a_changed_key_file_counts_after_a_few_seconds_without_a_restart(key_file: Path) -> None:
    door = jwks_door(key_file, public_jwk(rsa_key(), kid="1"))
    replace(key_file, public_jwk(rsa_key("b"), kid="2"))
    assert door.refusal(signed(rsa_key("b"), kid="2")) == "key"
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    assert door.token(signed(rsa_key("b"), kid="2"))
    assert door.refusal(signed(rsa_key(), kid="1")) == "key"


def test_a_changed_public_key_file_is_read_again_as_well(key_file: Path) -> None:
    door = pem_door(key_file, rsa_key())
    key_file.write_bytes(public_pem(rsa_key("b")))
    os.utime(key_file, (0, 0))
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    assert door.token(signed(rsa_key("b")))


def test_the_key_file_is_looked_at_once_in_a_few_seconds_and_read_only_when_it_changed(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = jwks_door(key_file, public_jwk(rsa_key(), kid="1"))
    looks: list[Path] = []
    stamp = token_keys._stamp

    def look(path: Path) -> tuple[int, ...]:
        looks.append(path)
        return stamp(path)

    monkeypatch.setattr(token_keys, "_stamp", look)
    monkeypatch.setattr(Path, "read_bytes", lambda _path: pytest.fail("was read"))
    for _ in range(10):
        door.token(signed(rsa_key(), kid="1"))
    assert looks == []
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    for _ in range(10):
        door.token(signed(rsa_key(), kid="1"))
    assert looks == [key_file]


@pytest.mark.parametrize("damage", ["broken", "emptied", "removed"])
def test_a_key_file_that_breaks_leaves_the_keys_as_they_are_until_it_is_repaired(key_file: Path, damage: str) -> None:
    door = jwks_door(key_file, public_jwk(rsa_key(), kid="1"))
    if damage == "removed":
        key_file.unlink()
    else:
        key_file.write_text("{" if damage == "broken" else "")
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    with capture_logs() as lines:
        assert door.token(signed(rsa_key(), kid="1"))
    assert [line["event"] for line in lines] == ["token_keys_not_reloaded"]
    replace(key_file, public_jwk(rsa_key("b"), kid="2"))
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    with capture_logs() as lines:
        assert door.token(signed(rsa_key("b"), kid="2"))
    assert [line["event"] for line in lines] == ["token_keys_reloaded"]


# The memory of verified tokens --------------------------------------------------------------------------------------


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def decode(token: str) -> dict[str, Any]:
        seen.append(token)
        return decode_token(token)

    monkeypatch.setattr(tokens, "decode_token", decode)
    return seen


def test_a_token_is_decoded_once(door: Door, decodings: list[str]) -> None:
    token = hs256(claims())
    assert door.token(token) == door.token(token)
    assert decodings == [token]


def test_a_remembered_token_is_refused_from_the_second_it_expires(door: Door) -> None:
    expires = int(time()) + 600
    token = hs256(claims(exp=expires))
    door.token(token)
    door.clock.now = expires + LEEWAY - 0.001
    door.token(token)
    door.clock.now = expires + LEEWAY
    assert door.refusal(token) == "expired"


def test_an_expired_token_is_forgotten(door: Door, decodings: list[str]) -> None:
    token = hs256(claims())
    door.token(token)
    door.clock.now += 3_600
    door.refusal(token)
    door.clock.now -= 3_600
    door.token(token)
    assert len(decodings) == 2


def test_a_refused_token_is_not_remembered(door: Door, decodings: list[str]) -> None:
    for token in (hs256(claims(), secret="x" * 48), hs256(claims(sub=""))):
        assert door.refusal(token) == door.refusal(token)
    assert len(decodings) == 4


def test_a_token_that_differs_in_its_signature_only_is_another_token(door: Door) -> None:
    token = hs256(claims())
    door.token(token)
    assert door.refusal(token[:-2] + "AA") == "signature"


def test_new_keys_forget_what_the_old_ones_verified(key_file: Path) -> None:
    old, new = rsa_key(), rsa_key("b")
    door = jwks_door(key_file, public_jwk(old, kid="1"))
    token = signed(old, kid="1")
    door.token(token)
    replace(key_file, public_jwk(new, kid="1"))
    door.monotonic.now += KEY_FILE_CHECK_INTERVAL
    assert door.refusal(token) == "signature"


def test_the_memory_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CACHE_SIZE <= 10_000
    monkeypatch.setattr(token_keys, "CACHE_SIZE", 3)
    for number in range(10):
        door.token(hs256(claims(jti=str(number))))
        assert 0 < len(door.verifier._keys.current().verified) <= 3


def test_the_memory_does_not_keep_tokens(door: Door) -> None:
    token = hs256(claims())
    door.token(token)
    assert list(door.verifier._keys.current().verified) == [hashlib.sha256(token.encode()).digest()]


# The configuration --------------------------------------------------------------------------------------------------


def test_flask_jwt_extended_gets_the_rules_of_the_settings(door: Door, key_file: Path) -> None:
    config = door.app.config
    assert config["JWT_TOKEN_LOCATION"] == ["headers"]
    assert (config["JWT_ALGORITHM"], config["JWT_DECODE_ALGORITHMS"]) == ("HS256", ["HS256"])
    assert (config["JWT_DECODE_AUDIENCE"], config["JWT_DECODE_ISSUER"]) == (AUDIENCE, ISSUER)
    assert (config["JWT_DECODE_LEEWAY"], config["JWT_SECRET_KEY"]) == (LEEWAY, SECRET)
    public = pem_door(key_file, ec_key(), "ES256").app.config
    assert (public["JWT_ALGORITHM"], public["JWT_DECODE_ALGORITHMS"]) == ("ES256", ["ES256"])
    assert public["JWT_SECRET_KEY"] is None


def test_two_verifiers_share_nothing() -> None:
    first, second = Door(), Door(settings(jwt_secret="another-secret-for-these-tests-of-32-bytes"))
    token = hs256(claims(jti=str(UUID(int=1))))
    assert first.token(token)
    assert second.refusal(token) == "signature"
