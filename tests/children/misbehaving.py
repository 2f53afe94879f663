"""A child that misbehaves as it is told: `start: misbehaving:child`, `args: {steps: ["ready", ["crash", "no luck"]]}`.

A step is a name of `STEPS`, or a list of a name and its arguments. Steps are taken in order, so that every kind of
misbehaviour can come before READY or after it, alone or upon another. A child whose steps are over returns. Standard
library only: it also runs in jails, as an ordinary user and with the system's Python.
"""

import atexit
import collections
import ctypes
import fcntl
import itertools
import os
import resource
import select
import signal
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
NEVER = 1000.0  # seconds; no test waits so long


def child(context, steps):
    """Take the steps, one after the other."""
    for step in steps:
        name, *arguments = [step] if isinstance(step, str) else step
        STEPS[name](context, *arguments)


# ---- being there -------------------------------------------------------------------------------------------------


def ready(context):
    context.ready(pid=os.getpid())


def obey(context):
    """Leave when asked."""
    while True:
        select.select([context], [], [])
        try:
            if any("stop" in message for message in context.receive()):
                return
        except EOFError:
            return


def deaf(context):
    """Never read the control channel again."""
    while True:
        signal.pause()


def listen(context):
    """Read that one is asked to stop, and do not."""
    while True:
        select.select([context], [], [])
        context.receive()


def sleep(context, seconds=NEVER):
    time.sleep(seconds)


# ---- leaving -----------------------------------------------------------------------------------------------------


def crash(context, text="no such luck"):
    raise RuntimeError(text)


def leave(context, code=0):
    """SystemExit; `code` may be a text, as Python allows."""
    sys.exit(code)


def exit_at_once(context, code=0):
    """No atexit, no buffers, no farewell."""
    os._exit(code)


def die_of(context, name):
    """Send oneself a signal."""
    signal.signal(signal.Signals[name], signal.SIG_DFL) if name not in ("SIGKILL", "SIGSTOP") else None
    os.kill(os.getpid(), signal.Signals[name])


def segfault(context):
    ctypes.string_at(0)


def raise_at_exit(context):
    atexit.register(crash, context, "raised at exit")


def hang_at_exit(context):
    atexit.register(time.sleep, NEVER)


def thread(context, seconds=NEVER):
    """A thread that the process has to wait for."""
    threading.Thread(target=time.sleep, args=(seconds,)).start()


def stop_oneself(context):
    os.kill(os.getpid(), signal.SIGSTOP)


# ---- not listening -------------------------------------------------------------------------------------------------


def ignore(context, *names):
    for name in names:
        signal.signal(signal.Signals[name], signal.SIG_IGN)


def block_signals(context):
    """Block every signal that can be blocked."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())


def hang_in_c(context):
    """Sleep in C with the interpreter lock held: no thread and no Python signal handler runs."""
    ctypes.PyDLL(None).sleep(int(NEVER))


def spin(context):
    """Compute for ever in Python."""
    while True:
        pass


def spin_in_c(context):
    """Compute for ever in C with the interpreter lock held; even a Python signal handler waits for ever."""
    collections.deque(itertools.repeat(None), maxlen=0)


def handle_never(context):
    """Say that SIGTERM will be handled, in Python, and then give Python no chance."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


# ---- taking ------------------------------------------------------------------------------------------------------


def eat(context, mib=64):
    context.hoard = [bytearray(b"x") * (1 << 20) for _ in range(mib)]


def limit(context, name, value):
    which = getattr(resource, f"RLIMIT_{name.upper()}")
    resource.setrlimit(which, (value, value))


def fork_bomb(context, count=50):
    """Fork `count` processes that ignore every polite signal, in a chain: each is the child of the one before."""
    read, write = os.pipe()
    if os.fork() == 0:
        for _ in range(count - 1):
            if os.fork():
                break
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.write(write, b"x")
        time.sleep(NEVER)
        os._exit(0)
    _count(read, count)


