"""The guarantees of a room, checked from its log on disk, the clients' own accounts and nothing else. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from egghead.rooms.fold import fold_all
from egghead.rooms.state import empty
from egghead.rooms.transcript import parse

Entry = dict[str, Any]
# Given to their owner only; `more` marks on disk that an append of several entries goes on.
PRIVATE = {"result", "input", "more"}


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
    """The fold of a finished log is at rest, its budget has nothing out, and what each client was shown folds to the same."""
    state = fold_all(empty(room), log)
    found = [] if state.quiet else ["the fold of the log is not at rest"]
    if state.free() != state.limit() - state.spent:
        found.append(f"the budget leaks: {state.free()} free of {state.limit()}, {state.spent} spent")
    for client, entries in enumerate(seen):
        if fold_all(empty(room), entries) != fold_all(empty(room), log[: len(entries)]):
            found.append(f"what client {client} was shown folds to something else than the log")
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
