"""Lists that must agree and habits that must hold everywhere: what is added here is missed there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask

from api.errors import STATUS
from devstack.directory import ROOT
from tests.support.offline import offline_environment
from workspace.agent_bus import agent_queue
from workspace.errors import ErrorCode
from workspace.events import EventType, Payload
from workspace.names import QueueName, TaskName, WorkspaceKey

LAYERS = ("api", "tasks", "orchestrator", "workspace", "models")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each production module with its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/versions/" not in name:
                yield name, ast.parse(path.read_text())


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield the last name of everything that is called: `a.b.c()` is `c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, node
            elif isinstance(node.func, ast.Name):
                yield node.func.id, node


def callers(name: str, *folders: str) -> set[str]:
    """Return the modules in which something of this name is called."""
    return {module for module, tree in modules(*folders) if any(called == name for called, _ in calls(tree))}


@pytest.fixture(scope="module")
def celery_app() -> Any:
    """The worker's Celery app with every task that it knows."""
    with offline_environment():
        from tasks.celery import app

        app.loader.import_default_modules()
        return app


# Lists that must agree ----------------------------------------------------------------------------------------------


def test_every_error_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)


def test_every_event_type_has_a_payload() -> None:
    assert {kind.event_type for kind in Payload.__subclasses__()} == set(EventType)


def test_every_task_name_is_registered_and_nothing_else_is(celery_app: Any) -> None:
    own = {name for name, task in celery_app.tasks.items() if task.__module__.startswith("tasks.")}
    assert own == {name.value for name in TaskName}


def test_every_task_is_routed(celery_app: Any) -> None:
    """An agent's task has no route: its queue is given with each message, and a message without one must fail."""
    _, routes = celery_app.conf.task_routes
    assert set(routes) == {name.value for name in TaskName} - {TaskName.RUN_AGENT_TASK.value}
    queues = {queue.name for queue in celery_app.conf.task_queues}
    assert {route["queue"] for route in routes.values()} <= queues


def test_the_body_of_a_chord_goes_to_the_queue_that_its_options_name(celery_app: Any) -> None:
    """It is sent by the worker that counts the last part, by its name and options alone."""
    name = WorkspaceKey(UUID(int=1), UUID(int=2)).agent_queue("helper")
    options = {"exchange": "", "routing_key": name, "mandatory": True}
    route = celery_app.amqp.router.route(options, TaskName.RUN_AGENT_TASK.value)
    assert (route["queue"].name, route["queue"].exchange.name, route["routing_key"]) == (name, "", name)
    given = agent_queue("given")
    assert celery_app.amqp.router.route({"queue": given}, TaskName.RUN_AGENT_TASK.value)["queue"] is given


def test_every_shared_queue_is_declared_on_the_default_exchange(celery_app: Any) -> None:
    queues = {queue.name: queue for queue in celery_app.conf.task_queues}
    assert set(queues) == {name.value for name in QueueName}
    for name, queue in queues.items():
        assert queue.exchange.name == ""
        assert queue.routing_key == name


def test_every_shared_queue_is_consumed_by_the_stacks_workers() -> None:
    from devstack.programs import WORKER_QUEUES

    assert set(WORKER_QUEUES.split(",")) == {name.value for name in QueueName}


def test_everything_that_beat_sends_is_a_task_that_expires(celery_app: Any) -> None:
    for entry in celery_app.conf.beat_schedule.values():
        assert entry["task"] in {name.value for name in TaskName}
        assert entry["options"]["expires"] <= entry["schedule"]


def test_celery_is_set_up_as_the_design_says(celery_app: Any) -> None:
    """Each of these was found by a failure (design 5, 9, security)."""
    conf = celery_app.conf
    assert conf.task_acks_late is True
    assert conf.task_ignore_result is True
    assert conf.result_backend_thread_safe is True
    assert conf.result_chord_expires == 3_600
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_create_missing_queues is False
    assert conf.accept_content == ["json"]
    assert conf.result_accept_content == ["json"]
    assert conf.task_always_eager is False
    assert conf.worker_enable_prefetch_count_reduction is False


# Doors that few may open --------------------------------------------------------------------------------------------

SYSTEM_SESSIONS = {
    "workspace/announcements.py",
    "workspace/claims.py",
    "workspace/remembering.py",
    "workspace/sweeping/unremembered.py",
    "workspace/sweeping/orphaned_files.py",
    "workspace/sweeping/orphaned_memory.py",
    "workspace/sweeping/lost_hosts.py",
    "workspace/sweeping/outbox.py",
    "workspace/sweeping/overdue.py",
    "workspace/sweeping/plans.py",
    "workspace/sweeping/unanswered.py",
    "workspace/sweeping/untold.py",
    "workspace/census.py",
    "workspace/in_hand.py",
    "workspace/oversight.py",
}
"""Who may reach past the tenant criterion, because its work is of many tenants."""

