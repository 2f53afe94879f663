"""Handing off on the real tree: a full context, a person's wish, an overflow, bad days, and a kill in the middle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import until
from tests.llm.double import Asked, Double, Reply, Tokens, Use

MANY = int(os.environ.get("EGGHEAD_HANDOFFS", "3"))  # more than three wait for the supervisor's minute
NOTE = "You are about to begin anew"


def is_note(asked: Asked) -> bool:
    """Whether this request is for a hand-off note."""
    return NOTE in asked.last


def kinds(play: Play, *only: str) -> list[dict[str, Any]]:
    return [entry for entry in play.log() if entry["kind"] in only]


def back(play: Play, count: int = 1, timeout: float = 30.0) -> list[dict[str, Any]]:
    """The entries that say that scout is back, waited for."""
    return until(
        f"{count} handoffs are over",
        lambda: found if len(found := kinds(play, "handoff_ended")) >= count else None,
        timeout,
    )


def scout(base: Path, **keys: Any) -> dict[str, str]:
    """An agent with a small window."""
    (base / "notes").mkdir(exist_ok=True)
    agent_note(base / "notes", "scout", "anthropic/double", **keys)
    return {"scout": "anthropic/double"}


def test_a_full_context_begins_anew_with_its_note(short_dir: Path) -> None:
    """Past the threshold the agent writes note and trail, leaves as planned, is back at once, and knows its note; a
    person's wish does the same, by the command line too."""

    def script(asked: Asked) -> Reply:
        if is_note(asked):
            return "### Goal\nThe key is under the MOSS stone."
        if "where" in asked.last:
            return [("Under the MOSS stone." if "MOSS" in asked.system else "No idea."), Tokens(900, 10)]
        if not asked.results:
            return [Use("create_record", {"title": "Key", "body": "The key is under the moss stone."})]
        return ["Noted in [[key]].", Tokens(7_500, 10)]

    with Double(script) as double, cast(short_dir, double, scout(short_dir, context_window=10_000)) as play:
        pid = play.node.processes()["agents/scout"]["pid"]
        play.say("@scout the key is under the moss stone, write that down")
        [over] = back(play)
        order = [e["kind"] for e in play.log() if e["kind"].startswith("handoff")]
        assert order == ["handoff_asked", "handoff_started", "handoff", "handoff_ended"]
        assert over["outcome"] == "back" and over["text"].startswith("Scout is back")
        [begun] = kinds(play, "handoff_started")
        assert "75 % of its context is used" in begun["text"]
        process = play.node.healed("agents/scout", pid)
        assert process["last_exit"]["planned"]
        record = play.node.home.json("records", "show", over["record"])
        assert record["class"] == "deliberation" and record["author"] == "agents/scout"
        assert record["tags"] == ["deliberation", "agent:scout", "room:default"]
        assert {"key", "chat/default"} <= set(record["links"])
        body = record["body"]
        assert body.index("MOSS stone") < body.index("## Trail") < body.index("#### create_record")
        assert "All about" not in body and '"body": "The key is under the moss stone."' in body and "> Noted in" in body
        [answer] = [e for e in play.say("@scout where is the key?") if e["kind"] == "message" and e.get("turn")]
        assert answer["text"] == "Under the MOSS stone."
        assert "write that down" in str(double.of("scout")[-1].messages) and not double.of("scout")[-1].results
        done = play.node.home.run("agents", "handoff", "scout")
        assert done.returncode == 0 and "is back" in done.stdout, done
        assert len(back(play, 2)) == 2 and double.faults == []
