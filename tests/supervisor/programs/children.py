"""Children that behave and children that do not, chosen by entry point and arguments. Standard library only."""

import ctypes
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


def flood(context, lines=20000, width=100):
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


def daemon(context, path, confined=False):
    """Leaves a daemonised grandchild (double fork, new session, everything closed), then idles. Says its pid in `path`."""
    daemonise(path)
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.005)
    context.ready()
    wait_for_stop(context)


def daemonise(path):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(3, 256)
            # The pid as the machine sees it: /proc there is the machine's or the namespace's, NSpid is no help inside.
            with open(path, "w") as file:
                file.write("alive")
            stop = os.open(path + ".lock", os.O_CREAT | os.O_RDWR)
            import fcntl

            fcntl.flock(stop, fcntl.LOCK_EX)
            while True:
                time.sleep(1000)
        os._exit(0)
    os.wait()


def daemon_and_die(context, path):
    """Leaves a daemon behind and dies."""
    daemonise(path)
    while not os.path.exists(path + ".lock"):
        time.sleep(0.005)
    context.ready()
    time.sleep(0.1)
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


def thread_left(context):
    """Returns while a thread of its own still runs: the process ends when the thread does."""
    context.ready()
    threading.Thread(target=time.sleep, args=(0.3,)).start()
