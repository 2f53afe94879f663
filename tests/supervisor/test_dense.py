"""Placing objects: the same program, on fewer pages."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import pytest

from supervisor import dense


def outer(start: int) -> int:
    def inner(add: int) -> int:
        return start + add

    return inner(1)


def untouched() -> str:
    return "as it was"


def test_gathered_functions_have_copies_of_their_code_and_do_the_same() -> None:
    """What was called has new, equal code, the function inside it too; what was not called keeps its own."""
    before, other = outer.__code__, untouched.__code__
    hot = dense.called(lambda: outer(1))
    assert {code.co_qualname for code in hot} >= {"outer", "outer.<locals>.inner"}
    assert dense.gather(code for code in hot if code.co_filename == __file__) >= 1
    assert outer.__code__ is not before
    assert outer.__code__ == before
    inner = [c for c in outer.__code__.co_consts if hasattr(c, "co_code")]
    assert inner[0] not in [c for c in before.co_consts if c is inner[0]]
    assert outer(41) == 42
    assert untouched.__code__ is other


class Plain:
    """Methods of two kinds, and a child that inherits them."""

    def double(self, number: int = 4, *, plus: int = 0) -> int:
        """What it says."""
        return number * 2 + plus

    @property
    def answer(self) -> int:
        return 42


class Below(Plain):
    def double(self, number: int = 4, *, plus: int = 1) -> int:
        return super().double(number, plus=plus) + 1


def decorated() -> str:
    return "itself"


def listed() -> None: ...


def watched() -> None: ...


decorated.__dict__["mark"] = 7
TABLE = {"double": Plain.double}
LIST = [listed]
WATCH = weakref.ref(watched)


def test_functions_are_replaced_where_nobody_can_tell() -> None:
    """A new function takes the place of the old one in its module, its class and a table, with all that was said of it."""
    before = {"double": Plain.__dict__["double"], "below": Below.__dict__["double"], "decorated": decorated}
    assert [Below().double(), Plain().double()] * 20 == [10, 8] * 20  # the caches of the interpreter know the old ones
    codes = [function.__code__ for function in (Plain.double, Below.double, decorated, listed, watched)]
    ids = {name: id(function) for name, function in before.items()}
    before.clear()
    assert dense.gather_functions(codes) == 3
    assert id(Plain.double) != ids["double"]
    assert TABLE["double"] is Plain.double
    assert Below().double() == 10
    assert Plain().double(5, plus=2) == 12
    assert Plain.double.__doc__ == "What it says."
    assert Plain.double.__annotations__ == {"number": "int", "plus": "int", "return": "int"}
    assert (Plain.double.__qualname__, Plain.double.__module__) == ("Plain.double", __name__)
    assert id(decorated) != ids["decorated"]
    assert decorated.__dict__ == {"mark": 7}
    assert not hasattr(decorated, "__wrapped__")


def test_a_function_that_somebody_holds_otherwise_stays() -> None:
    """One in a list, a property, a local variable or a weak reference would be another for that holder."""
    held = outer
    codes = [outer.__code__, listed.__code__, watched.__code__, Plain.__dict__["answer"].fget.__code__]
    assert dense.gather_functions(codes) == 0
    assert held is outer
    assert LIST[0] is listed
    assert WATCH() is watched
    assert Plain().answer == 42


def test_gathered_code_and_functions_lie_on_fewer_pages() -> None:
    """What imports have scattered is together afterwards, large code objects of the C heap too."""
    program = (
        "import argparse, asyncio, gc, logging, subprocess, types\n"
        "from supervisor import dense\n"
        "names = ('asyncio.base_events', 'argparse', 'logging', 'subprocess', 'asyncio.tasks', 'socket', 'selectors')\n"
        "hot = lambda: sorted(dense.codes_of(*names), key=lambda code: code.co_qualname)[::5]\n"
        "def pages():\n"
        "    codes = set(map(id, hot()))\n"
        "    functions = [f for f in gc.get_objects() if type(f) is types.FunctionType and id(f.__code__) in codes]\n"
        "    return len({code >> 12 for code in codes}), len({id(f) >> 12 for f in functions})\n"
        "before = pages()\n"
        "dense.gather(hot()), dense.gather_functions(hot())\n"
        "print(*before, *pages())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    code, functions, code_after, functions_after = map(int, done.stdout.split())
    assert code_after < code * 0.8
    assert functions_after < functions * 0.5


def test_recording_calls_ends_with_the_work() -> None:
    """The profile hook is gone afterwards, also when the work raises."""

    def fail() -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        dense.called(fail)
    assert sys.getprofile() is None


def test_the_code_of_a_module_is_known_by_its_name() -> None:
    """Functions of the named modules and of no others."""
    found = dense.codes_of(dense.__name__)
    assert dense.gather.__code__ in found
    assert outer.__code__ not in found


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "pymalloc_debug"])
def test_holes_are_filled_once(allocator: str) -> None:
    """A second filling right after the first finds little left; with another allocator it ends as well."""
    program = (
        "from supervisor import dense\n"
        "junk = [[bytes(n % 400) for n in range(50_000)]]\n"
        "kept = junk[0][::7]\n"
        "junk.clear()\n"
        "first, second = dense.fill_holes(), dense.fill_holes()\n"
        "print(first, second)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONMALLOC": allocator},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    first, second = map(int, done.stdout.split())
    if allocator == "pymalloc":
        assert first > 2_000_000
        assert second < first / 2


def test_a_heap_on_huge_pages_holds_what_it_held() -> None:
    """As many huge pages as the kernel shows are told of, what lies on them is as before, and so it is in a fork."""
    program = (
        "import hashlib, os\n"
        "from supervisor.zygote import heap\n"
        "held = [bytes([n % 251]) * 400 for n in range(60_000)]\n"
        "digest = lambda: hashlib.sha256(b''.join(held)).hexdigest()\n"
        "before = digest()\n"
        "made = heap.on_huge_pages()\n"
        "with open('/proc/self/smaps_rollup') as file:\n"
        "    shown = sum(int(line.split()[1]) for line in file if line.startswith('AnonHugePages:'))\n"
        "assert shown == 2048 * made, (shown, made)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    held[0] = b'x'\n"
        "    os._exit(digest() == before)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and digest() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
