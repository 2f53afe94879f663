"""Attempts on files: what lies outside, what is only to be read, devices, /proc and /sys."""

import ctypes
import errno
import os
import shutil
import struct
import threading

from attempts import Nothing, attempt, opened, raw

LIBRARY = os.__file__
O_TMPFILE = 0o20200000


@attempt("open a file outside", "ENOENT", "EACCES")
def read_foreign_file(given):
    with open(given["secret"]) as file:
        return file.read()


@attempt("append to a file outside that everybody may write", "ENOENT", "EACCES")
def write_foreign_file(given):
    with open(given["secret"], "a") as file:
        return file.write("x")


@attempt("truncate(2) a file outside", "ENOENT", "EACCES")
def truncate_foreign_file(given):
    return os.truncate(given["secret"], 0)


@attempt("list a directory outside", "ENOENT", "EACCES")
def list_foreign_directory(given):
    return os.listdir(given["outside"])


@attempt("stat(2) a file outside", "ENOENT", "reached")
def stat_foreign_file(given):
    return os.stat(given["secret"]).st_size


@attempt("watch a directory outside with inotify", "ENOENT", "reached")
def watch_foreign_directory(given):
    fd = raw(294, 26, 0)
    try:
        return raw(254, 27, fd, os.fsencode(given["outside"]), 0x100)
    finally:
        os.close(fd)


@attempt("read /etc/passwd", "ENOENT", "EACCES")
def read_etc_passwd(given):
    return opened("/etc/passwd")


@attempt("read /etc/shadow", "ENOENT", "EACCES")
def read_etc_shadow(given):
    return opened("/etc/shadow")


@attempt("create a file in /tmp", "EROFS|ENOENT", "EACCES")
def create_in_tmp(given):
    return opened(f"/tmp/eg-created-{os.getpid()}", os.O_CREAT | os.O_WRONLY)


@attempt("create a file in /", "EROFS", "EACCES")
def create_in_root(given):
    return opened("/eg-created", os.O_CREAT | os.O_WRONLY)


@attempt("create a directory in /", "EROFS", "EACCES")
def directory_in_root(given):
    return os.mkdir("/eg-created")


@attempt("create a file in the Python installation", "EROFS", "EACCES")
def write_into_python(given):
    return opened(os.path.join(os.path.dirname(LIBRARY), "eg.py"), os.O_CREAT | os.O_WRONLY)


@attempt("open a file of the Python installation for writing", "EROFS|EACCES", "EACCES")
def overwrite_python(given):
    return opened(LIBRARY, os.O_WRONLY)


@attempt("create a file in a directory given for reading", "EROFS", "EACCES")
def write_to_read_only(given):
    return opened(given["read"] + "/new", os.O_CREAT | os.O_WRONLY)


@attempt("chmod(2) a file outside", "ENOENT", "EPERM")
def chmod_foreign_file(given):
    return os.chmod(given["secret"], 0o777)


@attempt("chmod(2) a file of the Python installation", "EROFS", "EPERM")
def chmod_python(given):
    return os.chmod(LIBRARY, 0o644)


@attempt("chown(2) a file outside", "ENOENT", "EPERM")
def chown_foreign_file(given):
    return os.chown(given["secret"], os.getuid(), os.getgid())


@attempt("set the times of a file outside", "ENOENT", "EPERM")
def utime_foreign_file(given):
    return os.utime(given["secret"])


@attempt("set an extended attribute of a file outside", "ENOENT", "EPERM")
def xattr_foreign_file(given):
    return os.setxattr(given["secret"], "user.eg", b"x")


@attempt("set an extended attribute of a file opened for reading", "EROFS", "EPERM")
def xattr_of_open_file(given):
    with open(given["read"] + "/note", "rb") as file:
        return os.setxattr(file.fileno(), "user.eg", b"x")


@attempt("fchmod(2) a file opened for reading, in a profile that may write elsewhere", "EROFS", "reached")
def mode_of_open_file(given):
    with open(given["read"] + "/note", "rb") as file:
        return os.fchmod(file.fileno(), 0o666)


@attempt("set the flags (chattr) of a file opened for reading", "EROFS|EPERM", "EPERM")
def flags_of_open_file(given):
    import fcntl

    with open(given["read"] + "/note", "rb") as file:
        return fcntl.ioctl(file, 0x40086602, struct.pack("l", 0x80))  # FS_IOC_SETFLAGS, no atime


