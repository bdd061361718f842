"""Is a program of the stack ready? Each check asks once and answers at once."""

import base64
import re
import urllib.request
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis
from sqlalchemy import Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

CHECK_SECONDS = 2.0
"""How long one check may take."""

# A proxy named in the user's environment must not stand between the launcher and its own programs.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_ok(url: str) -> bool:
    """Whether `GET url` answers 200; credentials in the URL are sent as basic auth."""
    parts = urlsplit(url)
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    if parts.username:
        credentials = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    try:
        with _OPENER.open(request, timeout=CHECK_SECONDS) as response:
            return bool(response.status == HTTPStatus.OK)
    except OSError:
        return False


def log_matches(path: Path, pattern: re.Pattern[str]) -> bool:
    """Whether a line of the log says so."""
    try:
        return pattern.search(path.read_text(errors="replace")) is not None
    except FileNotFoundError:
        return False


def postgres_engine(url: str, database: str | None = None) -> Engine:
    """An engine for Postgres at `url`, or for another database there; each statement is a transaction of its own."""
    target = make_url(url).set(drivername="postgresql+psycopg2")
    return create_engine(
        target.set(database=database or target.database),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": int(CHECK_SECONDS)},
    )


def postgres_ok(url: str) -> bool:
    """Whether Postgres accepts connections at `url`."""
    try:
        postgres_engine(url).connect().close()
    except SQLAlchemyError:
        return False
    return True


def redis_ok(url: str) -> bool:
    """Whether Redis answers at `url`."""
    try:
        with redis.Redis.from_url(url, socket_timeout=CHECK_SECONDS, socket_connect_timeout=CHECK_SECONDS) as client:
            return bool(client.ping())
    except (redis.RedisError, ValueError):
        return False


def plain_postgres(url: str) -> str:
    """The URL as libpq reads it: `postgresql+driver://` loses its driver."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"