def helpers(context, count=3, session=False, keep=True):
    """Children of one's own that live on. session: each in a session of its own. keep: with all descriptors."""
    read, write = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            if session:
                os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(write, b"x")
            if not keep:
                os.closerange(0, 256)
            time.sleep(NEVER)
            os._exit(0)
    _count(read, count)


def _count(read, count):
    while count:
        count -= len(os.read(read, count))


def zombies(context, count=20):
    """Children that end and are never waited for."""
    for _ in range(count):
        if os.fork() == 0:
            os._exit(0)


def daemonise(context, path):
    """Double fork, new session, descriptors closed: a grandchild that holds a lock on `path`."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.write(write, b"x")
            os.closerange(3, lock)
            os.closerange(lock + 1, 256)
            while True:
                time.sleep(NEVER)
        os._exit(0)
    os.close(write)
    os.wait()
    os.read(read, 1)
    os.close(read)


def process_group(context):
    """A helper in a process group of its own, which a kill of the group would miss."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.write(write, b"x")
        time.sleep(NEVER)
        os._exit(0)
    _count(read, 1)


def move_session(context):
    """Go on in a process of another session; the one that was started ends."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.write(write, b"x")
        time.sleep(NEVER)
        os._exit(0)
    _count(read, 1)
    os._exit(0)


def traced(context):
    """Make the parent, which is the zygote, the tracer: from now on each signal stops this process and tells it."""
    LIBC.ptrace(0, 0, 0, 0)


# ---- printing ----------------------------------------------------------------------------------------------------


def print_lines(context, count=6000, width=100):
    for number in range(count):
        print(f"{number:06d} " + "x" * width, file=sys.stderr)


def print_without_end(context, mib=8, forever=False):
    """Megabytes without one newline."""
    block = b"y" * (1 << 20)
    for _ in itertools.count() if forever else range(mib):
        os.write(2, block)


def print_bytes(context):
    """What is no UTF-8, no text and no line."""
    os.write(1, bytes(range(256)) * 16 + b"\x1b[2J\r\n\0\n")


# ---- the descriptors ---------------------------------------------------------------------------------------------


def close_everything(context):
    os.closerange(0, 256)


def close_channel(context):
    os.close(context.fileno())


def close_output(context):
    os.close(1)
    os.close(2)


def send(context, text, times=1, end="\n"):
    """Write on the control channel as it comes; waits when the root does not take it."""
    data = memoryview((text + end).encode() * times)
    while data:
        select.select([], [context], [])
        try:
            data = data[os.write(context.fileno(), data) :]
        except BlockingIOError:
            continue
        except ConnectionError:
            return


def ask(context, times, **_):
    """Requests that are refused, as many as told, and no answer is read."""
    for _number in range(times):
        context.request("which_children", supervisor="nobody")


# ---- the surroundings --------------------------------------------------------------------------------------------


def lose_directory(context, path):
    """Work in a directory that is deleted."""
    os.makedirs(path)
    os.chdir(path)
    os.rmdir(path)


def unlink(context, path):
    """Delete one's own program."""
    os.unlink(path)


def rename_oneself(context, text):
    """Be shown as somebody else by ps."""
    from supervisor.jail.title import Title

    Title.find().set(text)


def hide(context):
    """Let nobody of the same user look into this process and its children: undumpable."""
    LIBC.prctl(4, 0, 0, 0, 0)


def uts_namespace(context):
    """Leave the namespace by which the zygote knows one's orphans."""
    LIBC.unshare(0x04000000)


STEPS = {
    step.__name__: step
    for step in (
        *(ready, obey, deaf, listen, sleep),
        *(crash, leave, exit_at_once, die_of, segfault, raise_at_exit, hang_at_exit, thread, stop_oneself),
        *(ignore, block_signals, hang_in_c, spin, spin_in_c, handle_never),
        *(eat, limit, fork_bomb, helpers, zombies, daemonise, process_group, move_session, traced),
        *(print_lines, print_without_end, print_bytes),
        *(close_everything, close_channel, close_output, send, ask),
        *(lose_directory, unlink, rename_oneself, hide, uts_namespace),
    )
}