@attempt("delete a file outside", "ENOENT", "EACCES")
def unlink_foreign_file(given):
    return os.unlink(given["secret"])


@attempt("rename a file outside", "ENOENT", "EACCES")
def rename_foreign_file(given):
    return os.rename(given["secret"], given["secret"] + "2")


@attempt("rename a file of its own to the outside", "ENOENT", "EXDEV|EACCES")
def rename_out(given):
    with open(given["write"] + "/out", "w") as file:
        file.write("x")
    return os.rename(given["write"] + "/out", given["outside"] + "/out")


@attempt("read through a symbolic link to the outside", "ENOENT", "EACCES")
def symlink_outside(given):
    os.symlink(given["secret"], given["write"] + "/link")
    with open(given["write"] + "/link") as file:
        return file.read()


@attempt("hard link a file outside", "ENOENT", "EXDEV|EACCES")
def hardlink_outside(given):
    os.link(given["secret"], given["write"] + "/hard")
    with open(given["write"] + "/hard") as file:
        return file.read()


@attempt("hard link a file given for reading into a directory that may be written", "EXDEV")
def hardlink_to_write(given):
    os.link(given["read"] + "/note", given["write"] + "/note")
    with open(given["write"] + "/note", "a") as file:
        return file.write("x")


@attempt("300 opens while another thread swaps a directory for a link to the outside", "nothing")
def race_with_symlinks(given):
    real, name, link = (given["write"] + "/" + part for part in ("real", "swapped", "to-outside"))
    os.mkdir(real)
    os.symlink(given["outside"], link)
    done = threading.Event()

    def swap():
        while not done.is_set():
            for target in (real, link):
                os.symlink(target, name + "-new")
                os.rename(name + "-new", name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            try:
                with open(name + "/secret") as file:
                    return file.read()
            except OSError:
                continue
    finally:
        done.set()
        thread.join()
    raise Nothing("never seen")


@attempt("`..` from a directory that is given", "ENOENT", "EACCES")
def parent_of_given(given):
    with open(given["write"] + "/../secret") as file:
        return file.read()


@attempt("a nameless file (O_TMPFILE) outside", "ENOENT", "EACCES")
def nameless_file_outside(given):
    return opened(given["outside"], O_TMPFILE | os.O_RDWR)


@attempt("link a nameless file of its own to the outside", "ENOENT", "EXDEV|EACCES|ENOENT")
def link_nameless_file(given):
    fd = os.open(given["write"], O_TMPFILE | os.O_RDWR, 0o600)
    target = os.fsencode(given["outside"] + "/linked")
    try:
        return raw(265, 37, fd, b"", -100, target, 0x1000)
    finally:
        os.close(fd)


@attempt("a device node of its own", "EACCES|EPERM")
def device_node(given):
    os.mknod(given["write"] + "/disk", 0o660 | 0o060000, os.makedev(254, 0))
    return opened(given["write"] + "/disk")


def _own_file(given, name):
    return os.open(given["write"] + "/" + name, os.O_CREAT | os.O_RDWR, 0o755)


@attempt("fchmod(2) a file of its own to set-user-id, for somebody outside to run", "EPERM")
def set_user_id(given):
    fd = _own_file(given, "suid")
    try:
        return os.fchmod(fd, 0o4755)
    finally:
        os.close(fd)


@attempt("chmod(2) a file of its own to set-user-id", "EPERM")
def set_user_id_by_name(given):
    os.close(_own_file(given, "suid-name"))
    return os.chmod(given["write"] + "/suid-name", 0o4755)


@attempt("open(2) a new file with set-user-id", "EPERM")
def create_set_user_id(given):
    fd = os.open(given["write"] + "/suid-new", os.O_CREAT | os.O_RDWR, 0o4755)
    os.close(fd)
    return "created"


@attempt("openat2(2), whose mode a filter cannot see, for the same", "ENOSYS")
def create_set_user_id_hidden(given):
    how = ctypes.create_string_buffer(struct.pack("3Q", os.O_CREAT | os.O_RDWR, 0o4755, 0))
    return raw(437, 437, -100, os.fsencode(given["write"] + "/suid-hidden"), how, 24)


@attempt("a directory with set-group-id", "EPERM")
def set_group_id_directory(given):
    return raw(258, 34, -100, os.fsencode(given["write"] + "/sgid"), 0o2777)


@attempt("file capabilities on a file of its own", "EPERM")
def file_capabilities(given):
    fd = _own_file(given, "caps")
    try:
        return os.setxattr(fd, "security.capability", struct.pack("<5I", 0x02000001, 1 << 21, 0, 0, 0))
    finally:
        os.close(fd)


@attempt("read a file that lies beside a given socket", "ENXIO|EACCES", "EACCES", "reached")
def file_beside_socket(given):
    with open(given["sockets"] + "/token") as file:
        return file.read()


@attempt("list the directory of a given socket", "EACCES", "", "reached")
def list_beside_socket(given):
    return os.listdir(given["sockets"])


@attempt("delete a given socket, to put its own in the place", "EROFS", "EACCES")
def delete_given_socket(given):
    return os.unlink(given["allowed_socket"])


@attempt("name_to_handle_at(2)", "EPERM")
def name_to_handle(given):
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 256)
    mount_id = ctypes.c_int()
    return raw(303, 264, -100, LIBRARY.encode(), handle, mount_id, 0)


