"""Attempts on other processes: signals, memory, descriptors, limits, placement; the zygote, siblings, strangers."""

import ctypes
import fcntl
import os
import resource
import signal
import struct

from attempts import attempt, first_of, raw, vector


@attempt("ask whether it may signal another process (kill 0)", "EPERM")
def signal_others(given):
    return first_of(given, lambda pid: os.kill(pid, 0))


@attempt("SIGKILL to a process outside", "ESRCH|EPERM")
def kill_outside(given):
    return os.kill(given["pids"][0], signal.SIGKILL)


@attempt("kill(-1): everybody", "EPERM")
def kill_all(given):
    return os.kill(-1, signal.SIGWINCH)


@attempt("kill the process group of another", "EPERM")
def kill_group_of_others(given):
    return first_of(given, lambda pid: os.kill(-pid, signal.SIGWINCH) if pid > 1 else os.kill(pid, signal.SIGWINCH))


@attempt("tkill(2)", "EPERM")
def signal_thread(given):
    return first_of(given, lambda pid: raw(200, 130, pid, 0))


@attempt("tgkill(2)", "EPERM")
def signal_thread_of_group(given):
    return first_of(given, lambda pid: raw(234, 131, pid, pid, 0))


@attempt("rt_sigqueueinfo(2)", "EPERM")
def queue_signal(given):
    info = ctypes.create_string_buffer(128)
    return first_of(given, lambda pid: raw(129, 138, pid, 0, info))


@attempt("pidfd_open(2) another process", "EPERM")
def open_pidfd(given):
    return first_of(given, lambda pid: raw(434, 434, pid, 0))


def own_a_pipe(given, action):
    """`action(pipe, pid)` on one of the others after the other, with a pipe whose signals they are to receive."""
    read, write = os.pipe()
    try:
        return first_of(given, lambda pid: action(read, pid))
    finally:
        os.close(read)
        os.close(write)


@attempt("make another process the receiver of SIGIO, and that SIGKILL", "EPERM")
def signal_by_owner(given):
    return own_a_pipe(given, lambda pipe, pid: fcntl.fcntl(pipe, fcntl.F_SETOWN, pid))


@attempt("the same by F_SETOWN_EX", "EPERM")
def signal_by_owner_ex(given):
    return own_a_pipe(given, lambda pipe, pid: fcntl.fcntl(pipe, 15, struct.pack("2i", 1, pid)))


@attempt("the same by ioctl(FIOSETOWN)", "EPERM")
def signal_by_ioctl(given):
    control = 3  # the child's own channel: only sockets know this call
    return first_of(given, lambda pid: fcntl.ioctl(control, 0x8901, struct.pack("i", pid)))


@attempt("ptrace(2)", "EPERM")
def ptrace_others(given):
    return first_of(given, lambda pid: raw(101, 117, 0x4206, pid, 0, 0))  # PTRACE_SEIZE


@attempt("process_vm_readv(2)", "EPERM")
def read_memory_of_others(given):
    buffer = ctypes.create_string_buffer(16)
    local = vector(buffer, 16)
    at = local
    return first_of(given, lambda pid: raw(310, 270, pid, at, 1, at, 1, 0))


@attempt("process_vm_writev(2)", "EPERM")
def write_memory_of_others(given):
    buffer = ctypes.create_string_buffer(16)
    local = vector(buffer, 0)
    at = local
    return first_of(given, lambda pid: raw(311, 271, pid, at, 1, at, 1, 0))


@attempt("pidfd_getfd(2)", "EPERM")
def take_descriptor_of_others(given):
    return raw(438, 438, 0, 3, 0)


@attempt("process_madvise(2)", "EPERM")
def advise_memory_of_others(given):
    return raw(440, 440, 0, 0, 0, 21, 0)


@attempt("kcmp(2)", "EPERM")
def compare_others(given):
    return first_of(given, lambda pid: raw(312, 272, os.getpid(), pid, 0, 0, 0))


@attempt("get_robust_list(2), which tells addresses", "EPERM")
def lock_list_of_others(given):
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    return first_of(given, lambda pid: raw(274, 100, pid, head, size))


@attempt("move_pages(2)", "EPERM")
def pages_of_others(given):
    return first_of(given, lambda pid: raw(279, 239, pid, 0, 0, 0, 0, 0))


@attempt("prlimit(2)", "EPERM")
def limits_of_others(given):
    return first_of(given, lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)))


@attempt("setpriority(2)", "EPERM")
def priority_of_others(given):
    return first_of(given, lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19))


@attempt("setpriority(2) of everything of this user", "EPERM")
def priority_of_the_user(given):
    return os.setpriority(os.PRIO_USER, 0, 19)


@attempt("ioprio_set(2) of everything of this user", "EPERM")
def io_priority_of_the_user(given):
    return raw(251, 30, 3, 0, 3 << 13)


@attempt("ioprio_set(2)", "EPERM")
def io_priority_of_others(given):
    return first_of(given, lambda pid: raw(251, 30, 1, pid, (3 << 13)))


@attempt("sched_setaffinity(2)", "EPERM")
def placement_of_others(given):
    return first_of(given, lambda pid: os.sched_setaffinity(pid, {0}))


@attempt("sched_setscheduler(2) to idle", "EPERM")
def schedule_others(given):
    parameter = ctypes.c_int(0)
    return first_of(given, lambda pid: raw(144, 119, pid, 5, parameter))


@attempt("join the process group of another", "EPERM")
def group_of_others(given):
    return first_of(given, lambda pid: os.setpgid(0, pid))


@attempt("attach System V memory of another process by its number (shmat)", "EPERM")
def attach_shared_memory(given):
    return raw(30, 196, given["shared_memory"], 0, 0o10000)


@attempt("delete it (shmctl)", "EPERM")
def delete_shared_memory(given):
    return raw(31, 195, given["shared_memory"], 0, 0)


@attempt("make System V memory", "EPERM")
def make_shared_memory(given):
    return raw(29, 194, 0x6567, 4096, 0o1666)


@attempt("take a System V semaphore of another process", "EPERM")
def take_semaphore(given):
    operation = ctypes.create_string_buffer(struct.pack("HhH", 0, 0, 0o4000))
    return raw(65, 193, given["semaphore"], operation, 1)


@attempt("read a System V message queue of another process", "EPERM")
def read_message_queue(given):
    buffer = ctypes.create_string_buffer(64)
    return raw(70, 188, given["message_queue"], buffer, 32, 0, 0o4000)


@attempt("open a POSIX message queue", "EPERM")
def message_queue(given):
    return raw(240, 180, b"eg", 0o102, 0o600, 0)


@attempt("delete a POSIX message queue", "EPERM")
def delete_message_queue(given):
    return raw(241, 181, b"eg")
