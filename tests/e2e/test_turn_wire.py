"""The rules of a turn, on a real node, as the model's provider and the room's log see them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egghead.agents.turn import CONCLUDE, MAX_CONCURRENT, MAX_ROUNDS
from egghead.client.chat import post
from egghead.tools.results import HEAD_SHARE, MAX_RESULT
from tests.e2e.cast import Play, agent_note, cast, halted
from tests.e2e.node import until
from tests.llm.double import PASS, Asked, Double, Gate, Hang, Reply, Status, Think, Use, Wait

MODEL = "anthropic/double"
Script = dict[str, Callable[[Asked], Reply]]
SCRIPT: Script = {}


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """One node; each test has agents of its own, and says in SCRIPT what their models say."""
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        with Double(lambda asked: SCRIPT[asked.agent](asked)) as double:
            with cast(base, double, {}, config=double.config(retries=0)) as play:
                yield play
            assert double.faults == []
    finally:
        shutil.rmtree(base, ignore_errors=True)


def begin(play: Play, agent: str, script: Callable[[Asked], Reply], **keys: Any) -> None:
    """An agent of this test, present."""
    SCRIPT[agent] = script
    agent_note(play.records, agent, keys.pop("model", MODEL), **keys)
    play.present(agent)


def turns(*replies: Reply) -> Callable[[Asked], Reply]:
    """One reply after the other."""
    return lambda asked: replies[min(asked.turn, len(replies)) - 1]


def answer(entries: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [e for e in entries if e["kind"] == "message" and e.get("turn")]
    return found


def written(play: Play, name: str, text: str) -> None:
    """A note as an editor writes it."""
    (play.records / f"{name}.md").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
def test_what_the_record_says_of_its_model_is_on_the_wire(play: Play, wire: str) -> None:
    """`temperature`, `max_tokens` and `thinking` of the note are in the request as the provider has them."""
    cool, thinker = {
        "anthropic": ("anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        "openai": ("openai/gpt-4.1", "openai/gpt-5.1"),
    }[wire]
    begin(play, f"cool-{wire}", turns("Yes."), model=cool, temperature=0.25, max_tokens=777)
    begin(play, f"thinker-{wire}", turns([Think("hm"), "Yes."]), model=thinker, thinking=3000, max_tokens=500)
    play.say(f"@cool-{wire} @thinker-{wire} hello")
    [plain], [deep] = play.double.of(f"cool-{wire}"), play.double.of(f"thinker-{wire}")
    longest = {"anthropic": "max_tokens", "openai": "max_completion_tokens"}[wire]
    assert plain.wire == wire and (plain.body["temperature"], plain.body[longest]) == (0.25, 777)
    assert not {"thinking", "reasoning_effort"} & set(plain.body)
    if wire == "anthropic":
        assert deep.body["thinking"] == {"type": "enabled", "budget_tokens": 3000}
        assert deep.body["max_tokens"] == 3500
    else:
        assert deep.body["reasoning_effort"] == "medium"
    assert "temperature" not in deep.body


def test_a_fallback_of_the_record_answers_and_goes_on(play: Play) -> None:
    """While the first model is down the second answers, with tools to the end of the turn; the next turn tries the first. Who
    answers in whose place is said once."""
    script = turns(
        Status(529), [Use("list_records")], "From the second.", Status(529), "Again.", Status(503), Status(500)
    )
    begin(play, "twofold", script, fallback=["openai/double"])
    entries = play.say("@twofold hello")
    assert answer(entries)["text"] == "From the second."
    [note] = [e["text"] for e in entries if e["kind"] == "action"]
    assert "openai/double in place of anthropic/double, because anthropic is overloaded" in note
    again = play.say("@twofold hello again")
    assert answer(again)["text"] == "Again." and [e for e in again if e["kind"] == "action"] == []  # it was said
    wires = ["anthropic", "openai", "openai", "anthropic", "openai"]
    assert [asked.wire for asked in play.double.of("twofold")] == wires
    entries = play.say("@twofold and now?")
    [end] = [e for e in entries if e["kind"] == "action" and e.get("turn")]
    assert "anthropic" in end["text"] and "Nor did a fallback answer: openai" in end["text"]
    assert [asked.wire for asked in play.double.of("twofold")] == [*wires, "anthropic", "openai"]


def test_twenty_rounds_of_tools_and_then_an_answer(play: Play) -> None:
    """A model that asks for tools without end is told to conclude; what it has then is the answer."""

    def script(asked: Asked) -> Reply:
        return "What I have." if CONCLUDE in asked.last else [Use("list_records", {"limit": asked.turn})]

    begin(play, "eager", script)
    entries = play.say("@eager look everywhere")
    assert answer(entries)["text"] == "What I have."
    assert sum(e["kind"] == "tool_started" for e in entries) == MAX_ROUNDS == 20
    requests = play.double.of("eager")
    assert len(requests) == 21 and len(requests[-1].results) == 20
    assert not any(CONCLUDE in asked.last for asked in requests[:-1])


def test_five_tools_at_once_and_results_in_the_order_of_the_requests(play: Play) -> None:
    """Of nine calls in one reply five run while the store is slow, never more; each result is where its request was."""
    names = [f"leaf{n}" for n in range(9)]
    for name in names:
        written(play, name, f"The {name} is green.\n")
    gate = Gate()
    begin(play, "many", turns([Wait(gate), *(Use("get_record_body", {"id": name}) for name in names)], "All green."))
    store = int(play.node.processes()["store"]["pid"])

    def running() -> list[int]:
        """How many calls were open after each entry of the turn."""
        steps = [
            {"tool_started": 1, "tool_ended": -1}.get(e["kind"], 0) for e in play.log() if e["kind"] != "turn_ended"
        ]
        return [sum(steps[: at + 1]) for at in range(len(steps))]

    async def ask() -> None:
        async with await play.connect() as client:
            await post(client, "default", "@many which are green?", "ada", deadline=20)

    asyncio.run(ask())
    assert gate.reached.wait(20)
    os.kill(store, signal.SIGSTOP)
    try:
        gate.open()
        until("five are running", lambda: running()[-1] == MAX_CONCURRENT)
    finally:
        os.kill(store, signal.SIGCONT)
    _, second = until("it was asked again", lambda: asked if len(asked := play.double.of("many")) == 2 else None)
    assert max(running()) == MAX_CONCURRENT == 5
    assert second.results == [f"The {name} is green.\n" for name in names]


def test_what_did_not_work_stands_under_the_answer(play: Play) -> None:
    """A failed and a denied call are listed with input and reason in the committed message; one that worked is not."""
    calls = [
        Use("get_record", {"id": "no-such-note"}),
        Use("delete_record", {"id": "agents/clumsy"}),
        Use("list_records", {"prefix": "agents/clumsy"}),
    ]
    begin(play, "clumsy", turns(calls, "That is all."), capabilities=["records.read"])
    text = answer(play.say("@clumsy try it"))["text"]
    said, *failures = text.split("\n")
    assert said == "That is all." and len(failures) == 3 and failures[0] == ""
    assert failures[1].startswith("> did not work: get_record id=no-such-note: NotFound")
    assert failures[2].startswith("> did not work: delete_record id=agents/clumsy: ") and "records.delete" in text
    assert "list_records" not in text


@pytest.mark.parametrize("wire", ["anthropic", "openai", "responses", "google"])
def test_a_tool_that_a_model_made_up_spoils_no_later_call(play: Play, wire: str) -> None:
    """A name that no provider takes back, or none at all, is told as unknown; the turn goes on, and so does the next one."""
    names = ["functions.get_record", "get record!", "x" * 300, "7", "größe", ""]
    begin(
        play,
        f"dreamer-{wire}",
        turns([Use(name) for name in names], "None of it.", "Still here."),
        model=f"{wire}/double",
    )
    text = answer(play.say(f"@dreamer-{wire} try it"))["text"]
    assert text.startswith("None of it.\n") and "there is no tool 'functions.get_record'" in text
    results = play.double.of(f"dreamer-{wire}")[-1].results
    assert len(results) == len(names) and all("unknown_tool" in result for result in results)
    assert answer(play.say(f"@dreamer-{wire} and now?"))["text"] == "Still here."
    assert play.double.faults == []


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
def test_arguments_that_are_no_object_are_told_as_such(play: Play, wire: str) -> None:
    """The model reads what was wrong with what it wrote, not of an argument that it never gave."""
    calls = [Use("get_record", raw='{"id": "fern'), Use("get_record", raw=json.dumps({"id": "x" * 800_000}))]
    begin(play, f"slip-{wire}", turns([calls[0]], [calls[1]], "Sorry."), model=f"{wire}/double")
    assert answer(play.say(f"@slip-{wire} read it"))["text"].startswith("Sorry.")
    torn, long = play.double.of(f"slip-{wire}")[-1].results
    assert torn == """get_record: the arguments are no JSON object: '{"id": "fern'; write the call again"""
    assert long.startswith("get_record: 800009 bytes of arguments; at most ") and "do it in parts" in long


def test_a_large_result_is_cut_and_its_middle_can_be_read(play: Play) -> None:
    """120 kB of a note go to the model, a quarter of it from the head, whole characters, with what was left out; the rest
    can be read by lines, and one long line by characters."""
    every = [f"{number:05d} Größe – 大きさ 🌲" for number in range(10_000)]
    written(play, "long", "\n".join(every) + "\n")
    written(play, "wide", "".join(every) + "\n")
    middle = {"lines": "4001-4003"}
    calls = [
        [Use("get_record_body", {"id": "long"}), Use("get_record_body", {"id": "wide"})],
        [
            Use("get_record_body", {"id": "long", **middle}),
            Use("get_record_body", {"id": "wide", "lines": "1", "characters": "100001-100021"}),
        ],
    ]
    begin(play, "reader", turns(*calls, "Read."))
    play.say("@reader read the long one")
    _, first, second = play.double.of("reader")
    whole = (play.records / "long.md").read_bytes()
    for result in first.results:
        head, marker, tail = (part for part in result.replace("\n[… ", "\0").replace(" …]\n", "\0").split("\0"))
        kept = len(head.encode()) + len(tail.encode())
        assert MAX_RESULT - 8 <= kept <= MAX_RESULT == 120_000
        assert abs(len(head.encode()) - HEAD_SHARE * MAX_RESULT) < 4 and "�" not in result
        assert "bytes left out here; read the rest by section, lines or characters" in marker
    head, _, tail = first.results[0].partition("\n[… ")
    assert whole.startswith(head.encode()) and whole.endswith(tail.partition(" …]\n")[2].encode())
    assert f"{len(whole) - kept} of {len(whole)}"[:4] in first.results[0]
    by_lines, by_characters = second.results[2:]
    assert by_lines == "\n".join(every[4000:4003]) + "\n"
    assert by_characters == "".join(every)[100_000:100_021]


def test_an_agent_never_searches_in_what_was(play: Play) -> None:
    """A search is made once for the same question in a turn; a note that an editor saves meanwhile is in the next one."""
    written(play, "amber-one", "Amber is a resin.\n")
    until("it is found", lambda: "amber-one" in play.home.ok("records", "search", "amber"))
    gate = Gate()
    search = Use("search_records", {"query": "amber"})
    begin(play, "seeker", turns([search], [search], [Wait(gate), search], "Found."))
    person = threading.Thread(target=play.say, args=("@seeker find it",), daemon=True)
    person.start()
    assert gate.reached.wait(20)
    written(play, "amber-two", "Amber floats.\n")
    until("it is found", lambda: "amber-two" in play.home.ok("records", "search", "amber"))
    gate.open()
    person.join(30)
    first, second, third = play.double.of("seeker")[-1].results
    assert first == second and "amber-one" in first and "amber-two" not in first
    assert "amber-one" in third and "amber-two" in third


def test_a_pass_after_words_is_dropped(play: Play) -> None:
    """Substance beats a yield that was added to it, on the screen too; a yield alone is a pass."""
    begin(play, "shy", turns("Here it is.\n\n/pass", PASS))
    assert answer(play.say("@shy where?"))["text"] == "Here it is."
    entries = play.say("@shy and?")
    assert [e["outcome"] for e in entries if e["kind"] == "turn_ended"] == ["passed"]
    assert not any(e["kind"] == "message" and e.get("turn") for e in entries)


# -- halt


PROMPT = 1500.0  # ms; 200 on a quiet machine (scripts/bench rooms), and the coordinator alone would take 3,000


def test_a_halt_in_mid_answer_keeps_what_was_said(play: Play) -> None:
    """The turn ends at once, as halted; what was said is kept and marked as cut; the provider is left."""
    begin(play, "talker", turns(["Once upon a time", Hang()]))
    took, end = halted(play, "talker", "time")
    assert end["outcome"] == "halted" and took < PROMPT
    [kept] = [e for e in play.log() if e.get("by") == "agents/talker" and e["kind"] == "message"]
    assert kept["text"] == "Once upon a time" and kept["cut"] is True
    assert play.double.of("talker")[0].gone.wait(10)


@contextlib.contextmanager
def stopped(play: Play, name: str) -> Iterator[None]:
    """A process that hangs."""
    pid = int(play.node.processes()[name]["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_tools_that_hang_at_the_beginning_do_not_hold_up_a_halt(play: Play) -> None:
    """A turn that still waits for its tools is halted as promptly, and no model was asked."""
    begin(play, "early", turns("Late."))

    def given() -> bool:
        return any(e["kind"] == "turn_started" and e["agent"] == "early" for e in play.log())

    with stopped(play, "tools"):
        took, end = halted(play, "early", lambda: until("its turn has begun", given))
    assert end["outcome"] == "halted" and took < PROMPT and play.double.of("early") == []


def test_a_tool_that_hangs_does_not_hold_up_a_halt(play: Play) -> None:
    """A call that does not return is left, and told as unknown in the log."""
    gate = Gate()
    begin(play, "held", turns([Wait(gate), Use("list_records")], "Late."))

    def called() -> list[dict[str, Any]]:
        turn = next(e["turn"] for e in play.log() if e["kind"] == "turn_started" and e["agent"] == "held")
        return [e for e in play.log() if e["kind"] in ("tool_started", "tool_ended") and e["turn"] == turn]

    with contextlib.ExitStack() as hanging:

        def hang() -> None:
            assert gate.reached.wait(20)
            hanging.enter_context(stopped(play, "store"))
            gate.open()
            until("the call is open", called)

        took, end = halted(play, "held", hang)
    assert end["outcome"] == "halted" and took < PROMPT
    assert [e.get("outcome") for e in called()] == [None, "unknown"]
