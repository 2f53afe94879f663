"""Every fault of `faults.FAULTS` on the wire: one sentence of `docs/llm.md`, asked as often as the policy says, nothing
heard twice, left within a blink, in bounded memory, while other providers answer."""

from __future__ import annotations

import ast
import asyncio
import functools
import time
import tracemalloc
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from egghead.llm.lane import DOWN
from egghead.llm.shapes import ToolUse, request_from
from ipc import Peer
from ipc.testing import running_bus
from tests.llm.asking import HELLO, ask, gateway, refusal, table
from tests.llm.double import KEY
from tests.llm.faults import BY_ID, FAULTS, MIB, Fault, words_without_end
from tests.llm.faulty import CHUNKED, Again, Answer, Faulty, HangUp, Silence, chunk, ended, head, said, used, whole

WIRES = ["anthropic", "openai"]
LEAVING = 2.0  # seconds from a halt until the call is over and the provider's connection closed
BUFFERS = 16 * MIB  # bytes that the kernel and asyncio may hold on the way
TABLE = table()
CODE = Path(__file__).parents[2] / "egghead"


def fits(fault_says: str, sentence: str) -> bool:
    return TABLE[fault_says].fullmatch(sentence) is not None


EACH = pytest.mark.parametrize("fault", FAULTS, ids=[fault.id for fault in FAULTS])
WIRE = pytest.mark.parametrize("wire", WIRES)


