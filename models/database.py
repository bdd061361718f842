"""The engine: pool, timeouts and the driver's settings."""

from select import POLLIN, poll
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from models.tenancy import Database
from settings import Settings


def build_engine(settings: Settings, *, application_name: str) -> Engine:
    """Return an engine for `settings.database_url`; it connects at its first statement."""
    timeout = int(settings.database_statement_timeout * 1000)
    engine = create_engine(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        pool_timeout=settings.database_pool_timeout,
        # A transaction reads committed rows: each compare-and-set re-reads the row that it waited for.
        isolation_level="READ COMMITTED",
        # What people and models wrote does not belong into the log of an error.
        hide_parameters=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            # A network that drops everything is noticed within some ten seconds instead of many minutes.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": f"-c statement_timeout={timeout} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
        },
    )
    event.listen(engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a pooled connection that its server closed, before a request finds out.

    An idle connection has nothing to read; one whose server ended has its farewell. One `poll` of the socket tells,
    where SQLAlchemy's pre-ping would be a round trip for each transaction.
    """
    waiting = poll()
    waiting.register(connection.fileno(), POLLIN)
    if waiting.poll(0):
        raise DisconnectionError("the server closed this connection")


def build_database(settings: Settings, *, application_name: str) -> Database:
    """Return the `Database` that every other part is given."""
    return Database(build_engine(settings, application_name=application_name))
