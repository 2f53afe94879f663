"""Putting close together what children will touch, so that it lies on few pages.

For an application that rehearses in the zygote (`supervisor_warm`). A child gets a copy of its own of each page that
it writes to, and running Python writes: to the code object that runs, to what it allocates. Spread over the heap as
imports have left them, some bytes here and there cost a page each. Nothing here changes what a program does; it is
about the places of objects only, and knows CPython's allocator (`Objects/obmalloc.c`). Call it before the freeze.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType, FrameType, FunctionType
from typing import Any

POOL = 16 * 1024  # obmalloc's POOL_SIZE: a pool holds blocks of one size
POOL_HEAD = 48  # bytes of its header
STEP = 16  # obmalloc's ALIGNMENT: sizes of blocks are multiples of it
LARGEST = 512  # bytes; what is larger is malloc's
MOST = 4 * 1024 * 1024  # bytes to hold of one size at most: another allocator (PYTHONMALLOC) never fills a pool

_fillers: list[list[Any]] = []  # kept for ever: holes that are filled must not come back


def called(work: Callable[[], None]) -> set[CodeType]:
    """The code of every Python function that runs while `work` does, in this thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def codes_of(*modules: str) -> set[CodeType]:
    """The code of all functions of these modules."""
    return {function.__code__ for function in _functions() if function.__module__ in modules}


def gather(hot: Iterable[CodeType]) -> int:
    """Give every function whose code is among `hot` an equal copy of it; the copies are made one after the other.

    Functions defined inside functions too: their code is a constant of the outer one, which then is copied as well.
    Returns how many functions have new code. Run code becomes unspecialised by it, so rehearse afterwards. Keep no
    original: when it went later, it would leave a hole where nothing else is touched.
    """
    fill_holes()
    wanted = {id(code) for code in hot}
    copies: dict[int, CodeType] = {}

    def copy(code: CodeType) -> CodeType:
        made = copies.get(id(code))
        if made is None:
            constants = tuple(copy(c) if isinstance(c, CodeType) else c for c in code.co_consts)
            inner = any(new is not old for new, old in zip(constants, code.co_consts, strict=True))
            made = code
            if inner:
                made = code.replace(co_consts=constants)
            elif id(code) in wanted:
                made = code.replace()
            copies[id(code)] = made
        return made

    functions = list(_functions())
    # All originals stay until all copies are made: a copy must not take the place of an original.
    originals = [function.__code__ for function in functions]
    moved = 0
    for function, code in zip(functions, originals, strict=True):
        made = copy(code)
        if made is not code:
            function.__code__ = made
            moved += 1
    return moved


def fill_holes() -> int:
    """Fill the holes between living small objects for good, so that what is allocated next lies close together.

    Returns the bytes that it took: of this process, shared with all children.
    """
    gc.collect()  # garbage would become holes later
    taken = 0
    overhead = sys.getsizeof(b"")
    for size in range(-(-overhead // STEP) * STEP, LARGEST + 1, STEP):
        taken += size * _fill(size, partial(_blocks, size - overhead))
    size = -(-sys.getsizeof(1.5) // STEP) * STEP  # no object of bytes is this small
    return taken + size * _fill(size, _floats)


def _blocks(length: int, count: int) -> list[Any]:
    return [bytes(length) for _ in range(count)]


def _floats(count: int) -> list[Any]:
    return [float(number) for number in range(count)]


def _fill(size: int, make: Callable[[int], list[Any]]) -> int:
    """Hold blocks of `size` until a pool is full of ours alone: then no other has a hole. That pool is given back.

    Returns how many are held; 0 when that did not come about, with nothing held.
    """
    slots = (POOL - POOL_HEAD) // size
    held: list[Any] = []
    while len(held) * size < MOST:
        batch = make(2 * slots)  # enough for a whole pool, wherever it begins
        held += batch
        counts = Counter(id(block) // POOL for block in batch)
        full = {pool for pool, count in counts.items() if count == slots}
        if full:
            _fillers.append([block for block in held if id(block) // POOL not in full])
            return len(_fillers[-1])
    return 0


def _functions() -> Iterable[FunctionType]:
    return (thing for thing in gc.get_objects() if isinstance(thing, FunctionType))
