"""Random processes are killed while two people and three agents talk; then the log is held against what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from pathlib import Path

import pytest

from egghead.paths import RuntimeDir
from tests.agents.stage import until_true
from tests.chaos.audit import faults
from tests.chaos.people import WORDS, Person
from tests.e2e.node import Home, Node, serving, workers

AGENT = "---\nclass: agent\ntitle: {title}\ntags: [{tags}]\n---\nYou know about {tags}.\n"
AGENTS = ("scout", "ranger")
MESSAGES = 8  # of each person, at least
KILLS = 24
PAUSE = 0.7  # seconds between kills


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_doubled_or_left_open(short_dir: Path, foam: Path, seed: int) -> None:
    """After a bounded number of kills: no acknowledged message lost or doubled, every turn ended once, clients agree."""
    (foam / "agents").mkdir()
    for name, tags in zip(AGENTS, WORDS, strict=False):
        (foam / "agents" / f"{name}.md").write_text(AGENT.format(title=name.capitalize(), tags=tags), encoding="utf-8")
    with serving(Home(short_dir / "home"), foam) as node:
        runtime = short_dir / "home" / "run"
        place = RuntimeDir(next((runtime / "egghead").iterdir()))
        people = [Person(name, runtime, ["default"], AGENTS, f"{seed} {name}") for name in ("ada", "bob")]
        accounts = [person.accounts["default"] for person in people]
        stop = asyncio.Event()
        living = asyncio.gather(*(person.live(stop, pace=1.1) for person in people))
        killed = await kill(node, place, random.Random(seed))
        await asyncio.wait_for(until_true(lambda: all(len(a.acknowledged) >= MESSAGES for a in accounts)), 120)
        stop.set()
        await asyncio.wait_for(living, 90)
        log = [json.loads(line) for line in (foam / ".egghead" / "rooms" / "default.jsonl").read_text().splitlines()]
        assert len(killed) == KILLS
        found = faults(log, [account.acknowledged for account in accounts], [account.seen for account in accounts])
        assert found == [], f"seed {seed}, killed {killed}"


async def kill(node: Node, place: RuntimeDir, choice: random.Random) -> list[str]:
    """SIGKILLs `KILLS` random processes of the tree, at most one every PAUSE seconds; returns their names."""
    killed: list[str] = []
    while len(killed) < KILLS:
        await asyncio.sleep(PAUSE)  # the rate of faults, which is what is being bounded
        assert node.process.poll() is None, node.stderr()[-4000:]
        status = json.loads(place.status.read_text())
        running = [p for p in workers(status["tree"]) if p["state"] == "running" and p["pid"]]
        if running:
            victim = choice.choice(running)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim["pid"], signal.SIGKILL)
                killed.append(victim["name"])
    return killed
