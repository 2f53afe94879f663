"""The failure stories of rooms and agents, each on the real tree with a model behind a real provider's wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.audit import faults
from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.disks import fill, own_disk
from tests.e2e.node import Node, until
from tests.e2e.weak_agents import tree
from tests.llm.double import Double, Gate, Status, Use, Wait

SCOUT = {"scout": "anthropic/double"}
BOTH = {**SCOUT, "sage": "anthropic/double"}
SAGE = {"sage": "anthropic/double"}
HERE = {"PYTHONPATH": str(Path(__file__).parents[2])}  # a tree file names a module of the tests


@contextlib.contextmanager
def saying(play: Play, text: str, room: str = "default") -> Iterator[Future[list[dict[str, Any]]]]:
    """Says something in a thread of its own; the future has the entries of the round."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(play.say, text, room)


def answers(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["text"] for entry in entries if entry["kind"] == "message" and entry.get("turn")]


def ends(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["agent"], entry["outcome"]) for entry in entries if entry["kind"] == "turn_ended"]


@contextlib.contextmanager
def weak(base: Path, fault: str) -> Iterator[Play]:
    """A node with `sage`, who is well, and `scout`, who has this fault."""
    (base / "notes").mkdir()
    agent_note(base / "notes", "scout", "anthropic/double", f"FAULT {fault}")
    arguments = ("--tree", str(tree(base / "tree.yaml")))
    with Double({"*": ["Here."]}) as double, cast(base, double, SAGE, *arguments, env=HERE) as play:
        yield play


# ---- agents --------------------------------------------------------------------------------------------------------


def test_an_agent_that_crashes_in_its_turn_gets_it_again_once(short_dir: Path) -> None:
    """kill -9 while the model answers: one notice with the reason, the same turn as attempt 2, one answer."""
    gate = Gate()
    with Double({"scout": [["Half ", Wait(gate)], "Whole."]}) as double, cast(short_dir, double, SCOUT) as play:
        with saying(play, "@scout tell me") as said:
            assert gate.reached.wait(20)
            play.node.kill("agents/scout")
            entries = said.result(60)
        gate.open()
        starts = [(e["turn"], e["attempt"]) for e in entries if e["kind"] == "turn_started"]
        assert len({turn for turn, _ in starts}) == 1 and [attempt for _, attempt in starts] == [1, 2]
        assert answers(entries) == ["Whole."] and ends(entries) == [("scout", "spoke")]
        notices = [e["text"] for e in play.log() if e["kind"] == "notice" and "crashed" in e["text"]]
        assert len(notices) == 1 and "SIGKILL" in notices[0]


def test_an_agent_that_always_crashes_is_parked_and_an_edit_revives_it(short_dir: Path) -> None:
    """It is parked with its reason, `agents show` has the last traceback, the others go on, a better note starts it."""
    with weak(short_dir, "crash") as play:
        process = until("scout parked", lambda: parked(play.node, "agents/scout"), 60)
        assert process["restarts"] >= 5
        shown = play.home.ok("agents", "show", "scout")
        assert "parked" in shown and "RuntimeError: the weak agent broke on purpose" in shown
        assert "Traceback" in shown
        assert answers(play.say("@sage are you well?")) == ["Here."]
        failed = play.say("@scout and you?")
        assert ends(failed) == [("scout", "failed")] or not ends(failed)
        agent_note(play.records, "scout", "anthropic/double", "You are well again.")
        until("scout runs", lambda: play.node.processes()["agents/scout"]["state"] == "running", 30)
        assert answers(play.say("@scout and now?")) == ["Here."]


def test_an_agent_that_cannot_start_says_why(short_dir: Path) -> None:
    """It raises before it is ready: its card is `failed` with the reason, the others run."""
    with weak(short_dir, "start") as play:
        shown = until("scout failed", lambda: failed(play), 60)
        assert "exit code 1 before ready(): RuntimeError: the weak agent broke on purpose" in shown
        assert answers(play.say("@sage are you well?")) == ["Here."]


def failed(play: Play) -> str | None:
    shown = play.home.run("agents", "show", "scout").stdout
    return shown if "failed" in shown else None


def test_a_hung_agent_is_killed_and_counted(short_dir: Path) -> None:
    """An agent whose loop stands still misses its heartbeat, is killed for it, and is started again."""
    with weak(short_dir, "hang") as play:
        died = until("scout was killed", lambda: exit_of(play.node, "agents/scout"), 60)
        assert "heartbeat" in died["reason"] and not died["planned"]
        assert play.node.processes()["agents/scout"]["restarts"] >= 1
        assert play.node.processes()["agents/sage"]["restarts"] == 0


def test_an_agent_that_eats_memory_is_ended_alone(short_dir: Path) -> None:
    """Over its `max_memory` the agent is killed with that reason; the others keep their processes."""
    with weak(short_dir, "eat") as play:
        died = until("scout was ended", lambda: exit_of(play.node, "agents/scout"), 60)
        assert "memory" in died["reason"]
        assert {n: p["restarts"] for n, p in play.node.processes().items() if n in ("llm", "agents/sage")} == {
            "llm": 0,
            "agents/sage": 0,
        }


