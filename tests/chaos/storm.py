"""A storm over a real node: people and agents talk, notes are edited, and at random something dies, hangs, fills or is slow.

Seeded and bounded. Afterwards the guarantees at the end of spec/rooms.md are checked from the logs on disk, the people's own
accounts, the transcripts and the notes that agents made. `scripts/chaos` runs it; a short storm is part of the suite.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.audit import effects, faults, folds, transcript
from tests.chaos.people import WORDS, Person
from tests.e2e.cast import agent_note, client_of
from tests.e2e.node import Home, Node
from tests.llm.double import PASS, Asked, Break, Double, Error, Reply, Status, Use

DISK = "64m"
CALM = 120.0  # seconds after the last fault in which everything must have come to an end


@dataclass(frozen=True)
class Plan:
    seed: int = 1
    seconds: float = 60.0
    people: int = 4
    agents: int = 5
    rooms: int = 3
    pace: float = 2.0  # seconds between two faults, and between two messages of a person


class Storm:
    """The node, its people, and what is done to them."""

    def __init__(self, base: Path, plan: Plan, double: Double) -> None:
        self.plan = plan
        self.double = double
        self.chance = random.Random(plan.seed)
        self.records = base / "notes"
        self.home = Home(base / "home")
        self.home.configure(double.config())
        self.rooms = ["default", *(f"r{n}" for n in range(1, plan.rooms))]
        self.agents = [f"a{n}" for n in range(plan.agents)]
        for agent in self.agents:
            self._note(agent, 0)
        self.slow = _slow_disk(base, self.home)
        self.full = os.path.ismount(self.records)
        self.node = Node(self.home, self.records)
        self.done: Counter[str] = Counter()
        self.told: list[str] = []

    def _note(self, agent: str, edition: int) -> None:
        word = WORDS[int(agent[1:]) % len(WORDS)]
        capabilities = ["records.read", "records.create"]
        body = f"You know about {word}. Edition {edition}."
        agent_note(self.records, agent, "anthropic/double", body, tags=[word], capabilities=capabilities)

    # -- faults: each returns what it did, None when it could not

    def kill(self) -> str | None:
        """kill -9 of any process of the tree."""
        return self._signal(signal.SIGKILL)

    async def hang(self) -> str | None:
        """SIGSTOP of any process of the tree, for up to three seconds."""
        name = self._signal(signal.SIGSTOP)
        if name is not None:
            await asyncio.sleep(self.chance.uniform(0.2, 3.0))  # the length of the fault
            with contextlib.suppress(OSError):
                os.kill(int(name.rpartition(" ")[2]), signal.SIGCONT)
        return name

    def _signal(self, number: int) -> str | None:
        """To a random process; its name and pid."""
        try:
            running = [p for p in self.node.processes().values() if p["state"] == "running" and p["pid"]]
            victim = self.chance.choice(sorted(running, key=lambda process: str(process["name"])))
            os.kill(victim["pid"], number)
        except (ValueError, IndexError, OSError):
            return None
        return f"{victim['name']} {victim['pid']}"

    async def end_node(self) -> str | None:
        """kill -9 of the root: everything is gone; then it is started again."""
        self.node.process.kill()
        await asyncio.to_thread(self.node.process.wait)
        self._start()
        return "node"

    def _start(self) -> None:
        assert self.node.process.stdout is not None
        self.node.process.stdout.close()
        self.told.append(self.node.stderr())
        self.node.errors.close()
        self.node = Node(self.home, self.records)

    async def fill_disk(self) -> str | None:
        """The disk is full for two seconds."""
        if not self.full:
            return None
        path = self.records / ".filler"
        await asyncio.to_thread(_fill, path)
        await asyncio.sleep(2.0)  # the length of the fault
        path.unlink()
        return "full"

    async def slow_disk(self) -> str | None:
        """Each fsync takes up to half a second longer, for three seconds."""
        late = self.chance.randint(50, 500)
        self.slow(late)
        await asyncio.sleep(3.0)  # the length of the fault
        self.slow(0)
        return f"{late} ms"

    def edit_agent(self) -> str | None:
        """Somebody saves an agent's note."""
        agent = self.chance.choice(self.agents)
        self._note(agent, self.chance.randint(1, 10**6))
        return agent

    async def trash_agent(self) -> str | None:
        """An agent's note goes, and comes back a second later."""
        agent = self.chance.choice(self.agents)
        (self.records / "agents" / f"{agent}.md").unlink(missing_ok=True)
        await asyncio.sleep(1.0)  # the length of the fault
        self._note(agent, 0)
        return agent

    def burst(self) -> str | None:
        """A hundred notes change at once, as by `git checkout`."""
        folder = self.records / "burst"
        folder.mkdir(exist_ok=True)
        for number in range(100):
            (folder / f"n{number}.md").write_text(f"# Note {number}\n\n{self.chance.random()}\n", encoding="utf-8")
        return "100 notes"

    # -- the whole

    async def blow(self) -> list[Person]:
        """People talk while faults come; returns the people when all has come to rest."""
        runtime = self.home.path / "run"
        people = [
            Person(f"p{n}", runtime, self.rooms, self.agents, f"{self.plan.seed}/{n}") for n in range(self.plan.people)
        ]
        async with await client_of(self.home) as client:
            for room in self.rooms:
                await client.call("lobby", "open", room=room)
        stop = asyncio.Event()
        living = [asyncio.create_task(person.live(stop, self.plan.pace)) for person in people]
        end = time.monotonic() + self.plan.seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.uniform(0.2, 1.8) * self.plan.pace)  # the rate of faults
            await self._fault()
            if self.node.process.poll() is not None:
                self.done["node gave up"] += 1
                self._start()
        stop.set()
        await asyncio.wait_for(asyncio.gather(*living), CALM)
        return people

    async def _fault(self) -> None:
        fault = self.chance.choices(list(FAULTS), weights=list(FAULTS.values()))[0]
        found = fault(self)
        what = await found if isinstance(found, Awaitable) else found
        if what is not None:
            self.done[fault.__name__.replace("_", " ")] += 1

    async def save_all(self) -> None:
        """Write every room's transcript."""
        async with await client_of(self.home) as client:
            for room in self.rooms:
                await client.call("lobby", "save", room=room, timeout=60)

    def log(self, room: str) -> list[dict[str, Any]]:
        path = self.records / ".egghead" / "rooms" / f"{room}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


