"""What a stack will consist of: decided once, before anything is started."""

from collections.abc import Mapping
from dataclasses import dataclass

from devstack import postgres, programs, redis_server
from devstack.directory import StackDirectory
from devstack.environment import Addresses, External, Secrets, Signing, check_options, for_programs
from devstack.ports import free_ports
from devstack.programs import ApplicationPorts, Program


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line decides about a stack."""

    workers: int = 1
    bare: bool = False
    """Only Postgres, Redis and the model: nothing of this project's own code."""
    temporary: bool = False
    """Whether the directory goes when the stack ends."""


@dataclass(frozen=True)
class Plan:
    """The parts of one stack."""

    addresses: Addresses
    held: Secrets
    variables: dict[str, str]
    """The environment of the programs."""
    signing: Signing
    stores: tuple[Program, ...]
    """What the project's own programs need: they start first."""
    own: tuple[Program, ...]
    postgres_place: postgres.Place | None
    """None: the database is somebody else's."""


def make(
    directory: StackDirectory, options: Options, user: Mapping[str, str], postgres_place: postgres.Place | None
) -> Plan:
    """Choose ports and secrets, and list the programs.

    Raises:
        StackError: the user's environment asks for something that the stack cannot do, or a server is missing.
    """
    external = External.of(user)
    held = Secrets.load(directory)
    ports = Ports(*free_ports(5))
    addresses = _addresses(external, ports, held)
    variables = for_programs(user, addresses, held)
    variables.setdefault("DATA_DIR", str(directory.data))
    stores = []
    if postgres_place is not None:
        stores.append(postgres.program(postgres_place, ports.postgres, held.postgres))
    if not external.redis_url:
        stores.append(redis_server.program(directory, ports.redis, held.redis))
    if addresses.uses_standin:
        stores.append(programs.standin(ports.standin))
    own = []
    if not options.bare:
        check_options(variables)
        listening = ApplicationPorts(api=ports.api, flower=ports.flower)
        own = programs.application(directory, listening, options.workers, f"admin:{held.flower}")
    return Plan(addresses, held, variables, Signing.of(variables), tuple(stores), tuple(own), postgres_place)


@dataclass(frozen=True)
class Ports:
    """A port for each program that listens."""

    postgres: int
    redis: int
    standin: int
    api: int
    flower: int


def _addresses(external: External, ports: Ports, held: Secrets) -> Addresses:
    return Addresses(
        database_url=external.database_url or postgres.url(ports.postgres, held.postgres),
        redis_url=external.redis_url or redis_server.url(ports.redis, held.redis),
        model_url=external.model_url or f"http://127.0.0.1:{ports.standin}/v1",
        api_url=f"http://127.0.0.1:{ports.api}",
        flower_url=f"http://admin:{held.flower}@127.0.0.1:{ports.flower}",
        external=external,
    )
