"""What a room's log means to one of its agents: `fold(session, entries) -> session`, pure.

Here belongs what entries mean to an agent, and how much of it is kept.

Order is cause, not time: what others say while the agent is in its turn comes after its answer, because the answer was
given without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from egghead.agents.session import Handing, Line, OpenTurn, Session, ToolCall, Used, spoken
from egghead.tools.results import capped

Entry = Mapping[str, Any]

BACKFILL = 50
"""Messages kept before a handoff (spec/agents.md)."""
LEAST = 200
"""Characters that are kept of a text, however small the window."""

MAX_RESULTS = 200_000
"""Characters of tool results that a session holds; older ones are left out, and the model is told so."""
MAX_SAID = 400_000
"""Characters of talk that a session holds, likewise. Both bound a room that nobody ever hands off."""

LEFT_OUT = (
    "(The result of this call, {size} characters, is left out here because it is long ago. Call again to see it.)"
)
EARLIER = "(Earlier talk in this room is left out here.)"
CUT = "[cut off here]"


def _group(call: str) -> str:
    return call.rpartition("-")[0] or call


class _Folding:
    """The fold of a batch: mutable inside, a frozen session in and out, so that a batch costs its length."""

    def __init__(self, session: Session) -> None:
        self.s = session
        self.items = list(session.items)
        self.waiting = list(session.waiting)
        self.titles = dict(session.titles)
        self.open = session.open
        self.changes: dict[str, Any] = {}
        self.results = sum(_kept(call) for item in self.items if isinstance(item, Used) for call in item.calls)
        self.said = sum(len(item.text) for item in self.items if isinstance(item, Line))

    def done(self) -> Session:
        return replace(
            self.s,
            items=tuple(self.items),
            waiting=tuple(self.waiting),
            titles=self.titles,
            open=self.open,
            **self.changes,
        )

    def take(self, entry: Entry) -> None:
        handler = _KINDS.get(entry["kind"])
        if handler is not None:
            handler(self, entry)

    def get(self, name: str) -> Any:
        return self.changes.get(name, getattr(self.s, name))

    def hear(self, line: Line) -> None:
        if self.open is not None or line.jam:
            self.waiting.append(line)
        else:
            self.put(line)

    def put(self, line: Line) -> None:
        self.items.append(line)
        self.said += len(line.text)
        if self.said > MAX_SAID:
            self._forget_oldest()

    def flush(self) -> None:
        """Let what waits be seen; what the others answer in a jam waits until this agent has answered too."""
        blind = self.get("jam") is not None
        waiting, self.waiting = self.waiting, [line for line in self.waiting if blind and line.jam]
        for line in waiting:
            if not (blind and line.jam):
                self.put(line)

    def _forget_oldest(self) -> None:
        """Leave out the oldest half of what is held: rarely, so that a provider's cached prefix holds in between."""
        while len(self.items) > 1 and self.said > MAX_SAID // 2:
            item = self.items.pop(0)
            if isinstance(item, Line):
                self.said -= len(item.text)
            else:
                self.results -= sum(_kept(call) for call in item.calls)
        self.items.insert(0, Line(EARLIER, said=False))
        self.said += len(EARLIER)

    def trim_results(self) -> None:
        """Leave out the oldest results, down to half of what may be held; the last group stays."""
        if self.results <= MAX_RESULTS:
            return
        groups = [index for index, item in enumerate(self.items) if isinstance(item, Used)]
        for index in groups[:-1]:
            item = self.items[index]
            assert isinstance(item, Used)
            self.items[index] = replace(item, calls=tuple(_without_result(call) for call in item.calls))
            self.results -= sum(_kept(call) for call in item.calls)
            if self.results <= MAX_RESULTS // 2:
                return

    def end(self, turn: str) -> None:
        if self.open is not None and self.open.turn == turn:
            if self.open.mode == "jam":
                self.changes["jam"] = None
            self.open = None
            self.flush()

    def mine(self, entry: Entry) -> bool:
        return entry.get("agent") == self.s.agent or entry.get("by") == f"agents/{self.s.agent}"


def _kept(call: ToolCall) -> int:
    return 0 if call.left_out else len(call.result)


def _without_result(call: ToolCall) -> ToolCall:
    if call.left_out or call.outcome is None or len(call.result) <= 2 * len(LEFT_OUT):
        return replace(call, left_out=True)
    return replace(call, result=LEFT_OUT.format(size=len(call.result)), left_out=True)