@WIRE
@EACH
async def test_a_fault_is_one_sentence(wire: str, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """The kind, the promised sentence, as many requests as the policy says, each word once, and the key nowhere; the
    same fault after which another model is to answer gives its answer, and its alone, if the provider is down."""
    caplog.set_level("INFO")
    with Faulty(fault.answer(wire)) as server, Faulty(whole_answer(wire)) as other:
        async with gateway(bad=(wire, server.url, fault.limits), good=(wire, other.url, {})) as served:
            heard: list[str] = []
            before = time.monotonic()
            error = await refusal(served, heard, "bad")
            assert time.monotonic() - before < 20
            assert error.type == fault.kind.__name__, error
            assert fits(fault.says, error.message), error.message
            assert "".join(heard) == fault.heard
            assert len(server.requests) == fault.tries
            assert KEY not in error.message + caplog.text
            assert f"{error.type}: {error.message}" in caplog.text and "agents/scout turn -" in caplog.text
            heard.clear()
            if fault.heard or not issubclass(fault.kind, DOWN):
                await refusal(served, heard, "bad", "good")
                assert "".join(heard) == fault.heard and not other.requests
            elif not fault.flood:
                await ask(served, heard, "bad", "good")
                assert "".join(heard) == "Whole.<end>"


def whole_answer(wire: str) -> Answer:
    return [whole(wire), Again()]


ENDLESS = [fault for fault in FAULTS if fault.endless]


@WIRE
@pytest.mark.parametrize("fault", ENDLESS, ids=[fault.id for fault in ENDLESS])
async def test_who_leaves_is_gone_at_once(wire: str, fault: Fault) -> None:
    """In each state that has no end another provider answers meanwhile; who leaves is out of it in a blink, and the
    provider's connection is closed."""
    with Faulty(fault.answer(wire)) as server, Faulty(whole_answer(wire)) as other:
        async with gateway(bad=(wire, server.url, {}), good=(wire, other.url, {})) as served:
            waiting = asyncio.create_task(ask(served, [], "bad"))
            assert await asyncio.to_thread(server.reached.wait, 10)
            heard: list[str] = []
            await ask(served, heard, "good")
            assert heard == ["Whole.", "<end>"]
            assert not waiting.done()
            await leaves(
                waiting, server, 3 * LEAVING if fault.flood else LEAVING
            )  # a flood keeps this process busy, too


async def leaves(waiting: asyncio.Task[None], server: Faulty, soon: float) -> None:
    begun = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(server.left.wait, 5)
    assert time.monotonic() - begun < soon


@WIRE
async def test_who_leaves_between_two_tries_is_gone_at_once(wire: str) -> None:
    """A pause before the next try is cut short, and that try is never made."""
    with Faulty(BY_ID["503"].answer(wire)) as server:
        async with gateway(bad=(wire, server.url, {"backoff": 20.0, "longest_pause": 60.0})) as served:
            waiting = asyncio.create_task(ask(served, [], "bad"))
            while not server.requests:
                await asyncio.wait({waiting}, timeout=0.01)
            begun = time.monotonic()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert time.monotonic() - begun < LEAVING
        assert len(server.requests) == 1


FLOODS = [fault for fault in FAULTS if fault.flood]


@WIRE
@pytest.mark.parametrize("fault", FLOODS, ids=[fault.id for fault in FLOODS])
async def test_a_flood_is_cut_off(wire: str, fault: Fault) -> None:
    """A gigabyte of anything: no more of it is taken than could be meant, and next to nothing is held."""
    with Faulty(fault.answer(wire)) as server:
        async with gateway(bad=(wire, server.url, fault.limits)) as served:
            tracemalloc.start()
            try:
                await refusal(served, [], "bad")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert server.left.wait(5)
        assert server.sent <= fault.tries * fault.most + BUFFERS
        assert peak < 40 * MIB


@WIRE
async def test_letters_without_end(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of single letters without end is cut off; until then it is passed on, in order, and nothing is kept."""
    monkeypatch.setattr("egghead.llm.wire.MAX_STREAM", 4 * MIB)  # the same with less work
    with Faulty(words_without_end(wire)) as server:
        async with gateway(bad=(wire, server.url, {})) as served:
            heard = Counted()
            error = await refusal(served, heard, "bad")  # type: ignore[arg-type]
        assert fits("larger than an answer", error.message)
        assert heard.letters > 30_000 and heard.first == "Half "
        assert server.sent < 4 * MIB + BUFFERS


class Counted:
    """A list of texts that keeps only how much it was given."""

    def __init__(self) -> None:
        self.letters = 0
        self.first = ""

    def __iadd__(self, texts: list[str]) -> Counted:
        for text in texts:
            self.first = self.first or text[:5]
            self.letters += len(text)
        return self


@WIRE
async def test_a_connection_closed_between_two_calls_is_no_fault(wire: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that hangs up while nobody asks, or just when somebody does: asked anew at once, without a try, a pause
    or a word."""
    with Faulty([whole(wire), HangUp()], [whole(wire, "Again."), Again()]) as server:
        async with gateway(bad=(wire, server.url, {"retries": 0})) as served:
            heard: list[str] = []
            await ask(served, heard, "bad")
            server.hang_up.set()
            await ask(served, heard, "bad")
    assert heard == ["Whole.", "<end>", "Again.", "<end>"] and "trying again" not in caplog.text
    # It takes the second request and hangs up without a word: only then is the first connection known to be dead.
    with Faulty([whole(wire), Again()], [], [whole(wire, "Again."), Again()]) as server:
        async with gateway(bad=(wire, server.url, {"retries": 0})) as served:
            heard = []
            await ask(served, heard, "bad")
            await ask(served, heard, "bad")
        assert server.lines == 2 and len(server.requests) == 3
    assert heard == ["Whole.", "<end>", "Again.", "<end>"] and "trying again" not in caplog.text


@WIRE
async def test_arguments_that_no_room_would_take(wire: str) -> None:
    """The model is told that they are too long, in their place: the call of a tool is written to a log."""
    for size, kept in ((700_000, True), (900_000, False)):
        arguments = '{"text": "%s"}' % ("x" * size)
        with Faulty([head(), used(wire, 0, arguments), ended(wire)]) as server:
            async with gateway(p=(wire, server.url, {})) as served:
                provider, model = served.registry.resolve("p/m")
                found = [event async for event in provider.complete(request_from(HELLO), model)]
        [use] = [event for event in found if isinstance(event, ToolUse)]
        assert ("text" in use.input) == kept and ("too_long" in use.input) == (not kept)


@WIRE
@pytest.mark.parametrize("skew", [-5 * 3600, 5 * 3600], ids=["behind", "ahead"])
async def test_a_clock_that_is_hours_off(wire: str, skew: int) -> None:
    """What a provider says of times is read beside its own clock: the wait that it asks for is as long as it meant, and
    when its limits are there again, too."""
    there = time.time() - skew
    dates = {"date": formatdate(there, usegmt=True), "retry-after": formatdate(there + 1, usegmt=True)}
    soon = datetime.fromtimestamp(there + 1, UTC).isoformat()
    left = {
        f"anthropic-ratelimit-requests-{what}": value
        for what, value in (("remaining", "0"), ("limit", "50"), ("reset", soon))
    }
    limited = head("429 Too Many Requests", "application/json", **dates)
    good = head(**dates, **left)
    with Faulty(
        [limited, b"{}"], [good, said(wire, "One."), ended(wire)], [good, said(wire, "Two."), ended(wire)]
    ) as server:
        async with gateway(p=(wire, server.url, {})) as served:
            heard: list[str] = []
            begun = time.monotonic()
            async with asyncio.timeout(20):
                await ask(served, heard, "p")
                assert time.monotonic() - begun > 0.5  # a date is exact to the second, and no more
                await ask(served, heard, "p")
    assert "".join(heard) == "One.<end>Two.<end>"


@WIRE
async def test_a_cancelled_stream_leaves_the_pool_well(wire: str) -> None:
    """After a hundred streams that were left in the middle, none is counted as running, and calls go on."""
    half: Answer = [CHUNKED, chunk(said(wire, "Half ")), Silence()]
    with Faulty(*[half] * 100, whole_answer(wire)) as server:
        async with gateway(bad=(wire, server.url, {})) as served:
            for _ in range(100):
                heard: list[str] = []
                waiting = asyncio.create_task(ask(served, heard, "bad"))
                while not heard:
                    await asyncio.wait({waiting}, timeout=0.01)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            assert served.running == {}
            heard = []
            for _ in range(3):
                await ask(served, heard, "bad")
        assert heard == ["Whole.", "<end>"] * 3
        # The three calls share a connection, unless the end of an answer came behind its last word so late that it was left.
        assert 101 <= server.lines <= 102


async def test_two_hundred_agents_and_a_provider_that_stalls() -> None:
    """On a real bus: all wait, and another provider answers each of them meanwhile; when they leave, all of them are gone
    from the gateway and from the provider in a moment."""
    with Faulty([Silence()]) as server, Faulty([whole("openai"), Again()]) as other:
        async with (
            gateway(bad=("openai", server.url, {}), good=("openai", other.url, {})) as served,
            running_bus() as bus,
        ):
            await bus.peer("llm", expose=served.methods())
            peers = [await bus.peer(f"agents/a{n}") for n in range(200)]
            waiting = [asyncio.create_task(streamed(peer, "bad")) for peer in peers]
            while len(server.requests) < 200:
                await asyncio.wait(waiting, timeout=0.02)
            assert sum(served.running.values()) == 200
            assert await asyncio.gather(*(streamed(peer, "good") for peer in peers)) == ["Whole."] * 200
            begun = time.monotonic()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            while served.running:
                await asyncio.sleep(0.01)  # the gateway hears of it over the bus
            assert time.monotonic() - begun < 5
            assert await asyncio.to_thread(server.left.wait, 5)
            assert await streamed(peers[0], "good") == "Whole."


async def streamed(peer: Peer, name: str) -> str:
    request = {**HELLO, "model": f"{name}/m"}
    async with peer.stream("llm", "complete", request=request, timeout=60) as events:
        return "".join([event["text"] async for event in events if event["type"] == "text"])


@WIRE
@pytest.mark.parametrize(
    "answer",
    [
        lambda wire: [b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", said(wire, "Whole."), ended(wire)],
        lambda wire: [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", whole(wire)],
        lambda wire: [CHUNKED, *(chunk(bytes([b])) for b in said(wire, "Whole.") + ended(wire)), b"0\r\nx: y\r\n\r\n"],
        lambda wire: [head(kind="Text/Event-Stream; charset=UTF-8"), b"\xef\xbb\xbf: hi\r\n\r\n", said(wire, "Whole."), ended(wire), Silence()],
    ],
    ids=["HTTP/1.0", "interim answers", "a chunk a byte", "odd but right"],
)  # fmt: skip
async def test_what_is_only_unusual_works(wire: str, answer: Any) -> None:
    """Old, chatty and odd servers are understood."""
    with Faulty(answer(wire)) as server:
        async with gateway(odd=(wire, server.url, {})) as served:
            heard: list[str] = []
            await ask(served, heard, "odd")
    assert "".join(heard) == "Whole.<end>"


@WIRE
@pytest.mark.parametrize("second", ["401", "404"])
async def test_gone_in_the_middle_of_a_conversation(wire: str, second: str) -> None:
    """A model that is taken away, or a key that is revoked, between two calls: the second call says so at once."""
    with Faulty(whole_answer(wire), BY_ID[second].answer(wire)) as server:
        async with gateway(p=(wire, server.url, {})) as served:
            await ask(served, [], "p")
            error = await refusal(served, [], "p")
    assert error.type == BY_ID[second].kind.__name__ and fits(BY_ID[second].says, error.message)
    assert len(server.requests) == 2


async def test_a_key_is_not_shown_in_part_either() -> None:
    """A provider's words are cut to a length: a key that is cut with them is not shown."""
    for length in range(270, 300):
        page = b'{"error": {"message": "' + b"y" * length + KEY.encode() + b'"}}'
        with Faulty([head("400 Bad", "application/json"), page]) as server:
            async with gateway(p=("openai", server.url, {})) as served:
                error = await refusal(served, [], "p")
        assert KEY[:4] not in error.message


OWN = table("What the agent and the gateway say of themselves:")


@pytest.mark.parametrize("row", list(OWN))
def test_what_the_agent_says_stands_in_the_code(row: str) -> None:
    """Each sentence of the second table is one that the code has, its holes filled with anything."""
    assert any(OWN[row].fullmatch(sentence) for sentence in sentences()), OWN[row].pattern


@functools.cache
def sentences() -> frozenset[str]:
    """Every text that the code may put together, with X for what is put in."""
    found: set[str] = set()
    for path in (*(CODE / "agents").glob("*.py"), *(CODE / "llm").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    # What is put in at the end may be nothing, such as the nearest names.
    return frozenset(found | {text.rstrip("X") for text in found})


def test_the_page_has_no_sentence_that_nobody_says() -> None:
    """Each row of the table in the manual is told by a fault of this suite, or by the network's in `test_network`."""
    from tests.llm.test_network import SAID_THERE

    assert set(TABLE) == {fault.says for fault in FAULTS} | SAID_THERE
