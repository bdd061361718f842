"""Memory that is away holds up no answer, and what was said meanwhile is remembered when it is back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

import bootstrap
from models.tenancy import Database
from settings import load_settings
from tests.integration.memory.steps import ask, await_remembered, look, remembered_at, shown_for, tell, topic
from tests.integration.runs.steps import key_of
from tests.support.api import ApiClient
from tests.support.standin import Standin
from tests.support.waiting import eventually
from workspace.remembering import Remembering

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _undisturbed(standin: Standin) -> Iterator[None]:
    yield
    standin.reset()


def await_embedding(standin: Standin, about: str) -> None:
    """Wait until the model's server was asked to embed an interaction."""

    def was_asked() -> bool:
        return any(text.startswith("User: ") and about in text for each in standin.embeddings() for text in each)

    eventually(was_asked, "an interaction to be embedded")


def test_an_answer_comes_while_nothing_can_be_embedded_and_is_remembered_later(
    user: ApiClient, database: Database, standin: Standin
) -> None:
    user.make_agent()
    about = topic()
    standin.rules({"match": about, "in": "embedding", "fail": "503"})
    accepted, events = ask(user, f"The shed {about} is painted red.")
    found = look(events)
    assert (found["status"], found["items"]) == ("unavailable", [])
    assert found["detail"]
    assert events[-1].type == "run_completed"
    await_embedding(standin, about)
    assert remembered_at(database, accepted) is None

    standin.reset()

    await_remembered(database, accepted)
    question = f"How is the shed {about} painted?"
    assert look(ask(user, question)[1])["status"] == "ok"
    assert "painted red" in str(shown_for(standin, question))


def test_a_text_that_cannot_be_embedded_holds_up_no_other(
    user: ApiClient, database: Database, standin: Standin
) -> None:
    user.make_agent()
    bad, good = topic(), topic()
    standin.rules({"match": bad, "in": "embedding", "fail": "400"})
    stuck, _ = ask(user, f"The word is {bad}.")
    await_embedding(standin, bad)
    tell(user, database, f"The word is {good}.")
    assert remembered_at(database, stuck) is None


def test_what_is_due_when_a_memory_is_cleared_is_not_stored_afterwards(
    user: ApiClient, database: Database, standin: Standin
) -> None:
    agent = user.make_agent()
    about = topic()
    standin.rules({"match": about, "in": "embedding", "fail": "503"})
    accepted, _ = ask(user, f"The shed {about} is painted red.")
    await_embedding(standin, about)

    space = bootstrap.build_web(load_settings()).manager.get_or_create(key_of(user, database))
    assert space.clear_context(UUID(agent["id"])) == 0

    standin.reset()
    tell(user, database, "Something else.")  # which is stored after it, if it is
    assert remembered_at(database, accepted) is not None
    assert look(ask(user, f"How is the shed {about} painted?")[1])["status"] == "empty"


def test_what_is_forgotten_in_the_middle_of_its_storing_is_forgotten(
    user: ApiClient, database: Database, standin: Standin
) -> None:
    user.make_agent()
    about = topic()
    standin.rules({"match": f"User: .*{about}", "in": "embedding", "silent": "2x1"})
    accepted, _ = ask(user, f"The shed {about} is painted red.")
    await_embedding(standin, about)

    forgotten = Remembering(database).forget(key_of(user, database), run_id=UUID(accepted["run_id"]))

    assert forgotten == 1
    tell(user, database, "Something else.")  # which is stored after it
    assert look(ask(user, f"How is the shed {about} painted?")[1])["status"] == "empty"


def test_an_agent_that_is_deleted_in_the_middle_leaves_no_memory(
    user: ApiClient, database: Database, standin: Standin
) -> None:
    agent = user.make_agent()
    user.make_agent("other")
    key = key_of(user, database)
    about = topic()
    standin.rules({"match": f"User: .*{about}", "in": "embedding", "silent": "2x1"})
    accepted, _ = ask(user, f"The shed {about} is painted red.")
    await_embedding(standin, about)

    assert user.delete(f"agents/{agent['id']}/").status_code == 204

    await_remembered(database, accepted)
    tell(user, database, "Something else.", "other")
    kept = load_settings().data_dir / "memory" / str(key.user_id) / str(key.project_id)
    eventually(lambda: [each.name for each in kept.iterdir()] == ["other"], "the memory of the other agent alone")


def test_a_deleted_session_is_not_remembered_later(user: ApiClient, database: Database, standin: Standin) -> None:
    user.make_agent()
    about = topic()
    standin.rules({"match": f"User: .*{about}", "in": "embedding", "silent": "2x1"})
    session = user.make_session()["id"]
    ask(user, f"The shed {about} is painted red.", session=session)
    await_embedding(standin, about)

    assert user.delete(f"chat/sessions/{session}/").status_code == 204

    tell(user, database, "Something else.")
    assert look(ask(user, f"How is the shed {about} painted?")[1])["status"] == "empty"


def test_a_memory_that_cannot_be_opened_holds_up_no_answer(user: ApiClient, database: Database) -> None:
    user.make_agent()
    key = key_of(user, database)
    place: Path = load_settings().data_dir / "memory" / str(key.user_id) / str(key.project_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no directory")
    about = topic()
    try:
        accepted, events = ask(user, f"The shed {about} is painted red.")
        assert look(events)["status"] == "unavailable"
        assert events[-1].type == "run_completed"
        assert remembered_at(database, accepted) is None
    finally:
        place.unlink()
        shutil.rmtree(place, ignore_errors=True)
    await_remembered(database, accepted)
    assert look(ask(user, f"How is the shed {about} painted?")[1])["status"] == "ok"
