"""A real node whose agents talk to the model double: agents' notes, configuration, and people who speak."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from egghead.client import Client
from egghead.client.chat import converse, post
from egghead.paths import RuntimeDir
from tests.e2e.disks import entering, inside
from tests.e2e.node import Home, Node, serving, until
from tests.llm.double import Double


def agent_note(records: Path, agent: str, model: str, body: str = "", **keys: Any) -> Path:
    """Writes `agents/<agent>.md`; `keys` are further frontmatter, by default the right to read and make notes."""
    keys = {"capabilities": ["records.read", "records.create", "records.update"], **keys}
    lines = [f"{key}: {json.dumps(value)}" for key, value in {"class": "agent", "model": model, **keys}.items()]
    path = records / "agents" / f"{agent}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["---", *lines, "---", body or f"You are {agent}, made for a test.", ""]))
    return path


async def client_of(home: Home) -> Client:
    """A client of the one node that runs in this home."""
    place = RuntimeDir(next((home.path / "run" / "egghead").iterdir()))
    return await Client.connect(place, json.loads(place.node.read_text()))


@dataclass(frozen=True)
class Play:
    """A running node, its double, and what can be done on it from a test that is not a coroutine."""

    home: Home
    node: Node
    records: Path
    double: Double

    async def connect(self) -> Client:
        """A client of this node, for tests that want one of their own."""
        return await client_of(self.home)

    def say(self, text: str, room: str = "default", author: str = "ada", timeout: float = 60.0) -> list[dict[str, Any]]:
        """Posts a message and gives the entries from it to the end of its round."""

        async def said() -> list[dict[str, Any]]:
            async with await self.connect() as client:
                async with contextlib.aclosing(converse(client, room, text, author, timeout=timeout)) as happenings:
                    return [said.entry async for said in happenings if said.entry is not None]

        return asyncio.run(said())

    def log(self, room: str = "default") -> list[dict[str, Any]]:
        """What is on disk of a room."""
        path = self.records / ".egghead" / "rooms" / f"{room}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def present(self, *agents: str, timeout: float = 30.0) -> None:
        """Waits until these agents are in the room `default`."""

        def all_there() -> bool:
            there = {e["agent"] for e in self.log() if e["kind"] in ("joined", "reloaded")}
            return there >= set(agents)

        until(f"{agents} present", all_there, timeout)


@contextlib.contextmanager
def cast(
    base: Path,
    double: Double,
    agents: Mapping[str, str],
    *arguments: str,
    config: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    wrap: Sequence[str] = (),
) -> Iterator[Play]:
    """A node in a new home below `base`, with these agents (id → model) over otherwise empty records, all present.
    `config` is added to the double's own, `env` to the environment; `arguments` go to `egghead serve`, which
    `wrap` may run in a world of its own (`disks`)."""
    home, records = Home(base / "home"), base / "notes"
    home.env |= env or {}
    records.mkdir(exist_ok=True)
    for agent, model in agents.items():
        if not (records / "agents" / f"{agent}.md").exists():  # the test may have written its own
            agent_note(records, agent, model)
    home.configure({**double.config(), **(config or {})})
    with serving(home, records, *arguments, wrap=wrap) as node:
        if wrap:
            home.within, records = entering(node), inside(node, records)
        play = Play(home, node, records, double)
        play.present(*agents)
        yield play


def halted(play: Play, agent: str, ready: Callable[[], object] | str) -> tuple[float, dict[str, Any]]:
    """Halts a turn once it is `ready`, or once that word of it is heard: milliseconds from the halt to the end of the
    turn, both by the log, and that end."""

    async def people() -> int:
        async with await play.connect() as client:
            heard = await client.peer.subscribe("text/default/")
            entry = await post(client, "default", f"@{agent} go", "ada", deadline=20)
            if callable(ready):
                await asyncio.to_thread(ready)
            else:
                async with asyncio.timeout(20):
                    while ready not in str((await anext(heard)).data):
                        pass
            await client.call("rooms/default", "append", entries=[{"kind": "halted", "author": "ada"}])
            return int(entry["seq"])

    since = asyncio.run(people())

    def over() -> tuple[dict[str, Any], dict[str, Any]] | None:
        log = [e for e in play.log() if e["seq"] > since]
        ends = [e for e in log if e["kind"] == "turn_ended" and e["agent"] == agent]
        return (next(e for e in log if e["kind"] == "halted"), ends[0]) if ends else None

    halt, end = until("the turn ended", over)
    times = [datetime.fromisoformat(entry["at"]) for entry in (halt, end)]
    return (times[1] - times[0]).total_seconds() * 1000, end