Fault = Callable[[Storm], Any]
FAULTS: dict[Fault, int] = {
    Storm.kill: 40,
    Storm.hang: 12,
    Storm.edit_agent: 12,
    Storm.slow_disk: 8,
    Storm.trash_agent: 5,
    Storm.burst: 5,
    Storm.fill_disk: 4,
    Storm.end_node: 3,
}


def script(seed: int) -> Callable[[Asked], Reply]:
    """What the agents' model says: text, passes, peers, notes that must be made once, and bad days."""
    chance = random.Random(f"model {seed}")

    def reply(asked: Asked) -> Reply:
        if asked.results:
            return "Noted."
        return chance.choices(
            [
                f"About that I know number {asked.number}.",
                PASS,
                f"@a{chance.randrange(9)} knows more.",
                [Use("create_record", {"title": f"Effect {asked.number}", "body": "once"})],
                [Use("search_records", {"query": chance.choice(WORDS)})],
                [Status(529)],
                ["Half a", Break()],
                ["Half a", Error()],
            ],
            weights=[40, 8, 8, 20, 10, 4, 3, 3],
        )[0]

    return reply


# ---- what must be so afterwards ------------------------------------------------------------------------------------


def broken(storm: Storm, people: list[Person]) -> list[str]:
    """Every guarantee that was not kept, as a sentence."""
    found: list[str] = []
    logs = {room: storm.log(room) for room in storm.rooms}
    for room, log in logs.items():
        accounts = [person.accounts[room] for person in people]
        seen = [account.seen for account in accounts]
        body = (storm.records / "chat" / f"{room}.md").read_text(encoding="utf-8").partition("\n---\n")[2]
        wrong = [
            *faults(log, [account.acknowledged for account in accounts], seen),
            *folds(room, log, seen),
            *transcript(log, body),
        ]
        found += [f"{room}: {sentence}" for sentence in wrong]
    texts = [path.read_text(encoding="utf-8") for path in storm.records.glob("*.md")]
    made = Counter(title[0] for text in texts if (title := re.search(r"Effect \d+", text)))
    return found + effects(logs, made)


