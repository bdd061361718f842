"""A run waits for its client in the rows alone: everything else may begin anew meanwhile."""

from datetime import timedelta

import pytest
import redis
from httpx import Client
from sqlalchemy import update

from models import ToolCall, utc_now
from tests.integration.approvals.steps import calls_of, make_agent, read
from tests.integration.runs.own_system import OwnSystem
from tests.integration.tools.conftest import StartNode
from tests.integration.tools.steps import at_client, last_answer, result_taken, use_client
from tests.support.processes import own_api

pytestmark = pytest.mark.stack

PATIENCE = timedelta(minutes=5)


def test_a_restart_of_everything_loses_nothing_that_waits_for_a_client(
    frugal: OwnSystem, start_node: StartNode, http: Client
) -> None:
    user = frugal.user()
    make_agent(user)
    use_client(user)
    waiting = at_client(user, f"[say=I look.]{read('a')}{read('b')}[then][say={{result}}]", count=2)
    with frugal.database.system_session("a test gives a client more time") as session:
        session.execute(update(ToolCall).values(expires_at=utc_now() + PATIENCE))
        session.commit()
    result_taken(user, waiting.ids[0], {"number": 1})
    # Neither the node that asked, nor the web process that was asked, nor what Redis held is there any more.
    for node in frugal.nodes.values():
        node.terminate()
        node.wait(30)
    for name in ("REDIS_URL", "BROKER_URL", "RESULT_BACKEND_URL", "CACHE_URL"):
        with redis.Redis.from_url(str(frugal.options[name])) as store:
            store.flushdb()
    start_node()
    with own_api(http, frugal.directory / "second.log", **frugal.options) as url:
        user = user.at(url)
        listed = user.get("tool-calls/", execution="client", status="running").json()["items"]
        assert [call["id"] for call in listed] == [waiting.ids[1]]
        assert user.run(waiting.run_id)["why"]["tool_call_ids"] == [waiting.ids[1]]
        result_taken(user, waiting.ids[1], {"number": 2})
        run = user.wait_for_run(waiting.run_id)
        assert last_answer(user, run) == '{"ok":true,"output":{"number":1}}; {"ok":true,"output":{"number":2}}'
        assert [call["result"]["output"]["number"] for call in calls_of(user, run["id"])] == [1, 2]
        assert run["usage"]["total_tokens"] > 0
