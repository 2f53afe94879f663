"""Putting close together what children will touch, so that it lies on few pages.

For an application that rehearses in the zygote (`supervisor_warm`). A child gets a copy of its own of each page that
it writes to, and running Python writes: to the function and the code object that run, to what it allocates. Spread over the heap as
imports have left them, some bytes here and there cost a page each. Nothing here changes what a program does; it is
about the places of objects only, and knows CPython's allocator (`Objects/obmalloc.c`). Call it before the freeze.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from functools import WRAPPER_ASSIGNMENTS, partial
from sys import getrefcount
from types import CodeType, FrameType, FunctionType
from typing import Any
from weakref import getweakrefcount

from supervisor.zygote import heap

POOL = 16 * 1024  # obmalloc's POOL_SIZE: a pool holds blocks of one size
POOL_HEAD = 48  # bytes of its header
STEP = 16  # obmalloc's ALIGNMENT: sizes of blocks are multiples of it
LARGEST = 512  # bytes; what is larger is malloc's
IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE
MOST = 4 * 1024 * 1024  # bytes to hold of one size at most: another allocator (PYTHONMALLOC) never fills a pool

_fillers: list[list[Any]] = []  # kept for ever: holes that are filled must not come back


def called(work: Callable[[], object]) -> list[CodeType]:
    """The code of every Python function that runs while `work` does, in this thread, by its first call."""
    seen: dict[int, CodeType] = {}  # by id: two may be equal

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            seen[id(frame.f_code)] = frame.f_code

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(seen.values())


def codes_of(*modules: str) -> set[CodeType]:
    """The code of all functions of these modules."""
    return {function.__code__ for function in _functions() if function.__module__ in modules}


def gather(hot: Iterable[CodeType]) -> int:
    """Give every function whose code is among `hot` an equal copy of it; the copies are made one after the other, in this order.

    Functions defined inside functions too: their code is a constant of the outer one, which then is copied as well.
    Returns how many functions have new code. Run code becomes unspecialised by it, so rehearse afterwards. Keep no
    original: when it went later, it would leave a hole where nothing else is touched.
    """
    first = list(hot)
    wanted = {id(code): code.co_code for code in first}  # which is made now: not between the copies
    fill_holes()
    heap.fill_malloc()  # of two codes one is larger than what Python's own allocator serves
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
    for code in first:
        copy(code)
    moved = 0
    for function, code in zip(functions, originals, strict=True):
        made = copy(code)
        if made is not code:
            function.__code__ = made
            moved += 1
    return moved


def gather_functions(hot: Iterable[CodeType]) -> int:
    """Put an equal function in the place of every function whose code is among `hot`, one after the other, in this order.

    Only where nobody can tell but by `id()`: all who hold the function are mappings (of a module, a class, an object), and
    in each the new one takes its place. Returns how many were replaced.
    """
    fill_holes()
    by_code: dict[int, list[FunctionType]] = {}
    for function in _functions():
        by_code.setdefault(id(function.__code__), []).append(function)
    old = [function for code in hot for function in by_code.pop(id(code), ())]
    by_code.clear()
    places = _places(old)
    # Beside its places: `old`, the loop's variable and the argument hold it.
    old = [one for one in old if getrefcount(one) == len(places[id(one)]) + 3 and _free(one, places[id(one)])]
    new = [FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__) for f in old]
    for before, after in zip(old, new, strict=True):
        for name in (*WRAPPER_ASSIGNMENTS, "__kwdefaults__"):
            setattr(after, name, getattr(before, name))
        after.__dict__.update(before.__dict__)
        for owner, key in places[id(before)]:
            if isinstance(owner, type):
                type.__setattr__(owner, key, after)
            else:
                owner[key] = after
    return len(new)


def _free(function: FunctionType, places: Iterable[tuple[Any, Any]]) -> bool:
    """No weak reference would be lost, and no class refuses another function."""
    fixed = (owner.__flags__ & IMMUTABLE for owner, _ in places if isinstance(owner, type))
    return not getweakrefcount(function) and not any(fixed)


def _places(functions: Iterable[FunctionType]) -> dict[int, list[tuple[Any, Any]]]:
    """By the id of a function: the mappings that hold it, and under which key. For a class's mapping: the class."""
    found: dict[int, list[tuple[Any, Any]]] = {id(function): [] for function in functions}
    things = gc.get_objects()
    classes = {
        id(names): thing for thing in things if isinstance(thing, type) for names in gc.get_referents(vars(thing))
    }
    for thing in things:
        if type(thing) is dict:
            for key, value in thing.items():
                if id(value) in found:
                    found[id(value)].append((classes.get(id(thing), thing), key))
    return found


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
