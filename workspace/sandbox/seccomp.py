"""The filter that every process of a command is under: which system calls fail, whatever the process is allowed to do.

Namespaces hide files, processes and networks, but a kernel has doors that no namespace closes (AF_VSOCK reaches the
host from an empty network namespace), and code that is reached by everybody and was wrong before (io_uring, keyrings,
user namespaces). What runs in a command needs none of it.
"""

import errno
import platform
from functools import cache
from typing import Final

from workspace.sandbox import bpf
from workspace.sandbox.bpf import Instruction
from workspace.sandbox.errors import SandboxError
from workspace.sandbox.syscalls import ARCHITECTURES, MISSING, NEWEST, REFUSED, Architecture

SOCKET_FAMILIES: Final = (1, 2, 10)
"""AF_UNIX, AF_INET and AF_INET6: what the command's own network namespace holds apart; no netlink, vsock,
packet or alg."""

NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; NEWTIME cannot be asked for with `clone`."""

TERMINAL_REQUESTS: Final = (0x5412, 0x541C, 0x5423)
"""TIOCSTI types into a terminal, TIOCLINUX too, TIOCSETD loads line disciplines."""

RLIMIT_CORE: Final = 4
"""See `profile`: who could change it could have the kernel start the host's crash handler, as root."""

PERSONALITIES: Final = (0, 0xFFFFFFFF)
"""The usual one, and the question which one it is."""

_REFUSED: Final = bpf.give(bpf.refuse(errno.EPERM))
_MISSING: Final = bpf.give(bpf.refuse(errno.ENOSYS))
_ALLOWED: Final = bpf.give(bpf.ALLOW)


@cache
def filter_of(machine: str = platform.machine()) -> bytes:
    """Return the filter for a kind of processor.

    Args:
        machine: as `uname -m` tells it.

    Raises:
        SandboxError: there is none.
    """
    try:
        architecture = ARCHITECTURES[machine]
    except KeyError:
        raise SandboxError(f"there is no seccomp filter for {machine}") from None
    return bpf.packed(instructions(architecture))


def instructions(architecture: Architecture) -> list[Instruction]:
    """Return the filter, top to bottom; each part either gives a verdict or lets the number reach the next part."""
    numbers = architecture.numbers
    return [
        # Numbers mean other calls on another architecture: a 32-bit program on a 64-bit kernel.
        bpf.load(bpf.ARCHITECTURE_AT),
        bpf.skip_if_equal(architecture.audit),
        bpf.give(bpf.KILL),
        bpf.load(bpf.NUMBER_AT),
        # The x32 calls of x86_64 have a high bit set and end here, too.
        bpf.skip_unless_greater(NEWEST),
        _MISSING,
        *_each(numbers, REFUSED, _REFUSED),
        *_each(numbers, MISSING, _MISSING),
        *_only(numbers["clone"], [bpf.load_argument(0), bpf.mask(NEW_NAMESPACES), *_allowed_if(0), _REFUSED]),
        *_only(numbers["socket"], [bpf.load_argument(0), *_allowed_if(*SOCKET_FAMILIES), _REFUSED]),
        *_only(numbers["socketpair"], [bpf.load_argument(0), *_allowed_if(*SOCKET_FAMILIES), _REFUSED]),
        *_only(numbers["personality"], [bpf.load_argument(0), *_allowed_if(*PERSONALITIES), _REFUSED]),
        *_only(numbers["setrlimit"], [bpf.load_argument(0), *_if((RLIMIT_CORE,), _REFUSED), _ALLOWED]),
        *_only(numbers["prlimit64"], [bpf.load_argument(1), *_if((RLIMIT_CORE,), _REFUSED), _ALLOWED]),
        *_only(numbers["ioctl"], [bpf.load_argument(1), *_if(TERMINAL_REQUESTS, _REFUSED), _ALLOWED]),
        _ALLOWED,
    ]


def _each(numbers: dict[str, int], names: tuple[str, ...], verdict: Instruction) -> list[Instruction]:
    return _if(tuple(numbers[name] for name in names if name in numbers), verdict)


def _if(values: tuple[int, ...], verdict: Instruction) -> list[Instruction]:
    return [step for value in values for step in (bpf.skip_unless_equal(value), verdict)]


def _allowed_if(*values: int) -> list[Instruction]:
    return _if(values, _ALLOWED)


def _only(number: int, part: list[Instruction]) -> list[Instruction]:
    """Let only this call reach a part, which always ends with a verdict."""
    return [bpf.skip(len(part), unless_equal=number), *part]
