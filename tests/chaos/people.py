"""People in a storm: each talks in its rooms, follows them, and keeps its own account, over any death of the node.

An account is what the person can prove: the ids of the messages that were acknowledged, in order, and every entry it was
shown. It is held against the logs afterwards (`audit`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egghead.client import Client
from egghead.client.chat import post
from egghead.client.connection import while_running
from egghead.client.follow import AWAY, append_reliably, follow
from egghead.errors import EggheadError
from egghead.paths import RuntimeDir
from egghead.rooms.entries import new_id
from ipc import IpcError

WORDS = ("fern", "moss", "letters", "taxes", "rivers", "bread")
AGAIN = 0.1  # seconds until a node that is not there is looked for again


@dataclass
class Account:
    """What one person knows of one room."""

    acknowledged: list[str] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    unsure: str | None = None  # a message that was sent and not acknowledged yet


class Person:
    """One person at work until `stop` is set; then it waits until its last messages are answered."""

    def __init__(self, name: str, runtime: Path, rooms: Sequence[str], agents: Sequence[str], seed: str) -> None:
        self.name = name
        self.accounts = {room: Account() for room in rooms}
        self.lost = 0  # how often its node went away
        self.deeds: dict[str, int] = {}
        self._runtime = runtime
        self._agents = agents
        self._chance = random.Random(seed)

    async def live(self, stop: asyncio.Event, pace: float) -> None:
        """Talk with about `pace` seconds between two messages."""
        await asyncio.gather(self._talk(stop, pace), *(self._watch(room, stop) for room in self.accounts))

    # -- reading

    async def _watch(self, room: str, stop: asyncio.Event) -> None:
        account = self.accounts[room]

        async def watch(client: Client) -> None:
            async for entry in follow(client.peer, room, since=len(account.seen)):
                account.seen.append(entry)

        watching = asyncio.create_task(self._with_node(watch))
        await stop.wait()
        try:
            while not self._settled(account):
                await asyncio.sleep(AGAIN)  # a list that another task appends to
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    @staticmethod
    def _settled(account: Account) -> bool:
        """Every acknowledged message has had its round, and no round is open."""
        round_of = {e["message"]: e["round"] for e in account.seen if e["kind"] == "round_planned"}
        ended = {e["round"] for e in account.seen if e["kind"] == "round_ended"}
        return account.unsure is None and {*account.acknowledged} <= {*round_of} and {*round_of.values()} <= ended

    # -- talking

    async def _talk(self, stop: asyncio.Event, pace: float) -> None:
        while not stop.is_set():
            room = self._chance.choice(list(self.accounts))
            await self._with_node(self._command(room) if self._chance.random() < 0.12 else self._say(room))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._chance.uniform(0, 2 * pace))

    def _say(self, room: str) -> Callable[[Client], Awaitable[None]]:
        account, text = self.accounts[room], self._text()
        account.unsure = new_id()
        tried = False

        async def say(client: Client) -> None:
            nonlocal tried
            again, tried = tried, True
            assert account.unsure is not None
            await post(client, room, text, self.name, 30.0, account.unsure, again)
            account.acknowledged.append(account.unsure)
            account.unsure = None
            self._count("message")

        return say

    def _command(self, room: str) -> Callable[[Client], Awaitable[None]]:
        agent = {"agent": self._chance.choice(self._agents), "author": self.name}
        about = ("muted", "unmuted", "kicked", "invited", "invited", "handoff_asked")
        commands: list[tuple[str, dict[str, Any]]] = [
            ("halted", {}),
            ("continued", {}),
            ("topic", {"text": "weather"}),
            ("budget_set", {"budget": self._chance.randint(1, 9)}),
            *((kind, agent) for kind in about),
        ]
        kind, fields = self._chance.choice(commands)
        entry = {"id": new_id(), "kind": kind, **fields}

        async def command(client: Client) -> None:
            with contextlib.suppress(*AWAY):  # a command may be given up; a message may not
                await append_reliably(client.peer, room, [entry], 5.0)
                self._count(kind)

        return command

    def _text(self) -> str:
        agent, other = self._chance.choices(self._agents, k=2)
        about = f"what about {self._chance.choice(WORDS)}?"
        return self._chance.choice(
            [
                about,
                about,
                f"@{agent} {about}",
                f"@{agent} and @{other}: {about}",
                f"@everyone {about}",
                f"@jam {about}",
            ]
        )

    def _count(self, deed: str) -> None:
        self.deeds[deed] = self.deeds.get(deed, 0) + 1

    # -- the node

    async def _with_node(self, work: Callable[[Client], Awaitable[None]]) -> None:
        """Do something with whatever node runs; again from the start when it goes away meanwhile."""
        while True:
            try:
                place = RuntimeDir(next((self._runtime / "egghead").iterdir()))
                node = json.loads(place.node.read_text())
                async with while_running(node), await Client.connect(place, node) as client:
                    await work(client)
                    return
            except (EggheadError, IpcError, OSError, ValueError, StopIteration):
                self.lost += 1
            await asyncio.sleep(AGAIN)  # a node that is being started by somebody else
