"""The environment of the stack's programs: the user's own, the services' addresses, and development defaults."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from pydantic import ValidationError

from devstack.directory import StackDirectory, write_private
from devstack.errors import StackError
from settings import Settings, load_settings

STANDIN_MODEL = "stand-in"
STANDIN_EMBEDDING = {"EMBEDDING_MODEL": "stand-in-embedding", "EMBEDDING_DIMENSIONS": "384"}
"""It makes vectors of any length; what they tell apart is words, for which these are enough."""
STANDIN_PRICES = {STANDIN_MODEL: {"input": 0.15, "output": 0.6}}

DEVELOPMENT_DEFAULTS = {
    # A development stack must not slow down scripts; production keeps the defaults of settings.py.
    "RATE_LIMIT": "6000/minute",
}

EXTERNAL_SERVICES_FOR_TESTS = "CODELAB_TEST_EXTERNAL"
"""Set to 1 to let tests use the services named in the environment: they write to them."""

LOOPBACK = "127.0.0.1,localhost"


@dataclass(frozen=True)
class Secrets:
    """What must stay the same as long as the stack's data does."""

    jwt: str
    postgres: str
    redis: str
    flower: str

    @classmethod
    def load(cls, directory: StackDirectory) -> Self:
        """The secrets of the directory, made at first use."""
        try:
            return cls(**json.loads(directory.secrets_file.read_text()))
        except (OSError, ValueError, TypeError):
            fresh = cls(*(secrets.token_urlsafe(32) for _ in range(4)))
            write_private(directory.secrets_file, json.dumps(asdict(fresh)))
            return fresh


@dataclass(frozen=True)
class External:
    """The addresses that the user's environment gives; an empty one is started by the stack."""

    database_url: str = ""
    redis_url: str = ""
    model_url: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment; a key without an address means OpenAI itself."""
        model_url = environment.get("OPENAI_BASE_URL", "")
        if not model_url and environment.get("OPENAI_API_KEY"):
            model_url = "https://api.openai.com/v1"
        return cls(environment.get("DATABASE_URL", ""), environment.get("REDIS_URL", ""), model_url)


def of_user() -> dict[str, str]:
    """The environment that the launcher was started with."""
    # The one place where the launcher reads it: it hands most of it on, which is more than options of the system.
    return dict(os.environ)


def without_options(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without any option of the system, so that a test run depends on nobody's shell."""
    options = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in environment.items() if name not in options}


@dataclass(frozen=True)
class Addresses:
    """Where everything is, once it is decided what the stack starts itself."""

    database_url: str
    redis_url: str
    model_url: str
    api_url: str
    flower_url: str
    external: External

    @property
    def uses_standin(self) -> bool:
        """Whether the model is the stand-in."""
        return not self.external.model_url


def for_programs(user: Mapping[str, str], addresses: Addresses, held: Secrets) -> dict[str, str]:
    """The environment that every program of the stack gets."""
    environment = {**DEVELOPMENT_DEFAULTS, "JWT_SECRET": held.jwt, **user}
    environment |= {
        "ENVIRONMENT": "development",
        "DATABASE_URL": addresses.database_url,
        "REDIS_URL": addresses.redis_url,
        "OPENAI_BASE_URL": addresses.model_url,
        "BIND": addresses.api_url.partition("://")[2],
        "PYTHONUNBUFFERED": "1",
    }
    if addresses.uses_standin:
        environment["OPENAI_API_KEY"] = STANDIN_MODEL
        environment.setdefault("DEFAULT_MODEL", STANDIN_MODEL)
        environment.setdefault("MODEL_PRICES", json.dumps(STANDIN_PRICES))
        environment = {**STANDIN_EMBEDDING, **environment}
    elif not environment.get("OPENAI_API_KEY"):
        # Servers of one's own (Ollama, vLLM) ask for no key, but the SDK refuses to start without one.
        environment["OPENAI_API_KEY"] = "none"
    # A proxy of the user's must not stand between the stack's own programs.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(part for part in (environment.get(name), LOOPBACK) if part)
    return environment


def check_options(environment: Mapping[str, str]) -> None:
    """Let the system read its options once, so that a wrong one is told in a line and not in a program's log.

    Raises:
        StackError: the system would refuse to start.
    """
    kept = of_user()
    try:
        os.environ.clear()
        os.environ.update(environment)
        load_settings()
    except ValidationError as error:
        wrong = (
            f"{'.'.join(map(str, each['loc'])).upper() or 'options'}: {each['msg']}"
            for each in error.errors(include_input=False)
        )
        raise StackError(f"wrong options in the environment; {'; '.join(wrong)}") from None
    finally:
        os.environ.clear()
        os.environ.update(kept)


@dataclass(frozen=True)
class Signing:
    """How the stack's API wants its tokens signed."""

    secret: str
    audience: str | None = None
    issuer: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read it from the programs' environment.

        Raises:
            StackError: the API expects keys that the launcher cannot sign with.
        """
        if environment.get("JWT_ALGORITHM", "HS256") != "HS256":
            raise StackError("the development stack signs its tokens with HS256: unset JWT_ALGORITHM")
        return cls(environment["JWT_SECRET"], environment.get("JWT_AUDIENCE"), environment.get("JWT_ISSUER"))
