"""One turn: from a folded session to exactly one end in the log.

The loop is a function of four ports (append, complete, run_tool, publish), so that it is tested without a bus and has
one implementation. Its law: what is appended is durable before the next step relies on it. A tool call is in the log
before the tool runs, its result is in the log before the model sees it, and the end of the turn has an id made from the
turn, so that telling it twice is telling it once.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from egghead.agents.conversation import messages
from egghead.agents.handoff import full, left_over, percent, worth_it
from egghead.agents.record import AgentSpec
from egghead.agents.session import OpenTurn, Session, call_id
from egghead.agents.wording import describe, first_line, is_pass, may_become_pass, without_trailing_pass
from egghead.tools.results import capped

logger = logging.getLogger("egghead.agents")

MAX_ROUNDS = 20
MAX_CONCURRENT = 5
MAX_LISTED_FAILURES = 5
MAX_TEXT = 200_000  # bytes of one message; a room takes no more than 256 Ki characters
MAX_NAME = 200  # characters of a tool's name, which a model may make up
NAMELESS = "(no name)"
WAITS = ("provider", "place", "why", "until")  # what is shown of a call that waits

OVERFLOW = "the conversation does not fit its context any more"
TOO_SMALL = "take a model with a larger window, shorten the agent's note, or ask about less at once."
CONCLUDE = f"(That was the last of {MAX_ROUNDS} rounds of tools. Answer now with what you have; ask for no more tools.)"


class TurnOver(Exception):
    """The room no longer holds this turn open for us: it ended without us, and nothing of ours is wanted."""


class ModelFailed(Exception):
    """The model call failed for good. The text is a sentence that a person can act on."""


class WindowFull(ModelFailed):
    """The conversation is larger than the model's window."""


class Ports(Protocol):
    """What a turn needs of the world. Each may raise TurnOver; an append that returns is on disk."""

    def append(self, entries: Sequence[dict[str, Any]]) -> Awaitable[object]: ...

    def complete(self, request: dict[str, Any]) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, Any]]]:
        """A model call. Raises ModelFailed, also in the middle."""

    def run_tool(self, call: str, tool: str, input: Any, read_only: bool) -> Awaitable[Mapping[str, Any]]:
        """`{outcome, content, summary}`; never raises for what a tool or its process does."""

    def publish(self, text: str, n: int, waits: Mapping[str, Any] | None = None) -> Awaitable[None]:
        """More of what is said; `waits`: why nothing is yet, `{provider, place, why, until}`."""


class Ending(enum.Enum):
    """How a turn ended, by what this agent wrote. ABANDONED: the room had ended it already. HANDED: it has not ended: it
    did not fit, a handoff was asked for, and the life after that is given it again."""

    SPOKE = "spoke"
    PASSED = "passed"
    FAILED = "failed"
    HALTED = "halted"
    ABANDONED = "abandoned"
    HANDED = "handed off"


@dataclass(frozen=True)
class Menu:
    """What `tools.menu` gave: tools with their schemas, why others are missing, and what of the model's provider may be
    used. The last is asked for with each call; that it may be is found out again by who holds the key."""

    tools: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    provider_tools: tuple[Mapping[str, Any], ...] = ()

    def reads(self, name: str) -> bool:
        """Whether a call may be repeated. What is not known to be harmless is not."""
        return any(tool["name"] == name and tool.get("read_only") for tool in self.tools)


@dataclass
class Turn:
    """A turn in progress: what has been said, spent and started so far. One object a turn, never shared."""

    spec: AgentSpec
    session: Session
    given: OpenTurn
    menu: Menu
    system: str
    ports: Ports
    about: str = ""  # the end of `system` that is about this turn alone
    said: list[str] = field(default_factory=list)
    saying: str = ""
    published: int = 0
    failures: list[str] = field(default_factory=list)
    running: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # call -> its `tool_started`, logged or about to be
    usage: dict[str, int] = field(default_factory=dict)
    context: int = 0
    window: int | None = None
    answered: str = ""  # the whole name of the model that answered last
    stands_in: str = ""  # what the room was last told of a model that answers in place of another; empty: none does
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything said in this turn, each round's text a paragraph of its own."""
        return "\n\n".join(part for part in (*self.said, self.saying.strip()) if part.strip())


