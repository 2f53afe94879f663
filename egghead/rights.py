"""What a client may do: one table of targets, methods and topics. Everything else about rights is derived from it.

A client at this machine has the token and is `full`. One from the network has what its line in `authorized_keys` says:
`read` looks, `chat` also talks, `full` does what a local client does. docs/lan.md is written from this table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LEVELS = ("read", "chat", "full")  # each includes the ones before it


@dataclass(frozen=True)
class Row:
    """`kind`: call, subscribe or monitor. `what`: target, topic prefix or pattern; `methods` of a call."""

    level: str
    kind: str
    what: str
    methods: tuple[str, ...] = ()
    why: str = ""


TABLE: tuple[Row, ...] = (
    Row("read", "call", "rooms/*", ("since", "info"), "read a room's log"),
    Row("read", "call", "lobby", ("list", "show"), "see which rooms there are"),
    Row("read", "call", "store", ("get", "history", "diff", "trashed", "faults", "watching", "agents"), "read notes"),
    Row(
        "read",
        "call",
        "index",
        (
            *("search", "list", "recent", "links", "backlinks", "unresolved"),
            *("orphans", "tags", "resolve", "graph", "faults", "stats"),
        ),
        "search and list notes",
    ),
    Row("read", "call", "roster", ("cards", "problems"), "see the agents"),
    Row(
        "read",
        "call",
        "llm",
        ("models", "known", "unusable", "providers", "usage"),
        "see the models, and what was used",
    ),
    Row("read", "call", "tools", ("menu",), "see what an agent may do"),
    Row("read", "call", "node", ("info", "status"), "`tree`, `ps`, `status`"),
    Row("read", "call", "bus", ("ping",), "measure the way"),
    Row("read", "subscribe", "log/", (), "follow rooms"),
    Row("read", "subscribe", "text/", (), "see answers as they are written"),
    Row("read", "subscribe", "records/", (), "hear of changed notes"),
    Row("read", "subscribe", "agents/", (), "hear of changed agents"),
    Row("read", "subscribe", "lobby/", (), "hear of rooms"),
    Row("read", "monitor", "agents/*", (), "see agents come and go"),
    Row("read", "monitor", "rooms/*", (), "see rooms come and go"),
    Row("chat", "call", "rooms/*", ("append",), "speak, invite, mute, halt"),
    Row("chat", "call", "lobby", ("open", "save"), "open a room, save its transcript"),
    Row("full", "call", "lobby", ("drop",), "drop a room"),
    Row(
        "full",
        "call",
        "store",
        ("create", "update", "edit", "append", "trash", "restore", "rename", "undo", "purge"),
        "write notes, and so make agents and grant them rights",
    ),
    Row("full", "call", "store", ("sync", "verify"), "have every file looked at"),
    Row("full", "call", "roster", ("approve", "park", "unpark", "restart"), "park, start anew and approve agents"),
    Row("full", "call", "llm", ("test",), "try a provider, which may cost a little"),
    Row("full", "call", "node", ("logs",), "`logs`"),
    Row("full", "call", "bus", ("guests", "stats"), "see who is connected, and figures"),
    Row("full", "monitor", "*", (), "see everybody come and go"),
)


def rows(level: str) -> Iterator[Row]:
    """The rows that a level may use."""
    for row in TABLE:
        if LEVELS.index(row.level) <= LEVELS.index(level):
            yield row


def allow(level: str) -> dict[str, Any]:
    """The rights of a level as the bus takes them (`allow` of docs/protocol.md). Clients publish nothing."""
    calls: dict[str, list[str]] = {}
    for row in rows(level):
        if row.kind == "call":
            calls.setdefault(row.what, []).extend(row.methods)
    return {
        "call": calls,
        "publish": [],
        "subscribe": [row.what for row in rows(level) if row.kind == "subscribe"],
        "monitor": [row.what for row in rows(level) if row.kind == "monitor"],
    }
