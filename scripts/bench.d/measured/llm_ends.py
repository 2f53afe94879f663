"""The ends that `scripts/bench llm` measures: bus, gateway, agents' ends, a bare httpx client; each role is a process.

`llm_ends.py bus DIRECTORY`, `gateway DIRECTORY PORT`, `agents DIRECTORY COUNT`, `bare PORT`. Commands and answers as in
`stand`. `agents` and `bare` do the same: `first` asks one call after the other for its first token, `run` keeps streams
open and says how late their tokens came, and what CPU the processes used meanwhile. Both read what `token_server` sends.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stand import cpu, memory, say
from token_server import WIDTH

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

CREDENTIAL = "c" * 32
MOST = 1000  # agents that the bus knows
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
AT_ONCE = 50  # streams that begin together where their beginning is not measured: the bus bounds what waits for one
WARM = 0.5  # seconds in which streams run before they are measured
Got = Callable[[Any], None]  # is given each text, or piece of a body, as it comes


class Ask(Protocol):
    """One stream to its end: its number, wire, model, what hears it, and what was said before."""

    def __call__(
        self, number: int, wire: str, model: str, got: Got, before: str = "go on"
    ) -> Coroutine[Any, Any, None]: ...


def agent(number: int) -> str:
    return f"agents/a{number:04d}"


# Roles that serve


def bus(directory: str) -> None:
    from ipc.bus import Bus
    from ipc.rights import ALL

    names = ["llm", *map(agent, range(MOST))]
    registrations = [{"register": n, "incarnation": 1, "credential": CREDENTIAL, "allow": ALL} for n in names]
    Bus(directory + "/bus", registrations=registrations).run(Input(), lambda: say({"ready": True}))


class Input:
    """Our standard input, in place of a supervisor's channel: all it says is that it has ended."""

    def fileno(self) -> int:
        return sys.stdin.fileno()

    def receive(self) -> list[dict[str, Any]]:
        if select.select([self], [], [], 0)[0] and not os.read(self.fileno(), 4096):
            raise EOFError
        return []


async def gateway(directory: str, port: str) -> None:
    """The process `llm` without its supervisor: the same gateway, purse and ledger."""
    from egghead.llm.gateway import Gateway
    from egghead.llm.ledger import Ledger
    from egghead.llm.purse import Purse
    from egghead.llm.registry import Registry
    from ipc import Peer

    url = f"http://127.0.0.1:{port}"
    both = (("anthropic", url), ("openai", f"{url}/v1"))
    config = {"llm": [{"provider": name, "api_key": "k", "base_url": base} for name, base in both]}
    usage = Path(directory, "usage")
    usage.mkdir()
    served = Gateway(Registry.from_config(config, {}), Purse(Ledger(usage)))
    peer = Peer(directory + "/bus", name="llm", credential=CREDENTIAL)
    peer.expose(served.methods())
    await peer.connect()

    async def size() -> Any:
        return {"memory": memory([os.getpid()]), "open": sum(served.running.values())}

    await obey({"size": size})


# Roles that ask


async def agents(directory: str, count: str) -> None:
    """So many peers; streams are dealt out to them in turn. With `turns` a stream is an agent's whole turn, whose words
    are published for the room; the log, which has one entry at its end, is left out."""
    from egghead.agents.ports import BusPorts
    from egghead.agents.record import AgentSpec
    from egghead.agents.session import OpenTurn, Session
    from egghead.agents.turn import Menu, Turn, take_turn
    from ipc import Peer

    peers = [Peer(directory + "/bus", name=agent(n), credential=CREDENTIAL) for n in range(int(count))]
    for peer in peers:
        await peer.connect()

    async def ask(number: int, wire: str, model: str, got: Got, before: str = "go on") -> None:
        message = {"role": "user", "content": [{"type": "text", "text": before}]}
        request = {"model": f"{wire}/{model}", "messages": [message]}
        async with peers[number % len(peers)].stream("llm", "complete", request=request, timeout=600) as events:
            async for event in events:
                if event["type"] == "text":
                    got(event["text"])

    async def turn(number: int, wire: str, model: str, got: Got, before: str = "") -> None:
        class Ports(BusPorts):
            async def append(self, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
                return []

            async def publish(self, text: str, n: int) -> None:
                await super().publish(text, n)
                got(text)

        name, room, stop = agent(number % len(peers)).removeprefix("agents/"), f"r{number}", asyncio.Event()
        ports = Ports(peers[number % len(peers)], stop, name, room, "t")
        spec = AgentSpec(id=name, record=name, title=name, model=f"{wire}/{model}")
        given = OpenTurn("t", "r", 1, 7, "open", 1)
        await take_turn(Turn(spec, Session(name, room), given, Menu(), "", ports), stop)

    await obey(commands(ask) | {f"turn {do}": command for do, command in commands(turn).items()})


async def bare(port: str) -> None:
    """httpx and nothing else: no event is parsed, what was read is kept as it came."""
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600, limits=limits) as client:

        async def ask(number: int, wire: str, model: str, got: Got, before: str = "go on") -> None:
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": before}]}
            async with client.stream("POST", PATHS[wire], json=body) as answer:
                async for piece in answer.aiter_raw():
                    got(piece)

        await obey(commands(ask))