def _message(f: _Folding, entry: Entry) -> None:
    by = str(entry.get("by", ""))
    text = str(entry.get("text", ""))
    if entry.get("restored"):  # out of a saved transcript: said once, by whoever its author is
        agent = entry.get("agent")
        own = agent == f.s.agent
        f.hear(Line(text if own else spoken(str(entry.get("author") or by), text, agent), own=own))
        return
    if "turn" not in entry:
        author = str(entry.get("author") or by)
        if author not in f.get("people"):
            f.changes["people"] = (*f.get("people"), author)
        f.hear(Line(spoken(author, text)))
        return
    if not f.mine(entry):
        agent = by.removeprefix("agents/")
        said = spoken(str(entry.get("author") or f.titles.get(agent, agent)), text, agent)
        f.hear(Line(said, jam=entry["turn"] in (f.get("jam") or ())))
        return
    f.put(Line(f"{text}\n{CUT}" if entry.get("cut") else text, own=True))
    usage = entry.get("usage") or {}
    f.changes["context"] = _tokens(usage.get("context"), f.get("context"))
    f.changes["window"] = _tokens(usage.get("window"), 0) or f.get("window")
    if f.get("handoff") and not f.get("base"):
        f.changes["base"] = f.changes["context"]
    f.changes["lifetime"] = f.get("lifetime") + _tokens(usage.get("input"), 0) + _tokens(usage.get("output"), 0)
    _finish(f, str(entry["turn"]))


def _tokens(value: Any, otherwise: int) -> int:
    """A figure of an entry. The log takes any there; one that is none must not end every life that folds it."""
    return value if type(value) is int and value >= 0 else otherwise


def _finish(f: _Folding, turn: str) -> None:
    f.changes["ended"] = f.get("ended") | {turn}
    f.end(turn)


def _action(f: _Folding, entry: Entry) -> None:
    if not f.mine(entry) or "turn" not in entry:
        return
    if entry.get("action") == "passed":
        f.put(Line("/pass", own=True))
    if entry.get("action") in ("passed", "failed"):
        _finish(f, str(entry["turn"]))


def _round_planned(f: _Folding, entry: Entry) -> None:
    # From here on, not from its own turn on: who was away, or waited for the budget, answers as blind as the others.
    if entry.get("mode") == "jam" and f.s.agent in (entry.get("order") or ()):
        f.changes["jam"] = frozenset()


def _round_ended(f: _Folding, entry: Entry) -> None:
    if f.get("jam") is not None:  # its turn in it never came
        f.changes["jam"] = None
        f.flush()


def _turn_started(f: _Folding, entry: Entry) -> None:
    turn = str(entry["turn"])
    if entry.get("agent") != f.s.agent:
        if f.get("jam") is not None:
            f.changes["jam"] = f.get("jam") | {turn}
        return
    if turn in f.get("ended"):
        return
    f.flush()  # a second attempt has heard what was said in the first
    f.open = OpenTurn(
        turn,
        str(entry.get("round", "")),
        int(entry.get("attempt", 1)),
        int(entry.get("incarnation", 0)),
        str(entry.get("mode", "open")),
        int(entry["seq"]),
        bool(entry.get("nudge")),
    )


def _halted(f: _Folding, entry: Entry) -> None:
    if f.open is not None:
        f.open = replace(f.open, halted=True)


def _turn_ended(f: _Folding, entry: Entry) -> None:
    if entry.get("agent") != f.s.agent:
        return
    turn = str(entry["turn"])
    broken = f.open is not None and f.open.turn == turn and f.open.attempt >= 2 and entry.get("outcome") == "failed"
    if broken and turn not in f.get("ended"):
        _forget_trail(f)
    _finish(f, turn)
    f.changes["ended"] = f.get("ended") - {turn}  # the coordinator gives an ended turn to nobody


def _forget_trail(f: _Folding) -> None:
    """Two crashes in one turn: what was read, then or before, may be what kills, so the trail goes, and the agent is
    told."""
    calls = [call for item in f.items if isinstance(item, Used) for call in item.calls]
    f.items = [item for item in f.items if not isinstance(item, Used)]
    f.results = 0
    unsure = ", ".join(call.tool for call in calls if not call.read_only and call.outcome is None)
    text = f"(Your last turn broke off twice; the {len(calls)} tool calls of this conversation are left out here."
    text += f" The outcome of {unsure} is unknown.)" if unsure else ")"
    f.put(Line(text, said=False))


def _tool_started(f: _Folding, entry: Entry) -> None:
    if not f.mine(entry):
        return
    given = entry.get("input")
    arguments = given if isinstance(given, Mapping) else {} if given is None else {"input": given}
    call = ToolCall(str(entry["call"]), str(entry["tool"]), dict(arguments), bool(entry.get("read_only")))
    group = _group(call.call)
    for index in range(len(f.items) - 1, -1, -1):
        item = f.items[index]
        if isinstance(item, Used) and item.group == group:
            f.items[index] = replace(item, calls=(*item.calls, call))
            return
        if not isinstance(item, Used):
            break
    f.items.append(Used(str(entry["turn"]), group, (call,)))


def _tool_ended(f: _Folding, entry: Entry) -> None:
    if not f.mine(entry):
        return
    call = str(entry["call"])
    for index in range(len(f.items) - 1, -1, -1):
        item = f.items[index]
        if isinstance(item, Used) and item.group == _group(call):
            ended = tuple(
                replace(c, outcome=str(entry["outcome"]), result=str(entry.get("result") or entry.get("summary") or ""))
                if c.call == call
                else c
                for c in item.calls
            )
            f.results += sum(map(_kept, ended)) - sum(map(_kept, item.calls))
            f.items[index] = replace(item, calls=ended)
            f.trim_results()
            return


