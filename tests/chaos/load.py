"""Load: users who post all the time, each to several agents and in several sessions, and remember what was accepted."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from uuid import uuid4

import httpx

from tests.chaos.audience import Reader, await_open
from tests.chaos.scale import Scale
from tests.conftest import MakeUser
from tests.support.api import ApiClient

SPANNING = "patient"
"""The agent that has the work which spans the fault."""
DELAYS = (0.2, 0.3, 0.4, 0.5, 0.6, 2.0)
WORDS = 12
BACK_OFF = 0.2
"""Seconds until a refused message is tried again."""


@dataclass(frozen=True)
class Accepted:
    """A message that got its 202."""

    user: ApiClient
    session_id: str
    agent_id: str
    run_id: str
    content: str
    expected: str


@dataclass(frozen=True)
class Place:
    """One session in which one agent answers."""

    agent: str
    agent_id: str
    session_id: str


@dataclass
class Person:
    """One user with agents and sessions."""

    client: ApiClient
    places: list[Place]
    spanning: Place
    limits: dict[str, int]
    readers: list[Reader] = field(default_factory=list)


class Load:
    """All users of one test."""

    def __init__(self, make_user: MakeUser, url: str, scale: Scale, seed: int) -> None:
        self._make_user = make_user
        self._url = url
        self._scale = scale
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._lock = threading.Lock()
        self.people: list[Person] = []
        self.accepted: list[Accepted] = []
        self.refusals = 0
        """Posts that were told to come back."""
        self.wrong: list[str] = []
        """Answers that no fault excuses."""

    @property
    def limits(self) -> dict[str, int]:
        """The limit of each agent."""
        return {agent: limit for person in self.people for agent, limit in person.limits.items()}

    @property
    def readers(self) -> list[Reader]:
        """All readers of all streams."""
        return [reader for person in self.people for reader in person.readers]

    # -- people ----------------------------------------------------------------------------------------------

    def invite(self, number: int) -> None:
        """Add users, each with readers on all sessions and one message answered: so each workspace has a host."""
        with ThreadPoolExecutor(number) as threads:
            invited = list(threads.map(self._furnish, [self._random.random() for _ in range(number)]))
        await_open([reader for person in invited for reader in person.readers])
        self.people += invited
        with ThreadPoolExecutor(number) as threads:
            first = list(threads.map(lambda person: self._post(person, person.spanning, 0.0), invited))
        for person, accepted in zip(invited, first, strict=True):
            assert accepted is not None, self.wrong
            person.client.wait_for_run(accepted.run_id)

    def _furnish(self, seed: float) -> Person:
        dice = random.Random(seed)
        client = self._make_user().at(self._url)
        limits, places = {}, []
        for number in range(self._scale.agents):
            name = f"agent{number}"
            limit = dice.randint(1, 4)
            agent = client.make_agent(name, concurrency_limit=limit)["id"]
            limits[agent] = limit
            places += [Place(name, agent, client.make_session()["id"]) for _ in range(self._scale.sessions)]
        patient = client.make_agent(SPANNING, concurrency_limit=1)["id"]
        limits[patient] = 1
        spanning = Place(SPANNING, patient, client.make_session()["id"])
        dice.shuffle(places)
        person = Person(client, places, spanning, limits)
        person.readers = [
            Reader(client, place.session_id, is_restless=number % 2 == 1)
            for number, place in enumerate((*places, spanning))
        ]
        return person

    def dismiss(self) -> None:
        """Let all readers go."""
        for reader in self.readers:
            reader.leave()
        for reader in self.readers:
            reader.gone()

    # -- posting ---------------------------------------------------------------------------------------------

    @contextmanager
    def on(self) -> Iterator[None]:
        """Post without pause for the length of a block."""
        done = threading.Event()
        threads = [
            threading.Thread(target=self._keep_posting, args=(person, done), daemon=True) for person in self.people
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join(60)

    def post_spanning(self, seconds: float) -> None:
        """Begin one long piece of work for each user."""
        for person in self.people:
            self._post(person, person.spanning, seconds)

    def post_everywhere(self) -> None:
        """Post one message in each session, each until it is accepted."""

        def post(work: tuple[Person, Place]) -> None:
            deadline = time.monotonic() + 60
            while self._post(*work, 0.2) is None and time.monotonic() < deadline:
                time.sleep(BACK_OFF)

        work = [(person, place) for person in self.people for place in (*person.places, person.spanning)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(post, work))

    def _keep_posting(self, person: Person, done: threading.Event) -> None:
        dice = random.Random(person.client.subject)
        for place in cycle(person.places):
            accepted = self._post(person, place, dice.choice(DELAYS))
            if done.wait(self._scale.pause if accepted else BACK_OFF):
                return

    def _post(self, person: Person, place: Place, delay: float) -> Accepted | None:
        """Post once. Each try has a text of its own: one whose answer was lost may have been accepted all the same."""
        tag = f"{next(self._numbers)}-{uuid4().hex[:8]}"
        expected = " ".join([f"reply {tag}", *(f"word{number}" for number in range(WORDS))])
        content = f"[delay={delay}] [say={expected}]"
        try:
            body = {"content": content, "target_agent": place.agent}
            answer = person.client.post(f"chat/{place.session_id}/message/", body)
        except httpx.TransportError:
            self.refusals += 1
            return None
        if answer.status_code == 202:
            run_id = answer.json()["run_id"]
            accepted = Accepted(person.client, place.session_id, place.agent_id, run_id, content, expected)
            with self._lock:
                self.accepted.append(accepted)
            return accepted
        self.refusals += 1
        if answer.status_code != 503 or answer.json()["error_code"] != "overloaded":
            self.wrong.append(f"a message was answered with {answer.status_code}: {answer.text}")
        return None
