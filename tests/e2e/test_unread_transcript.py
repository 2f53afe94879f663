"""A transcript that cannot be read: its room says so, and nothing ever writes over the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.node import Home, serving

HEAD = b"---\nclass: transcript\n---\n"
TALK = "**ada** — 2026-01-02T03:04:05Z\n\nMine.\n".encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(HEAD + TALK + b"\xff\xfe\x00", "UTF-8"), (b"---\nclass: [transcript\n---\n" + TALK, "is not YAML in line 3")],
    ids=["no text", "broken head"],
)
def test_a_room_says_that_its_transcript_cannot_be_read(
    home: Home, short_dir: Path, content: bytes, reason: str
) -> None:
    """A notice in the room names the note and the reason, once; save, drop and the next life of the room leave the file as it
    is to the byte; mended, it is brought back."""
    records = short_dir / "notes"
    file = records / "chat" / "plans.md"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with serving(home, records):
        for _ in range(2):
            home.ok("rooms", "open", "plans")
        told = [entry["text"] for entry in home.log_lines("rooms", "show", "plans") if entry["kind"] == "notice"]
        assert len(told) == 1 and "[[chat/plans]]" in told[0] and reason in told[0], told
        home.ok("chat", "plans", "/topic more")
        home.run("chat", "plans", "hello", "--timeout", "10")  # so that there is something to save
        for command in (["save"], ["drop"]):
            done = home.run("rooms", *command, "plans")
            assert done.returncode == 1 and "chat/plans" in done.stderr
            assert file.read_bytes() == content
        file.write_bytes(HEAD + TALK)
        home.ok("records", "show", "chat/plans")
        home.ok("rooms", "drop", "plans", "--no-save")
        assert home.json("rooms", "open", "plans")["restored"] == 1
