"""What an agent remembered is gone with it, on the running system with the embedded engine."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from settings import load_settings
from tests.support.api import ApiClient
from tests.support.memories import SPACE, point
from tests.support.waiting import eventually
from workspace.memory.edge.store import QdrantEdgeStore
from workspace.memory.memories import EVERYTHING
from workspace.names import Collection, WorkspaceKey

pytestmark = pytest.mark.stack


@pytest.fixture
def directory() -> Path:
    """Where the stack's nodes keep memories."""
    return load_settings().data_dir / "memory"


@pytest.fixture
def store(directory: Path) -> Iterator[QdrantEdgeStore]:
    """An engine of this process, which lets go of what it wrote as an idle one does."""
    opened = QdrantEdgeStore(directory)
    yield opened
    opened.close()


def remember(store: QdrantEdgeStore, user: ApiClient, project_id: str, agent: dict[str, object]) -> Collection:
    """Let an agent have a memory, whose workspace nobody hosts yet."""
    user_id = UUID(str(agent["agent_id"]).removeprefix("user")[:36])
    collection = Collection(WorkspaceKey(user_id, UUID(project_id)), str(agent["name"]), UUID(str(agent["id"])))
    store.upsert(collection, SPACE, [point(0)])
    store.release(collection.key)
    return collection


@pytest.mark.parametrize("hosted", [False, True], ids=["not hosted", "hosted"])
def test_an_agent_that_is_deleted_leaves_no_memory_and_one_made_anew_finds_none(
    user: ApiClient, store: QdrantEdgeStore, directory: Path, hosted: bool
) -> None:
    project = user.make_project()["id"]
    inside = user.inside(project)
    agent, kept = inside.make_agent("coder"), inside.make_agent("reviewer")
    mine = remember(store, user, project, agent)
    neighbour = remember(store, user, project, kept)
    if hosted:
        inside.answered(inside.make_session()["id"], "hello", agent="coder")
    path = directory / str(mine.key.user_id) / project
    assert (path / "coder").is_dir()
    assert inside.delete(f"agents/{agent['id']}/").status_code == 204
    eventually(lambda: not (path / "coder").exists(), "the memory to be gone")
    anew = inside.make_agent("coder")
    heir = mine._replace(agent_id=UUID(anew["id"]))
    assert store.count(heir, EVERYTHING) == 0
    assert store.collections(mine.key) == [neighbour]


def test_a_project_that_is_deleted_leaves_no_memory(user: ApiClient, store: QdrantEdgeStore, directory: Path) -> None:
    project = user.make_project()["id"]
    inside = user.inside(project)
    collections = [remember(store, user, project, inside.make_agent(name)) for name in ("coder", "reviewer")]
    key = collections[0].key
    assert user.delete(f"/my/projects/{project}/").status_code == 204
    eventually(lambda: not (directory / str(key.user_id) / project).exists(), "the memory to be gone")
    assert store.collections(key) == []
