"""Where the zygote's heap lies: its holes are filled, so that what a child allocates lies together on pages of its own,
and it is put on huge pages, so that a fork has less to copy.

Without the first each small object of a child lands in another half-used page of the zygote's and copies that page. Only
about where memory lies; called once, before the first fork.
"""

from __future__ import annotations

import ctypes
import platform

POOL_BITS = 14  # Objects/obmalloc.c: pools of 16 KiB, each for one size
SMALL = 512  # the largest object that Python's own allocator serves
MOST_POOLS = 200  # of one size; a bound, not an estimate
LARGE = 96 << 10  # below M_MMAP_THRESHOLD: what is larger gets pages of its own anyway
MOST = 20_000  # blocks of one size; a bound, not an estimate
HUGE = 2 << 20  # bytes of a huge page on x86_64, and on aarch64 with pages of 4 KiB
MADV_COLLAPSE = 25  # since Linux 6.1: make a huge page now


def fill() -> list[bytes]:
    """Fill both heaps, Python's and the C library's. The result is kept for as long as the process lives."""
    kept = _fill_pools()
    fill_malloc()
    return kept


def _fill_pools() -> list[bytes]:
    """Small objects in every pool that already holds something; pools that would be ours alone are given back."""
    kept: list[bytes] = []
    for size in range(48, SMALL + 1, 16):
        capacity = ((1 << POOL_BITS) - 48) // size
        made: list[bytes] = []
        pools: dict[int, int] = {}
        for _ in range(MOST_POOLS):
            here = set()
            for _ in range(capacity):
                plug = bytes(size - 33)
                made.append(plug)
                here.add(id(plug) >> POOL_BITS)
                pools[id(plug) >> POOL_BITS] = pools.get(id(plug) >> POOL_BITS, 0) + 1
            if len(here) <= 2:  # a poolful that lies together: the holes were filled before it
                break
        kept += [plug for plug in made if pools[id(plug) >> POOL_BITS] < capacity]
    return kept


def fill_malloc() -> None:
    """Take every free block below the top of the C heap, large ones first, and never give it back."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.sbrk.restype = ctypes.c_void_p
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    end = libc.sbrk(0)  # the heap grows from here on: a block beyond it was in no hole
    size = LARGE
    while size >= 24:
        beyond = []
        for _ in range(MOST):
            block = libc.malloc(size)
            if block is None or block >= end:
                beyond.append(block)
                if len(beyond) > 8:  # the first ones may be what an earlier round has given back
                    break
        for block in beyond:
            libc.free(block)
        size = size * 3 // 4 if size > 1056 else size - 16


def on_huge_pages() -> int:
    """Have the kernel put the heap on pages of 2 MiB, as far as it lies in whole ones; returns how many it did.

    A fork copies one entry for each instead of 512 *(measured: a fork of a zygote with 30 MiB costs a quarter less)*. A
    page that is written to is still copied alone. Where the kernel cannot, nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return 0
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            places = [_heap_at(line) for line in file]
    except OSError:
        return 0
    starts = [at for start, end in places for at in range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE)]
    return sum(libc.madvise(at, HUGE, MADV_COLLAPSE) == 0 for at in starts)


def _heap_at(line: str) -> tuple[int, int]:
    """Where the memory of a line of /proc/self/maps begins and ends, if it is of the heap; (0, 0) for another's."""
    place, mode, _offset, _device, _inode, *name = line.split()
    if mode != "rw-p" or name not in ([], ["[heap]"]):
        return 0, 0
    start, end = place.split("-")
    return int(start, 16), int(end, 16)
