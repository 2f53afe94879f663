"""Linux system calls that Python does not wrap, called through libc's `syscall`.

Here belong numbers, constants and thin wrappers that raise OSError. No policy: which call is made when is decided in
the other modules of this package. x86_64 and aarch64 are known; on anything else `ARCH` is None and nothing is called.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterable

ARCH: str | None = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine())

CLONE_PARENT = 0x00008000
CLONE_THREAD = 0x00010000
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8

SECCOMP_SET_MODE_FILTER = 1

BIND_NOW = "LD_BIND_NOW"  # the variable by which ld.so(8) looks everything up before a program begins

# name: (x86_64, aarch64); None where the architecture never had it. From asm/unistd_64.h and asm-generic/unistd.h.
SYSCALLS: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221),
    "execveat": (322, 281),
    "clone": (56, 220),
    "fork": (57, None),
    "vfork": (58, None),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount_setattr": (442, 442),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "nfsservctl": (180, 42),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "listns": (470, 470),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "mq_unlink": (241, 181),
    "get_robust_list": (274, 100),
    "remap_file_pages": (216, 234),
    "mremap": (25, 216),
    "fcntl": (72, 25),
    "open": (2, None),
    "creat": (85, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "ioctl": (16, 29),
    "seccomp": (317, 277),
    "capset": (126, 91),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "close_range": (436, 436),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
}
NEWEST_SYSCALL = 470  # anything above was unknown when this table was written

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [ctypes.c_long] * 7  # untyped ints would be cut to 32 bits
_libc.prctl.restype = ctypes.c_int
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
# Made once: a new ctypes array type costs a child a tenth of a millisecond.
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def number(name: str, arch: str | None = None) -> int | None:
    """The number of a system call on `arch` (default: this machine), None where it does not exist."""
    arch = arch or ARCH
    if arch is None:
        return None
    return SYSCALLS[name][0 if arch == "x86_64" else 1]


def syscall(name: str, *args: int) -> int:
    """Make a system call. Pointers are passed as addresses; the caller keeps the memory alive. Raises OSError."""
    nr = number(name)
    if nr is None:
        raise OSError(38, f"{name}: not on this architecture ({platform.machine()})")
    padded = args + (0,) * (6 - len(args))
    result = int(_libc.syscall(nr, *padded))
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{name}: {os.strerror(errno)}")
    return result


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2). Raises OSError."""
    result = int(_libc.prctl(option, arg2, arg3, arg4, arg5))
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl {option}: {os.strerror(errno)}")
    return result


def unshare(flags: int) -> None:
    """Leave the given namespaces for fresh ones. Raises OSError."""
    syscall("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd`. Raises OSError."""
    syscall("setns", fd, kind)


def mount(source: str, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError naming the target."""
    if _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        None if fstype is None else fstype.encode(),
        flags,
        None if data is None else data.encode(),
    ):
        errno = ctypes.get_errno()
        raise OSError(errno, f"mount: {os.strerror(errno)}", target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2). Raises OSError naming the target."""
    if _libc.umount2(os.fsencode(target), flags):
        errno = ctypes.get_errno()
        raise OSError(errno, f"umount: {os.strerror(errno)}", target)


def pivot_root_here() -> None:
    """Make the current directory the root and let go of the old one (pivot_root(".", "."), see pivot_root(2))."""
    dot = ctypes.c_char_p(b".")
    address = ctypes.cast(dot, ctypes.c_void_p).value or 0
    syscall("pivot_root", address, address)
    umount(".", MNT_DETACH)
    os.chdir("/")


def clone_tree(path: str, attributes: int) -> int:
    """A detached copy of the mounts at and below `path`, with mount attributes added. Returns its descriptor."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    fd = syscall("open_tree", AT_FDCWD, ctypes.addressof(name), flags)
    try:
        set_mount_attributes(fd, attributes)
    except OSError:
        os.close(fd)
        raise
    return fd


def set_mount_attributes(fd: int, attributes: int, path: str = "", recursive: bool = True) -> None:
    """Add mount attributes to the mount behind `fd` (and those below it). Raises OSError."""
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    name = ctypes.create_string_buffer(os.fsencode(path))
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, ctypes.addressof(name), flags, ctypes.addressof(attr), ctypes.sizeof(attr))


def attach_tree(fd: int, target: str) -> None:
    """Mount a detached tree on `target`. Raises OSError."""
    empty = ctypes.create_string_buffer(b"")
    name = ctypes.create_string_buffer(os.fsencode(target))
    syscall("move_mount", fd, ctypes.addressof(empty), AT_FDCWD, ctypes.addressof(name), MOVE_MOUNT_F_EMPTY_PATH)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor except those in `keep`, also ones nobody remembers."""
    start = 0
    for fd in sorted(set(keep)):
        if start <= fd - 1:
            _close_range(start, fd - 1)
        start = fd + 1
    _close_range(start, 0xFFFFFFFF)


def _close_range(first: int, last: int) -> None:
    try:
        syscall("close_range", first, last, 0)
    except OSError:  # before Linux 5.9
        os.closerange(first, min(last, os.sysconf("SC_OPEN_MAX")) + 1)


def drop_capabilities(bounding: bool = True) -> None:
    """Give up every capability for good: ambient, effective, permitted and inheritable.

    bounding: also the set that bounds what a program started from here could get. It takes 41 calls; who can start
    none needs it not.
    """
    for capability in range(64 if bounding else 0):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # EINVAL past the last one; EPERM without CAP_SETPCAP, where no_new_privs bounds us instead
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        if error.errno != 22:  # EINVAL: a kernel without ambient capabilities has none to clear
            raise
    syscall("capset", ctypes.addressof(_CAPABILITY_HEADER), ctypes.addressof(_NO_CAPABILITIES))


def die_with_parent(signal_number: int = 9) -> None:
    """Ask the kernel to send this process a signal when its parent is gone. The caller checks that it is not yet.

    The kernel ties this to the parent's thread: only a parent that forks from its main thread may rely on it. Any
    change of credentials clears it, so it is called again after those.
    """
    prctl(PR_SET_PDEATHSIG, signal_number)
