"""A few instructions of classic BPF, the language of seccomp filters, and how the kernel wants them packed.

Own code, because the wheels there are load `libseccomp` of the system, which a machine may not have. The filter needs
four kinds of instructions, and no jump is longer than one instruction.
"""

import struct
from typing import Final, NamedTuple


class Instruction(NamedTuple):
    """One `struct sock_filter`."""

    code: int
    if_true: int
    if_false: int
    operand: int


_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

NUMBER_AT: Final = 0
ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16
"""Offsets into `struct seccomp_data`."""

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
"""Ends the whole process."""


def refuse(errno: int) -> int:
    """Return the verdict that lets a system call fail with `errno`."""
    return 0x00050000 | errno


def load(offset: int) -> Instruction:
    """Take a word of `struct seccomp_data`."""
    return Instruction(_LOAD, 0, 0, offset)


def load_argument(index: int) -> Instruction:
    """Take the lower half of an argument: the kernel looks at no more of those that are compared here.

    A filter that compared all 64 bits would be passed by anything in the upper half.
    """
    return load(_ARGUMENTS_AT + 8 * index)


def mask(bits: int) -> Instruction:
    """Keep these bits of the word."""
    return Instruction(_AND, 0, 0, bits)


def skip_unless_equal(value: int) -> Instruction:
    """Go on if the word is this, else leave out the next instruction."""
    return Instruction(_EQUAL, 0, 1, value)


def skip_if_equal(value: int) -> Instruction:
    """Leave out the next instruction if the word is this."""
    return Instruction(_EQUAL, 1, 0, value)


def skip_unless_greater(value: int) -> Instruction:
    """Go on if the word is more than this, else leave out the next instruction."""
    return Instruction(_GREATER, 0, 1, value)


def skip(count: int, *, unless_equal: int) -> Instruction:
    """Go on if the word is this, else leave out the next `count` instructions."""
    return Instruction(_EQUAL, 0, count, unless_equal)


def give(verdict: int) -> Instruction:
    """End with a verdict."""
    return Instruction(_RETURN, 0, 0, verdict)


def packed(program: list[Instruction]) -> bytes:
    """Return a program as the kernel takes it, in the byte order of this machine."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
