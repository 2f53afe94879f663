"""The turn loop against local functions in place of the bus, the model and the tools."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from egghead.agents.conversation import messages
from egghead.agents.record import AgentSpec
from egghead.agents.session import OpenTurn, Session, call_id
from egghead.agents.session_fold import fold
from egghead.agents.turn import (
    CONCLUDE,
    MAX_CONCURRENT,
    MAX_ROUNDS,
    Ending,
    Menu,
    ModelFailed,
    Turn,
    TurnOver,
    take_turn,
)
from egghead.agents.wording import is_pass, without_trailing_pass
from tests.agents.logs import Log

Event = Mapping[str, Any] | Exception | Awaitable[Any]
SPEC = AgentSpec(id="scout", record="agents/scout", title="Scout", model="a/b")
READ = {"name": "get_record", "description": "", "input_schema": {}, "read_only": True}
WRITE = {"name": "create_record", "description": "", "input_schema": {}, "read_only": False}
MENU = Menu((READ, WRITE))


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(tool: str = "get_record", **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "model-made", "name": tool, "input": input}


def stop(reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    return {"type": "stop", "reason": reason, "usage": usage}


class World:
    """The ports as local functions: a script of replies, a log, and whatever a test wants tools to do."""

    def __init__(self, *replies: Sequence[Event]) -> None:
        self.replies = list(replies)
        self.log = Log()
        self.requests: list[dict[str, Any]] = []
        self.shown: list[tuple[int, str]] = []
        self.waits: list[Mapping[str, Any]] = []
        self.ran: list[str] = []
        self.tool: Callable[[str], Awaitable[Mapping[str, Any]]] = self.found
        self.closed = False
        self.streams = 0
        self.stored: Callable[[Mapping[str, Any]], Awaitable[object]] = lambda entry: asyncio.sleep(0)

    async def found(self, call: str) -> Mapping[str, Any]:
        return {"outcome": "ok", "content": f"result of {call}", "summary": "looked"}

    async def append(self, entries: Sequence[dict[str, Any]]) -> None:
        await asyncio.sleep(0)
        if self.closed:
            raise TurnOver("the turn has ended")
        known = {e["id"] for e in self.log.entries} & {entry["id"] for entry in entries}
        assert len(known) in (0, len(entries)), f"a room has a part of this append: {known}"
        for entry in entries:
            if not known:  # idempotent by id, as a room is
                self.log.add("agents/scout", **{k: v for k, v in entry.items() if k != "id"})["id"] = entry["id"]
        await self.stored(entries[-1])

    @contextlib.asynccontextmanager
    async def complete(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        self.requests.append({**request, "messages": [dict(m) for m in request["messages"]]})
        self.streams += 1
        try:
            yield self._events(self.replies.pop(0))
        finally:
            self.streams -= 1

    async def _events(self, script: Sequence[Event]) -> AsyncIterator[Mapping[str, Any]]:
        for event in script:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Mapping):
                await asyncio.sleep(0)
                yield event
            else:
                await event

    async def run_tool(self, call: str, tool: str, input: Any, read_only: bool) -> Mapping[str, Any]:
        self.ran.append(tool)
        return await self.tool(call)

    async def publish(self, words: str, n: int, waits: Mapping[str, Any] | None = None) -> None:
        if waits is None:
            self.shown.append((n, words))
        else:
            self.waits.append(waits)

    # what a test looks at

    async def turn(
        self, halt: asyncio.Event | None = None, attempt: int = 1, spec: AgentSpec = SPEC, stands_in: str = ""
    ) -> Ending:
        given = OpenTurn("t", "r", attempt, 7, "open", 1)
        session = fold(Session("scout", "default"), [{**Log().person("hello"), "seq": 1}])
        turn = self.last = Turn(spec, session, given, MENU, "system", self, stands_in=stands_in)
        return await take_turn(turn, halt or asyncio.Event())

    def kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.log.entries]

    @property
    def end(self) -> dict[str, Any]:
        return self.log.entries[-1]


async def test_words_become_a_message() -> None:
    """What the model says is streamed in order and becomes one entry with its usage."""
    world = World([text("Hel"), text("lo."), stop(input=10, output=2)])
    assert await world.turn() is Ending.SPOKE
    assert [n for n, _ in world.shown] == [0, 1] and "".join(words for _, words in world.shown) == "Hello."
    assert world.kinds() == ["message"] and world.end["text"] == "Hello." and world.end["id"] == "t.m"
    assert world.end["usage"] == {"input": 10, "output": 2, "cached_read": 0, "cached_write": 0, "context": 12}
    assert "cut" not in world.end and world.end["author"] == "Scout"


async def test_the_request() -> None:
    """The model is asked with the neutral request of docs/interfaces.md and nothing else."""
    world = World([text("x"), stop()])
    await world.turn()
    request = world.requests[0]
    assert set(request) == {
        "model", "fallback", "system", "turn_words", "messages", "tools", "max_tokens", "temperature", "thinking", "agent", "room", "turn", "mode",
    }  # fmt: skip
    assert request["model"] == "a/b" and request["agent"] == "scout" and request["mode"] == "open"
    assert [set(tool) for tool in request["tools"]] == [{"name", "description", "input_schema"}] * 2


async def test_a_tool_is_in_the_log_before_it_runs() -> None:
    """started is durable before the tool runs, ended before the model sees the result."""
    world = World([text("Let me look."), use(id="a"), stop("tool_use")], [text("It is there."), stop()])
    seen: list[list[str]] = []

    async def tool(call: str) -> Mapping[str, Any]:
        seen.append(world.kinds())
        return {"outcome": "ok", "content": "note", "summary": "looked at [[a]]"}

    world.tool = tool
    assert await world.turn() is Ending.SPOKE
    assert seen == [["tool_started"]] and world.kinds() == ["tool_started", "tool_ended", "message"]
    started, ended, _ = world.log.entries
    assert started["read_only"] is True and started["summary"] == "get_record id=a" and started["attempt"] == 1
    assert ended["result"] == "note" and ended["summary"] == "looked at [[a]]"
    second = world.requests[1]["messages"]
    assert second[-2]["content"][0] == {"type": "text", "text": "Let me look."}
    assert second[-2]["content"][1]["id"] == second[-1]["content"][0]["tool_use_id"] == started["call"]
    assert world.end["text"] == "Let me look.\n\nIt is there."
    assert "".join(words for _, words in world.shown) == "Let me look.\n\nIt is there."


async def test_thoughts_go_back_in_the_turn_and_nowhere_else() -> None:
    """The provider gets its sealed thoughts with the results that they led to; the log and the room never see them."""
    sealed = {"type": "thinking", "text": "Hm.", "signature": "seal"}
    world = World([sealed, text("Let me look."), use(id="a"), stop("tool_use")], [sealed, text("Done."), stop()])
    assert await world.turn() is Ending.SPOKE
    content = world.requests[1]["messages"][-2]["content"]
    assert content[0] == sealed and [block["type"] for block in content[1:]] == ["text", "tool_use"]
    assert "Hm." not in json.dumps([world.log.entries, world.shown]) and world.end["text"] == "Let me look.\n\nDone."


async def test_who_stood_in_goes_on_to_the_end_of_the_turn() -> None:
    """A fallback that answered is asked first in the next round, the others after it; thoughts of another are left out."""

    def ended(model: str, reason: str = "tool_use") -> dict[str, Any]:
        return {**stop(reason), "model": model}

    thought = {"type": "thinking", "text": "hm", "signature": "s"}
    world = World(
        [thought, use(), ended("a/b")], [thought, use(), ended("c/d")], [text("Done."), ended("c/d", "end_turn")]
    )
    spec = dataclasses.replace(SPEC, fallback=("c/d", "e/f"))
    await world.turn(spec=spec)
    assert [(request["model"], request["fallback"]) for request in world.requests] == [
        ("a/b", ["c/d", "e/f"]),
        ("a/b", ["c/d", "e/f"]),
        ("c/d", ["a/b", "e/f"]),
    ]
    thoughts = [
        [block["type"] == "thinking" for m in request["messages"] for block in m["content"] if m["role"] == "assistant"]
        for request in world.requests
    ]
    assert thoughts == [[], [True, False], [False, True, False]]


async def test_who_answers_in_whose_place_is_said_once() -> None:
    """A note before the answer, with the reason; not again in the next turn, but after the first model was back."""
    stands_in = {"type": "stand_in", "asked": "a/b", "model": "c/d", "why": "a is overloaded."}
    told = ""
    for number, (first, notes) in enumerate([(stands_in, 1), (stands_in, 0), (None, 0), (stands_in, 1)]):
        world = World([*([first] if first else []), text("Hi."), {**stop(), "model": "c/d" if first else "a/b"}])
        await world.turn(stands_in=told)
        told = world.last.stands_in
        said = [e["text"] for e in world.log.entries if e["kind"] == "action" and e["action"] == "note"]
        assert len(said) == notes, number
        assert not said or said[0].endswith(": c/d in place of a/b, because a is overloaded.")


async def test_what_the_loop_sees_is_what_the_fold_gives_back() -> None:
    """The messages of the live loop equal those folded from the log it wrote, so a crash loses nothing."""
    world = World([use(id="a"), use("create_record", id="b"), stop("tool_use")], [text("done"), stop()])
    await world.turn()
    log = Log()
    log.person("hello")
    log.turn("t")
    for entry in world.log.entries[:-1]:
        log.add("agents/scout", **{k: v for k, v in entry.items() if k not in ("id", "seq", "at", "by")})
    assert messages(fold(Session("scout", "default"), log.entries)) == world.requests[1]["messages"]


async def test_tools_run_together_but_not_too_many() -> None:
    """Five at once; results stand in the order of the requests whatever finishes first."""
    world = World([*(use(id=str(n)) for n in range(8)), stop("tool_use")], [text("ok"), stop()])
    running = most = 0
    order = iter(range(100, 0, -1))

    async def tool(call: str) -> Mapping[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(next(order)):
            await asyncio.sleep(0)
        running -= 1
        return {"outcome": "ok", "content": call, "summary": ""}

    world.tool = tool
    await world.turn()
    results = world.requests[1]["messages"][-1]["content"]
    assert most == MAX_CONCURRENT
    assert [r["content"] for r in results] == [call_id("t", 1, 1, n) for n in range(1, 9)]


async def test_twenty_rounds_and_then_an_answer() -> None:
    """At the limit the model is told to conclude; its work is not thrown away."""
    replies = [[use(id=str(n)), stop("tool_use")] for n in range(MAX_ROUNDS)]
    world = World(*replies, [text("So far this."), use(id="more"), stop("tool_use")])
    assert await world.turn() is Ending.SPOKE
    assert len(world.ran) == MAX_ROUNDS and world.end["text"] == "So far this."
    assert world.requests[-1]["messages"][-1]["content"][-1]["text"] == CONCLUDE


async def test_tools_without_end_fail_with_a_sentence() -> None:
    """A model that never answers fails the turn in words."""
    world = World(*[[use(id=str(n)), stop("tool_use")] for n in range(MAX_ROUNDS + 1)])
    assert await world.turn() is Ending.FAILED
    assert world.end["action"] == "failed" and "20 rounds" in world.end["text"]


@pytest.mark.parametrize(
    "words",
    [
        "/pass",
        " /pass\n",
        "`/pass`",
        "**/pass**",
        "/PASS.",
        '"/pass"',
        "(/pass)",
        "“/pass”",
        "> /pass",
        "🙂 /pass",
        "/pass\n/pass",
    ],
)
async def test_a_yield_is_a_pass_and_nobody_sees_it_typed(words: str) -> None:
    """A reply that is only /pass, however dressed, is a pass; not one letter of it is streamed."""
    pieces = [text(piece) for piece in words]
    world = World([*pieces, stop()])
    assert await world.turn() is Ending.PASSED
    assert world.end["kind"] == "action" and world.end["action"] == "passed" and world.end["id"] == "t.m"
    assert "pass" not in "".join(shown for _, shown in world.shown).lower()


async def test_substance_beats_a_trailing_pass() -> None:
    """A pass after something was said is dropped, in the same reply and in a later one."""
    world = World([text("The garden note says so.\n\n/pass"), stop()])
    assert await world.turn() is Ending.SPOKE and world.end["text"] == "The garden note says so."
    world = World([text("Found it: x."), use(id="x"), stop("tool_use")], [text("/pass"), stop()])
    assert await world.turn() is Ending.SPOKE and world.end["text"] == "Found it: x."


def test_pass_in_a_sentence_is_no_pass() -> None:
    """Only the whole reply, or a last line of its own, is a yield."""
    assert not is_pass("use /pass to yield") and not is_pass("/passing")
    assert without_trailing_pass("say /pass") == "say /pass"
    assert without_trailing_pass("a\n/pass") == "a"


async def test_failures_of_tools_are_in_the_message() -> None:
    """Peers and readers see what did not work: name, input, reason."""
    world = World([use(id="gone"), stop("tool_use")], [text("I could not."), stop()])

    async def tool(call: str) -> Mapping[str, Any]:
        return {"outcome": "error", "content": "NotFound: there is no 'gone'\nmore", "summary": "no"}

    world.tool = tool
    await world.turn()
    assert world.end["text"] == "I could not.\n\n> did not work: get_record id=gone: NotFound: there is no 'gone'"
    assert world.requests[1]["messages"][-1]["content"][0]["is_error"] is True


async def test_a_model_failure_is_a_failed_action() -> None:
    """Provider trouble ends the turn with a sentence a person can act on."""
    world = World([ModelFailed("No key for anthropic: run `egghead llm add anthropic`.")])
    assert await world.turn() is Ending.FAILED
    assert world.end["action"] == "failed" and world.end["text"].startswith("No key for anthropic")


async def test_a_failure_in_mid_answer_keeps_what_was_said() -> None:
    """What was said before a failure stays, marked as cut, with the reason."""
    world = World([text("The first half"), ModelFailed("The stream broke.")])
    assert await world.turn() is Ending.SPOKE
    assert world.end["text"] == "The first half\n\n> broke off: The stream broke." and world.end["cut"] is True


@pytest.mark.parametrize(("reason", "says"), [("refusal", "refused"), ("end_turn", "empty answer")])
async def test_no_words_at_all_is_a_failure(reason: str, says: str) -> None:
    """A refusal and an empty answer are told as such."""
    world = World([stop(reason)])
    assert await world.turn() is Ending.FAILED and says in world.end["text"]


async def test_an_answer_cut_by_the_limit_says_so() -> None:
    """max_tokens in mid-sentence is a cut message."""
    world = World([text("and then the"), stop("max_tokens")])
    assert await world.turn() is Ending.SPOKE and world.end["cut"] is True


async def test_halt_keeps_what_was_said() -> None:
    """A halt stops the model at once; what was said is kept and marked as cut; the stream is closed."""
    halt, said = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        said.set()
        await asyncio.Event().wait()

    world = World([text("Half an ans"), forever()])
    task = asyncio.create_task(world.turn(halt))
    await said.wait()
    assert world.streams == 1
    halt.set()
    assert await asyncio.wait_for(task, 10) is Ending.HALTED
    assert world.end["text"] == "Half an ans" and world.end["cut"] is True and world.streams == 0


async def test_halt_during_a_tool_closes_it_as_unknown() -> None:
    """A halted tool call has an end in the log, before the end of the turn."""
    halt, started = asyncio.Event(), asyncio.Event()
    world = World([use("create_record", id="x"), stop("tool_use")])

    async def tool(call: str) -> Mapping[str, Any]:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.tool = tool
    task = asyncio.create_task(world.turn(halt))
    await started.wait()
    halt.set()
    assert await asyncio.wait_for(task, 10) is Ending.HALTED
    assert world.kinds() == ["tool_started", "tool_ended", "action"]
    assert world.log.entries[1]["outcome"] == "unknown" and world.end["action"] == "failed"


@pytest.mark.parametrize(("kind", "outcome"), [("tool_started", "unknown"), ("tool_ended", "ok")])
async def test_halt_while_a_call_is_being_written(kind: str, outcome: str) -> None:
    """The log has the entry, its writer has not heard so: what was said is kept all the same, and the call ends once."""
    halt, written = asyncio.Event(), asyncio.Event()
    world = World([text("I look."), use(), stop("tool_use")])

    async def unheard(entry: Mapping[str, Any]) -> None:
        if entry["kind"] == kind and not written.is_set():
            written.set()
            await asyncio.Event().wait()

    world.stored = unheard
    task = asyncio.create_task(world.turn(halt))
    await written.wait()
    halt.set()
    assert await task is Ending.HALTED
    assert world.kinds() == ["tool_started", "tool_ended", "message"]
    assert world.log.entries[1]["outcome"] == outcome
    assert world.end["text"] == "I look." and world.end["cut"] is True


async def test_halt_before_anything_ends_the_turn() -> None:
    """A halt that comes first still gives the turn its end, and no model is asked."""
    halt = asyncio.Event()
    halt.set()
    world = World([text("x"), stop()])
    assert await world.turn(halt) is Ending.HALTED
    assert world.end["id"] == "t.m" and world.requests == []


@pytest.mark.parametrize("script", [[text("x"), stop()], [use(id="a"), stop("tool_use")]])
async def test_a_turn_that_the_room_has_ended_is_left(script: list[Event]) -> None:
    """When the room refuses an entry the turn is over: nothing more is written, no tool runs."""
    world = World(script)
    world.closed = True
    assert await world.turn() is Ending.ABANDONED
    assert world.log.entries == [] and world.ran == []


async def test_telling_the_end_twice_is_telling_it_once() -> None:
    """The end of a turn has one id for message and action, in every attempt."""
    world = World([text("first"), stop()], [text("second"), stop()])
    await world.turn()
    await world.turn(attempt=2)
    assert [entry["text"] for entry in world.log.entries] == ["first"]


async def test_cancelling_writes_no_end() -> None:
    """A process that is stopped leaves the turn open for its successor."""
    started = asyncio.Event()

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    world = World([text("Half"), forever()])
    task = asyncio.create_task(world.turn())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.log.entries == [] and world.streams == 0


async def test_a_fault_of_a_port_reaches_the_caller() -> None:
    """An error nobody foresaw is raised, not swallowed; the process decides what becomes of the turn."""
    world = World([text("x"), stop()])

    async def broken(entries: Sequence[dict[str, Any]]) -> None:
        raise OSError("no space")

    world.append = broken
    with pytest.raises(OSError, match="no space"):
        await world.turn()
