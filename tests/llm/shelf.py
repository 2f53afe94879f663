"""A shelf of notes and the tool loop around the librarian: what `tools` and an agent do, without either."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from egghead.llm.librarian import Librarian
from egghead.llm.librarian.words import tokens
from egghead.llm.shapes import Event, Stop, Text, ToolUse, event_data, request_from

TOOLS = ("search_records", "get_record_body", "recent_records", "list_records", "find_links", "find_backlinks")
CITED = re.compile(r"\[\[(.+?)\]\]")


class Shelf:
    """Notes by id. The search is plain: most words in common first."""

    def __init__(self, notes: Mapping[str, str], *, tags: Mapping[str, list[str]] | None = None) -> None:
        self.notes = dict(notes)
        self.tags = dict(tags or {})
        self.read: set[str] = set()
        self.calls: list[ToolUse] = []

    def run(self, use: ToolUse) -> tuple[str, bool]:
        """The content of a tool's result and whether it is an error."""
        self.calls.append(use)
        given = use.input
        match use.name:
            case "search_records":
                return json.dumps({"hits": self.search(given["query"], given["limit"])}), False
            case "get_record_body":
                self.read.add(given["id"])
                return self.notes[given["id"]], False
            case "recent_records":
                return json.dumps({"records": [self.row(id) for id in list(self.notes)[: given["limit"]]]}), False
            case "list_records":
                return json.dumps(
                    {"records": [self.row(id) for id, t in self.tags.items() if given["tag"] in t]}
                ), False
            case "find_backlinks":
                found = [id for id, body in self.notes.items() if f"[[{given['id']}]]" in body]
                return json.dumps({"records": [self.row(id) for id in found]}), False
            case "find_links":
                found = [id for id in CITED.findall(self.notes[given["id"]]) if id in self.notes]
                return json.dumps({"records": [self.row(id) for id in found]}), False
        return f"unknown tool {use.name!r}", True

    def row(self, id: str) -> dict[str, Any]:
        heading = re.search(r"^# (.+)$", self.notes[id], re.MULTILINE)
        return {"id": id, "title": heading[1] if heading else id, "tags": self.tags.get(id, []), "class": "durable",
                "updated": "2026-01-02T03:04:05Z", "snippet": ""}  # fmt: skip

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        asked = set(tokens(query))
        common = {id: len(asked & set(tokens(f"{id} {body}"))) for id, body in self.notes.items()}
        found = sorted((id for id, n in common.items() if n), key=lambda id: (-common[id], id))
        return [self.row(id) for id in found[:limit]]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


async def events(data: dict[str, Any]) -> list[Event]:
    """Every event of one completion."""
    return [event async for event in Librarian().complete(request_from(data), "librarian")]


async def ask(
    shelf: Shelf,
    question: str,
    *,
    before: list[dict[str, Any]] | None = None,
    tools: tuple[str, ...] = TOOLS,
    system: str = "",
    mode: str = "mention",
) -> str:
    """The librarian's final words to a question, after it used the shelf's tools as often as it liked."""
    messages = [*(before or []), user(question)]
    for _ in range(6):
        found = await events(
            {"messages": messages, "tools": [{"name": name} for name in tools], "system": system, "mode": mode}
        )
        assert isinstance(found[-1], Stop)
        uses = [event for event in found if isinstance(event, ToolUse)]
        assert found[-1].reason == ("tool_use" if uses else "end_turn")
        if not uses:
            return "".join(event.text for event in found if isinstance(event, Text))
        messages.append({"role": "assistant", "content": [event_data(use) for use in uses]})
        results = []
        for use in uses:
            content, failed = shelf.run(use)
            results.append({"type": "tool_result", "tool_use_id": use.id, "content": content, "is_error": failed})
        messages.append({"role": "user", "content": results})
    raise AssertionError(f"no answer to {question!r} after six steps")


def cited(answer: str) -> list[str]:
    """The ids in double brackets, in order."""
    return CITED.findall(answer)