@dataclass
class _Reply:
    uses: list[Mapping[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)  # in the order in which they came
    text: str = ""
    reason: str = "end_turn"


async def take_turn(turn: Turn, halt: asyncio.Event) -> Ending:
    """Take the turn to its end. When `halt` is set, what was said is kept and marked as cut.

    Cancelling ends nothing in the log: the turn stays open and is given again.
    """
    try:
        # A turn that is halted before it begins asks no model.
        return await (_halted(turn) if halt.is_set() else _until_halted(turn, halt))
    except TurnOver:
        logger.info("turn %s of %s ended without us", turn.given.turn, turn.session.room)
        return Ending.ABANDONED


async def _until_halted(turn: Turn, halt: asyncio.Event) -> Ending:
    work = asyncio.create_task(_rounds(turn), name=f"turn {turn.given.turn}")
    stop = asyncio.create_task(halt.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        work.cancel()
        await asyncio.wait({work})
        if not work.cancelled() and work.exception() is None:
            return work.result()  # it ended in the same moment: its own end stands
        return await _halted(turn)
    finally:
        for task in (work, stop):
            task.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)


async def _rounds(turn: Turn) -> Ending:
    history = turn.history = messages(turn.session)
    try:
        for number in range(1, MAX_ROUNDS + 2):
            last = number > MAX_ROUNDS
            if last:
                history[-1]["content"].append({"type": "text", "text": CONCLUDE})
            reply = await _ask(turn, history)
            if not reply.uses or last:
                return await _conclude(turn, reply)
            results = await _use_tools(turn, number, reply)
            history.append({"role": "assistant", "content": _assistant(turn, number, reply)})
            history.append({"role": "user", "content": results})
    except WindowFull as error:
        return await _overflowed(turn, str(error))
    except ModelFailed as error:
        return await _failed(turn, str(error))
    raise AssertionError("the last round always concludes")


def _request(turn: Turn, history: list[dict[str, Any]]) -> dict[str, Any]:
    tools = [{key: tool[key] for key in ("name", "description", "input_schema")} for tool in turn.menu.tools]
    models = [turn.spec.model or "", *turn.spec.fallback]
    if turn.answered and turn.spec.fallback:
        # Who stood in once goes on to the end of the turn: it has the thoughts, and the other may be down for long.
        models = [turn.answered, *(name for name in models if name != turn.answered)]
    return {
        "model": models[0],
        "fallback": models[1:],
        "system": turn.system,
        "turn_words": turn.about,
        "messages": history,
        "tools": tools,
        **({"provider_tools": [dict(tool) for tool in turn.menu.provider_tools]} if turn.menu.provider_tools else {}),
        "max_tokens": turn.spec.max_tokens,
        "temperature": turn.spec.temperature,
        "thinking": turn.spec.thinking,
        "agent": turn.spec.id,
        "room": turn.session.room,
        "turn": turn.given.turn,
        "mode": turn.given.mode,
    }


async def _ask(turn: Turn, history: list[dict[str, Any]]) -> _Reply:
    """One model call, streamed to the room as it comes."""
    reply = _Reply()
    turn.saying = ""
    shown, stood_in = 0, False
    async with turn.ports.complete(_request(turn, history)) as events:
        async for event in events:
            kind = event.get("type")
            if kind == "text":
                turn.saying += str(event["text"])
                _heard(reply, str(event["text"]))
                shown = await _show(turn, shown)
            elif kind == "tool_use":
                reply.uses.append(event)
                reply.blocks.append(dict(event))
            elif kind == "thinking":
                reply.blocks.append(dict(event))
            elif kind == "waiting":
                await turn.ports.publish("", turn.published, {key: event.get(key) for key in WAITS})
            elif kind == "stand_in":
                stood_in = True
                await _stood_in(turn, event)
            elif kind == "stop":
                if not turn.answered and not stood_in:
                    turn.stands_in = ""  # the model that the note names answers again
                reply.reason = str(event.get("reason", "end_turn"))
                _count(turn, event.get("usage") or {})
                turn.window = event.get("window") or turn.window
                _answered(turn, history, str(event.get("model") or ""))
    reply.text = turn.saying.strip()
    await _show(turn, shown, whole=True)
    if reply.text:
        turn.said.append(reply.text)
    turn.saying = ""
    return reply


async def _stood_in(turn: Turn, event: Mapping[str, Any]) -> None:
    """Say in the room who answers in whose place, once until that changes."""
    now = f"{event['model']} in place of {event['asked']}"
    if now == turn.stands_in:
        return
    text = f"{turn.spec.title}: {now}, because {first_line(str(event['why'])).rstrip('.')}."
    entry = {"id": f"{turn.given.turn}.i{len(turn.said)}", "kind": "action", "turn": turn.given.turn, "action": "note"}
    await turn.ports.append([{**entry, "text": text}])
    turn.stands_in = now


def _heard(reply: _Reply, text: str) -> None:
    """A piece of what is said, joined to the piece before it when nothing came between."""
    if reply.blocks and reply.blocks[-1]["type"] == "text":
        reply.blocks[-1]["text"] += text
    else:
        reply.blocks.append({"type": "text", "text": text})


def _answered(turn: Turn, history: list[dict[str, Any]], model: str) -> None:
    """Note who answered. Thoughts of another are taken out: a provider refuses a seal that is not its own."""
    if turn.answered and model != turn.answered:
        for message in history:
            message["content"] = [block for block in message["content"] if block["type"] != "thinking"]
    turn.answered = model


async def _show(turn: Turn, shown: int, whole: bool = False) -> int:
    """Publish what is new. Text that may still turn out to be a pass is held back: nobody sees a yield being typed."""
    text = turn.saying.lstrip()
    # What was shown once is no pass, whatever follows: its words are not looked through for each new one.
    if not shown and (is_pass(text) if whole else may_become_pass(text)):
        return shown
    if len(text) <= shown:
        return shown
    break_before = "\n\n" if shown == 0 and turn.said else ""
    await turn.ports.publish(break_before + text[shown:], turn.published)
    turn.published += 1
    return len(text)


def _count(turn: Turn, usage: Mapping[str, Any]) -> None:
    figures = {key: int(usage.get(key) or 0) for key in ("input", "output", "cached_read", "cached_write")}
    for key, value in figures.items():
        turn.usage[key] = turn.usage.get(key, 0) + value
    turn.context = sum(figures.values())  # the last exchange is what the next one begins with


def _assistant(turn: Turn, number: int, reply: _Reply) -> list[dict[str, Any]]:
    """What the model said, thought and asked for, as it came: some providers tie a thought to the call that follows it.
    Thoughts go back within the turn, as they demand; they are in no log."""
    blocks: list[dict[str, Any]] = []
    index = 0
    for block in reply.blocks:
        match block["type"]:
            case "tool_use":
                index += 1
                call = call_id(turn.given.turn, turn.given.attempt, number, index)
                name, given = _called(block)
                blocks.append({"type": "tool_use", "id": call, "name": name, "input": given})
            case "text" if block["text"].strip():
                blocks.append({"type": "text", "text": block["text"].strip()})
            case "thinking":
                blocks.append(block)
    return blocks


async def _use_tools(turn: Turn, number: int, reply: _Reply) -> list[dict[str, Any]]:
    """Run what one reply asked for, a few at a time; the results stand in the order of the requests."""
    gate = asyncio.Semaphore(MAX_CONCURRENT)

    async def one(index: int, use: Mapping[str, Any]) -> dict[str, Any]:
        async with gate:
            return await _use_tool(turn, call_id(turn.given.turn, turn.given.attempt, number, index), use)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index, use)) for index, use in enumerate(reply.uses, start=1)]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one refusal by the room is the same for all of them
    results = [task.result() for task in tasks]
    for use, result in zip(reply.uses, results, strict=True):
        if result["is_error"]:
            turn.failures.append(f"{describe(*_called(use))}: {first_line(result['content'])}")
    return results


