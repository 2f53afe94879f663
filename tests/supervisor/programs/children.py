"""Children that behave, chosen by entry point. Standard library only. Those that do not: tests/children."""

import asyncio
import json
import os
import select
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


def planned(context, marker=None):
    """Leaves as planned, the first time."""
    context.ready()
    if marker is None or not os.path.exists(marker):
        if marker:
            open(marker, "w").close()
        context.planned_exit("handoff")
    wait_for_stop(context)


def watcher(context):
    """Prints what happens in the tree."""
    context.ready()
    while True:
        select.select([context], [], [])
        for message in context.receive():
            if "stop" in message:
                return
            print("saw", message, flush=True)


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


def commander(context, path):
    """Sends the requests that come as JSON lines in the FIFO `path`, and prints the answers."""
    commands = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # written to by nobody here: so that it never ends
    buffer = b""
    context.ready()
    while True:
        readable, _, _ = select.select([context, commands], [], [])
        if commands in readable:
            *lines, buffer = (buffer + os.read(commands, 1 << 16)).split(b"\n")
            for line in lines:
                request = json.loads(line)
                context.request(request.pop("method"), **request)
        for message in context.receive():
            if "stop" in message:
                return
            print("answer", json.dumps(message), flush=True)


def looks(context, path):
    """Says whether it can read a file."""
    try:
        with open(path, "rb"):
            reads = True
    except OSError:
        reads = False
    context.ready(reads=reads, level=context.level)
    wait_for_stop(context)


def finishes(context, seconds=0.5):
    """When asked to stop it finishes what it is at, which takes a while."""
    context.ready()
    wait_for_stop(context)
    time.sleep(seconds)
    print("finished", flush=True)


def doorkeeper(context, doors):
    """Accept one connection on each socket that was handed over, and say so on it; open none of its own."""
    import socket

    context.ready(files=sorted(context.files))
    try:
        socket.socket(socket.AF_INET)
    except OSError:
        own = b"none"
    else:
        own = b"some"
    for number in context.files.values():
        with socket.socket(fileno=number) as door:
            there, _ = door.accept()
            with there:
                there.sendall(b"own: " + own)
    raise SystemExit(1)
