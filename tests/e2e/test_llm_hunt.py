"""The gateway killed, stopped and cut off from the bus at each moment of an answer: one end of the turn, no word twice."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egghead.client.chat import post
from tests.chaos.audit import faults
from tests.e2e.cast import Play, cast
from tests.e2e.node import until
from tests.e2e.test_failures import answers, ends, saying
from tests.llm.double import Double, Gate, Reply, Script, Send, Status, Stop, Use, Wait

MODEL = {"scout": "anthropic/double", "sage": "openai/double"}


def moments(gate: Gate) -> dict[str, list[Reply]]:
    """Where an answer is when something happens to the gateway, and what is said when it is asked again."""
    look = Use("search_records", {"query": "fern"})
    return {
        "before the head": [[Wait(gate), "Never."], "Whole."],
        "before the first word": [[Send(b": hello\n\n"), Wait(gate), "Never."], "Whole."],
        "in mid-answer": [["Half ", Wait(gate), "never."], "Whole."],
        "before its end": [["Nearly whole.", Stop("end_turn"), Wait(gate)], "Whole."],
        "in the second round": [[look], [Wait(gate), "Never."], [look], "Whole."],
        "between two tries": [Status(429, {"retry-after": "20"}), "Whole."],
    }


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


def one_end(play: Play, entries: list[dict[str, Any]]) -> None:
    assert ends(entries) == [("scout", "spoke")] and answers(entries) == ["Whole."], entries
    assert len({e["turn"] for e in entries if e["kind"] == "turn_started"}) == 1
    assert faults(play.log(), [], []) == []


@pytest.mark.parametrize("moment", list(moments(Gate())))
def test_the_gateway_is_killed(short_dir: Path, gate: Gate, moment: str) -> None:
    """kill -9 at this moment: the turn is given again, ends once, and has each word once."""
    script = {"scout": moments(gate)[moment]}
    with Double(script) as double, cast(short_dir, double, MODEL) as play, saying(play, "@scout tell me") as said:
        if moment == "between two tries":
            double.wait(1)
        else:
            assert gate.reached.wait(20)
        play.node.kill("llm")
        one_end(play, said.result(60))


def test_the_gateway_stands_still(short_dir: Path, gate: Gate) -> None:
    """Stopped for two seconds in mid-answer it goes on where it was; a halt while it is stopped ends the turn at once."""
    script: Script = {"scout": [["Half ", Wait(gate), "whole."], ["Half ", Wait(held := Gate()), "never."], "Again."]}
    with Double(script) as double, cast(short_dir, double, MODEL) as play:
        pid = int(play.node.processes()["llm"]["pid"])
        with saying(play, "@scout tell me") as said:
            assert gate.reached.wait(20)
            os.kill(pid, signal.SIGSTOP)
            waker = threading.Timer(2.0, os.kill, (pid, signal.SIGCONT))
            waker.start()
            gate.open()
            assert answers(said.result(60)) == ["Half whole."]
            waker.join()
        with saying(play, "@scout and more") as said:
            assert held.reached.wait(20)
            until("it is heard", lambda: len(double.of("scout")) == 2)
            os.kill(pid, signal.SIGSTOP)
            try:
                play.home.ok("chat", "default", "/halt")
                assert ends(said.result(10)) == [("scout", "halted")]
            finally:
                os.kill(pid, signal.SIGCONT)
        assert double.of("scout")[1].gone.wait(10)  # told late, it leaves the provider all the same
        held.open()
        assert answers(play.say("@scout are you there?")) == ["Again."]
        assert play.node.processes()["llm"]["restarts"] == 0 and faults(play.log(), [], []) == []


def test_the_bus_is_killed_in_mid_answer(short_dir: Path, gate: Gate) -> None:
    """Once a word was heard nothing is asked again: the turn keeps what was said and says why it broke off; the provider is
    left, and the next turn works."""
    script: Script = {"scout": [["Half ", Wait(gate), "never."], "Whole."]}

    async def until_heard() -> None:
        async with await play.connect() as client:
            heard = await client.peer.subscribe("text/default/")
            await post(client, "default", "@scout tell me", "ada", deadline=20)
            async with asyncio.timeout(20):
                while "Half" not in str((await anext(heard)).data):
                    pass

    with Double(script) as double, cast(short_dir, double, MODEL) as play:
        asyncio.run(until_heard())
        old = play.node.kill("bus")
        assert double.asked[0].gone.wait(20)
        until("the turn ended", lambda: ends(play.log()), 30)
        play.node.healed("bus", old)
        [answer] = answers(play.log())
        words, _, reason = answer.partition("\n\n> broke off: ")
        assert words == "Half" and reason.endswith("Ask again.") and len(double.asked) == 1
        assert answers(play.say("@scout are you there?")) == ["Whole."] and faults(play.log(), [], []) == []
        assert play.node.processes()["llm"]["restarts"] == 0


def test_many_rooms_and_a_provider_that_stalls(short_dir: Path, gate: Gate) -> None:
    """Eight agents in as many rooms wait for a provider that says nothing: an agent of another provider answers
    meanwhile; a halt in each room frees it, and the provider sees every connection closed."""
    crowd = [f"a{n}" for n in range(8)]
    script: Script = {"*": [[Wait(gate), "Late."]], "sage": ["Here."]}
    agents = {**dict.fromkeys(crowd, "anthropic/double"), "sage": "openai/double"}

    async def asked() -> None:
        async with await play.connect() as client:
            for name in crowd:
                await client.call("lobby", "open", room=f"of-{name}", timeout=30.0)
                await post(client, f"of-{name}", f"@{name} tell me", "ada", deadline=20)

    async def halted() -> None:
        async with await play.connect() as client:
            for name in crowd:
                await client.call(f"rooms/of-{name}", "append", entries=[{"kind": "halted", "author": "ada"}])

    with Double(script) as double, cast(short_dir, double, agents) as play:
        asyncio.run(asked())
        double.wait(8)
        assert double.open == 8 and answers(play.say("@sage are you well?", timeout=20)) == ["Here."]
        asyncio.run(halted())
        for name in crowd:
            until(f"{name} ended", lambda: [how for _, how in ends(play.log(f"of-{name}"))] == ["halted"], 10)  # noqa: B023
        assert all(asked.agent == "sage" or asked.gone.wait(10) for asked in double.asked)
        assert play.node.processes()["llm"]["restarts"] == 0
