"""Money on a real node: every model call is counted once, limits pause an agent and say so, raising them lets it go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import serving, until
from tests.llm.double import PASS, Double, Gate, Status, Tokens, Use, Wait

PRICED, UNPRICED = "anthropic/claude-haiku-4-5", "anthropic/double"


def usage(play: Play, by: str, *more: str) -> dict[str, dict[str, Any]]:
    return {row[by]: row for row in play.home.json("usage", "--by", by, *more)["rows"]}


def notices(play: Play, word: str) -> list[str]:
    return [entry["text"] for entry in play.log() if entry["kind"] == "notice" and word in entry["text"]]


def outcomes(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["agent"]: entry["outcome"] for entry in entries if entry["kind"] == "turn_ended"}


def test_every_call_is_counted_once(short_dir: Path) -> None:
    """Tool rounds, passes, failed and halted turns count; a killed gateway and a new node neither lose nor double a call."""
    gate = Gate()
    script = {
        "scout": [[Use("search_records", {"query": "fern"}), Tokens(1000, 100)], ["Here.", Tokens(2000, 50, 4000, 10)]],
        "nib": [[PASS, Tokens(500, 1)], [Status(400)], ["Half", Wait(gate), " of it"]],
    }
    with Double(script) as double, cast(short_dir, double, {"scout": PRICED, "nib": UNPRICED}) as play:
        assert outcomes(play.say("@scout @nib where?")) == {"scout": "spoke", "nib": "passed"}
        by_agent = usage(play, "agent")
        scout = by_agent["scout"]
        assert (scout["calls"], scout["input"], scout["output"]) == (2, 3000, 150)
        assert (scout["cached_read"], scout["cached_write"], scout["unpriced"]) == (4000, 10, 0)
        assert abs(scout["cost"] - (3000 * 1.0 + 150 * 5.0 + 4000 * 0.1 + 10 * 1.25) / 1e6) < 1e-6
        assert (by_agent["nib"]["tokens"], by_agent["nib"]["cost"]) == (501, None)
        assert "unknown" in play.home.ok("usage") and "unknown" in play.home.ok("chat", "default", "/usage")
        assert outcomes(play.say("@nib again")) == {"nib": "failed"}
        assert usage(play, "agent")["nib"]["calls"] == 1, "a call that the provider refused used nothing"
        old = play.node.kill("llm")
        play.node.healed("llm", old, 40)
        assert usage(play, "agent") == by_agent
        assert list(usage(play, "room")) == ["default"] and set(usage(play, "model")) == {PRICED, UNPRICED}
        assert list(usage(play, "model", "--agent", "nib")) == [UNPRICED]
        assert usage(play, "day", "--since", "today") == usage(play, "day")
        assert play.home.run("usage", "--since", "yesterday").returncode == 2
        assert play.home.run("usage", "--agent", "nobody").returncode == 3

        waiting = play.home.run("chat", "default", "/budget")  # the room is at rest
        assert waiting.returncode == 0
        before = len(double.asked)
        said = play.home.run("chat", "default", "@nib slowly", "--timeout", "3")
        assert said.returncode == 6 and len(double.asked) == before + 1
        play.home.ok("chat", "default", "/halt")
        cut = until("the halted call", lambda: [r for r in usage(play, "agent").values() if r["cut"]])
        assert [(row["agent"], row["cut"]) for row in cut] == [("nib", 1)]
        found = usage(play, "agent")
        play.node.stop()
        with serving(play.home, play.records):
            assert usage(play, "agent") == found
            messages = [entry for entry in play.log() if entry["kind"] == "message" and entry.get("usage")]
            assert (
                sum(entry["usage"]["input"] for entry in messages if entry["by"] == "agents/scout")
                == found["scout"]["input"]
            )


def test_a_limit_pauses_an_agent_until_it_is_raised(short_dir: Path) -> None:
    """At its limit an agent is paused with the remedy, once; others answer; it survives restarts; raising it needs no restart."""
    script = {"scout": [["Mine.", Tokens(900, 200)]], "nib": [["Nib here.", Tokens(10, 10)]]}
    records = short_dir / "notes"
    records.mkdir()
    agent_note(records, "scout", UNPRICED, tags=["woods"], limits={"tokens_per_day": 1000})
    with Double(script) as double, cast(short_dir, double, {"scout": UNPRICED, "nib": UNPRICED}) as play:
        assert outcomes(play.say("what lives in the woods?"))["scout"] == "spoke"
        sentence = until("the notice", lambda: notices(play, "Scout has used"))[0]
        assert "1100 of 1000 tokens" in sentence and "until 00:00 UTC" in sentence and "tokens_per_day" in sentence
        until("the pause", lambda: play.home.json("agents", "show", "scout")["paused"])
        assert outcomes(play.say("what else lives in the woods?")) == {"nib": "spoke"}
        named = play.say("@scout what else?")
        assert [e["reason"] for e in named if e["kind"] == "turn_ended"] == [sentence]
        assert "paused" in play.home.ok("chat", "default", "/list")
        assert "Scout has used" in play.home.run("usage").stderr

        for name in ("llm", "roster"):
            old = play.node.kill(name)
            play.node.healed(name, old, 40)
        until("the pause again", lambda: play.home.json("agents", "show", "scout")["paused"])
        assert outcomes(play.say("@scout and now?")) == {"scout": "failed"}
        assert len(notices(play, "Scout has used")) == 1

        pid = play.node.processes()["agents/scout"]["pid"]
        agent_note(records, "scout", UNPRICED, tags=["woods"], limits={"tokens_per_day": 5000})
        until("it may go on", lambda: notices(play, "Scout may go on"))
        until("no pause", lambda: not play.home.json("agents", "show", "scout")["paused"])
        assert outcomes(play.say("@scout go on")) == {"scout": "spoke"}
        assert play.node.processes()["agents/scout"]["pid"] == pid
        assert sum(asked.agent == "scout" for asked in double.asked) == 2


def test_the_limit_of_the_node_pauses_everybody(short_dir: Path) -> None:
    """The configuration's limits are for all together; a bad limit in a note is a problem that is told, and no limit."""
    records = short_dir / "notes"
    records.mkdir()
    agent_note(records, "nib", PRICED, limits={"cost_per_dy": 1, "tokens_per_day": "lots"})
    with Double({"*": [["ok", Tokens(1_000_000, 1)]]}) as double:
        with cast(
            short_dir, double, {"scout": PRICED, "nib": PRICED}, config={"limits": {"cost_per_day": 0.5}}
        ) as play:
            problems = " ".join(play.home.json("agents", "show", "nib")["problems"])
            assert "'cost_per_dy'; did you mean 'cost_per_day'?" in problems and "'lots'" in problems
            assert outcomes(play.say("@scout hello")) == {"scout": "spoke"}
            until("the notice", lambda: notices(play, "The agents have used"))
            until("all paused", lambda: all(card["paused"] for card in play.home.json("agents", "list")))
            answer = play.say("is anybody there?")
            assert "paused, the limit of the day is reached" in json.dumps(answer) and outcomes(answer) == {}
            assert outcomes(play.say("@nib are you?")) == {"nib": "failed"}
            assert len(double.asked) == 1
