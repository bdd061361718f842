"""A message that is sent again before its first answer is out gets the same facts as that."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.api import ApiClient

pytestmark = pytest.mark.stack


def test_of_many_at_once_all_are_told_that_their_message_waits_for_its_session_and_where(user: ApiClient) -> None:
    user.make_agent()
    for number in range(10):
        session = user.make_session()["id"]
        user.send(session, "[silent=60]")

        def send(_: int, session: str = session, key: str = f"key-{number}") -> tuple[str, int, str]:
            body = {"content": "hello", "target_agent": "helper"}
            answer = user.request(
                "POST", f"chat/{session}/message/", json=body, headers={"Idempotency-Key": key}
            ).json()
            return answer["status"], answer["queue_position"], answer["run_id"]

        with ThreadPoolExecutor(6) as threads:
            answers = set(threads.map(send, range(6)))
        assert len(answers) == 1, answers
        assert answers.pop()[0] == "held"
