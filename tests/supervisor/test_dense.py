"""Placing objects: the same program, on fewer pages."""

from __future__ import annotations

import os
import subprocess
import sys

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
