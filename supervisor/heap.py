"""Filling the holes of the zygote's heap, so that what a child allocates lies together on pages of its own.

Without it each small object of a child lands in another half-used page of the zygote's and copies that page. Only
about where memory lies; called once, before the first fork.
"""

from __future__ import annotations

POOL_BITS = 14  # Objects/obmalloc.c: pools of 16 KiB, each for one size
SMALL = 512  # the largest object that Python's own allocator serves


def fill() -> list[bytes]:
    """Small objects in every pool that already holds something; pools that would be ours alone are given back.

    The result is kept for as long as the process lives.
    """
    kept: list[bytes] = []
    for size in range(48, SMALL + 1, 16):
        capacity = ((1 << POOL_BITS) - 48) // size
        made = [bytes(size - 33) for _ in range(60 * capacity)]
        pools: dict[int, int] = {}
        for plug in made:
            pool = id(plug) >> POOL_BITS
            pools[pool] = pools.get(pool, 0) + 1
        kept += [plug for plug in made if pools[id(plug) >> POOL_BITS] < capacity]
    return kept
