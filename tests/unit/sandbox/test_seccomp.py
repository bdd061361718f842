"""The filter of system calls, run by an interpreter of our own: so that it is right on processors that are not here."""

import errno
import platform
import re
import struct
from pathlib import Path

import pytest

from workspace.sandbox import bpf
from workspace.sandbox.errors import SandboxError
from workspace.sandbox.seccomp import NEW_NAMESPACES, filter_of, instructions
from workspace.sandbox.syscalls import ARCHITECTURES, COMPARED, MISSING, NEWEST, REFUSED, Architecture

REFUSAL = bpf.refuse(errno.EPERM)
ABSENCE = bpf.refuse(errno.ENOSYS)

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))


def verdict(program: bytes, number: int, *args: int, audit: int) -> int:
    """Do what the kernel does with a filter when a system call is made."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, audit, 0, *args, *[0] * (6 - len(args)))
    steps = list(struct.iter_unpack("=HBBI", program))
    word = at = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                (word,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                word &= operand
            case 0x15:
                at += if_true if word == operand else if_false
            case 0x25:
                at += if_true if word > operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def judged(architecture: Architecture, name: str, *args: int) -> int:
    program = bpf.packed(instructions(architecture))
    return verdict(program, architecture.numbers[name], *args, audit=architecture.audit)


@every_architecture
def test_what_is_refused_fails_and_what_is_missing_is_not_there(architecture: Architecture) -> None:
    for name in REFUSED:
        if name in architecture.numbers:
            assert judged(architecture, name) == REFUSAL, name
    for name in MISSING:
        assert judged(architecture, name) == ABSENCE, name


@every_architecture
def test_everything_else_is_allowed(architecture: Architecture) -> None:
    program = bpf.packed(instructions(architecture))
    known = set(architecture.numbers.values())
    for number in set(range(NEWEST + 1)) - known:
        assert verdict(program, number, audit=architecture.audit) == bpf.ALLOW, number


@every_architecture
def test_a_call_that_is_newer_than_the_filter_is_not_there(architecture: Architecture) -> None:
    program = bpf.packed(instructions(architecture))
    for number in (NEWEST + 1, 1_000, 0x40000000, 0x40000000 | 41, 0xFFFFFFFF):
        assert verdict(program, number, audit=architecture.audit) == ABSENCE, number


@every_architecture
def test_the_calls_of_another_architecture_end_the_process(architecture: Architecture) -> None:
    program = bpf.packed(instructions(architecture))
    others = {each.audit for each in ARCHITECTURES.values()} - {architecture.audit}
    for audit in (*others, 0x40000003, 0x40000028):  # 32-bit x86 and ARM
        assert verdict(program, 0, audit=audit) == bpf.KILL


@every_architecture
@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_sockets_are_of_three_families_only(architecture: Architecture, call: str) -> None:
    families = {family for family in range(64) if judged(architecture, call, family) == bpf.ALLOW}

    assert families == {1, 2, 10}
    assert judged(architecture, call, 40) == REFUSAL  # AF_VSOCK
    assert judged(architecture, call, 0xFFFFFFFF) == REFUSAL


@every_architecture
def test_nothing_hides_in_the_upper_half_of_an_argument(architecture: Architecture) -> None:
    above = 1 << 32
    assert judged(architecture, "socket", above | 40) == REFUSAL
    assert judged(architecture, "ioctl", 0, above | 0x5412) == REFUSAL
    assert judged(architecture, "clone", above | 0x10000000) == REFUSAL


@every_architecture
def test_a_process_and_a_thread_can_be_made_but_no_namespace(architecture: Architecture) -> None:
    assert judged(architecture, "clone", 17) == bpf.ALLOW
    assert judged(architecture, "clone", 0x3D0F00) == bpf.ALLOW  # pthread_create
    for bit in range(32):
        if NEW_NAMESPACES & 1 << bit:
            assert judged(architecture, "clone", 17 | 1 << bit) == REFUSAL
    assert NEW_NAMESPACES.bit_count() == 7


@every_architecture
def test_a_terminal_takes_no_typing_from_a_program(architecture: Architecture) -> None:
    for request in (0x5412, 0x541C, 0x5423):
        assert judged(architecture, "ioctl", 0, request) == REFUSAL
    assert judged(architecture, "ioctl", 0, 0x5401) == bpf.ALLOW


@every_architecture
def test_the_size_of_core_files_stays(architecture: Architecture) -> None:
    assert judged(architecture, "setrlimit", 4) == REFUSAL
    assert judged(architecture, "prlimit64", 0, 4) == REFUSAL
    assert judged(architecture, "setrlimit", 7) == bpf.ALLOW
    assert judged(architecture, "prlimit64", 4, 6) == bpf.ALLOW


@every_architecture
def test_the_personality_stays(architecture: Architecture) -> None:
    assert judged(architecture, "personality", 0) == bpf.ALLOW
    assert judged(architecture, "personality", 0xFFFFFFFF) == bpf.ALLOW
    assert judged(architecture, "personality", 0x0400000) == REFUSAL  # READ_IMPLIES_EXEC


def test_every_call_of_the_lists_has_a_number_somewhere_and_every_number_a_list() -> None:
    listed = {*REFUSED, *MISSING, *COMPARED}
    numbered = {name for architecture in ARCHITECTURES.values() for name in architecture.numbers}

    assert listed == numbered


def test_an_unknown_processor_has_no_filter() -> None:
    with pytest.raises(SandboxError, match="no seccomp filter for riscv64"):
        filter_of("riscv64")


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
NEWER_THAN_SOME_HEADERS = {"statmount", "listmount"}


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the headers of the kernel are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    told = {name: int(number) for name, number in found}
    ours = ARCHITECTURES[machine].numbers

    assert {name: number for name, number in ours.items() if told.get(name) != number}.keys() <= NEWER_THAN_SOME_HEADERS
    listed = {*REFUSED, *MISSING, *COMPARED}
    assert {name for name in listed if name in told and name not in ours} == set()


@pytest.mark.skipif(platform.machine() not in ARCHITECTURES, reason="no filter for this processor")
def test_the_filter_fits_into_a_pipe_and_into_the_kernel() -> None:
    program = filter_of()

    assert len(program) < 65_536
    assert len(program) // 8 < 4_096
