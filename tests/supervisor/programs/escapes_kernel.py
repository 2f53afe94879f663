"""Attempts on the kernel: mounts, namespaces, privileged calls, interfaces with a long record of holes."""

import ctypes
import os
import socket
import struct

from attempts import attempt, in_child, libc, raw


@attempt("mount(2) a file system of its own", "EPERM")
def mount_tmpfs(given):
    return raw(165, 40, b"none", b"/dev", b"tmpfs", 0, 0)


@attempt("make the root writable again (remount)", "EPERM")
def remount(given):
    return raw(165, 40, b"none", b"/", 0, 0x20, 0)


@attempt("umount2(2) what covers something", "EPERM")
def unmount(given):
    return raw(166, 39, b"/dev/null", 2)


@attempt("fsopen(2)", "EPERM")
def new_mount_api(given):
    return raw(430, 430, b"tmpfs", 0)


@attempt("fspick(2)", "EPERM")
def pick_mount(given):
    return raw(433, 433, -100, b"/", 0)


@attempt("open_tree(2) with a copy", "EPERM")
def clone_mounts(given):
    return raw(428, 428, -100, b"/", 1)


@attempt("move_mount(2)", "EPERM")
def move_mount(given):
    return raw(429, 429, -100, b"/", -100, b"/", 0)


@attempt("mount_setattr(2): no longer read-only", "EPERM")
def mount_attributes(given):
    attributes = ctypes.create_string_buffer(struct.pack("4Q", 0, 1, 0, 0))
    return raw(442, 442, -100, b"/", 0, attributes, 32)


@attempt("listmount(2): what is mounted outside", "EPERM")
def list_mounts(given):
    return raw(458, 458, 0, 0, 0, 0)


@attempt("chroot(2)", "EPERM")
def change_root(given):
    return os.chroot(os.path.dirname(os.__file__))


@attempt("pivot_root(2) again", "EPERM")
def pivot(given):
    return raw(155, 41, b".", b".")


@attempt("unshare(2): a user namespace", "EPERM")
def unshare_user(given):
    return raw(272, 97, 0x10000000)


@attempt("unshare(2): a mount namespace", "EPERM")
def unshare_mount(given):
    return raw(272, 97, 0x00020000)


@attempt("unshare(2): a network namespace", "EPERM")
def unshare_network(given):
    return raw(272, 97, 0x40000000)


def _namespace_child(clone):
    pid = clone()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made a namespace"


@attempt("clone(2): a user namespace", "EPERM")
def clone_user_namespace(given):
    return _namespace_child(lambda: raw(56, 220, 0x10000011, 0, 0, 0, 0))


@attempt("clone(2): a process whose parent is the launcher, not itself", "EPERM")
def clone_beside_itself(given):
    pid = raw(56, 220, 0x8011, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@attempt("clone3(2), whose flags a filter cannot see", "ENOSYS")
def clone3_user_namespace(given):
    arguments = ctypes.create_string_buffer(struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0))
    return _namespace_child(lambda: raw(435, 435, arguments, 64))


@attempt("setns(2)", "EPERM")
def enter_namespace(given):
    return raw(308, 268, 0, 0)


@attempt("capset(2): capabilities back", "EPERM")
def capabilities_back(given):
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    data = ctypes.create_string_buffer(struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0))
    return raw(126, 91, header, data)


@attempt("setuid(2)", "EPERM|EINVAL")
def become_another(given):
    return os.setuid(0 if os.getuid() else 1)


@attempt("setgroups(2)", "EPERM")
def other_groups(given):
    return os.setgroups([0])


@attempt("take no_new_privs off", "EINVAL")
def new_privileges(given):
    result = libc.prctl(38, 0, 0, 0, 0)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


@attempt("lay a filter that allows everything over the other, and ask again", "EPERM")
def stack_a_filter(given):
    def stack():
        allow = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow)))
        raw(317, 277, 1, 0, program)
        raw(272, 97, 0x10000000)

    return in_child(stack)


@attempt("lay Landlock rules that allow everything over the others, and ask again", "ENOENT", "EACCES", "ENOSYS")
def stack_rules(given):
    def stack():
        attributes = ctypes.create_string_buffer(struct.pack("Q", 4))
        ruleset = raw(444, 444, attributes, 8, 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", 4, os.open("/", os.O_PATH)))
        raw(445, 445, ruleset, 1, rule, 0)
        raw(446, 446, ruleset, 0)
        os.close(os.open(given["secret"], os.O_RDONLY))

    return in_child(stack)


@attempt("io_uring_setup(2)", "EPERM")
def io_uring(given):
    parameters = ctypes.create_string_buffer(120)
    return raw(425, 425, 4, parameters)


@attempt("io_uring_register(2)", "EPERM")
def io_uring_register(given):
    return raw(427, 427, 0, 0, 0, 0)


@attempt("bpf(2)", "EPERM")
def bpf(given):
    attributes = ctypes.create_string_buffer(120)
    return raw(321, 280, 0, attributes, 120)


@attempt("perf_event_open(2)", "EPERM")
def perf_events(given):
    attributes = ctypes.create_string_buffer(struct.pack("II", 1, 112), 112)
    return raw(298, 241, attributes, 0, -1, -1, 0)


@attempt("userfaultfd(2)", "EPERM")
def userfault(given):
    return raw(323, 282, 1)


@attempt("fanotify_init(2)", "EPERM")
def fanotify(given):
    return raw(300, 262, 0, 0)


@attempt("add_key(2)", "EPERM")
def keyring(given):
    return raw(248, 217, b"user", b"eg", b"x", 1, -3)


@attempt("keyctl(2): the keys of the session", "EPERM")
def session_keys(given):
    return raw(250, 219, 0, -3, 0)


@attempt("request_key(2), which runs a program as root", "EPERM")
def request_key(given):
    return raw(249, 218, b"user", b"eg", 0, -3)


@attempt("syslog(2): the kernel's log", "EPERM")
def read_kernel_log(given):
    return raw(103, 116, 10, 0, 0)


@attempt("sethostname(2)", "EPERM")
def host_name(given):
    return socket.sethostname("owned")


@attempt("personality(2): everything readable is executable", "EPERM")
def personality(given):
    return raw(135, 92, 0x0400000)


@attempt("modify_ldt(2)", "EPERM")
def segments(given):
    return raw(154, None, 0, 0, 0)


@attempt("iopl(2)", "EPERM")
def io_ports(given):
    return raw(172, None, 3)


@attempt("reboot(2)", "EPERM")
def reboot(given):
    return raw(169, 142, 0, 0, 0, 0)  # without its magic numbers: EINVAL where it is not refused


@attempt("kexec_load(2)", "EPERM")
def load_kernel(given):
    return raw(246, 104, 0, 0, 0, -1)


@attempt("init_module(2)", "EPERM")
def load_module(given):
    return raw(175, 105, 0, 0, 0)


@attempt("swapon(2)", "EPERM")
def swap(given):
    return raw(167, 224, 0, 0)


@attempt("quotactl(2)", "EPERM")
def quotas(given):
    return raw(179, 60, 0, 0, 0, 0)


@attempt("acct(2)", "EPERM")
def accounting(given):
    return raw(163, 89, 0)


@attempt("settimeofday(2)", "EPERM")
def set_clock(given):
    return raw(164, 170, 0, 0)


@attempt("adjtimex(2)", "EPERM")
def adjust_clock(given):
    return raw(159, 171, ctypes.create_string_buffer(256))