CONNECTIONS = {"models/tenant_statement.py", "models/migrations/env.py"}
"""Who may speak to the database past the session: statements that are checked when they are made, and migrations."""

ENGINES = {"api/operations.py", "models/database.py", "models/migrations/env.py", "models/tenancy.py"}
"""Who may know the engine: readiness asks it whether the database answers."""


def test_only_these_modules_open_a_system_session() -> None:
    assert callers("system_session", *LAYERS) == SYSTEM_SESSIONS


def test_only_the_admins_views_ask_the_oversight() -> None:
    """It sees every user, and its views stand behind the wall of `/admin`."""
    asking = {
        module
        for module, tree in modules(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "oversight"
    }
    assert asking == {"api/admin.py"}
    assert callers("Oversight", *LAYERS) == set()
    importing = {
        module
        for module, tree in modules(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "workspace.oversight"
    }
    assert importing == {"api/parts.py"}


def test_what_stands_in_the_admins_module_is_mounted_behind_the_wall(app: Flask) -> None:
    views = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules()}
    behind = {rule for endpoint, rule in views.items() if app.view_functions[endpoint].__module__ == "api.admin"}
    assert behind
    assert all(rule.startswith("/admin/") for rule in behind)


def test_every_system_session_gives_its_reason_in_words() -> None:
    for module, tree in modules(*LAYERS):
        for name, call in calls(tree):
            if name == "system_session":
                (reason,) = call.args
                assert isinstance(reason, ast.Constant), f"{module}:{call.lineno}"
                assert isinstance(reason.value, str), f"{module}:{call.lineno}"
                assert len(reason.value) > 5, f"{module}:{call.lineno}"


def test_users_are_looked_up_in_one_place() -> None:
    assert callers("user_directory", *LAYERS) == {"workspace/account_store.py"}


def test_only_these_modules_use_a_connection_of_the_database() -> None:
    assert callers("connection", *LAYERS) | callers("get_bind", *LAYERS) <= CONNECTIONS
    assert callers("connect", "api", "workspace", "orchestrator") <= {"api/operations.py"}


def test_only_these_modules_know_the_engine() -> None:
    found = {
        module
        for module, tree in modules(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"engine", "_sessions"}
    }
    assert found | callers("create_engine", *LAYERS) <= ENGINES


def test_no_statement_is_text() -> None:
    """Text cannot be confined to a tenant. Conditions of indexes are definitions, and readiness asks for nothing."""
    importers = {
        module
        for module, tree in modules(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        if {"text", "TextClause"} & {alias.name for alias in node.names}
    }
    assert importers <= {"api/operations.py", *(name for name, _ in modules("models"))}
    assert callers("literal_column", *LAYERS) == set()
    assert callers("from_statement", *LAYERS) == set()


def test_nobody_writes_past_the_sessions_hooks() -> None:
    for name in ("bulk_save_objects", "bulk_insert_mappings", "bulk_update_mappings", "make_transient_to_detached"):
        assert callers(name, *LAYERS) <= {"models/tenancy.py"}


def test_only_the_bus_sends_messages() -> None:
    assert callers("send_task", *LAYERS) == {"workspace/agent_bus.py"}
    for name in ("delay", "apply_async", "signature"):
        assert callers(name, *LAYERS) == set(), name


def test_a_message_carries_ids_only() -> None:
    """The arguments of every task are text; what they are read as is an id."""
    ((_, tree),) = ((name, tree) for name, tree in modules("tasks") if name == "tasks/doorbells.py")
    doorbells = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(doorbells) == len(TaskName)
    for doorbell in doorbells:
        for argument in doorbell.args.args[1:]:
            assert argument.arg.endswith("_id"), doorbell.name
            assert ast.unparse(argument.annotation or ast.Constant(None)) == "str", doorbell.name


def test_nothing_is_revoked() -> None:
    """A revoked task of a plan would keep its closing task from running (design 9)."""
    for name in ("revoke", "terminate"):
        assert callers(name, *LAYERS) == set(), name


def test_every_redis_key_of_a_tenant_is_made_in_one_place() -> None:
    """No other module writes the prefix that holds tenants apart."""
    for module, tree in modules(*LAYERS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and module != "workspace/names.py":
                assert not re.search(":project(?!_id)", node.value), f"{module}:{node.lineno}"


# Tests themselves ---------------------------------------------------------------------------------------------------


def test_every_folder_of_tests_is_a_package() -> None:
    """Else `tests/unit/models` shadows `models`."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_every_test_that_needs_a_stack_says_so() -> None:
    """By its marker: without a stack it is skipped, with a reason."""
    for path in sorted((ROOT / "tests" / "integration").rglob("test_*.py")):
        assert "pytest.mark.stack" in path.read_text(), path


def test_no_test_file_has_the_name_of_another_in_its_folder_tree() -> None:
    names = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len({Path(str(name).casefold()) for name in names})
