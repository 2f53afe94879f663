"""Attempts to run programs, and to make calls that the filter does not know: other numbers, other entries, other code."""

import ctypes
import glob
import mmap
import os
import shutil
import sys
import threading

from attempts import X86, Killed, attempt, in_child, raw, run_code


@attempt("fork and exec /bin/true", "EPERM")
def execute(given):
    return in_child(lambda: os.execv("/bin/true", ["true"]))


@attempt("posix_spawn(3)", "EPERM")
def spawn(given):
    return os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


@attempt("exec the Python that it runs in", "EPERM")
def execute_python(given):
    return in_child(lambda: os.execv(sys.executable, ["python", "-c", "pass"]))


@attempt("exec a program through the dynamic loader", "EPERM")
def execute_by_loader(given):
    loaders = glob.glob("/lib64/ld-linux*.so.*") + glob.glob("/lib/ld-linux*.so.*") or ["/lib64/ld-linux-x86-64.so.2"]
    return in_child(lambda: os.execv(loaders[0], ["ld.so", "/bin/true"]))


@attempt("exec a script of its own", "EPERM")
def execute_script(given):
    path = given["write"] + "/script"
    with open(path, "w") as file:
        file.write(f"#!{sys.executable}\n")
        os.fchmod(file.fileno(), 0o755)
    return in_child(lambda: os.execv(path, ["script"]))


@attempt("exec from a thread", "EPERM")
def execute_in_thread(given):
    def in_thread():
        caught = []

        def run():
            try:
                os.execv("/bin/true", ["true"])
            except OSError as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        raise caught[0]

    return in_child(in_thread)


@attempt("fexecve(3) of a file in memory", "EPERM")
def execute_memfd(given):
    fd = os.memfd_create("x")
    os.write(fd, b"#!/bin/sh\nexit 0\n")
    return in_child(lambda: os.execve(fd, ["x"], {}))


@attempt("execveat(2) of a file in memory", "EPERM")
def execveat_memfd(given):
    fd = os.memfd_create("x")
    os.write(fd, b"\x7fELF")
    return in_child(lambda: raw(322, 281, fd, b"", 0, 0, 0x1000))


@attempt("execveat(2) of a library's descriptor", "EPERM")
def execveat_library(given):
    fd = os.open(os.__file__, os.O_RDONLY)
    try:
        return in_child(lambda: raw(322, 281, fd, b"", 0, 0, 0x1000))
    finally:
        os.close(fd)


@attempt("load a native module that it has written", "EPERM|EACCES", "reached")
def load_written_library(given):
    import _bisect  # one that every Python has as a file, or built in

    source = getattr(_bisect, "__file__", None) or glob.glob("/usr/lib/*/libz.so.1")[0]
    path = shutil.copyfile(source, given["write"] + "/written.so")
    fd = os.open(path, os.O_RDONLY)
    try:  # what dlopen(3) does, with the errno that it does not tell
        mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    finally:
        os.close(fd)
    return ctypes.CDLL(path)


@attempt("map a file in memory that it has written as code", "reached")
def map_written_memory(given):
    fd = os.memfd_create("x")
    os.write(fd, b"x" * mmap.PAGESIZE)
    try:
        mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    finally:
        os.close(fd)
    return "machine code is not refused, see below"


@attempt("machine code of its own that asks for a user namespace", "EPERM")
def machine_code(given):
    if X86:  # mov eax, 272 (unshare); mov edi, CLONE_NEWUSER; syscall; ret
        result = run_code(b"\xb8\x10\x01\x00\x00\xbf\x00\x00\x00\x10\x0f\x05\xc3")
    else:  # mov x8, 97; mov x0, CLONE_NEWUSER; svc 0; ret
        result = run_code(bytes.fromhex("280c80d2 0000a2d2 010000d4 c0035fd6"))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return "made a namespace"


@attempt("the entry for 32-bit programs (int 0x80), whose numbers mean other calls", "killed")
def i386_entry(given):
    if not X86:
        raise Killed("there is none")
    # push rbx; mov eax, 310 (unshare on i386); mov ebx, CLONE_NEWUSER; int 0x80; pop rbx; ret
    code = b"\x53\xb8\x36\x01\x00\x00\xbb\x00\x00\x00\x10\xcd\x80\x5b\xc3"
    return in_child(lambda: run_code(code))


@attempt("x32 numbers, which pass by every comparison", "EPERM")
def x32_call(given):
    return raw(0x40000000 | 39, None)


@attempt("execve(2) by its x32 number", "EPERM")
def x32_exec(given):
    return in_child(lambda: raw(0x40000000 | 520, None, b"/bin/true", 0, 0))


@attempt("a number that no kernel knew when the table was written", "ENOSYS")
def unknown_call(given):
    return raw(999, 999)


@attempt("a negative number", "ENOSYS|EPERM")
def negative_call(given):
    return raw(-1, -1)
