"""A seccomp filter for confined children, built from tables.

Here belongs which system calls are refused, as a pure function of a description; how that becomes a program of the
kernel's is `bpf`. The filter refuses what is named and what is newer than its table; the
rest is left to the namespaces and Landlock. A refused call fails with EPERM: a program can go on and say why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.jail import linux
from supervisor.jail.bpf import (
    BEATS_HIGH,
    BEATS_LOW,
    JEQ,
    JGE,
    JGT,
    JSET,
    LD_ABS,
    PID,
    RET,
    Body,
    Instruction,
    Program,
    program,
    tree,
)

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

ALLOW = 0x7FFF0000
KILL = 0x80000000
EPERM = 0x00050000 | 1
ENOSYS = 0x00050000 | 38
EAFNOSUPPORT = 0x00050000 | 97

NR = 0
ARCH_OFFSET = 4

REFUSED_FLAGS = (
    linux.CLONE_NEWTIME
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWCGROUP
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUSER
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_PARENT  # a child of the launcher, which knows nothing of it
) & ~0xFF  # clone(2) keeps its exit signal in the low byte; CLONE_NEWTIME can only be given to clone3 and unshare

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16

ALWAYS = (  # noqa: SIM905 - groups with their reasons are easier to check than seventy quoted words
    # other namespaces, other roots
    "unshare setns mount umount2 pivot_root chroot mount_setattr open_tree open_tree_attr move_mount fsopen fsconfig "
    "fsmount fspick statmount listmount listns "
    # other processes
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp move_pages "
    "migrate_pages rt_tgsigqueueinfo rt_sigqueueinfo get_robust_list "
    # queues and memory by name or number, shared with whoever knows or guesses it
    "msgget semget shmget mq_open mq_unlink msgsnd msgrcv msgctl semop semtimedop semctl shmat shmctl "
    # a page of the file that all heartbeats are in, turned into another's page
    "remap_file_pages "
    # kernel interfaces with a long record of holes
    "io_uring_setup io_uring_enter io_uring_register bpf perf_event_open userfaultfd keyctl add_key request_key "
    # the machine
    "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl "
    "quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm "
    "vhangup personality modify_ldt uselib nfsservctl ustat sysfs _sysctl lookup_dcookie "
    # files by handle, past every path rule
    "name_to_handle_at open_by_handle_at fanotify_init "
).split()
EXEC = ["execve", "execveat"]
FORK = ["fork", "vfork"]  # clone is looked into, clone3 does not exist
OTHERS_PIDS = ["pidfd_open", "pidfd_send_signal"]
METADATA = (  # noqa: SIM905 - as above
    "chmod fchmodat fchmodat2 chown lchown fchownat setxattr lsetxattr fsetxattr setxattrat removexattr "
    "lremovexattr fremovexattr removexattrat file_setattr utime utimes futimesat"
).split()
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # input pushed into a terminal is typed into the shell that started the node
FIOSETOWN, SIOCSPGRP = 0x8901, 0x8902  # who gets SIGIO, which F_SETSIG turns into SIGKILL: a kill(2) by another name
F_SETOWN, F_SETOWN_EX = 8, 15
FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR = 0x40086602, 0x401C5820
SCHED_OTHER = 0
PRIO_USER, IOPRIO_WHO_USER = 2, 3
SET_ID = 0o6000  # set-user-id and set-group-id
CREATES = 0o20000100  # O_CREAT, and O_TMPFILE without its O_DIRECTORY
MODES = {
    "chmod": 1,
    "fchmod": 1,
    "fchmodat": 2,
    "fchmodat2": 2,
    "creat": 1,
    "mkdir": 1,
    "mkdirat": 2,
    "mknod": 1,
    "mknodat": 2,
}


@dataclass(frozen=True)
class Rules:
    """What the filter decides.

    exec: may start programs. network: may make IP sockets. unix: may make unix sockets (socket pairs are always
    allowed). metadata: may change modes, owners and times by path; refused where nothing else confines it.
    writes: has files of its own to write, whose mode it may set once it has opened them.
    signals: may signal other processes; for where Landlock keeps that to the child's own ones.
    fork: may make processes; threads are always allowed.
    """

    exec: bool = False
    network: bool = False
    unix: bool = True
    metadata: bool = True
    writes: bool = True
    signals: bool = False
    fork: bool = False


def build(rules: Rules, arch: str) -> Program:
    """Assemble the filter for one architecture (`x86_64` or `aarch64`)."""
    bodies: dict[int, Body] = {}

    def argument(index: int, high: bool = False) -> Instruction:
        return (LD_ABS, 0, 0, 16 + 8 * index + (4 if high else 0))

    def on(name: str, body: Sequence[Instruction]) -> None:
        """The call `name` is decided by `body`, unless one was given before. Calls the architecture lacks are skipped."""
        nr = linux.number(name, arch)
        if nr is not None:
            bodies.setdefault(nr, tuple(body))

    def none_of(index: int, values: Sequence[int]) -> list[Instruction]:
        """Refuse the call when an argument (32 bits) is one of `values`."""
        tests = [(JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
        return [argument(index), *tests, (RET, 0, 0, ALLOW), (RET, 0, 0, EPERM)]

    refused = list(ALWAYS)
    if not rules.exec:
        refused += EXEC + OTHERS_PIDS
    if not rules.fork:
        refused += FORK
    if not rules.metadata:
        refused += METADATA
    if not rules.metadata and not rules.writes:
        refused += ["fchmod", "fchown", "utimensat"]
    for name in refused:
        on(name, [(RET, 0, 0, EPERM)])

    # Of root's or anybody's own files none may become a program that lends its owner's rights to whoever runs it.
    for name, index in MODES.items():
        if name not in refused:
            on(name, [argument(index), (JSET, 0, 1, SET_ID), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)])
    for name, index in (("open", 1), ("openat", 2)):
        mode = [argument(index + 1), (JSET, 0, 1, SET_ID), (RET, 0, 0, EPERM)]
        on(name, [argument(index), (JSET, 0, len(mode), CREATES), *mode, (RET, 0, 0, ALLOW)])
    on("openat2", [(RET, 0, 0, ENOSYS)])  # its mode is behind a pointer; callers fall back to openat

    # clone3 hides its flags behind a pointer; glibc falls back to clone on ENOSYS.
    on("clone3", [(RET, 0, 0, ENOSYS)])
    # Without `fork` only threads: what is not CLONE_THREAD is a process, and processes can be a bomb.
    clone: list[Instruction] = [argument(0), (JSET, 0, 1, REFUSED_FLAGS), (RET, 0, 0, EPERM)]
    if not rules.fork:
        clone += [(JSET, 1, 0, linux.CLONE_THREAD), (RET, 0, 0, EPERM)]
    on("clone", [*clone, (RET, 0, 0, ALLOW)])

    families = []
    if rules.unix:
        families.append(AF_UNIX)
    if rules.network:
        families += [AF_INET, AF_INET6]
    socket_body: list[Instruction] = [argument(0)]
    for family in families:
        socket_body += [(JEQ, 0, 1, family), (RET, 0, 0, ALLOW)]
    if rules.network:  # getaddrinfo asks the kernel for addresses: NETLINK_ROUTE (0), no other protocol
        socket_body += [(JEQ, 0, 3, AF_NETLINK), argument(2), (JEQ, 0, 1, 0), (RET, 0, 0, ALLOW)]
    socket_body.append((RET, 0, 0, EAFNOSUPPORT if families else EPERM))
    on("socket", socket_body)
    on("socketpair", [argument(0), (JEQ, 0, 1, AF_UNIX), (RET, 0, 0, ALLOW), (RET, 0, 0, EAFNOSUPPORT)])

    commands = [TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP]
    if not rules.metadata:
        commands += [FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR]  # attributes of a file that was opened for reading
    on("ioctl", none_of(1, commands))
    on("fcntl", none_of(1, [F_SETOWN, F_SETOWN_EX]))

    # The heartbeat is one page of a file that has all of them: grown, the mapping would show the next ones.
    halves = [argument(0), (JEQ, 0, 3, BEATS_LOW), argument(0, high=True), (JEQ, 0, 1, BEATS_HIGH)]
    on("mremap", [*halves, (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)])

    if not rules.metadata and rules.writes:  # by path only: with a null path it is the process's own open file
        on(
            "utimensat",
            [
                argument(1),
                (JEQ, 0, 2, 0),
                argument(1, high=True),
                (JEQ, 1, 0, 0),
                (RET, 0, 0, EPERM),
                (RET, 0, 0, ALLOW),
            ],
        )

    def only_itself(name: str, index: int, zero: bool, but: int | None = None) -> None:
        """Allow `name` when its pid argument is the process itself, or 0 where that means the same.

        but: refused all the same when the first argument is this, with which 0 means everything of this user.
        """
        first: list[Instruction] = []
        if but is not None:
            first = [argument(0), (JEQ, 0, 1, but), (RET, 0, 0, EPERM)]
        skip: list[Instruction] = [(JEQ, 1, 0, 0)] if zero else []
        on(name, [*first, argument(index), *skip, (JEQ, 0, 1, PID), (RET, 0, 0, ALLOW), (RET, 0, 0, EPERM)])

    if rules.signals:  # Landlock keeps signals in the family, but kill(-1) would say "done" without having done it
        on("kill", [argument(0), (JEQ, 0, 1, 0xFFFFFFFF), (RET, 0, 0, EPERM), (RET, 0, 0, ALLOW)])
    else:
        only_itself("kill", 0, zero=True)  # 0 is its own process group, in a session of its own
        only_itself("tgkill", 0, zero=False)
        only_itself("tkill", 0, zero=False)
    # Limits, priorities and placement of other processes of the same user: the launcher's, for one.
    for name in ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam"):
        only_itself(name, 0, zero=True)
    # libzmq sets its I/O thread, whose id is not the process's, to the ordinary policy and aborts when it may not.
    on("sched_setscheduler", [argument(1), (JEQ, 0, 1, SCHED_OTHER), (RET, 0, 0, ALLOW), (RET, 0, 0, EPERM)])
    only_itself("setpriority", 1, zero=True, but=PRIO_USER)
    only_itself("ioprio_set", 1, zero=True, but=IOPRIO_WHO_USER)

    head: list[Instruction] = [(LD_ABS, 0, 0, ARCH_OFFSET), (JEQ, 1, 0, AUDIT_ARCH[arch]), (RET, 0, 0, KILL)]
    head.append((LD_ABS, 0, 0, NR))
    if arch == "x86_64":  # the x32 numbers would be newer than all, and say ENOSYS, as if another way were open
        head += [(JGE, 0, 1, X32_BIT), (RET, 0, 0, EPERM)]
    head += [(JGT, 0, 1, linux.NEWEST_SYSCALL), (RET, 0, 0, ENOSYS)]
    return program([*head, *tree(bodies, ((RET, 0, 0, ALLOW),), linux.NEWEST_SYSCALL)])
