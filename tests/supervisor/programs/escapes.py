"""A confined child that tries to get out: one function an attempt, the outcome is told in `ready`.

An attempt that gets what it wants returns what it got; one that is refused raises. Standard library only.
"""

import ctypes
import mmap
import os
import platform
import resource
import signal
import socket
import struct
from pathlib import Path

X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def raw(x86, arm, *args):
    result = libc.syscall(ctypes.c_long(x86 if X86 else arm), *(ctypes.c_long(a) for a in args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"returned {result}"


def address(value):
    return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value


class Escapes:
    """Every method is an attempt. `given` names what lies outside."""

    def __init__(self, given):
        self.given = given

    # files
    def read_foreign_file(self):
        return open(self.given["secret"]).read()

    def write_foreign_file(self):
        with open(self.given["secret"], "a") as file:
            return file.write("x")

    def truncate_foreign_file(self):
        return str(os.truncate(self.given["secret"], 0))

    def list_foreign_directory(self):
        return str(os.listdir(self.given["outside"]))

    def read_etc_passwd(self):
        return open("/etc/passwd").read()

    def create_in_tmp(self):
        return str(os.open("/tmp/eg-created", os.O_CREAT | os.O_WRONLY))

    def create_in_root(self):
        return str(os.open("/eg-created", os.O_CREAT | os.O_WRONLY))

    def write_into_python(self):
        return str(os.open(os.path.join(os.path.dirname(os.__file__), "eg.py"), os.O_CREAT | os.O_WRONLY))

    def overwrite_python(self):
        return str(os.open(os.__file__, os.O_WRONLY))

    def chmod_foreign_file(self):
        return str(os.chmod(self.given["secret"], 0o777))

    def chmod_python(self):
        return str(os.chmod(os.__file__, 0o777))

    def chown_foreign_file(self):
        return str(os.chown(self.given["secret"], os.getuid(), os.getgid()))

    def utime_foreign_file(self):
        return str(os.utime(self.given["secret"]))

    def xattr_foreign_file(self):
        return str(os.setxattr(self.given["secret"], "user.eg", b"x"))

    def unlink_foreign_file(self):
        return str(os.unlink(self.given["secret"]))

    def rename_foreign_file(self):
        return str(os.rename(self.given["secret"], self.given["secret"] + "2"))

    def symlink_outside(self):
        os.symlink(self.given["secret"], self.given["write"] + "/link")
        return open(self.given["write"] + "/link").read()

    def hardlink_outside(self):
        os.link(self.given["secret"], self.given["write"] + "/hard")
        return open(self.given["write"] + "/hard").read()

    def parent_of_given(self):
        return open(self.given["write"] + "/../secret").read()

    def write_to_read_only(self):
        return str(os.open(self.given["read"] + "/new", os.O_CREAT | os.O_WRONLY))

    def device_node(self):
        os.mknod(self.given["write"] + "/sda", 0o660 | 0o060000, os.makedev(254, 0))
        return str(os.open(self.given["write"] + "/sda", os.O_RDONLY))

    def file_beside_socket(self):
        return open(self.given["sockets"] + "/token").read()

    def proc_of_others(self):
        return open("/proc/1/environ", "rb").read()[:80].decode(errors="replace") or "empty"

    def proc_own_memory(self):
        return str(os.open("/proc/self/mem", os.O_RDWR))

    def sys_files(self):
        return str(os.listdir("/sys"))

    def name_to_handle(self):
        handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 256)
        mount_id = ctypes.c_int()
        path = os.__file__.encode()
        return raw(303, 264, -100, address(path), ctypes.addressof(handle), ctypes.addressof(mount_id), 0)

    def open_by_handle(self):
        handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 256)
        return raw(304, 265, 0, ctypes.addressof(handle), 0)

    # sockets
    def foreign_unix_socket(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.given["foreign_socket"])
            return "connected"

    def foreign_unix_datagram(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return str(sock.sendto(b"x", self.given["foreign_datagram"]))

    def foreign_abstract_socket(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect("\0" + self.given["abstract"])
            return "connected"

    def tcp_connect(self):
        with socket.create_connection(("127.0.0.1", self.given["port"]), timeout=2):
            return "connected"

    def tcp6_connect(self):
        with socket.create_connection(("::1", self.given["port"]), timeout=2):
            return "connected"

    def tcp_listen(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            return "listening"

    def udp_send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return str(sock.sendto(b"x", ("127.0.0.1", self.given["port"])))

    def netlink(self):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            return str(sock.fileno())

    def raw_packets(self):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            return str(sock.fileno())

    def vsock(self):
        with socket.socket(40, socket.SOCK_STREAM) as sock:
            return str(sock.fileno())

    def kernel_crypto(self):
        with socket.socket(38, socket.SOCK_SEQPACKET) as sock:
            return str(sock.fileno())

    # programs
    def execute(self):
        pid = os.fork()
        if pid == 0:
            try:
                os.execv("/bin/true", ["true"])
            except OSError:
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 99:
            raise OSError("refused")
        return f"exit code {code}"

    def spawn(self):
        pid = os.posix_spawn("/bin/true", ["true"], {})
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 127:
            raise OSError("refused")
        return f"exit code {code}"

    def _in_child(self, action):
        pid = os.fork()
        if pid == 0:
            try:
                action()
            except OSError:
                os._exit(99)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 99:
            raise OSError("refused")
        return f"exit code {code}"

    def execute_python(self):
        import sys

        return self._in_child(lambda: os.execv(sys.executable, ["python", "-c", "pass"]))

    def execute_memfd(self):
        fd = os.memfd_create("x")
        os.write(fd, b"#!/bin/sh\nexit 0\n")
        return self._in_child(lambda: os.execve(fd, ["x"], {}))

    def execveat_memfd(self):
        fd = os.memfd_create("x")
        os.write(fd, b"\x7fELF")
        return self._in_child(lambda: raw(322, 281, fd, address(b""), 0, 0, 0x1000))

    # other processes
    def _others(self):
        return [pid for pid in [*range(1, 40), os.getppid(), *self.given["pids"]] if pid not in (0, os.getpid())]

    def signal_others(self):
        for pid in self._others():
            try:
                os.kill(pid, 0)
            except OSError:
                continue
            return f"may signal {pid}"
        raise OSError("refused")

    def kill_outside(self):
        return str(os.kill(self.given["pids"][0], signal.SIGKILL))

    def kill_all(self):
        return str(os.kill(-1, signal.SIGWINCH))

    def signal_by_pidfd(self):
        for pid in self._others():
            try:
                fd = os.pidfd_open(pid)
                signal.pidfd_send_signal(fd, 0)
            except OSError:
                continue
            return f"may signal {pid}"
        raise OSError("refused")

    def queue_signal(self):
        info = ctypes.create_string_buffer(128)
        for pid in self._others():
            try:
                return raw(129, 138, pid, 0, ctypes.addressof(info))
            except OSError:
                continue
        raise OSError("refused")

    def ptrace_others(self):
        for pid in self._others():
            try:
                return raw(101, 117, 0x4206, pid, 0, 0)  # PTRACE_SEIZE
            except OSError:
                continue
        raise OSError("refused")

    def read_memory_of_others(self):
        buffer = ctypes.create_string_buffer(16)
        local = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(buffer), 16))
        for pid in self._others():
            try:
                return raw(310, 270, pid, ctypes.addressof(local), 1, ctypes.addressof(local), 1, 0)
            except OSError:
                continue
        raise OSError("refused")

    def take_descriptor_of_others(self):
        for pid in self._others():
            try:
                fd = int(raw(434, 434, pid, 0).split()[1])
                return raw(438, 438, fd, 3, 0)
            except OSError:
                continue
        raise OSError("refused")

    def limits_of_others(self):
        for pid in self._others():
            try:
                return str(resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)))
            except OSError:
                continue
        raise OSError("refused")

    def priority_of_others(self):
        for pid in self._others():
            try:
                return str(os.setpriority(os.PRIO_PROCESS, pid, 19))
            except OSError:
                continue
        raise OSError("refused")

    def compare_others(self):
        for pid in self._others():
            try:
                return raw(312, 272, os.getpid(), pid, 0, 0, 0)
            except OSError:
                continue
        raise OSError("refused")

    # kernel
    def mount_tmpfs(self):
        return raw(165, 40, address(b"none"), address(b"/dev"), address(b"tmpfs"), 0, 0)

    def new_mount_api(self):
        return raw(430, 430, address(b"tmpfs"), 0)

    def clone_mounts(self):
        return raw(428, 428, -100, address(b"/"), 1)

    def unmount(self):
        return raw(166, 39, address(b"/dev/null"), 2)

    def unshare_user(self):
        return raw(272, 97, 0x10000000)

    def unshare_mount(self):
        return raw(272, 97, 0x00020000)

    def unshare_network(self):
        return raw(272, 97, 0x40000000)

    def clone_user_namespace(self):
        return self._namespace_child(
            lambda: libc.syscall(ctypes.c_long(56 if X86 else 220), ctypes.c_long(0x10000011), 0, 0, 0, 0)
        )

    def clone3_user_namespace(self):
        arguments = ctypes.create_string_buffer(struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0))
        return self._namespace_child(
            lambda: libc.syscall(ctypes.c_long(435), ctypes.c_void_p(ctypes.addressof(arguments)), 64)
        )

    def _namespace_child(self, clone):
        pid = clone()
        if pid == 0:
            os._exit(0)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "refused")
        os.waitpid(pid, 0)
        return "made a namespace"

    def enter_namespace(self):
        return raw(308, 268, 0, 0)

    def change_root(self):
        return str(os.chroot(os.path.dirname(os.__file__)))

    def pivot(self):
        return raw(155, 41, address(b"."), address(b"."))

    def io_uring(self):
        parameters = ctypes.create_string_buffer(120)
        return raw(425, 425, 4, ctypes.addressof(parameters))

    def bpf(self):
        attributes = ctypes.create_string_buffer(120)
        return raw(321, 280, 0, ctypes.addressof(attributes), 120)

    def perf_events(self):
        attributes = ctypes.create_string_buffer(struct.pack("II", 1, 112), 112)
        return raw(298, 241, ctypes.addressof(attributes), 0, -1, -1, 0)

    def userfault(self):
        return raw(323, 282, 1)

    def keyring(self):
        return raw(248, 217, address(b"user"), address(b"eg"), address(b"x"), 1, -3)

    def read_kernel_log(self):
        return raw(103, 116, 10, 0, 0)

    def host_name(self):
        return str(socket.sethostname("owned"))

    def personality(self):
        return raw(135, 92, 0x0400000)

    def x32_call(self):
        if not X86:
            raise OSError("not on this architecture")
        return raw(0x40000000 | 39, 0)

    def unknown_call(self):
        return raw(999, 999)

    def fanotify(self):
        return raw(300, 262, 0, 0)

    def message_queue(self):
        return raw(240, 180, address(b"eg"), 0o102, 0o600, 0)

    # itself
    def capabilities_back(self):
        header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
        data = ctypes.create_string_buffer(struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0))
        return raw(126, 91, ctypes.addressof(header), ctypes.addressof(data))

    def become_root(self):
        target = 0 if os.getuid() else 1
        return str(os.setuid(target))

    def ask_for_what_is_not_allowed(self):
        return self.given["control_answer"]

    def terminal_input(self):
        import fcntl

        return str(fcntl.ioctl(0, 0x5412, b"x"))

    def beat_for_another(self):
        for start in range(0, 1 << 16, mmap.PAGESIZE):
            try:
                mmap.mmap(3, mmap.PAGESIZE, offset=start)
            except (OSError, ValueError):
                continue
            return "mapped a page of the control descriptor"
        raise OSError("refused")