def report(storm: Storm, people: list[Person], wrong: list[str], seconds: float) -> str:
    """The figures, for people."""
    logs = [storm.log(room) for room in storm.rooms]
    entries = [entry for log in logs for entry in log]
    ends = Counter(entry["outcome"] for entry in entries if entry["kind"] == "turn_ended")
    again = sum(entry["kind"] == "turn_started" and entry["attempt"] > 1 for entry in entries)
    acknowledged = sum(len(a.acknowledged) for p in people for a in p.accounts.values())
    words = ("not in the log", " times", "has 0 ends")
    lost, doubled, unfinished = (sum(word in sentence for sentence in wrong) for word in words)
    did = ", ".join(f"{count} x {name}" for name, count in sorted(storm.done.items()))
    return "\n".join(
        [
            f"seed {storm.plan.seed}, {seconds:.0f} s, {len(people)} people, {len(storm.agents)} agents, {len(logs)} rooms",
            f"faults {sum(storm.done.values())}: {did}",
            f"messages {acknowledged} acknowledged; {len(entries)} entries; model asked {len(storm.double.asked)} times",
            f"turns {sum(ends.values())}: "
            + ", ".join(f"{n} {k}" for k, n in sorted(ends.items()))
            + f"; {again} given again",
            f"lost {lost}, doubled {doubled}, unfinished turns {unfinished}, broken guarantees {len(wrong)}",
            *wrong,
        ]
    )


# ---- disks -----------------------------------------------------------------------------------------------------------


def _slow_disk(base: Path, home: Home) -> Callable[[int], None]:
    """A way to make every fsync of the node that many milliseconds slower."""
    library, control = base / "slow_disk.so", base / "slow"
    source = Path(__file__).with_name("slow_disk.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    control.write_bytes(b"\0" * mmap.PAGESIZE)
    with open(control, "r+b") as file:
        shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    value = ctypes.c_int.from_buffer(shared)
    home.env |= {"LD_PRELOAD": str(library), "SLOW_DISK": str(control)}

    def slow(milliseconds: int) -> None:
        value.value = milliseconds

    return slow


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=Plan.seconds, help="of faults (default: %(default)g; at most 600)"
    )
    parser.add_argument("--people", type=int, default=Plan.people)
    parser.add_argument("--agents", type=int, default=Plan.agents)
    parser.add_argument("--rooms", type=int, default=Plan.rooms)
    parser.add_argument("--pace", type=float, default=Plan.pace, help="seconds between faults (default: %(default)g)")
    parser.add_argument("--keep", action="store_true", help="keep the records, and say where")
    given = vars(parser.parse_args())
    keep = given.pop("keep")
    given["seconds"] = min(given["seconds"], 600.0)
    base = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
    records = base / "notes"
    records.mkdir()
    began = time.monotonic()
    # A disk of our own that can be full, when we are in a mount namespace of our own (scripts/chaos sees to that).
    mounted = os.environ.get("EGGHEAD_CHAOS_DISK") == "own" and not keep
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "chaos", records], check=True)
    else:
        print("no disk that can be full: it needs root and a mount namespace, and --keep has none", file=sys.stderr)
    try:
        plan = Plan(**given)
        with Double(script(plan.seed)) as double:
            storm = Storm(base, plan, double)
            try:
                people = asyncio.run(storm.blow())
                asyncio.run(storm.save_all())
            finally:
                storm.slow(0)
                if storm.node.process.poll() is None:
                    storm.node.stop(60)
            wrong = [*broken(storm, people), *(f"the model double: {fault}" for fault in double.faults)]
            wrong += [f"verify: {line}" for line in _verify(storm)]
        print(report(storm, people, wrong, time.monotonic() - began))
        return 1 if wrong else 0
    finally:
        if mounted:
            subprocess.run(["umount", "-l", records], check=False)
        if keep:
            print(f"kept: {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)


def _verify(storm: Storm) -> list[str]:
    done = storm.home.run("--records", str(storm.records), "records", "verify")
    return [] if done.returncode == 0 else [f"{done.stdout.strip()} {done.stderr.strip()}"]


if __name__ == "__main__":
    sys.exit(main())
