"""Agents, tools and roster on a real bus with a real room, in the loop of the test.

The test plays what is not under test: the supervisor (over a real control channel), the coordinator, the store (over
real notes), the lobby and the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from egghead.agents.record import AgentSpec
from egghead.processes import agent as agent_process
from egghead.processes import coordinator as coordinator_process
from egghead.processes import room as room_process
from egghead.processes import tools as tools_process
from egghead.processes.common import Service, _close, _prepare
from egghead.processes.roster import Roster
from egghead.rooms.activation import Policy
from egghead.tools.ports import Refusal
from ipc import Call, Peer, Refused
from ipc.testing import RunningBus, running_bus
from tests.tools.notes import RealNotes

Setup = Callable[[Service], Awaitable[None]]
Request = Callable[[str, dict[str, Any]], Awaitable[Any]]
TURN = "r1.1"


class Context:
    """What the supervisor gives a child, over a real socket pair; `self.root` is the root's end."""

    level = "none"
    supervisor = "test"

    def __init__(self, stage: Stage, name: str) -> None:
        notice = stage.bus.register(name)
        self.name = name
        self.incarnation: int = notice["incarnation"]
        self.handover = {
            "bus": {"directory": stage.bus.directory, "credential": notice["credential"]},
            "settings": {"records_dir": str(stage.root), "config": {}},
            "decisions": str(stage.root / "decisions"),
        }
        (stage.root / "decisions").mkdir(exist_ok=True)
        self.is_ready = asyncio.Event()
        self.root, self._channel = socket.socketpair()
        self.root.setblocking(False)
        self._channel.setblocking(False)
        self._requests = 0
        self.asked: list[tuple[int, str, dict[str, Any]]] = []
        self.wake = asyncio.Event()

    def ready(self, **info: Any) -> None:
        self.is_ready.set()

    def beat(self) -> None:
        pass

    def planned_exit(self, reason: str) -> None:
        raise AssertionError("the service leaves; the test does not exit")

    def fileno(self) -> int:
        return self._channel.fileno()

    def request(self, method: str, **params: Any) -> int:
        self._requests += 1
        self.asked.append((self._requests, method, params))
        self.wake.set()
        return self._requests

    def receive(self) -> list[dict[str, Any]]:
        try:
            data = self._channel.recv(1 << 20)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        return [json.loads(line) for line in data.splitlines()]

    def tell(self, **message: Any) -> None:
        """A message of the root to this process."""
        self.root.send(json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        self.root.close()
        self._channel.close()


class Process:
    """One process under test, as objects in this loop."""

    def __init__(self, stage: Stage, name: str, setup: Setup) -> None:
        self.stage = stage
        self.name = name
        self.context = Context(stage, name)
        self.service = Service(self.context)
        self.preparing = asyncio.create_task(_prepare(self.service, setup))

    async def started(self) -> Process:
        await self.preparing
        return self

    async def stop(self) -> None:
        """Asked to stop, as the root does; returns when it has ended."""
        self.service.control.stop.set()
        await _close(self.service, self.preparing)
        self.service.control.close()
        self.context.close()
        self.stage.bus.down(self.name, planned=True)

    async def die(self) -> None:
        """What SIGKILL does: nothing of it runs any more, nothing was finished."""
        self.stage.bus.down(self.name)  # first: what a task says while it is cancelled is heard by nobody
        self.preparing.cancel()
        for task in list(self.service._tasks):
            task.cancel()
        await asyncio.gather(self.preparing, *self.service._tasks, return_exceptions=True)
        await self.service.peer.close()
        self.service.control.close()
        self.context.close()

    @property
    def failure(self) -> BaseException | None:
        """The error that would have ended the process."""
        failure = self.service._failure
        return failure.result() if failure.done() else None


class Model:
    """A model as a local function: gets the request, gives events; counts what it is asked and what is open."""

    def __init__(self) -> None:
        self.replies: list[Callable[[dict[str, Any]], AsyncGenerator[dict[str, Any], None]]] = []
        self.requests: list[dict[str, Any]] = []
        self.always: Callable[[dict[str, Any]], AsyncGenerator[dict[str, Any], None]] | None = None
        self.open = 0

    def says(self, *events: Mapping[str, Any] | Awaitable[Any]) -> None:
        """The next reply."""

        async def reply(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
            for event in events:
                if isinstance(event, Mapping):
                    yield dict(event)
                else:
                    await event

        self.replies.append(reply)

    async def complete(self, call: Call, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.requests.append(request)
        if not self.replies and self.always is None:
            raise Refused("ProviderMissing", "No model is configured: run `egghead llm add`.")
        self.open += 1
        try:
            reply = self.replies.pop(0) if self.replies else self.always
            assert reply is not None
            async for event in reply(request):
                yield event
        finally:
            self.open -= 1


class Stage:
    """The bus, the notes, one room and whatever a test starts."""

    def __init__(self, bus: RunningBus, root: Path) -> None:
        self.bus = bus
        self.root = root / "notes"
        self.root.mkdir()
        self.notes = RealNotes(self.root)
        self.model = Model()
        self.processes: dict[str, Process] = {}
        self.peers: dict[str, Peer] = {}
        self.live = ["default"]

    async def begin(self) -> None:
        self.peers["store"] = await self.bus.peer(
            "store",
            {method: self._asking("store", method) for method in ("get", "agents", "create", "update", "trash")},
        )
        index = ("search", "list", "recent", "links", "backlinks", "resolve", "paths")
        self.peers["index"] = await self.bus.peer("index", {method: self._asking("index", method) for method in index})
        self.peers["lobby"] = await self.bus.peer("lobby", {"list": self._list})
        self.peers["llm"] = await self.bus.peer("llm", {"complete": self.model.complete})
        self.peers["coordinator"] = await self.bus.peer("coordinator", {"turns": self._turns})
        self.peers["ada"] = await self.bus.client("ada")
        await self.room("default")
        await self.start("tools", tools_process.setup)

    async def _turns(self, call: Call) -> list[str]:
        """The coordinator's answer to an agent that has lost events: here, every room."""
        return self.live

    async def coordinate(self, policy: Policy) -> Process:
        """A real coordinator in place of the one that the test plays."""
        await self.peers.pop("coordinator").close()
        return await self.start("coordinator", lambda service: coordinator_process._setup(service, policy))

    async def exits_as_planned(self, agent: str = "scout") -> None:
        """Wait until an agent leaves of its own will, and see it out."""
        await self.processes[f"agents/{agent}"].service._left
        await self.stop(f"agents/{agent}")

    async def room(self, room: str) -> Process:
        """Open a room; its file is there still when it was open before."""
        return await self.start(f"rooms/{room}", lambda service: room_process._setup(service, room))

    async def room_dies(self, room: str) -> None:
        """Kill a room; the kernel would close its log and let the lock go, so that is done here."""
        process = self.processes.pop(f"rooms/{room}")
        log = _log_of(process)
        assert log is not None
        await process.die()
        os.close(log)

    def _asking(self, target: str, method: str) -> Callable[..., Awaitable[Any]]:
        async def answer(call: Call, **params: Any) -> Any:
            if method == "agents":
                rows = self.notes.notes.index.list("agent", None, None, "id", None)
                return [self.notes.notes.get(row["id"]).to_dict() for row in rows]
            try:
                return await self.notes.ask(target, method, **params)
            except Refusal as refusal:
                raise Refused(refusal.type, refusal.message, **(refusal.data or {})) from None

        return answer

    async def _list(self, call: Call) -> list[dict[str, Any]]:
        return [{"room": room, "last": 0} for room in self.live]

    async def start(self, name: str, setup: Setup) -> Process:
        process = self.processes[name] = Process(self, name, setup)
        return await process.started()

    async def agent(self, id: str = "scout", grace: float = 5.0, **changes: Any) -> Process:
        """Start an agent process."""
        spec = AgentSpec(id=id, record=f"agents/{id}", title=id.title(), **changes)
        return await self.start(
            f"agents/{id}", lambda service: agent_process.AgentProcess(service, spec, grace).setup()
        )

    async def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        log = _log_of(process)
        await process.stop()
        if log is not None:
            os.close(log)

    async def die(self, name: str) -> None:
        await self.processes.pop(name).die()

    async def changed(self, id: str, kind: str = "updated", cls: str = "agent", previous: str | None = "agent") -> None:
        """What the store publishes after a change of a file."""
        change = {"id": id, "path": f"{id}.md", "kind": kind, "class": cls, "previous_class": previous, "revision": ""}
        await self.peers["store"].publish("records/changed/", change)

    async def append(self, who: str, *entries: dict[str, Any], room: str = "default") -> None:
        await self.peers[who].call(f"rooms/{room}", "append", entries=list(entries))

    async def say(self, text: str, room: str = "default") -> None:
        await self.append("ada", {"kind": "message", "author": "ada", "text": text}, room=room)

    async def give(self, agent: str = "scout", turn: str = TURN, attempt: int = 1, room: str = "default") -> None:
        """A turn for an agent's present life, as the coordinator gives it."""
        incarnation = self.processes[f"agents/{agent}"].context.incarnation
        fields = {"turn": turn, "round": turn.rpartition(".")[0], "agent": agent, "attempt": attempt}
        entry = {"kind": "turn_started", **fields, "incarnation": incarnation, "mode": "open"}
        await self.append("coordinator", entry, room=room)

    async def log(self, room: str = "default", reader: str = "ada") -> list[dict[str, Any]]:
        page = await self.peers[reader].call(f"rooms/{room}", "since", seq=0, limit=500)
        entries: list[dict[str, Any]] = page["entries"]
        return entries

    async def append_joined(self, agent: str = "scout", room: str = "default") -> None:
        """The agent comes into the room, as a roster would tell."""
        roster = await self.bus.peer("roster")
        entry = {"kind": "joined", "agent": agent, "title": agent.title()}
        await roster.call(f"rooms/{room}", "append", entries=[entry])
        await roster.close()

    async def until_note_written(self) -> None:
        """Wait until the record of a handoff stands."""
        await until_true(lambda: self.notes.notes.index.list("deliberation", None, None, "id", None))

    async def until(self, kind: str, room: str = "default", after: int = 0, **fields: Any) -> dict[str, Any]:
        """The first entry of a kind with these fields behind the entry `after`, now or when it comes."""
        subscription = await self.peers["ada"].subscribe(f"log/{room}/")
        try:
            for entry in await self.log(room):
                if entry["seq"] > after and _fits(entry, kind, fields):
                    return entry
            async for event in subscription:
                if event.data is not None and event.data["seq"] > after and _fits(event.data, kind, fields):
                    found: dict[str, Any] = event.data
                    return found
        finally:
            subscription.close()
        raise AssertionError("the room is gone")

    async def kinds(self, turn: str = TURN) -> list[str]:
        """What a turn has in the log, by its agent and the tools."""
        return [e["kind"] for e in await self.log() if e.get("turn") == turn and not e["kind"].startswith("turn_")]


async def until_true(condition: Callable[[], Any]) -> None:
    """Wait for a change inside a process of this loop, or of the fake model: neither tells anybody."""
    while not condition():
        await asyncio.sleep(0.01)  # nothing to wait on: what changes is a plain value


def _log_of(process: Process) -> int | None:
    """The descriptor of a room's log: a process that ends closes it, an object in this loop does not."""
    append = process.service.peer._server._methods.get("append")
    return None if append is None else int(append.__self__.keeper.log._fd)


def _fits(entry: Mapping[str, Any], kind: str, fields: Mapping[str, Any]) -> bool:
    return entry["kind"] == kind and all(entry.get(key) == value for key, value in fields.items())


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(tool: str, **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "x", "name": tool, "input": input}


def stop(reason: str = "end_turn") -> dict[str, Any]:
    return {"type": "stop", "reason": reason, "usage": {"input": 7, "output": 3, "cached_read": 0, "cached_write": 0}}


class Root:
    """The supervisor `agents`, played for a roster: starts and stops real agent processes, tells ups and downs."""

    def __init__(self, stage: Stage, grace: float = 5.0) -> None:
        self.stage = stage
        self.grace = grace
        self.context: Context | None = None
        self.states: dict[str, str] = {}
        self.started: list[str] = []
        self.refuse: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def roster(self) -> Process:
        """Start a roster under this root."""
        process = Process(self.stage, "roster", lambda service: Roster(service).setup())
        self.stage.processes["roster"] = process
        self.context = process.context
        self.context.tell(snapshot=[])
        self.spawn(self._serve(process.context))
        return await process.started()

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, context: Context) -> None:
        done = 0
        while True:
            await context.wake.wait()
            context.wake.clear()
            while done < len(context.asked):
                self.spawn(self._answer(context, *context.asked[done]))
                done += 1

    async def _answer(self, context: Context, number: int, method: str, params: dict[str, Any]) -> None:
        try:
            await self._do(context, number, method, params)
        except Exception as error:  # a root that does not answer would hang the test; this says why
            context.tell(answer=number, error="error", detail=f"{type(error).__name__}: {error}")
            raise

    async def _do(self, context: Context, number: int, method: str, params: dict[str, Any]) -> None:
        assert params["supervisor"] == "agents"
        id = params["spec"]["id"] if "spec" in params else params.get("id", "")
        if method == "which_children":
            context.tell(answer=number, result=[[one, state] for one, state in self.states.items()])
        elif method == "start_child" and (id in self.states or id in self.refuse):
            code = "already_started" if id in self.states else "error"
            context.tell(answer=number, error=code, detail=f"{id} does not start")
        elif method == "start_child":
            await self.start(AgentSpec.from_dict(params["spec"]["args"]["agent"]))
            context.tell(answer=number, result=None)
        elif id not in self.states:
            context.tell(answer=number, error="not_found", detail=id)
        else:
            if self.states.pop(id) == "running":
                process = self.stage.processes[f"agents/{id}"]
                await self.stage.stop(f"agents/{id}")
                context.tell(
                    down=f"agents/{id}", incarnation=process.context.incarnation, reason="stopped", planned=False
                )
            context.tell(answer=number, result=None)

    async def start(self, spec: AgentSpec) -> None:
        """A child, as the supervisor starts or restarts it."""
        self.states[spec.id] = "running"
        self.started.append(spec.id)
        process = await self.stage.start(
            f"agents/{spec.id}", lambda service: agent_process.AgentProcess(service, spec, self.grace).setup()
        )
        assert self.context is not None
        self.context.tell(up=f"agents/{spec.id}", incarnation=process.context.incarnation)

    async def crash(self, id: str, state: str) -> None:
        """A child dies by itself; `state` is what the supervisor makes of it."""
        process = self.stage.processes[f"agents/{id}"]
        await self.stage.die(f"agents/{id}")
        self.states[id] = state
        assert self.context is not None
        self.context.tell(
            down=f"agents/{id}", incarnation=process.context.incarnation, reason="signal 9", planned=False
        )


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage with store, index, lobby, model, room and tools."""
    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as directory:
        async with running_bus(str(Path(directory) / "bus")) as bus:
            found = Stage(bus, Path(directory))
            try:
                await found.begin()
                yield found
            finally:
                for name in list(found.processes)[::-1]:
                    await found.stop(name)
                found.notes.close()


async def first(*work: Awaitable[Any]) -> None:
    """Wait for the first of several; the others are cancelled."""
    tasks: Sequence[asyncio.Future[Any]] = [asyncio.ensure_future(one) for one in work]
    _, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
