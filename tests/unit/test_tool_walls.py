"""Agents reach resources through `ToolExecutor.execute` alone: the runner holds none, and no other code knows one."""

import ast
import builtins
import functools
import io
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import celery
import kombu
import pytest
import redis
import sqlalchemy
import sqlalchemy.orm

import bootstrap
from devstack.directory import ROOT
from models.tenancy import Database
from settings import Settings
from tests.support.offline import offline_environment
from tests.support.reachable import reachable
from tests.unit.test_guards import LAYERS, calls, modules
from tests.unit.workspace.test_task_run import a_config, a_task
from workspace.agent_bus import AgentBus
from workspace.event_publisher import EventPublisher
from workspace.events import Usage
from workspace.files import WorkspaceFiles
from workspace.interruptible import Watch
from workspace.ledger import Ledger
from workspace.llm import ModelClient
from workspace.memory.agent_memories import AgentMemories
from workspace.memory.agent_memory import AgentMemory
from workspace.runner import AgentRunner, CallTools, Toolbox
from workspace.sandbox import Sandbox
from workspace.tools.executor import ToolExecutor
from workspace.tools.ledger import ToolLedger
from workspace.tools.memory_port import OwnMemory
from workspace.tools.registry import ToolRegistry
from workspace.tools.toolbox import TaskTools, ToolServices
from workspace.tools.transcript import ToolTurn, Waits

RESOURCES: tuple[type, ...] = (
    redis.Redis,
    redis.ConnectionPool,
    sqlalchemy.Engine,
    sqlalchemy.orm.Session,
    sqlalchemy.orm.sessionmaker,
    celery.Celery,
    kombu.Connection,
    Database,
    AgentBus,
    EventPublisher,
    Ledger,
    ToolLedger,
    ToolExecutor,
    WorkspaceFiles,
    Sandbox,
    AgentMemories,
    AgentMemory,
    OwnMemory,
    io.IOBase,
    socket.socket,
)
"""What the runner must not be able to lay hands on."""


def found(*roots: object, beyond: tuple[type, ...] = ()) -> dict[str, object]:
    """Return the resources that can be reached, by the way to each."""
    return {way: one for way, one in reachable(*roots, beyond=beyond) if isinstance(one, RESOURCES)}


@pytest.fixture(scope="module")
def runner() -> Iterator[AgentRunner]:
    """The runner of a node, put together as for a worker."""
    with offline_environment():
        node = bootstrap.build_node(celery.Celery("none"), name="a node")
        yield node._parts.task_run._runner


# -- objects -----------------------------------------------------------------------------------------------------


def test_the_runner_holds_the_model_and_the_settings(runner: AgentRunner) -> None:
    assert {type(value) for value in vars(runner).values()} == {ModelClient, Settings}


def test_nothing_that_the_runner_holds_leads_to_a_resource(runner: AgentRunner) -> None:
    """Connections to the model's server are below the model client; before the first call there are none."""
    assert found(runner) == {}


def test_the_model_client_leads_to_no_store_either(runner: AgentRunner) -> None:
    visited = [one for _, one in reachable(runner._model)]
    kinds = {type(one).__name__ for one in visited}
    assert {"OpenAI", "InterruptibleTransport", "ConnectionPool"} <= kinds, "the walk goes through the SDK"
    assert not [one for one in visited if isinstance(one, RESOURCES)]


def test_the_walk_finds_what_is_hidden() -> None:
    """The same walk finds a client in a closure, in a method, in a slot and in a list."""
    client = redis.Redis()

    class Slotted:
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner = [client]

    hidden: list[object] = [
        lambda: client,
        client.get,
        Slotted(),
        {"x": (1, [client])},
        functools.partial(print, client),
        (lambda one=client: one),
    ]
    for each in hidden:
        assert client in found(each).values(), each
    client.close()


def test_the_watch_and_the_clock_of_a_run_lead_to_no_resource() -> None:
    from workspace.interruptible import StopSignal
    from workspace.runner import _clock

    stop = StopSignal()
    assert found(_clock(stop, 1.0), Watch(stop, deadline=1.0, on_wait=lambda: 1.0)) == {}


# -- what the runner uses of the tools ---------------------------------------------------------------------------


def test_the_runner_uses_of_the_tools_only_what_its_port_has() -> None:
    """It is handed a `Toolbox`, whose methods take and return data; the object behind it stays out of its reach."""
    ((_, tree),) = (each for each in modules("workspace") if each[0] == "workspace/runner.py")
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "tools"
    }
    port = {name for name in {**vars(Toolbox), **Toolbox.__annotations__} if not name.startswith("_")}
    assert used == port


def test_the_public_side_of_a_tasks_tools_is_the_port() -> None:
    services = ToolServices(ToolExecutor(ToolRegistry([]), None, output_limit=1), *[None] * 5)  # type: ignore[arg-type]
    tools = TaskTools(a_task(), a_config(), services)
    port = {name for name in {**vars(Toolbox), **Toolbox.__annotations__} if not name.startswith("_")}
    public = {name for name in dir(tools) if not name.startswith("_")}
    assert public == port
    assert found(tools.definitions) == {}


