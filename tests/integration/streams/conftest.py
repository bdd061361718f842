"""A session to listen to, into whose stream a test may publish as a node does."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
import redis

from models.tenancy import Database
from tests.conftest import MakeUser
from tests.support.api import ApiClient
from tests.support.rows import user_id
from workspace.event_publisher import EventPublisher
from workspace.events import EventScope, TaskProgress
from workspace.names import WorkspaceKey


@dataclass(frozen=True)
class Talk:
    """A session of a user."""

    client: ApiClient
    session_id: str
    scope: EventScope
    publisher: EventPublisher

    @property
    def buffer(self) -> str:
        """The key of its event buffer."""
        return self.scope.key.session_events(self.scope.session_id)

    def say(self, *words: str) -> list[str]:
        """Publish a piece of text for each word; returns the events' ids."""
        pieces = [TaskProgress(text=word, offset=0, turn=1, attempt=1) for word in words]
        published = self.publisher.publish(self.scope, *pieces)
        assert published is not None
        return list(published.ids)


MakeTalk = Callable[[ApiClient], Talk]


@pytest.fixture(scope="session")
def make_talk(database: Database, publisher: EventPublisher) -> MakeTalk:
    """A maker of sessions."""

    def make(client: ApiClient) -> Talk:
        session = client.make_session()["id"]
        project = client.get("/my/projects/").json()["items"][0]["id"]
        key = WorkspaceKey(user_id(database, client.subject), UUID(project))
        return Talk(client, session, EventScope(key=key, session_id=UUID(session)), publisher)

    return make


@pytest.fixture
def talk(user: ApiClient, make_talk: MakeTalk) -> Talk:
    """A session of a new user, in its default project."""
    return make_talk(user)


@dataclass(frozen=True)
class Reply:
    """A message that was answered, and all that was told of it."""

    client: ApiClient
    session_id: str
    accepted: dict[str, object]
    events: list[dict[str, object]]
    """From the first event of the session to the run's end, in order."""

    @property
    def ids(self) -> list[str]:
        """The cursors."""
        return [str(event["id"]) for event in self.events]


@pytest.fixture(scope="session")
def reply(make_user: MakeUser) -> Reply:
    """A reply that came in many pieces; tests only read it."""
    client = make_user()
    client.make_agent()
    session = client.make_session()["id"]
    accepted = client.send(session, "[tokens=16] [gap=0.05] Hello")
    with client.events(accepted["events_url"]) as stream:
        events = stream.until("run_completed")
    return Reply(client, session, accepted, [event.body for event in events])


@pytest.fixture
def forget(store: redis.Redis) -> Callable[[Talk], None]:
    """Lose a session's buffer, as an expiry does."""
    return lambda talk: store.delete(talk.buffer)
