"""Messages at the same moment: of one name one is accepted, and of one session one is first."""

from functools import partial
from uuid import UUID

import pytest

from models.statuses import TaskStatus
from tests.integration.core.moves import accept, ledger
from tests.integration.core.world import HOST, World, together
from workspace.errors import IdempotencyConflict
from workspace.idempotency import Repeat, Repeated
from workspace.intake import Accepted, Intake, NewMessage
from workspace.ledger import HeldBack, StartedTask

pytestmark = pytest.mark.stack


def named(world: World, session_id: UUID, key: str = "name") -> Accepted | Repeated:
    message = NewMessage(
        session_id=session_id, content="hello", agent_name="helper", repeat=Repeat.of(key, str(session_id), "hello")
    )
    return Intake(world.database, queue_limit=100, user_task_cap=30).accept(world.key, message)


def test_of_twenty_with_one_name_in_one_session_one_is_accepted_and_the_others_find_it(world: World) -> None:
    for number in range(4):
        session = world.session()
        results = together([partial(named, world, session, f"name {number}")] * 20)
        (accepted,) = [result for result in results if isinstance(result, Accepted)]
        repeats = [result for result in results if isinstance(result, Repeated)]
        assert len(repeats) == 19, results
        for repeat in repeats:
            assert repeat == Repeated(accepted.receipt, accepted.message_id, accepted.run_id, accepted.task_id)
        assert len(world.tasks(session)) == len(world.messages(session)) == 1


def test_of_twenty_with_one_name_in_as_many_sessions_one_is_accepted_and_the_others_conflict(world: World) -> None:
    for number in range(4):
        sessions = [world.session() for _ in range(20)]
        results = together([partial(named, world, session, f"name {number}") for session in sessions])
        assert sum(isinstance(result, Accepted) for result in results) == 1
        assert sum(isinstance(result, IdempotencyConflict) for result in results) == 19, results
        assert sum(len(world.tasks(session)) for session in sessions) == 1


def test_two_sessions_with_two_agents_and_one_name_conflict(world: World) -> None:
    # No row is locked by both, so only the index can tell.
    world.agent("other")
    for number in range(6):

        def send(agent: str, session_id: UUID, key: str = f"name {number}") -> Accepted | Repeated:
            repeat = Repeat.of(key, str(session_id), agent)
            message = NewMessage(session_id=session_id, content="hello", agent_name=agent, repeat=repeat)
            return Intake(world.database, queue_limit=100, user_task_cap=30).accept(world.key, message)

        calls = [partial(send, agent, world.session()) for agent in ("helper", "other")]
        results = together(calls)
        assert sum(isinstance(result, Accepted) for result in results) == 1, results
        assert sum(isinstance(result, IdempotencyConflict) for result in results) == 1, results


def test_of_twenty_messages_of_a_session_one_is_queued_and_the_others_are_held(world: World) -> None:
    for _ in range(4):
        session = world.session()
        for result in together([partial(accept, world, session)] * 20):
            assert isinstance(result, Accepted), result
        tasks = world.tasks(session)
        assert [task.status for task in tasks] == [TaskStatus.QUEUED] + [TaskStatus.HELD] * 19


def test_of_twenty_messages_for_two_agents_of_one_session_one_is_queued(world: World) -> None:
    # The agents' rows differ, so only the session's lock puts them in order.
    world.agent("other")
    for _ in range(4):
        session = world.session()
        calls = [partial(accept, world, session, agent=agent) for agent in ("helper", "other") * 10]
        for result in together(calls):
            assert isinstance(result, Accepted), result
        assert sum(task.status is TaskStatus.QUEUED for task in world.tasks(session)) == 1


def test_of_twenty_starts_at_once_as_many_begin_as_the_cap_allows(world: World) -> None:
    accepted = [accept(world, world.session()) for _ in range(20)]
    starts = [partial(ledger(world, cap=3).start, one.task_id, world.key, world.agent_id, HOST) for one in accepted]
    results = together(starts)
    assert sum(isinstance(result, StartedTask) for result in results) == 3
    assert sum(isinstance(result, HeldBack) for result in results) == 17