def commands(ask: Ask) -> dict[str, Callable[..., Awaitable[Any]]]:
    async def first(wire: str, count: int) -> Any:
        """Milliseconds from the wish to the first token in hand, call by call."""
        took: list[float] = []
        for number in range(count):
            began, done = time.monotonic(), len(took)

            def got(text: Any, began: float = began, done: int = done) -> None:
                if len(took) == done and moments(text):
                    took.append((time.monotonic() - began) * 1000)

            await ask(number, wire, "r500n3", got)
        assert len(took) == count
        return took

    async def run(wire: str, streams: int, rate: int, seconds: float, pids: Mapping[str, int]) -> Any:
        """Streams at so many tokens a second each: `{rate, pieces, late: {p50, p95, p99} in ms, cpu: {name: cores}}`."""
        running = Running(streams)
        tasks = [asyncio.create_task(ask(n, wire, f"r{rate}", got)) for n, got in enumerate(running.getters())]
        await running.begun(tasks)
        await asyncio.sleep(WARM)
        began, before = time.monotonic(), {name: cpu(pid) for name, pid in pids.items()}
        await asyncio.sleep(seconds)
        ended, after = time.monotonic(), {name: cpu(pid) for name, pid in pids.items()}
        await _leave(tasks)
        used = {name: (after[name] - before[name]) / (ended - began) for name in pids}
        return running.figures(began, ended) | {"cpu": used}

    async def hold(wire: str, streams: int, rate: int, before: int) -> Any:
        """Open streams, after conversations of so many characters, and keep them open until `release`."""
        said = "and " * (before // 4)
        for some in range(0, streams, AT_ONCE):
            running = Running(min(AT_ONCE, streams - some))
            asked = [ask(some + n, wire, f"r{rate}", got, said) for n, got in enumerate(running.getters())]
            begun = [asyncio.create_task(one) for one in asked]
            holding.extend(begun)
            await running.begun(begun)
        return streams

    async def release() -> Any:
        await _leave(holding)
        holding.clear()
        return True

    holding: list[asyncio.Task[None]] = []
    return {"first": first, "run": run, "hold": hold, "release": release}


async def _leave(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()  # none ends by itself: what went wrong is raised here
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Running:
    """What came on each stream, as (moment, text); read only when it is over, so that reading is not measured."""

    def __init__(self, streams: int) -> None:
        self.kept: list[list[tuple[float, Any]]] = [[] for _ in range(streams)]
        self.all = asyncio.Event()
        self._silent = streams

    def getters(self) -> list[Got]:
        """What hears each stream."""
        return [self._getter(kept) for kept in self.kept]

    def _getter(self, kept: list[tuple[float, Any]]) -> Got:
        def got(text: Any) -> None:
            kept.append((time.monotonic(), text))
            if len(kept) == 1:
                self._silent -= 1
                if not self._silent:
                    self.all.set()

        return got

    async def begun(self, tasks: list[asyncio.Task[None]]) -> None:
        """Return when every stream has said something; raises what ended one before."""
        waiting = asyncio.ensure_future(self.all.wait())
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done - {waiting}:
            task.result()
            raise AssertionError("a stream without end has ended")

    def figures(self, began: float, ended: float) -> dict[str, Any]:
        late, pieces = [], 0
        for kept in self.kept:
            sent_last = 0.0
            for at, text in kept:
                sent = moments(text)
                # Nothing lost, nothing doubled, all in order: what is fast and wrong is not measured.
                assert all(a < b for a, b in zip([sent_last, *sent], sent, strict=False)), (sent_last, text)
                sent_last = sent[-1] if sent else sent_last
                if began <= at < ended and sent:
                    pieces += 1
                    late += [at - one for one in sent]
        late.sort()
        figures = {f"p{p}": late[len(late) * p // 100] * 1000 for p in (50, 95, 99)}
        seconds = ended - began
        return {"rate": len(late) / seconds, "pieces": pieces / seconds, "late": figures, "tokens": len(late)}


def moments(text: str | bytes) -> list[float]:
    """When the tokens in a piece were sent, in seconds."""
    if isinstance(text, str):
        return [int(text[at : at + WIDTH]) / 1e6 for at in range(0, len(text), WIDTH)]
    return [int(part[:16]) / 1e6 for part in text.split(b'"')[1:] if len(part) == WIDTH and part[:16].isdigit()]


# Life


async def obey(commands: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
    """Say ready, then carry out commands until the input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say({"ready": True})
    while line := await reader.readline():
        command = json.loads(line)
        say(await commands[command.pop("do")](**command))


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with who started it, also when that is killed
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    role, *given = sys.argv[1:]
    work = globals()[role](*given)
    if work is not None:
        asyncio.run(work)