def _joined(f: _Folding, entry: Entry) -> None:
    agent = str(entry["agent"])
    f.titles[agent] = str(entry.get("title") or f.titles.get(agent) or agent)
    if agent == f.s.agent:
        f.changes["member"] = True


def _left(f: _Folding, entry: Entry) -> None:
    agent = str(entry["agent"])
    f.titles.pop(agent, None)
    if agent == f.s.agent:
        f.changes["member"] = False


def _kicked(f: _Folding, entry: Entry) -> None:
    _left(f, entry)
    if entry["agent"] == f.s.agent:  # a kick clears the session
        f.items.clear()
        f.waiting.clear()
        f.results = f.said = 0
        f.changes.update(
            handoff=None, note="", keep=None, handing=None, since=int(entry["seq"]), begun=0, base=0, jam=None
        )


def _topic(f: _Folding, entry: Entry) -> None:
    f.changes["topic"] = str(entry.get("text") or "")


def _handoff_started(f: _Folding, entry: Entry) -> None:
    if entry.get("agent") != f.s.agent:
        return
    f.changes["handing"] = Handing(
        str(entry["handoff"]),
        int(entry["seq"]),
        str(entry["at"]),
        str(entry["record"]),
        int(entry["attempt"]),
        int(entry["incarnation"]),
        str(entry.get("reason", "asked")),
    )
    if entry["attempt"] == 1:
        f.changes["begun"] = int(entry["seq"])  # the trail ends here, whoever writes it in the end


def _handoff(f: _Folding, entry: Entry) -> None:
    if not f.mine(entry):
        return
    keep = entry.get("keep")
    said = [item for item in f.items if isinstance(item, Line) and item.said]
    # What the open turn has done already must not be done again by its next attempt.
    doing = [item for item in f.items if isinstance(item, Used) and f.open is not None and item.turn == f.open.turn]
    f.items = [*backfill(said, keep), *shortened(doing, keep)]
    f.said = sum(len(item.text) for item in f.items if isinstance(item, Line))
    f.results = sum(_kept(call) for item in f.items if isinstance(item, Used) for call in item.calls)
    f.flush()
    f.changes.update(
        handoff=str(entry.get("record") or ""),
        note=str(entry.get("note") or ""),
        keep=keep,
        handing=None,
        given_up=None,
        since=f.get("begun") or int(entry["seq"]),
        begun=0,
        context=0,
        base=0,
        lifetime=0,
    )


def _handoff_ended(f: _Folding, entry: Entry) -> None:
    if not f.mine(entry):
        return
    handing: Handing | None = f.get("handing")
    if handing is not None and entry.get("outcome") == "failed":
        f.changes["given_up"] = (handing.seq, int(entry["seq"]))
    f.changes.update(handing=None, begun=0)


def backfill(lines: Sequence[Line], keep: int | None) -> list[Line]:
    """The last lines, BACKFILL at most and `keep` characters at most (None: any); of the last one at least its ends."""
    found: list[Line] = []
    left = keep
    for line in reversed(lines[-BACKFILL:]):
        if left is not None and len(line.text) > left:
            if not found:
                found.append(replace(line, text=capped(line.text, max(left, LEAST))))
            break
        found.append(line)
        left = None if left is None else left - len(line.text)
    return found[::-1]


def shortened(items: Sequence[Used], keep: int | None) -> list[Used]:
    """The calls with their results cut so that together they are half of `keep`, and say so."""
    if keep is None:
        return list(items)
    each = max(LEAST, keep // 2 // max(1, sum(len(item.calls) for item in items)))
    return [replace(item, calls=tuple(_cut_call(call, each) for call in item.calls)) for item in items]


def _cut_call(call: ToolCall, most: int) -> ToolCall:
    """Neither what was asked (a whole note, when one was written) nor what came back may fill the new session."""
    given = {key: capped(value, most) if isinstance(value, str) else value for key, value in call.input.items()}
    return replace(call, input=given, result=capped(call.result, most))


_KINDS = {
    "message": _message,
    "action": _action,
    "round_planned": _round_planned,
    "round_ended": _round_ended,
    "turn_started": _turn_started,
    "turn_ended": _turn_ended,
    "halted": _halted,
    "tool_started": _tool_started,
    "tool_ended": _tool_ended,
    "joined": _joined,
    "reloaded": _joined,
    "invited": _joined,
    "left": _left,
    "parked": lambda f, entry: None,
    "kicked": _kicked,
    "topic": _topic,
    "handoff_started": _handoff_started,
    "handoff": _handoff,
    "handoff_ended": _handoff_ended,
}


def fold(session: Session, entries: Iterable[Entry]) -> Session:
    """The session after these entries. Entries that it has already are skipped, so folding twice is folding once."""
    folding = _Folding(session)
    seq = session.seq
    for entry in entries:
        if entry["seq"] <= seq:
            continue
        seq = entry["seq"]
        folding.take(entry)
    folding.changes["seq"] = seq
    return folding.done()
