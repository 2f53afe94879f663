"""A model call that waits is shown: to who asked, of the agent, and of the room, with the reason and until when."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.cast import cast
from tests.e2e.node import COMMAND, until
from tests.llm.double import Double, Status

MODEL = "anthropic/double"


def test_a_pause_of_a_provider_is_shown_everywhere_and_logged_nowhere(short_dir: Path) -> None:
    """A 429 of some seconds: the chat says on stderr what it waits for and until when, `agents show`, `agents list` and
    `rooms show` too; the log has no entry of it, and once the answer has come nothing waits."""
    script = [Status(429, {"retry-after": "15"}), "Here."]  # as long as a slow machine needs to ask four times
    with Double({"scout": script}) as double, cast(short_dir, double, {"scout": MODEL}) as play:
        command = [*COMMAND, "chat", "default", "@scout hello"]
        with subprocess.Popen(
            command,
            env=play.home.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as chat:
            [wait] = until("a wait is told", lambda: play.home.json("agents", "show", "scout")["waits"])
            assert (wait["room"], wait["provider"], wait["why"]) == (
                "default", "anthropic", "it takes no more requests now",
            )  # fmt: skip
            told = f"waits for anthropic: {wait['why']}, 1. in line, until {wait['until'][11:19]} UTC or longer"
            looks = (("agents", "show", "scout"), ("rooms", "show", "default"), ("agents", "list"))
            with ThreadPoolExecutor() as at_once:
                shown, room, listed = at_once.map(lambda look: play.home.ok(*look), looks)
            assert f"in default: {told}" in shown
            assert f"scout {told}" in room
            assert "1. in line for anthropic" in listed
            out, err = chat.communicate(timeout=60)
        assert (out, err) == ("Here.\n", f"Scout {told}\n")
        assert play.home.json("agents", "show", "scout")["waits"] == []
        assert not [entry for entry in play.log() if "waits" in str(entry)]
