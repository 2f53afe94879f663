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


def user_database():
    import pwd

    return pwd.getpwnam("daemon")


def host_name():
    import socket
    import uuid

    return socket.gethostname(), uuid.getnode()


def media_types():
    import mimetypes

    return mimetypes.guess_type("x.html")


def lazy_encodings():
    import unicodedata

    return "bücher.example".encode("idna"), "x".encode("cp1252"), unicodedata.name("ü")


def package_data():
    import importlib.metadata
    import importlib.resources

    importlib.resources.files("encodings").joinpath("__init__.py").read_text()
    return list(importlib.metadata.distributions())


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


def process_pool():
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(int, "1").result()


def asyncio_program():
    import asyncio

    async def main():
        process = await asyncio.create_subprocess_exec("/bin/true")
        return await process.wait()

    return asyncio.run(main())


def find_library():
    from ctypes.util import find_library

    if find_library("c") is None:
        raise FileNotFoundError("no libc")


def c_callback():
    import ctypes

    numbers = (ctypes.c_int * 3)(3, 1, 2)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    ctypes.CDLL(None).qsort(numbers, 3, 4, compare(lambda a, b: a[0] - b[0]))
    if list(numbers) != [1, 2, 3]:
        raise RuntimeError(list(numbers))


def malloc_trim():
    import ctypes

    kept = [b"x" * (2000 + number % 7) for number in range(10_000)][::1000]
    if not ctypes.CDLL(None).malloc_trim(0):
        raise MemoryError(f"nothing went back beside {len(kept)} pieces")


def crash_traces():
    import faulthandler

    faulthandler.dump_traceback_later(1000)
    faulthandler.cancel_dump_traceback_later()


def alarm():
    import threading

    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not rung.is_set():
        signal.pause()


def local_time():
    import time

    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    return time.localtime()


def system_log():
    import logging
    import logging.handlers

    return logging.handlers.SysLogHandler("/dev/log")


def load_average():
    return os.getloadavg()


def lower_priority():
    return os.nice(1)


def sqlite_spill():
    import sqlite3

    database = sqlite3.connect(":memory:")
    database.execute("pragma temp_store = 1")
    database.execute("pragma cache_size = 10")
    database.execute("create temp table t (x)")
    database.executemany("insert into t values (?)", [("x" * 1000,)] * 2000)


def sqlite_file():
    import sqlite3

    database = sqlite3.connect(os.environ["GIVEN"] + "/x.db")
    database.execute("pragma journal_mode = wal")
    database.execute("create table t (x)")
    database.commit()


def lock_file():
    import fcntl

    with open(os.environ["GIVEN"] + "/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def replace_file():
    path = os.environ["GIVEN"] + "/replaced"
    for text in ("one", "two"):
        with open(path + ".new", "w") as file:
            file.write(text)
            os.fsync(file.fileno())
        os.replace(path + ".new", path)


def disk_usage():
    import shutil

    return shutil.disk_usage(os.environ["GIVEN"])


def _made(name):
    path = os.environ["GIVEN"] + "/" + name
    with open(path, "w") as file:
        file.write("x")
    return path


def change_mode():
    os.chmod(_made("mode"), 0o600)


def change_mode_open():
    with open(_made("open-mode")) as file:
        os.fchmod(file.fileno(), 0o600)


def set_times():
    os.utime(_made("times"))


def copy_file():
    import shutil

    return shutil.copyfile(_made("copied"), os.environ["GIVEN"] + "/copy")


def copy_with_mode():
    import shutil

    return shutil.copy(_made("copied-mode"), os.environ["GIVEN"] + "/copy-mode")


def unix_server():
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.environ["GIVEN"] + "/s")


def socket_pair():
    import socket

    for end in socket.socketpair():
        end.close()


def watch_files():
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init()
    if fd < 0 or libc.inotify_add_watch(fd, os.environ["GIVEN"].encode(), 0x100) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    os.close(fd)


HABITS = {name: value for name, value in list(globals().items()) if callable(value) and not name.startswith("_")}


def main(context, given):
    """Try every habit and tell what became of it."""
    os.environ["GIVEN"] = given
    results = {}
    for name, habit in HABITS.items():
        try:
            habit()
            results[name] = "works"
        except Exception as error:  # its name is the result
            results[name] = type(error).__name__
        finally:
            os.environ["GIVEN"] = given
    context.ready(results=results)
    while True:
        select.select([context], [], [])
        if any("stop" in message for message in context.receive()):
            return
