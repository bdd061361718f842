"""Whatever a filter asks for, list, search and forgetting answer as a plain comparison of each memory does."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeUser
from tests.support.api import Json
from tests.support.contexts import Context

pytestmark = pytest.mark.stack

START = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = ["conversation", "task", "tool", "note"]
IDS = [str(uuid4()) for _ in range(3)]
"""Of sessions as well as of runs: a field must never be taken for the other."""

some = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _varied(number: int) -> Json:
    return {
        "text": f"memory number {number}",
        "interaction_type": TYPES[number % 4],
        "success": number % 3 > 0,
        "session_id": [None, *IDS][number % 4],
        "run_id": [*IDS, None, None][number % 5],
        # Three of each moment.
        "created_at": (START + timedelta(minutes=number // 3)).isoformat(),
    }


@pytest.fixture(scope="module")
def varied(make_user: MakeUser) -> Context:
    context = Context.of_new_agent(make_user())
    context.add(*map(_varied, range(60)))
    return context


@pytest.fixture(scope="module")
def everything(varied: Context) -> list[Json]:
    """The same memories, the newest first."""
    found = varied.all()
    assert len(found) == 60
    return found


moments = st.one_of(
    st.integers(0, 21).map(lambda minutes: START + timedelta(minutes=minutes)),
    st.integers(-2_000, 2_000).map(lambda step: START + timedelta(minutes=10, microseconds=step)),
    st.datetimes(timezones=st.just(UTC)),
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "interaction_type": st.sampled_from(TYPES),
        "success": st.booleans(),
        "since": moments,
        "until": moments,
        "session_id": st.sampled_from([*IDS, str(UUID(int=0))]),
        "run_id": st.sampled_from([*IDS, str(UUID(int=2**128 - 1))]),
    },
)


def _meant(where: dict[str, Any], memory: Json) -> bool:
    made = datetime.fromisoformat(memory["created_at"])
    return (
        all(memory[name] == where[name] for name in where if name not in {"since", "until"})
        and made >= where.get("since", made)
        and ("until" not in where or made < where["until"])
    )


def _written(where: dict[str, Any]) -> dict[str, Any]:
    return {name: each.isoformat() if isinstance(each, datetime) else each for name, each in where.items()}


@some
@given(where=filters, size=st.integers(1, 100))
@example(where={}, size=1)
@example(where={"since": datetime.min.replace(tzinfo=UTC), "until": datetime.max.replace(tzinfo=UTC)}, size=7)
@example(where={"until": datetime.min.replace(tzinfo=UTC)}, size=7)
@example(where={"since": datetime.max.replace(tzinfo=UTC)}, size=7)
def test_a_list_has_what_its_filter_means(
    varied: Context, everything: list[Json], where: dict[str, Any], size: int
) -> None:
    meant = [each for each in everything if _meant(where, each)]
    pages = list(varied.pages(**_written(where), limit=size))
    assert [item for page in pages for item in page["items"]] == meant
    assert {page["total"] for page in pages} == {len(meant)}
    assert all(len(page["items"]) == size for page in pages[:-1])


@some
@given(where=filters)
def test_a_search_finds_all_that_its_filter_means_and_nothing_else(
    varied: Context, everything: list[Json], where: dict[str, Any]
) -> None:
    meant = {each["id"] for each in everything if _meant(where, each)}
    assert {each["id"] for each in varied.search("memory number 7", **_written(where))} == meant


@settings(some, max_examples=8)
@given(where=filters)
def test_forgetting_a_run_or_a_session_leaves_everything_else(make_user: MakeUser, where: dict[str, Any]) -> None:
    chosen = {name: each for name, each in where.items() if name in {"run_id", "session_id"}}
    context = Context.of_new_agent(make_user())
    added = context.add(*map(_varied, range(20)))
    left = [each for each in added if not _meant(chosen, each)]
    assert context.delete(**chosen).json() == {"deleted": len(added) - len(left)}
    assert sorted(map(str, context.all())) == sorted(map(str, left))
