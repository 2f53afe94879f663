"""Local models from the side of `llm`: started at the first use, asked once more when they die, stopped when idle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from egghead.llm.errors import LlmError, LocalDown, NoNotes, ProviderMissing, StreamBroken, UnknownModel
from egghead.llm.local import catalog
from egghead.llm.local.shelf import Local
from egghead.llm.shapes import Event, Message, Request, Stop, Text, Tool, ToolUse
from tests.local.fake import Answer, Starter
from tests.local.files import model

HELLO = Request(messages=[Message("user", [Text("Hello there, who are you?")])])
NOTE = Tool("create_record", "Make a note.", {"type": "object", "properties": {"id": {"type": "string"}}})


class World:
    """A catalog with the model `x`, and a provider over it."""

    def __init__(self, base: Path, answer: Answer, **keys: Any) -> None:
        self.models, sockets = base / "models", base / "m"
        self.file = model(base)
        catalog.add(self.models, self.file, "x", context=2048)
        self.starter = Starter(sockets, answer)
        self.local = Local(self.models, sockets, self.starter, **{"module": "json", "look": 0.02, **keys})

    async def say(self, request: Request = HELLO, name: str = "x") -> list[Event]:
        async with contextlib.aclosing(self.local.complete(request, name)) as events:
            return [event async for event in events]


@contextlib.asynccontextmanager
async def world(base: Path, answer: Answer, **keys: Any) -> AsyncIterator[World]:
    made = World(base, answer, **keys)
    try:
        yield made
    finally:
        await made.local.aclose()
        for name in list(made.starter.servers):
            await made.starter.stop(name)
        while left := {task for task in made.starter.tasks if not task.done()}:
            await asyncio.wait(left)


def words(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.01)  # the keeper has no event to wait for


async def test_it_is_started_at_its_first_use_and_kept(short_dir: Path) -> None:
    """Nothing runs until somebody asks; then one process serves all that follow, and costs nothing."""
    async with world(short_dir, lambda asked: ["Hel", "lo."]) as here:
        assert here.starter.started == []
        assert [m.name for m in here.local.models()] == ["local/librarian", "local/x"]
        assert here.local.models()[1].window == 2048 and here.local.models()[1].output_price == 0.0
        for _ in range(3):
            events = await here.say()
            assert words(events) == "Hello." and isinstance(events[-1], Stop) and events[-1].usage.input == 7
        assert here.starter.started == [("x", {"window": 2048, "slots": 2, "threads": 0})]


async def test_many_first_uses_are_one_start(short_dir: Path) -> None:
    """A hundred agents that ask at once start one process."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(here.say()) for _ in range(100)]
        assert {words(task.result()) for task in tasks} == {"Hi."} and len(here.starter.started) == 1


async def test_dead_before_a_word_it_is_asked_once_more(short_dir: Path) -> None:
    """A process that dies before it has said anything is started again and asked again; nobody notices."""
    dying: list[list[str | None]] = [[None], ["Here ", "again."]]
    async with world(short_dir, lambda asked: dying.pop(0)) as here:
        assert words(await here.say()) == "Here again."
        assert len(here.starter.started) == 2


async def test_dead_at_every_question_it_is_told(short_dir: Path) -> None:
    """A process that dies of a question is not asked for ever: the second death is told, with where to look."""
    async with world(short_dir, lambda asked: [None]) as here:
        with pytest.raises(LocalDown, match=r"local/x went down .*egghead tree.*models/x"):
            await here.say()
        assert len(here.starter.started) == 2


async def test_dead_in_the_middle_it_is_told_and_not_doubled(short_dir: Path) -> None:
    """What was heard stays; the rest is not asked for again, and the next question finds a new process."""
    dying: list[list[str | None]] = [["Once upon", None], ["Fine."]]
    heard: list[Event] = []
    async with world(short_dir, lambda asked: dying.pop(0)) as here:
        with pytest.raises(StreamBroken, match="local/x went down while it answered"):
            async for event in here.local.complete(HELLO, "x"):
                heard.append(event)
        assert words(heard) == "Once upon"
        assert words(await here.say()) == "Fine." and len(here.starter.started) == 2


async def test_a_start_that_takes_long_is_waited_for(short_dir: Path) -> None:
    """While the supervisor starts it again, the call waits."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        here.starter.says = ["starting", "running", "starting"]  # running, says the supervisor, and nobody listens
        assert words(await here.say()) == "Hi."


async def test_what_cannot_be_started_is_told(short_dir: Path) -> None:
    """The supervisor's own reason is in the sentence."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        here.starter.says = ["llama.cpp cannot load 'x.gguf'"]
        with pytest.raises(LocalDown, match=r"cannot be started: llama.cpp cannot load 'x.gguf'"):
            await here.say()


