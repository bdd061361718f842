"""The environment that the object graph needs to be built where no stack runs; nothing connects to what it names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask

OFFLINE = {
    "DATABASE_URL": "postgresql://127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "JWT_SECRET": "a-secret-for-tests-without-a-stack-of-more-than-32-bytes",
}


@contextmanager
def offline_environment() -> Iterator[None]:
    """Set what is missing, for the length of a block: `celeryconfig` reads the settings when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            if name not in os.environ:
                patch.setenv(name, value)
        yield


def build_app() -> Flask:
    """Return the API as an object, to be looked at."""
    with offline_environment():
        from api.app import create_app

        return create_app()
