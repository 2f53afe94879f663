"""Confined children that use what their profile gives them, and tell what came of it. Standard library only."""

import os
import select
import signal
import socket
from pathlib import Path


def use_what_is_given(context, given):
    """Do what the profile allows, and say what came of it."""
    results = {}

    def attempt(name, action):
        try:
            results[name] = ["reached", str(action())[:200]]
        except Exception as error:  # its name is the result
            results[name] = ["refused", f"{type(error).__name__}: {error}"[:200]]

    def write():
        with open(given["write"] + "/made", "w") as file:
            file.write("made")
        os.rename(given["write"] + "/made", given["write"] + "/renamed")
        os.mkdir(given["write"] + "/directory")
        return open(given["write"] + "/renamed").read()

    def connect():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(given["allowed_socket"])
            return "connected"

    def bind():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(given["write"] + "/own.sock")
            sock.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(given["write"] + "/own.sock")
            return "bound"

    def zone():
        import zoneinfo

        return zoneinfo.ZoneInfo("Europe/Vienna").key

    def late_import():
        import wave

        return wave.__name__

    def native_import():
        import _bisect

        return _bisect.__name__

    def database():
        import sqlite3

        with sqlite3.connect(given["write"] + "/x.db") as db:
            db.execute("pragma journal_mode=wal")
            db.execute("create table t (x)")
            db.execute("insert into t values (1)")
        db.close()
        return "stored"

    def threads():
        import threading

        thread = threading.Thread(target=lambda: results.__setitem__("in_thread", ["reached", ""]))
        thread.start()
        thread.join()
        return "joined"

    def forked():
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def loop():
        import asyncio

        return asyncio.run(asyncio.sleep(0, "slept"))

    attempt("read", lambda: Path(given["read"] + "/note").read_text())
    attempt("list", lambda: sorted(os.listdir(given["read"])))
    attempt("write", write)

    def mode():
        with open(given["write"] + "/renamed") as file:
            os.fchmod(file.fileno(), 0o640)
            return oct(os.fstat(file.fileno()).st_mode)

    attempt("mode", mode)
    attempt("connect", connect)
    attempt("bind", bind)
    attempt("zone", zone)
    attempt("late_import", late_import)
    attempt("native_import", native_import)
    attempt("database", database)
    attempt("threads", threads)
    attempt("forked", forked)
    attempt("loop", loop)
    attempt("random", lambda: os.open("/dev/urandom", os.O_RDONLY))
    attempt("null", lambda: Path("/dev/null").write_text("x"))
    context.ready(results=results, level=context.level)
    signal.pause()


def programs(context):
    """With `exec: true`: run a program and stop it again."""
    import subprocess

    done = subprocess.run(["/bin/sh", "-c", "echo from a program"], capture_output=True, text=True)
    sleeper = subprocess.Popen(["/bin/sleep", "1000"])
    sleeper.kill()
    context.ready(output=done.stdout, error=done.stderr, code=done.returncode, killed=sleeper.wait())
    signal.pause()


def network(context, port):
    """With `network: host`: reach a listener of the machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        addresses = socket.getaddrinfo("localhost", 80)
    context.ready(addresses=len(addresses))
    signal.pause()


def look(context, paths):
    """Read files, and write beside them; tell what came of each."""
    results = {}
    for path in paths:
        try:
            results[path] = Path(path).read_text()
        except OSError as error:
            results[path] = type(error).__name__
    context.ready(results=results)
    while not select.select([context], [], [])[0] or not any("stop" in message for message in context.receive()):
        pass
