"""What ordinary Python code does without thinking, tried inside a jail: `works` or the name of the exception.

The table in docs/confinement.md is held against this. Standard library only; nothing here is imported beforehand.
"""

import os
import select
import signal


def late_import():
    import wave

    return wave


def time_zones():
    import zoneinfo

    return zoneinfo.ZoneInfo("Asia/Tokyo")


def getaddrinfo():
    import socket

    return socket.getaddrinfo("localhost", 80)


def temporary_file():
    import tempfile

    with tempfile.TemporaryFile() as file:
        return file.write(b"x")


def temporary_file_given():
    import tempfile

    with tempfile.NamedTemporaryFile(dir=os.environ["GIVEN"]) as file:
        return file.write(b"x")


def run_program():
    import subprocess

    return subprocess.run(["/bin/true"], check=True)


def multiprocessing_lock():
    import multiprocessing

    return multiprocessing.get_context("fork").Lock()


def multiprocessing_fork():
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"exit code {process.exitcode}")


def multiprocessing_spawn():
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    if process.exitcode:
        raise PermissionError(f"exit code {process.exitcode}")


def threads():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(int, "12"))


def asyncio_loop():
    import asyncio

    async def main():
        return await asyncio.to_thread(int, "1")

    return asyncio.run(main())


def home_directory():
    return os.listdir(os.path.expanduser("~"))


def list_root():
    return os.listdir("/")


def working_directory():
    return os.getcwd()


def read_proc():
    with open("/proc/self/status") as file:
        return file.read()


def random_numbers():
    import secrets
    import uuid

    return secrets.token_bytes(4), uuid.uuid4()


def cpu_count():
    count = os.cpu_count()
    if not count:
        raise RuntimeError("unknown")


def tls_context():
    import ssl

    return ssl.create_default_context()


def tls_authorities():
    import ssl

    if not ssl.create_default_context().cert_store_stats()["x509_ca"]:
        raise FileNotFoundError("no certificate authorities")


def memory_file():
    return os.memfd_create("x")


def shared_memory():
    from multiprocessing import shared_memory

    return shared_memory.SharedMemory(create=True, size=10)


def signal_itself():
    signal.signal(signal.SIGUSR1, lambda *_: None)
    os.kill(os.getpid(), signal.SIGUSR1)


def signal_own_child():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def locale_settings():
    import locale

    return locale.setlocale(locale.LC_ALL, "C.UTF-8")


def native_module():
    import _lsprof

    return _lsprof


def sqlite_memory():
    import sqlite3

    return sqlite3.connect(":memory:").execute("select 1").fetchone()


HABITS = {name: value for name, value in list(globals().items()) if callable(value) and not name.startswith("_")}


def main(context, given):
    """Try every habit and tell what became of it."""
    os.environ["GIVEN"] = given
    results = {}
    for name, habit in HABITS.items():
        try:
            habit()
            results[name] = "works"
        except Exception as error:
            results[name] = type(error).__name__
    context.ready(results=results)
    while True:
        select.select([context], [], [])
        if any("stop" in message for message in context.receive()):
            return
