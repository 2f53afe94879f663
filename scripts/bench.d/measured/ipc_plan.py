"""How much `scripts/bench ipc` measures, and how calls are timed. The ends of the calls are in `ipc_ends`.

Each process reads its plan from the environment: $BENCH_IPC, a name of PLANS.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    calls: int = 1500
    paced: int = 400  # calls, one each millisecond
    small: int = 20_000  # chunks of 50 B
    large: int = 2000  # chunks of 50 kB
    events: int = 3000
    latency: int = 200  # events, one each two milliseconds, of which each reader notes how long they took
    casts: int = 30_000
    processes: int = 5  # that share the readers; one for each would measure the scheduler of two cores
    victims: int = 40
    zmq_asyncio: bool = True  # also measured beside it
    readers: tuple[int, ...] = (10, 100)
    flocks: tuple[int, ...] = (100, 1000)  # peers that come back to a killed bus


PLANS = {
    "full": Plan(),
    "quick": Plan(1, 800, 200, 10_000, 1000, 1000, 100, 20_000, 5, 40, True, (10, 100), (100,)),
    "smoke": Plan(1, 100, 20, 200, 20, 20, 5, 5000, 1, 4, False, (10,), ()),
}
PLAN = PLANS[os.environ.get("BENCH_IPC", "full")]


async def drive(call: Any) -> dict[str, float]:
    """Closed loop, paced and concurrent calls of one kind: µs and calls a second."""
    for _ in range(min(200, PLAN.calls)):
        await call()
    result: dict[str, float] = {}
    times = []
    cpu = time.process_time()
    for _ in range(PLAN.calls):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    result |= percentiles("", times)
    result["cpu"] = (time.process_time() - cpu) / PLAN.calls * 1e6
    times = []
    for _ in range(PLAN.paced):
        await asyncio.sleep(0.001)  # the pace: between two calls every process goes to sleep, as in life
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    result |= percentiles("paced ", times)
    for width in (10, 100):

        async def work(n: int) -> None:
            for _ in range(n):
                await call()

        began = time.perf_counter()
        await asyncio.gather(*(work(PLAN.calls * 2 // width) for _ in range(width)))
        result[f"rate {width}"] = PLAN.calls * 2 / (time.perf_counter() - began)
    return result


def percentiles(prefix: str, times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {prefix + "p50": cuts[49] * 1e6, prefix + "p99": cuts[98] * 1e6}
