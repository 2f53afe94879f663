"""Logs for tests: entries as a room stores them, written short."""

from __future__ import annotations

from typing import Any


class Log:
    """A growing log of one room."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def add(self, by: str, kind: str, **fields: Any) -> dict[str, Any]:
        """One entry, stamped as a room stamps it."""
        seq = len(self.entries) + 1
        entry = {"seq": seq, "id": f"e{seq}", "at": "2026-01-01T00:00:00.000Z", "by": by, "kind": kind, **fields}
        self.entries.append(entry)
        return entry

    def person(self, text: str, author: str = "ada") -> dict[str, Any]:
        return self.add(f"clients/{author}-1", "message", author=author, text=text)

    def turn(self, turn: str, agent: str = "scout", attempt: int = 1, incarnation: int = 7, **more: Any) -> None:
        fields = {"turn": turn, "round": "r1", "agent": agent, "attempt": attempt, "incarnation": incarnation}
        self.add("coordinator", "turn_started", **fields, mode=more.pop("mode", "open"), **more)

    def started(self, turn: str, call: str, tool: str = "get_record", read_only: bool = True, **more: Any) -> None:
        fields = {"turn": turn, "attempt": 1, "call": call, "tool": tool, "read_only": read_only, "summary": tool}
        self.add("agents/scout", "tool_started", **fields, input=more.pop("input", {"id": "x"}), **more)

    def done(self, turn: str, call: str, outcome: str = "ok", result: str = "found") -> None:
        self.add("agents/scout", "tool_ended", turn=turn, call=call, outcome=outcome, result=result, summary="s")

    def says(self, turn: str, text: str, agent: str = "scout", **more: Any) -> None:
        usage = more.pop("usage", {"input": 10, "output": 5, "context": 15})
        self.add(f"agents/{agent}", "message", turn=turn, author=agent.title(), text=text, usage=usage, **more)

    def ended(self, turn: str, outcome: str = "spoke", agent: str = "scout") -> None:
        self.add("coordinator", "turn_ended", turn=turn, agent=agent, outcome=outcome)
