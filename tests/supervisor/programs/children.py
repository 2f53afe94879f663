"""Children that behave and children that do not, chosen by entry point and arguments. Standard library only."""

import asyncio
import ctypes
import fcntl
import os
import select
import signal
import sys
import threading
import time


def idle(context, **info):
    """Ready, then nothing; leaves when asked."""
    context.ready(pid=os.getpid(), **info)
    wait_for_stop(context)


def wait_for_stop(context, beat=None):
    while True:
        select.select([context], [], [], beat)
        if beat:
            context.beat()
        try:
            messages = context.receive()
        except EOFError:
            return
        if any("stop" in message for message in messages):
            return


def deaf(context):
    """Never reads its control channel; dies of SIGTERM."""
    context.ready()
    while True:
        signal.pause()


def stubborn(context):
    """Reads nothing and ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.ready()
    while True:
        signal.pause()


def listener(context):
    """Reads that it is asked to stop, and does not."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.ready()
    while True:
        select.select([context], [], [])
        context.receive()


def crash(context, text="no such luck", after=0.0, ready=True):
    """Raises, before or after READY."""
    if ready:
        context.ready()
    time.sleep(after)
    raise RuntimeError(text)


def leave(context, code=0, ready=True):
    """Exits with a code."""
    if ready:
        context.ready()
    sys.exit(code)


def slow(context, seconds=60.0):
    """Takes its time to become ready."""
    time.sleep(seconds)
    context.ready()
    wait_for_stop(context)


def beats(context, every=0.05, count=1000000):
    """Beats, then hangs."""
    context.ready()
    for _ in range(count):
        select.select([context], [], [], every)
        context.beat()
        if any("stop" in message for message in context.receive()):
            return
    while True:
        time.sleep(1000)


def hang_in_c(context):
    """Hangs with the interpreter lock held."""
    context.ready()
    ctypes.PyDLL(None).sleep(1000)


def eat(context, mib=64):
    """Takes memory."""
    context.ready()
    hoard = []
    for _ in range(mib):
        hoard.append(bytearray(os.urandom(1)) * (1 << 20))
    wait_for_stop(context)


def planned(context, marker=None):
    """Leaves as planned, the first time."""
    context.ready()
    if marker is None or not os.path.exists(marker):
        if marker:
            open(marker, "w").close()
        context.planned_exit("handoff")
    wait_for_stop(context)


def flood(context, lines=6000, width=100):
    """Prints far more than anybody wants to read."""
    context.ready()
    for number in range(lines):
        print(f"{number:06d} " + "x" * width, file=sys.stderr)
    wait_for_stop(context)


def chatter(context):
    """Sends garbage on the control channel."""
    context.ready()
    os.write(context.fileno(), b"this is no message\n")
    wait_for_stop(context)


def close_everything(context):
    """Closes all its descriptors and lives on."""
    context.ready()
    os.closerange(0, 256)
    while True:
        time.sleep(1000)


def watcher(context):
    """Prints what happens in the tree."""
    context.ready()
    while True:
        select.select([context], [], [])
        for message in context.receive():
            if "stop" in message:
                return
            print("saw", message, flush=True)


def daemon(context, path):
    """Leaves a daemonised grandchild (double fork, new session, descriptors closed) that holds a lock, then idles."""
    daemonise(path)
    context.ready()
    wait_for_stop(context)


def daemonise(path):
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
                time.sleep(1000)
        os._exit(0)
    os.close(write)
    os.wait()
    os.read(read, 1)
    os.close(read)


def daemon_and_die(context, path):
    """Leaves a daemon behind and dies."""
    daemonise(path)
    context.ready()
    os._exit(3)


def starter(context, supervisor="pool", ids=("x",), method="start_child"):
    """Asks for children and prints the answers."""
    context.ready()
    for id in ids:
        if method == "start_child":
            context.request(method, supervisor=supervisor, spec={"id": id, "args": {}})
        else:
            context.request(method, supervisor=supervisor, id=id)
    while True:
        select.select([context], [], [])
        for message in context.receive():
            if "stop" in message:
                return
            print("answer", message, flush=True)


def environment(context):
    """Says what it was given."""
    context.ready(environ=dict(os.environ), handover=context.handover, name=context.name, supervisor=context.supervisor)
    wait_for_stop(context)


def controller(context):
    """The asyncio face: starts, asks, stops children and prints what changes."""
    from supervisor.aio import AsyncControl, ControlError

    async def main():
        control = AsyncControl(context)

        async def print_changes():
            async for change in control.changes():
                print("change", type(change).__name__, getattr(change, "name", ""), flush=True)

        printing = asyncio.create_task(print_changes())
        context.ready()
        await control.start_child("pool", {"id": "a/b", "args": {}})
        print("children", await control.which_children("pool"), flush=True)
        print("counts", await control.count_children("pool"), flush=True)
        for attempt in (
            control.start_child("pool", {"id": "a/b", "args": {}}),
            control.start_child("other", {"id": "x"}),
            control.start_child("pool", {"idd": "x"}),
            control.terminate_child("pool", "nobody"),
        ):
            try:
                await attempt
            except ControlError as error:
                print("error", error.code, error.detail, flush=True)
        await control.terminate_child("pool", "a/b")
        print("children", await control.which_children("pool"), flush=True)
        await control.stop.wait()
        print("asked to stop", flush=True)
        printing.cancel()
        control.close()

    asyncio.run(main())


def board(context):
    """Prints the notices it gets."""
    context.ready(handover=context.handover)
    while True:
        select.select([context], [], [])
        for message in context.receive():
            if "stop" in message:
                return
            print("heard", message, flush=True)


def thread_left(context):
    """Returns while a thread of its own still runs: the process ends when the thread does."""
    context.ready()
    threading.Thread(target=time.sleep, args=(0.3,)).start()
