"""Where the stack is that the launcher started for this test run."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

IS_RUNNING = "API_URL" in os.environ
"""Whether the launcher started this run with a stack (`make test`, `python -m devstack test`)."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The addresses and the secret of one stack."""

    api_url: str
    database_url: str
    redis_url: str
    model_url: str
    jwt_secret: str
    directory: Path

    @classmethod
    def of_environment(cls) -> Self:
        """Return the stack that the launcher exported."""
        return cls(
            api_url=os.environ["API_URL"],
            database_url=os.environ["DATABASE_URL"],
            redis_url=os.environ["REDIS_URL"],
            model_url=os.environ["MODEL_URL"],
            jwt_secret=os.environ["JWT_SECRET"],
            directory=Path(os.environ["CODELAB_STACK_DIR"]),
        )
