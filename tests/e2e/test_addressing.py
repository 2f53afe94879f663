"""Every way to address agents, through the command line, to models that see what they are told."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import until
from tests.llm.double import PASS, Asked, Double


def script(asked: Asked) -> Any:
    if "pass please" in str(asked.messages).rpartition("ada: ")[2]:
        return PASS
    if "ask a friend" in asked.last and asked.agent == "scout":
        return "I ask @nib, @everyone, and `@people/bob`, and bob@people.org."
    return f"{asked.agent} heard"


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as base, Double(script) as double:
        records = Path(base) / "notes"
        records.mkdir()
        notes: dict[str, dict[str, Any]] = {
            "scout": {"tags": ["woods"]},
            "nib": {"tags": ["letters"]},
            "people/bob": {"title": "Bob the Builder"},
        }
        for agent, keys in notes.items():
            agent_note(records, agent, "anthropic/double", **keys)
        with cast(Path(base), double, dict.fromkeys(("scout", "nib", "people/bob"), "anthropic/double")) as found:
            found.home.ok("chat", "default", "/kick index")
            yield found


def rounds(play: Play, text: str) -> tuple[str, list[tuple[str, str]], str]:
    """(mode, [(agent, outcome)], reason) of the round of one message, and what it set off."""
    entries = play.say(text)
    planned = next(entry for entry in entries if entry["kind"] == "round_planned")
    ended = [(entry["agent"], entry["outcome"]) for entry in entries if entry["kind"] == "turn_ended"]
    return planned["mode"], ended, str(planned.get("reason") or "")


CASES: list[tuple[str, str, list[str], str]] = [
    ("who knows the woods?", "open", ["scout"], ""),
    ("@scout hello", "mention", ["scout"], ""),
    ("@scot hello", "mention", ["scout"], "@scot was read as scout"),
    ("@Bob the Builder, @nib: hello", "mention", ["people/bob", "nib"], ""),
    ("@zorro about letters", "open", ["nib"], "nobody here is called @zorro"),
    ("letters: `@everyone` or all@everyone.org or https://x.org/@jam?", "open", ["nib"], ""),
    ("@everyone hello", "huddle", ["nib", "people/bob", "scout"], ""),
    ("@channel hello", "huddle", ["nib", "people/bob", "scout"], ""),
    ("@jam hello", "jam", ["nib", "people/bob", "scout"], ""),
]


@pytest.mark.parametrize(("text", "mode", "agents", "reason"), CASES)
def test_whom_a_message_is_for(play: Play, text: str, mode: str, agents: list[str], reason: str) -> None:
    """The mode, who spoke, in order where there is one, and what is said about how it was read."""
    found, ended, why = rounds(play, text)
    speakers = [agent for agent, outcome in ended if outcome == "spoke"]
    assert found == mode and reason in why
    if mode == "open":  # who spoke last may be asked too
        assert set(agents) <= set(speakers)
    else:
        assert (sorted(speakers) if mode in ("jam", "huddle") else speakers) == agents


def test_a_huddle_hears_and_a_jam_does_not(play: Play) -> None:
    """In a huddle the last has read the ones before, and a pass is asked once more; in a jam nobody has read anybody."""
    before = len(play.double.asked)
    rounds(play, "@everyone tell the moon")
    huddle = play.double.asked[before:]
    assert len(huddle) == 3 and "heard" in str(huddle[-1].messages).rpartition("tell the moon")[2]
    before = len(play.double.asked)
    rounds(play, "@jam tell the sun")
    jam = play.double.asked[before:]
    assert len(jam) == 3 and not any("heard" in str(asked.messages).rpartition("tell the sun")[2] for asked in jam)
    _, ended, _ = rounds(play, "@everyone pass please")
    assert sorted(ended) == sorted([("nib", "passed"), ("people/bob", "passed"), ("scout", "passed")] * 2)


def test_peers_are_woken_by_name_only(play: Play) -> None:
    """An agent's mention wakes that peer, not a muted one; its broadcast words, and what stands in code or an address, nobody."""
    play.say("@scout ask a friend")

    def after() -> list[str]:
        log = play.log()
        asked = max(
            entry["seq"] for entry in log if entry["kind"] == "message" and entry.get("text") == "@scout ask a friend"
        )
        done = [entry["agent"] for entry in log if entry["kind"] == "turn_ended" and entry["seq"] > asked]
        rounds_ = [entry for entry in log if entry["kind"] == "round_ended" and entry["seq"] > asked]
        return done if len(rounds_) == 2 else []

    assert until("the peer's turn", after) == ["scout", "nib"]
    play.home.ok("chat", "default", "/mute nib")
    assert rounds(play, "@scout ask a friend")[1] == [("scout", "spoke")]
    assert play.home.json("chat", "default", "/budget")["paused"] is False
    assert rounds(play, "@nib by name")[1] == [("nib", "spoke")]
    assert "nib" not in dict(rounds(play, "@everyone again")[1])
    play.home.ok("chat", "default", "/unmute nib")