def exit_of(node: Node, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = node.processes().get(name, {}).get("last_exit")
    return found


def parked(node: Node, name: str) -> dict[str, Any] | None:
    process = node.processes().get(name)
    return process if process and process["state"] == "parked" else None


# ---- the model -----------------------------------------------------------------------------------------------------


def test_a_provider_that_is_down_is_a_sentence_and_no_crash(short_dir: Path) -> None:
    """The turn fails with words that a person can act on; no process restarts; when it is back the agent answers."""
    down = [[Status(503)]] * 5  # four tries of the first turn, one of the next: more, and the breaker makes it wait
    with Double({"scout": [*down, "Back."]}) as double, cast(short_dir, double, SCOUT) as play:
        entries = play.say("@scout hello?")
        [(agent, outcome)] = ends(entries)
        reason = next(e["reason"] for e in entries if e["kind"] == "turn_ended")
        assert (agent, outcome) == ("scout", "failed") and "anthropic" in reason.lower() and "503" in reason
        assert all(p["restarts"] == 0 for p in play.node.processes().values())
        until("the provider answers", lambda: answers(play.say("@scout and now?")) == ["Back."])


def test_the_gateway_dies_in_mid_stream(short_dir: Path) -> None:
    """kill -9 of `llm` while the answer comes: the agent is started again with it, and the turn is given again."""
    gate = Gate()
    with Double({"scout": [["Half ", Wait(gate)], "Whole."]}) as double, cast(short_dir, double, SCOUT) as play:
        with saying(play, "@scout tell me") as said:
            assert gate.reached.wait(20)
            before = play.node.processes()["tools"]["pid"]
            play.node.kill("llm")
            entries = said.result(60)
        gate.open()
        assert ends(entries) == [("scout", "spoke")] and answers(entries) == ["Whole."]
        assert play.node.processes()["tools"]["pid"] == before


def test_the_coordinator_dies_between_two_activations(short_dir: Path) -> None:
    """Killed after the first of two turns: its successor gives the second, and nothing twice."""
    gate = Gate()
    script = {"scout": ["First."], "sage": [["Second", Wait(gate), "."], "Second again."]}
    with Double(script) as double, cast(short_dir, double, BOTH) as play:
        with saying(play, "@scout @sage one after the other") as said:
            assert gate.reached.wait(20)  # the first turn has ended, the second has begun
            play.node.kill("coordinator")
            gate.open()
            entries = said.result(60)
        assert [agent for agent, outcome in ends(entries) if outcome == "spoke"] == ["scout", "sage"]
        assert answers(entries)[0] == "First." and len(answers(entries)) == 2
        assert faults(play.log(), [], []) == []


# ---- rooms ---------------------------------------------------------------------------------------------------------


def test_a_room_dies_while_five_people_watch(short_dir: Path) -> None:
    """kill -9 of a room in the middle of an answer: each of five clients is shown every entry once, in order."""
    gate = Gate()
    with Double({"scout": [["Half ", Wait(gate), "whole."]]}) as double, cast(short_dir, double, SCOUT) as play:
        seen: list[list[dict[str, Any]]] = [[] for _ in range(5)]
        over = threading.Event()

        async def watch() -> None:
            from egghead.client.follow import follow

            async def one(number: int) -> None:
                async with await play.connect() as client:
                    async for entry in follow(client.peer, "default"):
                        seen[number].append(entry)
                        if entry["kind"] == "round_ended":
                            return

            await asyncio.gather(*map(one, range(5)))
            over.set()

        with ThreadPoolExecutor(1) as pool, saying(play, "@scout tell me") as said:
            watching = pool.submit(asyncio.run, watch())
            assert gate.reached.wait(20)
            until("five watch", lambda: all(seen))
            play.node.kill("rooms/default")
            gate.open()
            assert ends(said.result(60)) == [("scout", "spoke")]
            watching.result(60)
        assert over.is_set()
        assert faults(play.log(), [], seen) == []
        assert all(account == seen[0] for account in seen)


def test_the_notes_are_away_for_ten_seconds(short_dir: Path) -> None:
    """`store` and `index` stand still for ten seconds: the agent's read waits or says so, the round ends, all heals."""
    use = Use("search_records", {"query": "fern"})
    with Double({"scout": [[use], "Done.", [use], "Done again."]}) as double, cast(short_dir, double, SCOUT) as play:
        stopped = [play.node.processes()[name]["pid"] for name in ("store", "index")]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(10.0, lambda: [os.kill(pid, signal.SIGCONT) for pid in stopped])
        timer.start()
        try:
            entries = play.say("@scout where is the fern?")
        finally:
            timer.join()
        assert ends(entries) == [("scout", "spoke")] and answers(entries)[0].startswith("Done")
        again = play.say("@scout once more?")
        assert [e["outcome"] for e in again if e["kind"] == "tool_ended"] == ["ok"]
        assert all(p["restarts"] == 0 for p in play.node.processes().values())


def test_a_torn_tail_is_cut_and_said(short_dir: Path) -> None:
    """Half a line at the end of a log, as a power cut leaves it: what was whole is there, the loss is in the log of the node."""
    with Double({"scout": ["One."]}) as double, cast(short_dir, double, SCOUT) as play:
        play.say("@scout one")
        whole = play.log()
        path = play.records / ".egghead" / "rooms" / "default.jsonl"
        old = play.node.processes()["rooms/default"]["pid"]
        os.kill(old, signal.SIGSTOP)
        with open(path, "ab") as file:
            file.write(b'{"seq": 999, "id": "torn", "kind": "mess')
        os.kill(old, signal.SIGKILL)
        play.node.healed("rooms/default", old)
        assert answers(play.say("@scout two")) == ["One."]
        assert play.log()[: len(whole)] == whole and faults(play.log(), [], []) == []
        assert "cut" in play.home.ok("logs", "-n", "500")


@pytest.mark.kernel
def test_a_room_whose_disk_is_full_refuses_and_goes_on(short_dir: Path) -> None:
    """On a full disk the message is refused in words, nothing half is in the log; with space the next one is answered."""
    wrap = own_disk(short_dir / "notes", "24m")
    with Double({"scout": ["Yes."]}) as double, cast(short_dir, double, SCOUT, wrap=wrap) as play:
        assert answers(play.say("@scout are you there?")) == ["Yes."]
        before = play.log()
        filler = fill(play.records)
        refused = play.home.run("chat", "default", "@scout " + "and now? " * 2000)
        assert refused.returncode != 0 and "full" in refused.stderr.lower() + refused.stdout.lower()
        filler.unlink()
        assert answers(play.say("@scout and now?")) == ["Yes."]
        assert play.log()[: len(before)] == before and faults(play.log(), [], []) == []


def test_three_live_rooms_outlive_the_node(short_dir: Path) -> None:
    """kill -9 of the root with a turn open in each of three rooms: the next node ends each turn once and answers."""
    gate = Gate()
    rooms = ["default", "one", "two"]
    replies: list[Any] = [[["Half ", Wait(gate)]] * 3, ["Whole."]]
    script = {"scout": [*replies[0], *replies[1]]}
    with Double(script) as double, cast(short_dir, double, SCOUT) as play:
        for room in rooms[1:]:
            play.home.ok("chat", room, "/topic weather")
        for room in rooms:
            play.home.ok("chat", room, "/budget 9")
        with ThreadPoolExecutor(3) as pool:
            talks = [pool.submit(play.home.run, "chat", room, "@scout tell me") for room in rooms]
            double.wait(3, 60)
            left = play.node.descendants()
            play.node.process.kill()
            play.node.process.wait()
            gate.open()
            done = [talk.result(90) for talk in talks]
        assert [p for p in left if p.is_running() and p.status() != "zombie"] == []
        assert all("Whole." in one.stdout for one in done), [one.stderr for one in done]
        for room in rooms:
            log = play.log(room)
            assert faults(log, [], []) == [], room
            assert len([e for e in log if e["kind"] == "message" and not e.get("turn")]) == 1


# ---- side effects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [True, False], ids=["a write", "a read"])
def test_a_call_that_the_agent_did_not_survive(short_dir: Path, writes: bool) -> None:
    """Killed between `tool_started` and `tool_ended`: a write is not run again and its outcome is told as unknown; a read
    leaves no trace in the conversation, so that the model asks for it again."""
    use = (
        Use("create_record", {"title": "Fern", "body": "green"}) if writes else Use("search_records", {"query": "fern"})
    )
    script = {"scout": [[use], "I looked.", "Anything else?"]}
    with Double(script) as double, cast(short_dir, double, SCOUT) as play:
        tools = play.node.processes()["tools"]["pid"]
        with saying(play, "@scout keep the fern") as said:
            double.wait(1)
            os.kill(tools, signal.SIGSTOP)
            try:
                until("the call is in the log", lambda: any(e["kind"] == "tool_started" for e in play.log()))
                play.node.kill("agents/scout")
            finally:
                os.kill(tools, signal.SIGCONT)
            entries = said.result(60)
        started = [e for e in entries if e["kind"] == "tool_started"]
        assert len([e for e in started if e["attempt"] == 1]) == 1
        assert ends(entries) == [("scout", "spoke")]
        second = double.asked[1]
        if writes:
            assert len(started) == 1 and len(list(play.records.glob("*.md"))) <= 1
            assert any("outcome" in result and "unknown" in result for result in second.results)
        else:
            assert second.results == [] and "tool_use" not in str(second.body["messages"])
