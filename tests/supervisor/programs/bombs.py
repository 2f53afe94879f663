"""Confined children that make as many processes, threads or timers as they can, and tell how many that was."""

import errno
import os
import resource
import signal
import socket
import threading
import time


def limits():
    """What this process may have of what the kernel counts per user."""
    names = ("nproc", "memlock", "msgqueue", "rtprio", "sigpending", "core")
    return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1] for name in names}


def fork_bomb(context, most):
    """Forks until it is refused, at most `most` times. What it made stays until it is stopped."""
    made, refused = 0, ""
    while made < most:
        try:
            pid = os.fork()
        except OSError as error:
            refused = type(error).__name__
            break
        if pid == 0:
            signal.pause()
            os._exit(0)
        made += 1
    context.ready(made=made, refused=refused, limits=limits())
    signal.pause()


def thread_bomb(context, most):
    """Starts threads until it is refused."""
    threading.stack_size(1 << 16)
    made, refused = 0, ""
    while made < most:
        try:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        except RuntimeError as error:
            refused = str(error)
            break
        made += 1
    context.ready(made=made, refused=refused, limits=limits())
    signal.pause()


def calm(context):
    """Needs a few threads and, where it may, one process."""
    threads = [threading.Thread(target=int) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        pid = os.fork()
    except PermissionError:
        context.ready(forked="refused")
    else:
        if pid == 0:
            os._exit(7)
        context.ready(forked=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    signal.pause()


def pids(context):
    """Unconfined: how many process ids the tree may have."""
    with open("/proc/sys/kernel/pid_max") as file:
        context.ready(pid_max=int(file.read()))
    signal.pause()


def descriptor_bomb(context):
    """Puts descriptors in flight, in messages that nobody reads, until it is refused."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kept, sent, refused = [], 0, ""
    while not refused and sent < 1 << 20:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        left.setblocking(False)
        kept += [left, right]
        try:
            while True:
                socket.send_fds(left, [b"x"], [0] * 250)
                sent += 250
        except BlockingIOError:
            pass
        except OSError as error:
            refused = errno.errorcode[error.errno]
    context.ready(sent=sent, refused=refused, limit=limit)
    signal.pause()
