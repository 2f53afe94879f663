"""What the attempts to escape have in common: the table they are entered in, raw system calls, the words of outcomes.

An attempt that gets what it wants returns what it got; one that is refused raises OSError. The outcome of an attempt
is the name of the errno, `nothing` when there was nothing to be seen, `killed` when the kernel ended the process for
it, or `reached`. Standard library only.
"""

import ctypes
import errno
import mmap
import os
import platform
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class Attempt:
    """One row. What it ends in: at level full, without user namespaces, without Landlock; `A|B`: either."""

    name: str
    theme: str
    what: str
    full: str
    bare: str
    unlocked: str
    run: Callable[[dict[str, Any]], Any]


ATTEMPTS: dict[str, Attempt] = {}


class Nothing(Exception):
    """The attempt was not refused, and there was nothing to be had."""


class Killed(Exception):
    """The kernel ended the process that tried."""


def attempt(what, full, bare="", unlocked=""):
    """Enter a function into the table. `bare`, `unlocked`: where they differ from `full`."""

    def enter(function):
        theme = function.__module__.removeprefix("escapes_").rpartition(".")[2]
        row = Attempt(function.__name__, theme, what, full, bare or full, unlocked or full, function)
        assert ATTEMPTS.setdefault(row.name, row) is row, row.name
        return function

    return enter


def outcome(row, given):
    """Try it; gives the outcome and what was said."""
    try:
        return "reached", str(row.run(given))[:200]
    except Nothing as error:
        return "nothing", str(error)
    except Killed as error:
        return "killed", str(error)
    except OSError as error:
        return errno.errorcode.get(error.errno, "no errno"), str(error)[:200]


def raw(x86, arm, *args):
    """A system call by its number on either architecture. Arguments: whole numbers, bytes, ctypes values."""
    number = x86 if X86 else arm
    if number is None:
        raise OSError(errno.EPERM, "not on this architecture")
    words = []
    for value in args:
        if isinstance(value, bytes):
            words.append(ctypes.c_char_p(value))
        elif isinstance(value, int):
            words.append(ctypes.c_long(value))
        else:
            words.append(ctypes.c_void_p(ctypes.addressof(value)))
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_child(action):
    """Do it in a process of its own, for what cannot be undone or kills. Raises what it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            action()
            os.write(write, b"0")
        except OSError as error:
            os.write(write, b"%d" % (error.errno or 255))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        answer = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        raise Killed(signal.Signals(-code).name)
    if answer not in (b"", b"0"):
        raise OSError(int(answer), os.strerror(int(answer)))
    return f"exit code {code}"  # nothing told: it became another program


def run_code(code):
    """Run machine code of our own making, and give what it returns."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return function()


def others(given):
    """Pids that are not ours: the zygote, siblings, processes outside."""
    own = os.getpid()
    near = range(max(1, own - 8), own)
    pids = dict.fromkeys([1, 2, 3, 4, 5, 6, os.getppid(), *near, *given["pids"]])
    return [pid for pid in pids if pid not in (0, own)]


def first_of(given, action):
    """Do it to one of the others after the other; gives the first success, else raises the most telling refusal."""
    refusal = OSError(errno.ESRCH, "nobody there")
    for pid in others(given):
        try:
            return f"{pid}: {action(pid)}"
        except OSError as error:
            if error.errno != errno.ESRCH:
                refusal = error
    raise refusal


def opened(path, flags=os.O_RDONLY):
    """Open and close: that it opens is the escape."""
    fd = os.open(path, flags)
    os.close(fd)
    return f"opened {path}"


def vector(buffer, size):
    """An iovec for a buffer."""
    return ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(buffer), size))
