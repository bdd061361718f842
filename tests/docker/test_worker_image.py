"""The image works: it builds, and a node in it answers."""

from pytest_celery import CeleryTestSetup


def test_a_node_in_a_container_answers_a_ping(celery_setup: CeleryTestSetup) -> None:
    answers = celery_setup.app.control.ping(timeout=10)

    assert answers == [{celery_setup.worker.hostname(): {"ok": "pong"}}]


def test_a_node_in_a_container_tells_what_it_hosts(celery_setup: CeleryTestSetup) -> None:
    inspect = celery_setup.app.control.inspect(timeout=10)

    (answer,) = inspect._request("workspaces").values()

    assert answer["workspaces"] == {}


def test_a_node_in_a_container_is_not_root_and_cannot_write(celery_setup: CeleryTestSetup) -> None:
    container = celery_setup.worker.container

    assert container.exec_run("id -u").output.strip() == b"10001"
    assert container.exec_run("touch /app/file").exit_code != 0
