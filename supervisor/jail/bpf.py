"""Classic BPF for system call filters: instructions, a table of verdicts laid out as a search tree, installing it.

Here belongs how a filter is assembled so that it is cheap: the kernel runs it for every call number when it is
installed, and for calls that depend on arguments at each call, so a chain of comparisons costs each child a third of a
millisecond. Which calls are refused is said in `seccomp`. See seccomp(2) and Documentation/networking/filter.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from supervisor.jail import linux

LD_ABS = 0x20
JA = 0x05
JEQ = 0x15
JGE = 0x35
JGT = 0x25
JSET = 0x45
RET = 0x06
FARTHEST = 255  # instructions that a conditional jump can skip

PID, BEATS_LOW, BEATS_HIGH = -1, -2, -3  # constants that are known only when the filter is installed

Instruction = tuple[int, int, int, int]  # code, jump true, jump false, constant
Body = tuple[Instruction, ...]  # decides one call: entered with the number loaded, every way through it ends in a RET


@dataclass(frozen=True)
class Program:
    """An assembled filter, and the memory it is installed from: made once, each process patches its own copy."""

    instructions: Body  # with 0 in the slots
    slots: tuple[tuple[int, int], ...]  # index of an instruction, and which constant goes there
    code: ctypes.Array[ctypes.c_char] = field(compare=False, repr=False)
    header: ctypes.Array[ctypes.c_char] = field(compare=False, repr=False)

    def bytes_for(self, pid: int, beats: int = 0) -> bytes:
        """The filter for the process `pid` (as that process sees itself), with its heartbeat mapped at `beats`."""
        values = {PID: pid, BEATS_LOW: beats & 0xFFFFFFFF, BEATS_HIGH: beats >> 32}
        for index, which in self.slots:
            struct.pack_into("I", self.code, 8 * index + 4, values[which])
        return self.code.raw

    def install(self, beats: int = 0) -> None:
        """Put this process, and all it will ever make, under the filter. It cannot be taken off. Raises OSError.

        beats: the address where the process's heartbeat is mapped; 0 without one.
        """
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        self.bytes_for(os.getpid(), beats)
        linux.syscall("seccomp", linux.SECCOMP_SET_MODE_FILTER, 0, ctypes.addressof(self.header))


def program(instructions: Sequence[Instruction]) -> Program:
    """Pack the instructions as the kernel takes them."""
    slots = tuple((index, line[3]) for index, line in enumerate(instructions) if line[3] < 0)
    plain = tuple((*line[:3], max(line[3], 0)) for line in instructions)
    packed = b"".join(struct.pack("HBBI", *line) for line in plain)
    code = ctypes.create_string_buffer(packed, len(packed))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(plain), ctypes.addressof(code)), 16)
    return Program(plain, slots, code, header)


def tree(bodies: Mapping[int, Body], default: Body, newest: int) -> list[Instruction]:
    """Find the body of a number in 0..newest by halving, with the number loaded; `default` for all not in the table."""
    ranges: list[tuple[int, Body]] = []  # first number, what decides it
    for number in range(newest + 1):
        body = bodies.get(number, default)
        if not ranges or ranges[-1][1] != body:
            ranges.append((number, body))
    return _halve(ranges)


def _halve(ranges: list[tuple[int, Body]]) -> list[Instruction]:
    if len(ranges) == 1:
        return list(ranges[0][1])
    middle = len(ranges) // 2
    lower, upper = _halve(ranges[:middle]), _halve(ranges[middle:])
    if len(lower) <= FARTHEST:
        return [(JGE, len(lower), 0, ranges[middle][0]), *lower, *upper]
    return [(JGE, 0, 1, ranges[middle][0]), (JA, 0, 0, len(lower)), *lower, *upper]
