"""Alembic's entry: one connection, one transaction, the tables of `models`."""

from alembic import context
from sqlalchemy import create_engine, pool

from models import Base

url = context.config.get_main_option("sqlalchemy.url")
assert url is not None  # `models.migrate` sets it

if context.is_offline_mode():
    context.configure(url=url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
