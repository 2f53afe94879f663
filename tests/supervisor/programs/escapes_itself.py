"""Attempts with what a confined process was born with: its channel, its heartbeat, its memory, its limits."""

import ctypes
import fcntl
import mmap
import os
import resource
import signal

from attempts import Nothing, attempt, in_child, libc, raw


@attempt("ask the root to start a process under a supervisor that is not its own", "nothing")
def ask_for_what_is_not_allowed(given):
    if given["control_answer"]:
        return given["control_answer"]
    raise Nothing("refused by the root")


@attempt("type into a terminal (TIOCSTI)", "EPERM")
def terminal_input(given):
    return fcntl.ioctl(0, 0x5412, b"x")


@attempt("type into the console (TIOCLINUX)", "EPERM")
def console_input(given):
    return fcntl.ioctl(0, 0x541C, b"\x02")


def _beats(given):
    if not given["beats"]:
        raise Nothing("it has no heartbeat")
    return given["beats"]


@attempt("map pages of the control descriptor", "ENODEV|EINVAL")
def map_the_channel(given):
    mmap.mmap(3, mmap.PAGESIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ).close()
    return "mapped"


@attempt("grow the mapping of its heartbeat into those of other processes (mremap)", "EPERM")
def grow_heartbeat(given):
    return in_child(lambda: raw(25, 216, _beats(given), mmap.PAGESIZE, 4 * mmap.PAGESIZE, 1, 0))


@attempt("a second mapping of its heartbeat, larger (mremap of length 0)", "EPERM")
def double_heartbeat(given):
    return in_child(lambda: raw(25, 216, _beats(given), 0, 4 * mmap.PAGESIZE, 1, 0))


@attempt("turn the page of its heartbeat into another's (remap_file_pages)", "EPERM")
def turn_heartbeat(given):
    return in_child(lambda: raw(216, 234, _beats(given), mmap.PAGESIZE, 0, 0, 0))


@attempt("find the root's environment in the memory it was forked with", "nothing")
def secrets_in_memory(given):
    start = ctypes.c_char_p.in_dll(libc, "program_invocation_name")
    at = ctypes.cast(start, ctypes.c_void_p).value
    seen = bytearray()
    read, write = os.pipe()
    try:
        at -= at % mmap.PAGESIZE
        while len(seen) < 1 << 22:  # write(2) says EFAULT where reading would be a crash
            if libc.write(write, ctypes.c_void_p(at), ctypes.c_size_t(mmap.PAGESIZE)) < 0:
                break
            seen += os.read(read, mmap.PAGESIZE)
            at += mmap.PAGESIZE
    finally:
        os.close(read)
        os.close(write)
    if b"SECRET_KEY=" in seen:
        return "the key"
    raise Nothing(f"{len(seen)} bytes of stack without it")


@attempt("let go of a limit: processes", "EPERM")
def raise_process_limit(given):
    return raw(160, 164, 6, (ctypes.c_uint64 * 2)(1 << 40, 1 << 40))


@attempt("a core file of its memory", "EPERM")
def core_file(given):
    return raw(160, 164, 4, (ctypes.c_uint64 * 2)(1 << 40, 1 << 40))


@attempt("keep 64 MiB from being swapped (mlock)", "ENOMEM|EPERM|EAGAIN")
def lock_memory(given):
    page = mmap.mmap(-1, 64 << 20)
    return raw(149, 228, ctypes.addressof(ctypes.c_char.from_buffer(page)), 64 << 20)


@attempt("more than 1024 timers", "EAGAIN")
def timers(given):
    def make():
        for _ in range(1100):
            raw(222, 107, 1, 0, ctypes.c_int())

    return in_child(make)


@attempt("64 inotify instances and more, of the 128 that a user has", "EMFILE", "reached")
def inotify_instances(given):
    def make():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for _ in range(70):
            raw(294, 26, 0)

    return in_child(make)


@attempt("real-time scheduling", "EPERM")
def real_time(given):
    return raw(144, 119, 0, 1, ctypes.c_int(1))


@attempt("a better priority than it was given", "EACCES|EPERM")
def better_priority(given):
    return os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 5)


@attempt("real-time input and output", "EPERM")
def real_time_io(given):
    return raw(251, 30, 1, 0, 1 << 13)


@attempt("end the launcher by ending itself in every way (SIGKILL to its group)", "killed")
def kill_own_group(given):
    def end():
        os.setpgid(0, 0)
        os.kill(0, signal.SIGKILL)

    return in_child(end)


@attempt("find descriptors beyond its own four", "nothing")
def inherited_descriptors(given):
    if given["fds"] != [0, 1, 2, 3]:
        return given["fds"]
    raise Nothing("stdin, stdout, stderr and its channel")
