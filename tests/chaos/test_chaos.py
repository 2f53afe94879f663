"""Random processes are killed while two clients and three agents talk; then the log is held against what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from egghead.client import Client
from egghead.client.chat import post
from egghead.client.follow import follow
from egghead.paths import RuntimeDir
from tests.chaos.audit import faults
from tests.e2e.node import Home, Node, serving, workers

AGENT = "---\nclass: agent\ntitle: {title}\ntags: [{tags}]\n---\nYou know about {tags}.\n"
QUESTIONS = [
    "How do I publish to GitHub Pages?",
    "@scout what is a placeholder?",
    "@ranger how do I search with grep from the command line?",
    "@everyone which keyboard shortcuts are there?",
    "Can I embed one note in another?",
    "@jam how do daily notes work?",
]
MESSAGES = 8  # of each client
KILLS = 24
PAUSE = 0.7  # seconds between kills


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_doubled_or_left_open(short_dir: Path, foam: Path, seed: int) -> None:
    """After a bounded number of kills: no acknowledged message lost or doubled, every turn ended once, clients agree."""
    (foam / "agents").mkdir()
    for name, tags in (("scout", "publishing"), ("ranger", "search")):
        (foam / "agents" / f"{name}.md").write_text(AGENT.format(title=name.capitalize(), tags=tags), encoding="utf-8")
    with serving(Home(short_dir / "home"), foam) as node:
        place = RuntimeDir(next((short_dir / "home" / "run" / "egghead").iterdir()))
        info = json.loads(place.node.read_text())
        acknowledged: list[list[str]] = [[], []]
        seen: list[list[dict[str, Any]]] = [[], []]
        async with await Client.connect(place, info) as one, await Client.connect(place, info) as two:
            clients = [one, two]
            watchers = [asyncio.create_task(watch(c, seen[n])) for n, c in enumerate(clients)]
            talkers = [
                asyncio.create_task(talk(c, acknowledged[n], random.Random(seed * 10 + n)))
                for n, c in enumerate(clients)
            ]
            killed = await kill(node, place, random.Random(seed))
            await asyncio.wait_for(asyncio.gather(*talkers), 120)
            wanted = {i for ids in acknowledged for i in ids}
            await asyncio.wait_for(quiet(seen, wanted), 90)
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        log = [json.loads(line) for line in (foam / ".egghead" / "rooms" / "default.jsonl").read_text().splitlines()]
        assert len(killed) == KILLS and all(len(ids) == MESSAGES for ids in acknowledged)
        assert faults(log, acknowledged, seen) == [], f"seed {seed}, killed {killed}"


async def watch(client: Client, seen: list[dict[str, Any]]) -> None:
    async for entry in follow(client.peer, "default", since=0):
        seen.append(entry)


async def talk(client: Client, acknowledged: list[str], choice: random.Random) -> None:
    for _ in range(MESSAGES):
        entry = await post(client, "default", choice.choice(QUESTIONS), "tester", deadline=60.0)
        acknowledged.append(entry["id"])
        await asyncio.sleep(choice.uniform(0.2, 2.0))  # people pause; nothing waits for this


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


async def quiet(seen: list[list[dict[str, Any]]], wanted: set[str]) -> None:
    """Until every client has seen an end of the round of each of the `wanted` messages, and nothing is open."""
    while not all(_settled(entries, wanted) for entries in seen):
        await asyncio.sleep(0.1)  # watching two lists that tasks append to


def _settled(entries: list[dict[str, Any]], wanted: set[str]) -> bool:
    round_of = {e["message"]: e["round"] for e in entries if e["kind"] == "round_planned"}
    ended = {e["round"] for e in entries if e["kind"] == "round_ended"}
    return all(round_of.get(i) in ended for i in wanted) and set(round_of.values()) <= ended