def _called(use: Mapping[str, Any]) -> tuple[str, Any]:
    """Tool and arguments that a model asked for. A room takes no call without a name, and a model may give none."""
    return str(use["name"])[:MAX_NAME] or NAMELESS, use.get("input") or {}


async def _use_tool(turn: Turn, call: str, use: Mapping[str, Any]) -> dict[str, Any]:
    tool, arguments = _called(use)
    read_only = turn.menu.reads(tool)
    started = {
        "id": f"{turn.given.turn}.{call}.s",
        "kind": "tool_started",
        "turn": turn.given.turn,
        "attempt": turn.given.attempt,
        "call": call,
        "tool": tool,
        "input": arguments,
        "read_only": read_only,
        "summary": describe(tool, arguments),
    }
    turn.running[call] = started
    await turn.ports.append([started])
    result = await turn.ports.run_tool(call, tool, arguments, read_only)
    outcome, content = str(result["outcome"]), str(result.get("content", ""))
    await turn.ports.append([_ended(turn, call, outcome, content, str(result.get("summary") or first_line(content)))])
    del turn.running[call]
    return {"type": "tool_result", "tool_use_id": call, "content": content, "is_error": outcome != "ok"}


def _ended(turn: Turn, call: str, outcome: str, content: str, summary: str) -> dict[str, Any]:
    return {
        "id": f"{turn.given.turn}.{call}.e",
        "kind": "tool_ended",
        "turn": turn.given.turn,
        "call": call,
        "outcome": outcome,
        "result": content,
        "summary": summary,
    }


