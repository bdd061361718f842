"""Alembic's migrations: one head, each reversible."""
