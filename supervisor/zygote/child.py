"""A child between the fork and its entry point: session, descriptors, limits, jail, then the call.

Here belongs what runs in every child and nowhere else. It never returns into the zygote's code. Order matters and is
written down beside each step.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub; `signal` wraps it in enums, which costs a child 400 KiB
import gc
import importlib
import mmap
import os
import resource
import select
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from supervisor.context import EXIT_EXCEPTION, EXIT_SETUP, Context
from supervisor.hook import MOST_FILES
from supervisor.jail import linux
from supervisor.zygote import datagrams

if TYPE_CHECKING:
    from supervisor.jail.confine import Jail
    from supervisor.jail.title import Title

CONTROL_FD = 3
MOST_FDS = 3 + MOST_FILES  # control, output, beats, and what is handed over
DEFAULTED = tuple(map(int, (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR2)))
PAGE = mmap.PAGESIZE


def detach(zygote: int) -> None:
    """The first steps of every child, which need to know nothing of what it will be. Once, right after the fork."""
    # Signals first: a SIGTERM meant for this child must not meet the zygote's handlers.
    signal.set_wakeup_fd(-1)
    for number in DEFAULTED:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, signal.default_int_handler)
    # A session of its own: the terminal's ^C is the root's business, and a stop kills the session as a whole.
    os.setsid()
    if linux.ARCH is not None:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 0)
        _tie(zygote)


def _tie(zygote: int) -> None:
    """Die with the zygote; and look whether it died before that was said."""
    linux.die_with_parent()
    if os.getppid() != zygote:
        os._exit(EXIT_SETUP)


def live(request: dict[str, Any], fds: list[int], jail: Jail | None, zygote: int, title: Title | None) -> NoReturn:
    """Become the child that was asked for, run it, and exit. `fds`: control, output, the beats file if asked for, what is handed over.

    The process has called `detach`.
    """
    code = EXIT_SETUP
    try:
        context, boot = _set_up(request, fds, jail, zygote, title)
        if context is not None:
            entry = _entry(request["start"])
            code = _call(entry, context, boot.get("args") or {})
        else:
            code = 0  # the root hung up before it said who we are
    except BaseException as error:  # the last line of defence: nothing may unwind into the zygote
        _say(f"{request.get('start')}: could not be set up\n{''.join(traceback.format_exception(error))}")
    finally:
        _leave(code)


def _set_up(
    request: dict[str, Any], fds: list[int], jail: Jail | None, zygote: int, title: Title | None
) -> tuple[Context | None, dict[str, Any]]:
    control, output = fds[0], fds[1]
    os.dup2(output, 1)
    os.dup2(output, 2)
    beats = None
    if request["beats"]:  # one page of the file and not the file: a child cannot beat for another
        beats = mmap.mmap(fds[2], PAGE, offset=PAGE * request["slot"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (request["nofile"], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for name, limit in request["rlimits"].items():
        if name == "nproc" and jail is not None:
            continue  # counted in the jail's own namespace, which is not made yet
        which = getattr(resource, f"RLIMIT_{name.upper()}")
        resource.setrlimit(which, (limit, limit))
    os.dup2(control, CONTROL_FD, inheritable=False)  # over the zygote's own channel, which lives on this number
    if jail is not None:
        jail.enter(request["rlimits"])
    elif request["drop"]:
        linux.drop_capabilities()  # those of the zygote's own user namespace; an ordinary user has none
    files = fds[3 if request["beats"] else 2 :]
    for file in files:
        os.set_inheritable(file, False)  # a program that the child may start gets nothing of it
    linux.close_all_but((0, 1, 2, CONTROL_FD, *files))
    if linux.ARCH is not None:
        _tie(zygote)  # again: the change of credentials has cleared it
    channel = socket.socket(fileno=CONTROL_FD)
    if title is not None and not select.select([channel], [], [], 0)[0]:
        title.set(f"{request['tree']}: spare")  # nobody yet: a spare, until its first message says who it is
    boot, rest = first_message(channel)
    channel.setblocking(False)
    if boot is None:
        return None, {}
    if boot["env"]:
        os.environ.update(boot["env"])
    if title is not None:
        title.set(f"{request['tree']}: {boot['name']}")
    if jail is not None:
        jail.seal(beats)
    gc.freeze()  # what the zygote made since its own freeze: a collection would write to all of it
    gc.enable()
    context = Context(channel, boot, beats, jail.level if jail is not None else "none")
    context._buffer += rest
    context.files = dict(zip(boot.get("files") or (), files, strict=True))
    return context, boot


def first_message(channel: socket.socket) -> tuple[dict[str, Any] | None, bytes]:
    """Wait for the root to say who we are, on a blocking channel. None when it hung up instead."""
    buffer = bytearray()
    while (end := buffer.find(b"\n")) < 0:
        data = channel.recv(1 << 16)
        if not data:
            return None, b""
        buffer += data
    message: dict[str, Any] = datagrams.parse(buffer[:end])["boot"]
    return message, bytes(buffer[end + 1 :])


def _entry(start: str) -> Any:
    module, _, name = start.partition(":")
    function: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    return function


def _call(entry: Any, context: Context, args: dict[str, Any]) -> int:
    try:
        entry(context, **args)
        code = 0
    except SystemExit as error:
        if error.code is None:
            code = 0
        elif isinstance(error.code, int):
            code = error.code & 0xFF
        else:
            _say(str(error.code))
            code = EXIT_EXCEPTION
    except BaseException as error:  # every way out of an entry point ends here, as in the interpreter itself
        _say("".join(traceback.format_exception(error)))
        code = EXIT_EXCEPTION
    return code


def _leave(code: int) -> NoReturn:
    """Exit as the interpreter would: threads, atexit, buffers; and not through the zygote's frames."""
    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # a broken exit handler must not turn into a return
        _say("".join(traceback.format_exception(error)))
        code = code or EXIT_EXCEPTION
    finally:
        os._exit(code)


def _say(text: str) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.write(text if text.endswith("\n") else text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # the pipe to the root is gone, and so are we