def facts():
    """What a confined process can see of itself."""
    open_fds = []
    for fd in range(256):
        try:
            kind = os.fstat(fd).st_mode & 0o170000
        except OSError:
            continue
        open_fds.append([fd, kind])
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(24)
    raw(125, 90, ctypes.addressof(header), ctypes.addressof(data))
    return {
        "fds": open_fds,
        "capabilities": list(struct.unpack("6I", data.raw)),
        "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "environ": sorted(os.environ),
        "session": [os.getsid(0), os.getpid()],
        "uid": os.getuid(),
    }


def escape(context, given):
    """Try everything, then say what came of it."""
    given = {**given, "control_answer": ""}
    before = facts()
    number = context.request("start_child", supervisor="pool", spec={"id": "x"})
    answer = None
    import select

    while answer is None:
        select.select([context], [], [])
        for message in context.receive():
            if message.get("answer") == number:
                answer = message
    results = {}
    attempts = Escapes(given)
    for name in sorted(vars(Escapes)):
        if name.startswith("_"):
            continue
        try:
            results[name] = ["reached", str(getattr(attempts, name)())[:200]]
        except (OSError, ValueError, AttributeError) as error:
            results[name] = ["refused", f"{type(error).__name__}: {error}"[:200]]
    results["ask_for_what_is_not_allowed"] = ["reached" if "result" in answer else "refused", str(answer)]
    context.ready(results=results, facts=before, level=context.level)
    signal.pause()


def use_what_is_given(context, given):
    """Do what the profile allows, and say what came of it."""
    results = {}

    def attempt(name, action):
        try:
            results[name] = ["reached", str(action())[:200]]
        except Exception as error:
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
