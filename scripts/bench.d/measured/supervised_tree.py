"""Our supervisor as it is measured: a real root and a real zygote, told by commands what to do.

`-m supervised_tree PLAN`; PLAN is JSON: {children, kind: "static" | "dynamic", confined, spares, heartbeat}. Times are from the
kill (or from when the policy is told to boot) until the root has handled READY.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import sys
import time
from collections.abc import Generator
from typing import Any

import stand

from supervisor import policy
from supervisor.process import Process
from supervisor.root import Root
from supervisor.spec import ChildSpec, Profile, SupervisorSpec, Tree

READY, LINE = "ready", "line"
Script = Generator[float | str, Any, dict[str, Any]]  # yields seconds to sleep, or the kind of event to wait for


class Measured(Root):
    """A root that also reads commands. Nothing of what is measured is changed: it only looks on."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(_tree(plan), on_line=lambda _name, line: self._resume(LINE, line))
        self.plan = plan
        self.random = random.Random(7)
        self._script: Script | None = None
        self._waiting_for: float | str = ""
        self._commands = bytearray()
        self.selector.register(0, selectors.EVENT_READ, self._on_command)

    # ---- commands ------------------------------------------------------------------------------------------------

    def _on_command(self, _mask: int) -> None:
        data = os.read(0, 1 << 16)
        self._commands += data
        if not data:
            self.selector.unregister(0)
            self._stop()
        while (end := self._commands.find(b"\n")) >= 0:
            command = json.loads(self._commands[:end])
            del self._commands[: end + 1]
            name = command.pop("do")
            if name == "stop":
                self._stop()
            else:
                self._script = getattr(self, f"_do_{name}")(**command)
                self._advance(None)

    def _stop(self) -> None:
        self.stop("measured")
        self.stop("measured")  # at once

    def _advance(self, value: Any) -> None:
        script = self._script
        if script is None:
            return
        try:
            self._waiting_for = script.send(value)
        except StopIteration as end:
            self._script, self._waiting_for = None, ""
            stand.say(end.value)
            return
        if isinstance(self._waiting_for, float):
            self.timers.add(time.monotonic() + self._waiting_for, lambda: self._advance(None))

    def _resume(self, kind: str, value: Any) -> None:
        if self._waiting_for == kind:
            self._advance(value)

    def post(self, event: policy.Event) -> None:
        if isinstance(event, policy.Boot):  # the zygote serves; children are made when we are told to
            pids = {"root": os.getpid(), "zygote": self.launching.launcher.pid if self.launching.launcher else 0}
            stand.say({"level": self.level, "pids": pids})
            return
        super().post(event)
        if isinstance(event, policy.Ready):
            self._resume(READY, event)

    # ---- what can be asked -----------------------------------------------------------------------------------------

    def _do_start(self, how: str) -> Script:
        children = self.plan["children"]
        began = time.perf_counter()
        super().post(policy.Boot())
        if self.plan["kind"] == "dynamic":
            for number in range(children):
                super().post(policy.Request(-1 - number, "start_child", "pool", f"c{number}"))
        for _ in range(children):
            yield READY
        return {"ms": _since(began)}

    def _do_kill(self, times: int) -> Script:
        took = []
        for _ in range(times):
            while not self._spares_full():
                yield stand.PAUSE
            victim = self.random.choice(self._up())
            began = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            while (yield READY).path != victim.action.path:
                pass
            took.append(_since(began))
            yield stand.PAUSE
        return {"ms": took}

    def _do_burst(self, count: int, how: str) -> Script:
        victims = self.random.sample(self._up(), count)
        began = time.perf_counter()
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        for _ in victims:
            yield READY
        return {"ms": _since(began)}

    def _do_memory(self, count: int) -> Script:
        yield 0.0
        pids = [process.pid for process in self._up()[:count]]
        sizes = {"child": stand.memory(pids), "root_rss": stand.rss(os.getpid())}
        launcher = self.launching.launcher
        return sizes | {"zygote_rss": stand.rss(launcher.pid) if launcher else 0.0}

    def _do_messages(self, count: int, requests: int) -> Script:
        some = self._up()[:count]
        for process in some:
            self.children.tell(process.name, {"notice": {"requests": requests}})
            while (yield LINE) != "done":
                pass
        return {"child": stand.memory(process.pid for process in some)}

    def _up(self) -> list[Process]:
        return [p for p in self.children.processes.values() if p.ready and not p.dead]

    def _spares_full(self) -> bool:
        spares = self.spares.spares.values()
        return sum(spare.handle is not None for spare in spares) == int(self.plan["spares"])


def _tree(plan: dict[str, Any]) -> Tree:
    heartbeat = plan["heartbeat"]
    child = ChildSpec(
        "",
        "idle:supervised",
        args={"beat": heartbeat / 3} if heartbeat else {},
        confine=Profile() if plan["confined"] else None,
        heartbeat=heartbeat,
        control=("pool",),
    )
    if plan["kind"] == "dynamic":
        pool = SupervisorSpec("pool", "dynamic", 1_000_000, 1, template=child, spares=plan["spares"])
    else:
        specs = tuple(child.instance(f"c{number}", {}) for number in range(plan["children"]))
        pool = SupervisorSpec("pool", "one_for_one", 1_000_000, 1, children=specs)
    return Tree(SupervisorSpec("bench", children=(pool,)), preload=("idle",))


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(Measured(json.loads(sys.argv[1])).run())
