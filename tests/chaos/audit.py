"""The guarantees of a room, checked from its log on disk, the clients' own accounts and nothing else. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from egghead.rooms.addressing import mentions
from egghead.rooms.fold import fold, fold_all
from egghead.rooms.names import agent_of
from egghead.rooms.state import RoomState, empty
from egghead.rooms.transcript import parse

Entry = dict[str, Any]
# Given to their owner only; `more` marks on disk that an append of several entries goes on.
PRIVATE = {"result", "input", "note", "more"}


def faults(
    log: list[Entry], acknowledged: list[list[str]], seen: list[list[Entry]], *, finished: bool = True
) -> list[str]:
    """Every broken guarantee as a sentence.

    `log`: the entries on disk. `acknowledged`: for each client the ids of its posted messages, in the order of their
    acknowledgement. `seen`: for each client the entries it was given, in order. `finished`: nobody is speaking any more.
    """
    return [
        *order(log),
        *messages(log, acknowledged),
        *turns(log, finished),
        *rounds(log, finished),
        *accounts(log, seen),
    ]


def order(log: list[Entry]) -> list[str]:
    found = [] if [e["seq"] for e in log] == list(range(1, len(log) + 1)) else ["the log's seq has a hole or a repeat"]
    return found + [f"entry {i} is in the log {n} times" for i, n in Counter(e["id"] for e in log).items() if n > 1]


def messages(log: list[Entry], acknowledged: list[list[str]]) -> list[str]:
    at = {e["id"]: e["seq"] for e in log}
    found = []
    for client, ids in enumerate(acknowledged):
        found += [f"client {client}: acknowledged message {i} is not in the log" for i in ids if i not in at]
        places = [at[i] for i in ids if i in at]
        if places != sorted(places):
            found.append(f"client {client}: its messages are in another order than they were acknowledged")
    return found


def turns(log: list[Entry], finished: bool) -> list[str]:
    found = []
    started: dict[str, list[Entry]] = {}
    ended: Counter[str] = Counter()
    spoken: Counter[str] = Counter()
    for entry in log:
        if entry["kind"] == "turn_started":
            if ended[entry["turn"]]:
                found.append(f"turn {entry['turn']} was started after its end")
            started.setdefault(entry["turn"], []).append(entry)
        elif entry["kind"] == "turn_ended":
            ended[entry["turn"]] += 1
        elif entry["kind"] == "message" and entry.get("turn"):
            spoken[entry["turn"]] += 1
            if ended[entry["turn"]]:
                found.append(f"turn {entry['turn']} spoke after its end")
    for turn, starts in started.items():
        attempts = [s["attempt"] for s in starts]
        if attempts != list(range(1, len(attempts) + 1)) or len(attempts) > 2:
            found.append(f"turn {turn} has attempts {attempts}")
        if ended[turn] > 1 or (finished and not ended[turn]):
            found.append(f"turn {turn} has {ended[turn]} ends")
        if spoken[turn] > 1:
            found.append(f"turn {turn} has {spoken[turn]} messages")
    found += [f"turn {turn} ended without a start" for turn in ended if turn not in started]
    return found


def rounds(log: list[Entry], finished: bool) -> list[str]:
    found = []
    open_: str | None = None
    planned: set[str] = set()
    for entry in log:
        if entry["kind"] == "round_planned":
            planned.add(entry["message"])
            if open_ not in (None, entry["round"]):
                found.append(f"round {entry['round']} began inside round {open_}")
            open_ = entry["round"]
        elif entry["kind"] == "round_ended":
            if entry["round"] != open_:
                found.append(f"round {entry['round']} ended while {open_} was open")
            open_ = None
    if finished:
        if open_ is not None:
            found.append(f"round {open_} never ended")
        asked = [e["id"] for e in log if e["kind"] == "message" and not e.get("turn")]
        found += [f"message {i} was never planned" for i in asked if i not in planned]
    return found


def accounts(log: list[Entry], seen: list[list[Entry]]) -> list[str]:
    found = []
    public = {e["seq"]: {k: v for k, v in e.items() if k not in PRIVATE} for e in log}
    for client, entries in enumerate(seen):
        seqs = [e["seq"] for e in entries]
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))) if seqs else False:
            found.append(f"client {client} was shown entries with a hole, a repeat or out of order: {seqs}")
        for entry in entries:
            if public.get(entry["seq"]) != {k: v for k, v in entry.items() if k not in PRIVATE}:
                found.append(f"client {client} was shown another entry {entry['seq']} than the log has")
    return found


def folds(room: str, log: list[Entry], seen: list[list[Entry]]) -> list[str]:
    """Only who may speak does; the fold of a finished log is at rest, its budget has nothing out, and what each client was shown folds to the same."""
    state = fold_all(empty(room), log)
    found = speakers(room, log) + ([] if state.quiet else ["the fold of the log is not at rest"])
    if state.free() != state.limit() - state.spent:
        found.append(f"the budget leaks: {state.free()} free of {state.limit()}, {state.spent} spent")
    for client, entries in enumerate(seen):
        if fold_all(empty(room), entries) != fold_all(empty(room), log[: len(entries)]):
            found.append(f"what client {client} was shown folds to something else than the log")
    return found


def speakers(room: str, log: list[Entry]) -> list[str]:
    """Nobody is given a turn, or says something, who should not: by the fold up to that entry."""
    found: list[str] = []
    state = empty(room)
    asked: dict[str, Entry] = {}
    for entry in log:
        kind = entry["kind"]
        if kind == "message" and not entry.get("turn"):
            asked[entry["id"]] = entry
        elif kind == "turn_started" and entry["attempt"] == 1:
            found += _given(state, entry, asked)
        elif kind in ("message", "action", "tool_started") and (agent := agent_of(entry["by"])) not in state.members:
            found.append(f"{agent} is not in the room and wrote {kind} {entry['seq']}")
        state = fold(state, entry)
        if state.ever_joined and not state.members and room == "default":
            found.append(f"the default room has no agent after entry {entry['seq']}")
    return found


def _given(state: RoomState, entry: Entry, asked: dict[str, Entry]) -> list[str]:
    """What is wrong with a turn that is given, in the state before it."""
    turn, agent = entry["turn"], entry["agent"]
    found = []
    if agent not in state.members:
        found.append(f"turn {turn} was given to {agent}, who is not in the room")
    if state.round is not None and state.round.halted:
        found.append(f"turn {turn} began in a round that was halted")
    if entry["incarnation"] and state.free() <= 0:
        found.append(f"turn {turn} was given over the budget: {state.spent} of {state.limit()} spent")
    message = asked.get(state.round.message) if state.round is not None else None
    # What waited for a /continue has no message of its own; the muted wait there only if they were named.
    named = message is None or agent in mentions(message["text"], state.titles).agents
    if agent in state.muted and not (named and entry["mode"] != "peer"):
        found.append(f"turn {turn} was given to {agent}, who is muted and was not named")
    return found


def transcript(log: list[Entry], body: str) -> list[str]:
    """The body of the transcript says what was said, in order."""
    said = [entry["text"].strip() for entry in log if entry["kind"] == "message"]
    kept = [line.text.strip() for line in parse(body)]
    return (
        [] if kept == said else [f"the transcript has {len(kept)} messages that are not the {len(said)} that were said"]
    )


def effects(logs: dict[str, list[Entry]], made: Counter[str]) -> list[str]:
    """Each `create_record` call was started once and took effect once at most; one answered `ok` did take effect.

    `made`: how many notes there are of each title. Every call has a title of its own.
    """
    found = [f"{title!r} was made {count} times" for title, count in made.items() if count > 1]
    for room, log in logs.items():
        calls: dict[str, str] = {}
        for entry in log:
            if entry["kind"] == "tool_started" and entry["tool"] == "create_record":
                if entry["call"] in calls:
                    found.append(f"{room}: the call {entry['call']} was started twice")
                calls[entry["call"]] = entry["input"]["title"]
            elif entry["kind"] == "tool_ended" and entry["outcome"] == "ok" and entry["call"] in calls:
                title = calls[entry["call"]]
                if not made[title]:
                    found.append(f"{room}: {title!r} was answered ok and is not there")
    return found
