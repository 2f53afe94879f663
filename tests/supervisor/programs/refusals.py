"""Run a program where the kernel refuses what some machines refuse: `refusals.py REFUSAL[,REFUSAL] PROGRAM ARG...`.

userns: user namespaces cannot be made (a limit of 0 in a user namespace made for the test).
many-userns: no more than six of them can be there at a time.
landlock: the Landlock system calls do not exist (a seccomp filter that says ENOSYS).
The refusals are the kernel's own; nothing in the program under test is replaced.
"""

import ctypes
import os
import platform
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)


def refuse_userns(most=0):
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write(str(most))


def refuse_landlock():
    arch = 0xC000003E if platform.machine() == "x86_64" else 0xC00000B7
    code = [(0x20, 0, 0, 4), (0x15, 0, 3, arch), (0x20, 0, 0, 0), (0x35, 0, 1, 444), (0x25, 0, 1, 446)]
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | 38)]
    # 444 <= nr <= 446: ENOSYS; everything else: allowed
    code[3] = (0x35, 0, 1, 444)
    code[4] = (0x25, 0, 1, 446)
    buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer)))
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(header), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


for refusal in sys.argv[1].split(","):
    {"userns": refuse_userns, "many-userns": lambda: refuse_userns(6), "landlock": refuse_landlock}[refusal]()
os.execv(sys.argv[2], sys.argv[2:])
