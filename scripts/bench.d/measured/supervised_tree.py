"""The tree that the supervisor benchmark measures, run as a process of its own: `-m supervised_tree CHILDREN CONFINED KILLS`.

Prints one JSON object of figures: times in ms, memory in MiB.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any


def idle(context: Any) -> None:
    """The measured child: an asyncio process that waits to be stopped."""
    import asyncio

    from supervisor.aio import AsyncControl

    async def main() -> None:
        control = AsyncControl(context)
        context.ready()
        await control.stop.wait()

    asyncio.run(main())


def _run_tree(children: int, confined: bool, kills: int) -> dict[str, float]:
    from supervisor import policy
    from supervisor.root import Root
    from supervisor.spec import ChildSpec, Profile, SupervisorSpec, Tree

    times: list[float] = []
    figures: dict[str, float] = {}

    class Measured(Root):
        killed = ""
        at = 0.0
        boot = 0.0

        def post(self, event: policy.Event) -> None:
            super().post(event)
            if isinstance(event, policy.Boot):
                self.boot = time.perf_counter()
            elif isinstance(event, policy.Ready) and event.path == self.killed:
                times.append(time.perf_counter() - self.at)
                self.timers.add(time.monotonic() + 0.005, self.next)

        def next(self) -> None:
            if len(times) >= kills:
                self.timers.add(time.monotonic() + 0.5, self.finish)
                return
            process = next(iter(self.children.by_path.values()))
            self.killed, self.at = process.action.path, time.perf_counter()
            os.kill(process.pid, signal.SIGKILL)

        def finish(self) -> None:
            sizes = [_memory(process.pid) for process in list(self.children.processes.values())[:20]]
            figures["private"] = statistics.median(size[0] for size in sizes)
            figures["pss"] = statistics.median(size[1] for size in sizes)
            figures["root_rss"] = _rss(os.getpid())
            self.stop("measured")
            self.stop("measured")

    profile = Profile() if confined else None
    specs = tuple(
        ChildSpec(f"c{number}", "supervised_tree:idle", confine=profile, heartbeat=None) for number in range(children)
    )
    tree = Tree(
        SupervisorSpec("bench", intensity=100000, period=1, children=specs), preload=("asyncio", "supervisor.aio")
    )
    root = Measured(tree)

    def ready(_: dict[str, Any]) -> None:
        figures["all_ready"] = (time.perf_counter() - root.boot) * 1000
        root.timers.add(time.monotonic() + 0.2, root.next)

    root.on_ready = ready
    root.run()
    if times:
        times.sort()
        figures["kill_p50"] = statistics.median(times) * 1000
        figures["kill_p99"] = times[min(len(times) - 1, int(len(times) * 0.99))] * 1000
    return figures


def _memory(pid: int) -> tuple[float, float]:
    """(private, PSS) of a process in MiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) / 1024
    return fields["Private_Clean"] + fields["Private_Dirty"], fields["Pss"]


def _rss(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    print(json.dumps(_run_tree(int(sys.argv[1]), sys.argv[2] == "1", int(sys.argv[3]))))
