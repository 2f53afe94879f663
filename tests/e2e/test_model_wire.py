"""Agents on the wire of real providers: a person asks, tools run in parallel, the log has it all, the key is nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.e2e.cast import agent_note, cast
from tests.e2e.node import memory_has, until
from tests.llm.double import KEY, PASS, Break, Double, Search, Status, Think, Tokens, Use
from tests.llm.prefix_cache import PrefixCache


@pytest.mark.parametrize("wire", ["anthropic", "openai", "responses", "google"])
def test_an_agent_works_over_the_wire(short_dir: Path, wire: str) -> None:
    """Two notes are made by parallel calls, their results go back, the answer is in the log with its figures."""
    calls = [Use("create_record", {"title": name, "body": f"All about {name}."}) for name in ("fern", "moss")]
    script = {
        "scout": [
            ["I write ", "both down.", *calls, Tokens(1000, 50, 200)],
            [Think("done"), "Both are written: [[fern]] and [[moss]].", Tokens(1200, 20, 1000)],
        ]
    }
    with Double(script) as double, cast(short_dir, double, {"scout": f"{wire}/double"}) as play:
        entries = play.say("@scout please keep fern and moss")
        kinds = [entry["kind"] for entry in entries]
        assert kinds.count("tool_started") == kinds.count("tool_ended") == 2
        assert {e["tool"] for e in entries if e["kind"] == "tool_started"} == {"create_record"}
        assert [e["outcome"] for e in entries if e["kind"] == "tool_ended"] == ["ok", "ok"]
        [answer] = [e for e in entries if e["kind"] == "message" and e.get("turn")]
        assert answer["text"] == "I write both down.\n\nBoth are written: [[fern]] and [[moss]]."
        assert answer["usage"]["input"] == 2200 and answer["usage"]["output"] == 70
        assert answer["usage"]["cached_read"] == 1200 and answer["usage"]["context"] == 2220
        assert (play.records / "fern.md").exists() and (play.records / "moss.md").exists()
        first, second = double.wait(2)
        assert (first.wire, first.agent, first.room) == (wire, "scout", "default")
        assert first.last.endswith("please keep fern and moss") and "create_record" in first.tools
        assert len(second.results) == 2 and double.faults == []
        node_log = play.node.home.ok("logs", "-n", "1000")
        assert "tokens in" in node_log
        pids = {name: process["pid"] for name, process in play.node.processes().items() if process["pid"]}
        assert {name for name, pid in pids.items() if memory_has(pid, KEY.encode())} == {"llm"}
        secret_free = [json.dumps(play.log()), node_log, play.node.stderr(), play.home.ok("config", "view")]
        for process in psutil.Process(play.node.pid).children(recursive=True):
            secret_free += [" ".join(process.cmdline()), str(process.environ())]
        assert [text for text in secret_free if KEY in text] == []


@pytest.mark.parametrize("wire", ["anthropic", "responses"])
def test_the_second_turn_of_an_agent_reads_the_cache(short_dir: Path, wire: str) -> None:
    """What the first turn paid for in full, its prompt and its round of tools, the second reads for a tenth, though it was
    addressed in the first and is one of all who may answer in the second."""
    calls = [Use("search_records", {"query": "fern"})]
    body = "You are scout, made for a test. " + "You know all about ferns, and where they like to grow. " * 100
    with Double({"scout": [calls, "It grows in the shade.", "Yes."]}, cache=PrefixCache()) as double:
        agent_note(short_dir / "notes", "scout", f"{wire}/double", body)
        with cast(short_dir, double, {"scout": f"{wire}/double"}) as play:
            ends = [play.say(text)[-1] and play.log() for text in ("@scout where is the fern?", "and surely?")]
            told = [e["usage"] for e in ends[-1] if e["kind"] == "message" and e.get("turn")]
            first, second = (asked.tokens for asked in (double.asked[0], double.asked[2]))
        assert double.faults == []
    assert second - first < 400 and told[1]["cached_read"] > 0.9 * second
    assert told[0]["cached_read"] > 0.9 * first  # its own second round


def test_a_search_of_the_provider_goes_with_the_grant(short_dir: Path) -> None:
    """An agent with `net.get` may let its model search there and nowhere else; without it, from the next turn on, not."""
    script = {"scout": [[Search(), "Ferns like shade."], "Without looking: shade."]}
    with Double(script) as double:
        grants = ["records.read", {"net.get": {"hosts": ["*.example.org"]}}]
        agent_note(short_dir / "notes", "scout", "anthropic/claude-sonnet-5-5", capabilities=grants)
        with cast(short_dir, double, {"scout": "anthropic/claude-sonnet-5-5"}) as play:
            [answer] = [e for e in play.say("@scout where do ferns grow?") if e["kind"] == "message" and e.get("turn")]
            agent_note(play.records, "scout", "anthropic/claude-sonnet-5-5", capabilities=["records.read"])
            until("reloaded", lambda: any(e["kind"] == "reloaded" for e in play.log()), 30.0)
            play.say("@scout surely?")
        first, second = double.asked
        assert double.faults == []
    assert answer["text"] == "Ferns like shade.\n\nSources: [Ferns](https://example.org/ferns)"
    searches = [[t for t in asked.body["tools"] if t.get("type")] for asked in (first, second)]
    assert [tool["allowed_domains"] for tool in searches[0]] == [["example.org"]] and searches[1] == []
    assert "net.get" not in first.system  # it is of use: nothing is said to be missing


def test_what_a_provider_does_wrong_is_a_sentence_in_the_room(short_dir: Path) -> None:
    """Key refused, limit reached, broken off: each turn ends, the room says why, the next one works."""
    words = {
        "barred": "anthropic does not take the key",
        "limited": "takes no more requests for now",
        "torn": "broke off before its end",
    }
    replies = {
        "barred": [Status(401)],
        "limited": [Status(429), Status(429), "Now."],
        "torn": [["Half an ", "answer", Break()]],
        "shy": [PASS],
    }
    models = dict.fromkeys(replies, "anthropic/double")
    with Double(replies) as double, cast(short_dir, double, models, config=double.config(retries=1)) as play:
        # A key that is not taken shuts the provider until there is another: that one comes last.
        for agent in ("limited", "torn", "shy", "barred"):
            if agent == "barred":
                assert [e["text"] for e in play.say("@limited again") if e.get("turn") and e["kind"] == "message"] == [
                    "Now."
                ]
            [end] = [e for e in play.say(f"@{agent} hello") if e["kind"] == "turn_ended"]
            assert end["outcome"] == {"torn": "spoke", "shy": "passed"}.get(agent, "failed"), (agent, end)
        log = play.log()
        for agent in ("barred", "limited", "torn"):
            told = next(e for e in log if e.get("by") == f"agents/{agent}" and e["kind"] in ("action", "message"))
            assert words[agent] in told["text"], told
        assert len(double.of("limited")) == 3 and len(double.of("torn")) == 1
        assert KEY not in json.dumps(play.log()) + play.home.ok("logs", "-n", "1000")