def test_what_the_tools_hand_to_the_runner_is_data() -> None:
    """Texts and numbers all the way down: nothing of it can be called."""
    plain = {str, int, Decimal, type(None)}
    waiting: list[Any] = [ToolTurn, Waits, CallTools]
    seen: set[Any] = set()
    while waiting:
        kind = waiting.pop()
        if kind in seen or kind in plain or kind is Ellipsis:
            continue
        seen.add(kind)
        inner = getattr(kind, "__args__", None)
        if inner:
            waiting.extend(inner)
        elif isinstance(kind, type) and issubclass(kind, str):
            continue
        else:
            hints = get_type_hints(kind)
            assert hints, f"{kind} is no plain data"
            waiting.extend(hints[name] for name in hints if name not in {"model_config"})
    assert Usage in seen


# -- doors -------------------------------------------------------------------------------------------------------

BEHIND_THE_DOOR = {
    "tasks/node.py",
    "tasks/node_parts.py",
    "wiring/hosting.py",
    "wiring/tools.py",
    "workspace/sandbox/directory.py",
    "workspace/sandbox/identity.py",
    "workspace/sandbox/limits.py",
    "workspace/sweeping/orphaned_files.py",
    "workspace/tools/registry.py",
}
"""Who may name the files of workspaces, and the sandbox, besides the tools: who puts them together, who tries the
sandbox at the start, whose type says what a tool is handed, who gives a command its directory, and who tidies up."""


@functools.cache
def production() -> tuple[tuple[str, ast.Module], ...]:
    return (*modules(*LAYERS, "wiring"), ("bootstrap.py", ast.parse((ROOT / "bootstrap.py").read_text())))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_tool(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "tool"
        for each in node.decorator_list
    )


def tools_modules() -> set[str]:
    """Return the modules that have tools."""
    return {module for module, tree in modules("workspace/tools") if any(map(is_tool, tree.body))}


@pytest.mark.parametrize("package", ["workspace.files", "workspace.sandbox"])
def test_only_tools_know_the_files_and_the_sandbox(package: str) -> None:
    knowing = {
        module
        for module, tree in production()
        if any(name == package or name.startswith(f"{package}.") for name in imports(tree))
        if not module.startswith(package.replace(".", "/"))
    }
    assert knowing <= tools_modules() | BEHIND_THE_DOOR, "reach it through a tool, or say here why not"


def test_resources_are_taken_out_of_a_use_in_tools_alone() -> None:
    for module, tree in production():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef) or is_tool(function):
                continue
            taking = [
                node for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.attr == "resources"
            ]
            assert not taking, f"{module}: {function.name}"


def callers_of(name: str) -> set[str]:
    return {module for module, tree in production() if any(called == name for called, _ in calls(tree))}


def test_a_tools_function_is_called_in_one_place() -> None:
    assert callers_of("function") == {"workspace/tools/executor.py"}


def test_only_the_executor_hands_a_tool_its_resources() -> None:
    assert callers_of("ToolUse") == {"workspace/tools/executor.py"}
    assert callers_of("Resources") == {"wiring/tools.py"}
    assert callers_of("ToolExecutor") == {"wiring/tools.py"}


def test_only_a_tasks_tools_ask_the_executor() -> None:
    asking = {
        module
        for module, tree in production()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"execute", "offered", "check"}
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in {"executor", "_executor"}
    }
    assert asking == {"workspace/tools/toolbox.py"}


HARMLESS = {"_exit", "getpid", "urandom"}
"""Of the module `os`."""
STARTERS = {"subprocess", "shutil", "tempfile", "pty", "multiprocessing", "glob", "ctypes"}
"""Modules that open files and start programs by themselves."""
ENGINES_OWN = ("workspace/memory/edge/",)
"""The embedded memory engine: processes of the node's own, on directories that no name or path of a tool leads to."""
ELSEWHERE = {("api/token_keys.py", "read_bytes")}
"""Who opens a file that is no workspace's: the keys of tokens."""


def openings(tree: ast.AST) -> Iterator[str]:
    """Yield what opens a file or starts a program, by its name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id="open"):
                yield "open"
            case ast.Attribute(value=ast.Name(id="os" | "io"), attr=name) if name not in HARMLESS:
                yield name
            case ast.Attribute(attr="read_text" | "read_bytes" | "write_text" | "write_bytes" as name):
                yield name


def test_files_are_opened_and_programs_started_only_where_workspaces_are_kept_apart() -> None:
    for module, tree in production():
        if module.startswith(("workspace/files/", "workspace/sandbox/", *ENGINES_OWN)):
            continue
        opened = {(module, name) for name in openings(tree)}
        assert opened <= ELSEWHERE, opened
        assert not {name.partition(".")[0] for name in imports(tree)} & STARTERS, module


def test_only_who_chooses_the_memory_store_knows_the_embedded_engine() -> None:
    knowing = {
        module
        for module, tree in production()
        if any(name.startswith("workspace.memory.edge") for name in imports(tree))
        and not module.startswith(ENGINES_OWN)
    }
    assert knowing == {"workspace/memory/agent_memories.py"}


def test_nothing_is_compiled_or_evaluated() -> None:
    names = {name for name in ("eval", "exec", "compile", "__import__") if hasattr(builtins, name)}
    for module, tree in production():
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & names, module


def test_the_contract_of_imports_stands_in_setup_cfg() -> None:
    """`make check` holds the runner's imports to it, those behind its imports included."""
    text = (Path(ROOT) / "setup.cfg").read_text()
    _, _, contract = text.partition("[importlinter:contract:runner]")
    contract = contract.partition("\n[")[0]
    assert "workspace.runner" in contract
    assert "allow_indirect_imports" not in contract
    for name in ("celery", "kombu", "redis", "qdrant_client", "sqlalchemy", "models.tenancy", "workspace.files"):
        assert f"\n    {name}\n" in contract, name
