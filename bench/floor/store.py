"""The floor's three tables, and raw psycopg2 on a pool: measured lower than SQLAlchemy's session."""

import json
import queue
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id uuid PRIMARY KEY, session_id uuid NOT NULL, mode text NOT NULL, status text NOT NULL, usage jsonb,
    created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, finished_at timestamptz);
CREATE TABLE IF NOT EXISTS messages (
    id uuid PRIMARY KEY, session_id uuid NOT NULL, run_id uuid NOT NULL REFERENCES runs, role text NOT NULL,
    content text NOT NULL, agent_name text, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS tasks (
    id uuid PRIMARY KEY, session_id uuid NOT NULL, run_id uuid NOT NULL REFERENCES runs, agent_name text NOT NULL,
    status text NOT NULL, usage jsonb, created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz,
    finished_at timestamptz);
CREATE INDEX IF NOT EXISTS ix_messages_session_id ON messages (session_id, created_at);
CREATE INDEX IF NOT EXISTS ix_runs_session_id ON runs (session_id);
CREATE INDEX IF NOT EXISTS ix_tasks_run_id ON tasks (run_id);
"""
AGENT = "helper"


class Store:
    """The rows. Safe for threads and greenlets; a connection is opened when it is first needed."""

    def __init__(self, url: str, connections: int) -> None:
        self._url = url
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(connections):
            self._free.put(None)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        connection = self._free.get() or psycopg2.connect(self._url)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            self._free.put(connection)

    def create(self) -> None:
        """Make the tables."""
        with self._transaction() as cursor:
            cursor.execute(SCHEMA)

    def accept(self, session_id: str, content: str) -> tuple[str, str, str]:
        """Write message, run and task; returns their ids."""
        message_id, run_id, task_id = (str(uuid.uuid4()) for _ in range(3))
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO runs (id, session_id, mode, status) VALUES (%s, %s, 'direct', 'queued')",
                (run_id, session_id),
            )
            cursor.execute(
                "INSERT INTO messages (id, session_id, run_id, role, content) VALUES (%s, %s, %s, 'user', %s)",
                (message_id, session_id, run_id, content),
            )
            cursor.execute(
                "INSERT INTO tasks (id, session_id, run_id, agent_name, status) VALUES (%s, %s, %s, %s, 'queued')",
                (task_id, session_id, run_id, AGENT),
            )
        return message_id, run_id, task_id

    def start(self, run_id: str, task_id: str) -> None:
        """Mark run and task as running."""
        with self._transaction() as cursor:
            cursor.execute("UPDATE tasks SET status = 'running', started_at = now() WHERE id = %s", (task_id,))
            cursor.execute("UPDATE runs SET status = 'running', started_at = now() WHERE id = %s", (run_id,))

    def finish(self, session_id: str, run_id: str, task_id: str, reply: str, usage: dict[str, int]) -> str:
        """Write the reply and the end of run and task; returns the reply's id."""
        message_id, used = str(uuid.uuid4()), json.dumps(usage)
        with self._transaction() as cursor:
            cursor.execute(
                "INSERT INTO messages (id, session_id, run_id, role, content, agent_name)"
                " VALUES (%s, %s, %s, 'assistant', %s, %s)",
                (message_id, session_id, run_id, reply, AGENT),
            )
            cursor.execute(
                "UPDATE tasks SET status = 'completed', finished_at = now(), usage = %s WHERE id = %s", (used, task_id)
            )
            cursor.execute(
                "UPDATE runs SET status = 'completed', finished_at = now(), usage = %s WHERE id = %s", (used, run_id)
            )
        return message_id