@attempt("open_by_handle_at(2)", "EPERM")
def open_by_handle(given):
    handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 256)
    return raw(304, 265, 0, handle, 0)


def _of_others(given, name, flags=os.O_RDONLY):
    refusal = OSError(errno.ENOENT, "nobody there")
    for pid in (1, os.getppid(), *given["pids"]):
        try:
            return opened(f"/proc/{pid}/{name}", flags)
        except OSError as error:
            if error.errno != errno.ENOENT:
                refusal = error
    raise refusal


@attempt("/proc/PID/environ of others", "ENOENT", "EACCES")
def environment_of_others(given):
    return _of_others(given, "environ")


@attempt("/proc/PID/mem of others", "ENOENT", "EACCES")
def memory_of_others(given):
    return _of_others(given, "mem", os.O_RDWR)


@attempt("/proc/PID/root of others", "ENOENT", "EACCES")
def root_of_others(given):
    return _of_others(given, "root/etc/passwd")


@attempt("/proc/PID/cwd of others", "ENOENT", "EACCES")
def directory_of_others(given):
    return _of_others(given, "cwd")


@attempt("/proc/PID/fd of others", "ENOENT", "EACCES")
def descriptors_of_others(given):
    return _of_others(given, "fd")


@attempt("/proc/self/mem", "ENOENT", "EACCES")
def proc_own_memory(given):
    return opened("/proc/self/mem", os.O_RDWR)


@attempt("write to /proc/sys", "ENOENT", "EACCES")
def kernel_settings(given):
    return opened("/proc/sys/kernel/hostname", os.O_WRONLY)


@attempt("/proc/sysrq-trigger", "ENOENT", "EACCES|ENOENT")
def sysrq(given):
    return opened("/proc/sysrq-trigger", os.O_WRONLY)


@attempt("/sys", "ENOENT", "EACCES")
def sys_files(given):
    return os.listdir("/sys")


@attempt("write to the control groups", "ENOENT", "EACCES")
def control_groups(given):
    shutil.rmtree("/sys/fs/cgroup/eg-made", ignore_errors=True)
    return os.mkdir("/sys/fs/cgroup/eg-made")


@attempt("a file in /dev/shm", "ENOENT", "EACCES")
def shared_memory_file(given):
    return opened(f"/dev/shm/eg-{os.getpid()}", os.O_CREAT | os.O_RDWR)


@attempt("memory, disks, kernel log, fuse, kvm, tun, loop, terminals in /dev", "ENOENT", "EACCES|ENOENT")
def devices(given):
    refusal = OSError(errno.ENOENT, "no such device")
    names = "mem kmem port kmsg sda vda nvme0n1 fuse kvm net/tun loop-control loop0 tty tty0 console ptmx snapshot hpet"
    for name in names.split():
        try:
            return opened(f"/dev/{name}", os.O_RDWR)
        except OSError as error:
            if error.errno == errno.EACCES:
                refusal = error
            elif error.errno != errno.ENOENT:
                raise
    raise refusal