def _with_failures(turn: Turn, text: str) -> str:
    """Peers and readers see what did not work; successes are action lines of their own."""
    if not turn.failures:
        return text
    listed = turn.failures[:MAX_LISTED_FAILURES]
    more = len(turn.failures) - len(listed)
    lines = [f"> did not work: {line}" for line in listed] + ([f"> and {more} more"] if more else [])
    return "\n\n".join(part for part in (text, "\n".join(lines)) if part)


async def _conclude(turn: Turn, reply: _Reply) -> Ending:
    text = without_trailing_pass("\n\n".join(part for part in turn.said if not is_pass(part)))
    if text:
        cut = reply.reason == "max_tokens"
        await _speak(turn, _with_failures(turn, text), cut)
        return Ending.SPOKE
    if any(is_pass(part) for part in turn.said):
        await _act(turn, "passed", None)
        return Ending.PASSED
    if reply.uses:
        return await _failed(
            turn, f"{turn.spec.title} used {MAX_ROUNDS} rounds of tools and did not come to an answer."
        )
    if reply.reason == "refusal":
        return await _failed(turn, "The model refused to answer.")
    return await _failed(turn, "The model gave an empty answer. Ask again, or try another model.")


async def _failed(turn: Turn, sentence: str) -> Ending:
    """A failure keeps what was said before it; otherwise it is a sentence and nothing else."""
    text = without_trailing_pass(turn.text)
    if text and not is_pass(text):
        await _speak(turn, _with_failures(turn, f"{text}\n\n> broke off: {sentence}"), cut=True)
        return Ending.SPOKE
    await _act(turn, "failed", sentence)
    return Ending.FAILED


async def _halted(turn: Turn) -> Ending:
    """What was said so far, marked as cut, behind the ends of the tools that were running."""
    await asyncio.gather(*(_closed(turn, started) for started in turn.running.values()))
    text = without_trailing_pass(turn.text)
    said = text and not is_pass(text)
    stopped = "Stopped before it said anything."
    await turn.ports.append([_message(turn, text, cut=True) if said else _action(turn, "failed", stopped)])
    return Ending.HALTED


async def _closed(turn: Turn, started: Mapping[str, Any]) -> None:
    """End a call as unknown. The halt may have come while its beginning or its end was being written: each is appended
    again, alone, because a room refuses an append of which it has a part."""
    await turn.ports.append([dict(started)])
    summary = f"{describe(started['tool'], started['input'])}: stopped while it ran"
    await turn.ports.append([_ended(turn, started["call"], "unknown", "", summary)])


async def _overflowed(turn: Turn, sentence: str) -> Ending:
    """Ask for a handoff and leave the turn open for the life after it, once, and only if that can help."""
    kept = left_over(turn.spec, turn.session, turn.system, turn.menu.tools, turn.window, overflow=turn.history)
    if turn.given.attempt > 1 or not worth_it(turn.session, turn.history, kept):
        return await _failed(turn, f"{sentence} Beginning anew does not make it fit: {TOO_SMALL}")
    ask = {"kind": "handoff_asked", "reason": "overflow", "turn": turn.given.turn, "text": OVERFLOW}
    await turn.ports.append([{"id": f"{turn.given.turn}.o", **ask}])
    return Ending.HANDED


def _filled(turn: Turn) -> list[dict[str, Any]]:
    """The request for a handoff that goes into the log with the turn's end, when the last exchange was one too large."""
    window = turn.spec.context_window or turn.window
    if not full(turn.context, turn.session.base, turn.spec.context_threshold, window):
        return []
    kept = left_over(turn.spec, turn.session, turn.system, turn.menu.tools, turn.window)
    if not worth_it(turn.session, turn.history, kept, turn.context):
        return []
    text = percent(turn.context, window)
    return [{"id": f"{turn.given.turn}.f", "kind": "handoff_asked", "reason": "context", "text": text}]


async def _speak(turn: Turn, text: str, cut: bool) -> None:
    await turn.ports.append([_message(turn, text, cut), *_filled(turn)])


async def _act(turn: Turn, action: str, text: str | None) -> None:
    await turn.ports.append([_action(turn, action, text), *_filled(turn)])


def _message(turn: Turn, text: str, cut: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": f"{turn.given.turn}.m",
        "kind": "message",
        "turn": turn.given.turn,
        "author": turn.spec.title,
        "text": capped(text, MAX_TEXT),
        "usage": {**turn.usage, "context": turn.context, **({"window": turn.window} if turn.window else {})},
    }
    return {**entry, "cut": True} if cut else entry


def _action(turn: Turn, action: str, text: str | None) -> dict[str, Any]:
    # The same id as the message would have: a turn has one end, whatever it is.
    entry = {"id": f"{turn.given.turn}.m", "kind": "action", "turn": turn.given.turn, "action": action}
    return {**entry, "text": text} if text is not None else entry
