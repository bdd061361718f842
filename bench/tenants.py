"""Users with their projects, agents and sessions, made over HTTP as any client makes them, a few users at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.client import Line, Poster
from devstack import tokens
from devstack.stack import Stack

Item = TypeVar("Item")

AT_ONCE = 8
"""Users that are made at the same time: more would not be faster with one web process."""
OWN = "/my"
"""How a user's default project is addressed."""


@dataclass(frozen=True)
class Tenant:
    """One user, and a kept connection to the API."""

    line: Line
    poster: Poster

    async def make(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make something and return it.

        Raises:
            BenchError: the API refused.
        """
        answer = await self.poster.ask(self.line.creation(path, body), b"201")
        made: dict[str, Any] = json.loads(answer)
        return made

    async def remove(self, path: str) -> None:
        """Delete something.

        Raises:
            BenchError: the API refused.
        """
        await self.poster.ask(self.line.deletion(path), b"204")

    async def session(self, project: str = OWN) -> Line:
        """Make a session and return where its messages go."""
        made = await self.make(f"{project}/chat/sessions/", {})
        chat = f"{project}/chat/{made['id']}"
        return Line(self.line.url, f"{chat}/message/", f"{chat}/events/", self.line.headers)


@asynccontextmanager
async def tenant(stack: Stack, name: str) -> AsyncIterator[Tenant]:
    """Connect as a user of this name, who is made by the first request."""
    token = tokens.sign(stack.plan.signing, name)
    line = Line(stack.facts()["API_URL"], "", "", (("Authorization", f"Bearer {token}"),))
    poster = await Poster.open(line.address)
    try:
        yield Tenant(line, poster)
    finally:
        poster.close()


async def several(make: Callable[[Item], Coroutine[Any, Any, None]], items: Iterable[Item]) -> None:
    """Call `make` with each item, a few at a time."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await make(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
