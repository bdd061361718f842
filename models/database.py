"""The engine: pool, timeouts and the driver's settings."""

from sqlalchemy import Engine, create_engine

from models.tenancy import Database
from settings import Settings


def build_engine(settings: Settings, *, application_name: str) -> Engine:
    """Return an engine for `settings.database_url`; it connects at its first statement."""
    timeout = int(settings.database_statement_timeout * 1000)
    return create_engine(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        pool_timeout=settings.database_pool_timeout,
        # A connection that died with its server is found before it is used, at the price of one round trip of about
        # 0.05 ms: without it the first request after a database restart fails for each pooled connection.
        pool_pre_ping=True,
        # A transaction reads committed rows: each compare-and-set re-reads the row that it waited for.
        isolation_level="READ COMMITTED",
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            "options": f"-c statement_timeout={timeout} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
        },
    )


def build_database(settings: Settings, *, application_name: str) -> Database:
    """Return the `Database` that every other part is given."""
    return Database(build_engine(settings, application_name=application_name))