async def test_a_file_that_is_gone_is_told(short_dir: Path) -> None:
    """A file that was moved away is named, with what to do, and not the jail that could not show it."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        here.starter.says = ["[Errno 2] confine: read path does not exist; create it before the child starts: 'x'"]
        with pytest.raises(LocalDown, match=r"is gone from .*egghead llm local remove x"):
            await here.say()


async def test_a_parked_model_is_told_until_it_is_added_anew(short_dir: Path) -> None:
    """Parked, it stays so and says what to do; removed and added again it is started."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        for _ in range(2):
            here.starter.says = ["parked"]
            with pytest.raises(LocalDown, match="crashed too often"):
                await here.say()
        catalog.remove(here.models, "x")
        catalog.add(here.models, here.file, "x", context=1024)
        here.starter.says = ["parked"]
        assert words(await here.say()) == "Hi." and here.starter.stopped == ["x"]


async def test_without_llama_the_command_is_told(short_dir: Path) -> None:
    """Without the extra nothing is started, and the sentence has the command."""
    async with world(short_dir, lambda asked: ["Hi."], module="no_such_module") as here:
        with pytest.raises(ProviderMissing, match=r"pip install 'egghead\[local\]'"):
            await here.say()
        assert here.starter.started == []


async def test_an_idle_one_is_stopped(short_dir: Path) -> None:
    """Nobody asks for a while: its process is stopped, and started again at the next question."""
    async with world(short_dir, lambda asked: ["Hi."], idle=0.1) as here:
        await here.say()
        await until(lambda: here.starter.stopped == ["x"])
        assert words(await here.say()) == "Hi." and len(here.starter.started) == 2


async def test_a_changed_or_removed_one_is_stopped(short_dir: Path) -> None:
    """Added anew with another window it runs with that; removed it is stopped, and unknown."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        await here.say()
        catalog.remove(here.models, "x")
        catalog.add(here.models, here.file, "x", context=1024)
        await here.say()
        assert here.starter.started[-1][1]["window"] == 1024 and here.starter.stopped[:1] == ["x"]
        catalog.remove(here.models, "x")
        await until(lambda: here.starter.servers == {})
        with pytest.raises(UnknownModel):
            await here.say()


async def test_a_life_after_finds_what_runs(short_dir: Path) -> None:
    """A new `llm` goes on with a model that runs, and stops one that the catalog has no more."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        await here.starter.start("x", {})
        await here.starter.start("gone", {})
        await here.local.adopt()
        assert here.starter.stopped == ["gone"] and here.local.states()["x"]["running"]


async def test_a_call_is_bound_by_the_schema(short_dir: Path) -> None:
    """With tools the request has the schema, and the JSON of the answer is a tool to use."""
    call = json.dumps({"tool": "create_record", "input": {"id": "a/b"}})
    async with world(short_dir, lambda asked: [call[:9], call[9:]]) as here:
        events = await here.say(Request(messages=HELLO.messages, tools=[NOTE]))
        assert [event for event in events if isinstance(event, ToolUse)] == [
            ToolUse("call", "create_record", {"id": "a/b"})
        ]
        assert isinstance(events[-1], Stop) and events[-1].reason == "tool_use"
        asked = here.starter.servers["x"].asked[0]
        assert asked["response_format"]["json_schema"]["schema"]["anyOf"] and "tools" not in asked


async def test_a_call_that_was_cut_becomes_words(short_dir: Path) -> None:
    """A call that does not parse is not made: the model is asked for plain words, so that the turn has an end."""
    answers = [['{"tool": "create_re'], ["Sorry, ", "I cannot."]]
    async with world(short_dir, lambda asked: list(answers.pop(0))) as here:
        events = await here.say(Request(messages=HELLO.messages, tools=[NOTE]))
        assert words(events) == "Sorry, I cannot." and not any(isinstance(event, ToolUse) for event in events)


async def test_made_up_links_are_taken_out(short_dir: Path) -> None:
    """A note that the model was not shown is not cited, and the answer says that one was taken out."""
    async with world(short_dir, lambda asked: ["See [[gar", "den/x]]."]) as here:
        assert words(await here.say()) == "See garden/x.\n\n(A link to a note that I was not shown was taken out.)"


async def test_a_small_model_writes_no_hand_off(short_dir: Path) -> None:
    """Asked for a hand-off note it says that it writes none, and the agent extracts one."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        with pytest.raises(NoNotes):
            await here.say(Request(messages=HELLO.messages, mode="handoff"))


async def test_a_capable_model_calls_tools_itself(short_dir: Path) -> None:
    """Added with --native-tools it is asked like any provider's model."""
    async with world(short_dir, lambda asked: ["Hi."]) as here:
        catalog.add(here.models, here.file, "big", small=False)
        await here.say(Request(messages=HELLO.messages, tools=[NOTE]), "big")
        asked = here.starter.servers["big"].asked[0]
        assert asked["tools"][0]["function"]["name"] == "create_record" and "response_format" not in asked


async def test_a_long_name_does_not_break_the_socket(short_dir: Path) -> None:
    """A path that no socket can have is told with the remedy, before anything is started."""
    deep = short_dir / ("d" * 70)
    deep.mkdir()
    async with world(deep, lambda asked: ["Hi."]) as here:
        catalog.add(here.models, here.file, "n" * 40)
        with pytest.raises(LlmError, match="set XDG_RUNTIME_DIR to a shorter"):
            await here.say(HELLO, "n" * 40)
