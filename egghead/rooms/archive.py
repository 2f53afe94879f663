"""What a room has said, as a note: `chat/<room>`, written and read back through the store.

Holds what is tried again and what is refused, so that nothing that a person has in that note is lost; how a transcript
looks is said in `transcript`, when it is written is the lobby's business.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from egghead.client.follow import AWAY, Backoff
from egghead.rooms.transcript import Line, line_of, merged, parse, render, speakers
from ipc import IpcError, Peer, Refused, RemoteError

logger = logging.getLogger("egghead.lobby")

SAVE_TRIES = 3
NOTES_AWAY = 5.0  # seconds that a room that is to be opened waits for its transcript


class Said:
    """The messages of a log, how many of them its transcript has, and how many came from there."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.saved = self.restored = 0

    def take(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """More of the log; its last seq, 0 without an entry."""
        for entry in entries:
            line = line_of(entry)
            if line is not None:
                back = bool(entry.get("restored"))
                # What was said before all was back follows all the same: `saved` counts the first lines.
                self.lines.insert(self.restored if back else len(self.lines), line)
                self.saved += back
                self.restored += back
            elif entry["kind"] == "saved":
                self.saved = entry.get("messages", len(self.lines))
        return int(entries[-1]["seq"]) if entries else 0


class Archive:
    """The transcripts in the notes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def written(self, room: str, said: Said) -> str:
        """The id of the transcript record, which has what was said now. Raises Refused."""
        record = f"chat/{room}"
        try:
            for left in reversed(range(SAVE_TRIES)):
                try:
                    await self._write(record, room, said.lines, said.saved)
                    break
                except RemoteError as error:
                    # Somebody saved the note in the moment between: what they wrote is read again and kept.
                    if error.type not in ("Conflict", "Exists") or not left:
                        raise
        except IpcError as error:
            raise Refused("NotSaved", f"the transcript of {room!r} could not be written: {error}") from None
        return record

    async def _write(self, record: str, room: str, lines: list[Line], saved: int) -> None:
        """The record with these lines. What somebody changed in it by hand since the last save stays."""
        tags = ["chat", "transcript"]
        try:
            now = await self._peer.call("store", "get", id=record, timeout=10.0)
        except RemoteError as error:
            if error.type != "NotFound":
                raise
            fields: dict[str, Any] = {"title": f"Chat in {room}", "body": render(lines), "class": "transcript"}
            fields |= {"tags": tags, "links": speakers(lines)}
            await self._peer.call("store", "create", id=record, timeout=30.0, **fields)
            return
        if now.get("error"):
            # What a person has there is not known: written anew, it would be lost.
            raise Refused("NotSaved", f"the note {record!r} cannot be read: {now['error']}; mend the file, then save")
        if now.get("class") != "transcript":
            # Somebody's own note, an agent perhaps: written to it, the talk would never come back from there.
            what = f"of class {now['class']!r}" if now.get("class") else "of no class"
            raise Refused(
                "NotSaved",
                f"the note {record!r} is {what} and no transcript; rename it, or give it `class: transcript`",
            )
        if now.get("cut"):
            raise Refused("NotSaved", f"the note {record!r} is too long to be written again; rename it, then save")
        changes = {
            "body": merged(str(now.get("body") or ""), lines, saved),
            "tags": list(dict.fromkeys([*(now.get("tags") or ()), *tags])),
            "links": list(dict.fromkeys([*(now.get("links") or ()), *speakers(lines)])),
        }
        await self._peer.call("store", "update", id=record, changes=changes, revision=now.get("revision"), timeout=30.0)

    async def read(self, room: str) -> tuple[list[Line], str]:
        """What the transcript of this name says, and why not all of it can be read. Raises Refused when the notes do not
        answer: a room that began without it would never get it back, and nobody would know."""
        backoff, until = Backoff(), time.monotonic() + NOTES_AWAY
        while True:
            try:
                record = await self._peer.call("store", "get", id=f"chat/{room}", timeout=NOTES_AWAY)
                break
            except RemoteError as error:
                if error.type != "NotFound":
                    logger.warning("[[chat/%s]] is not brought back: %s", room, error)
                    return [], error.message
                return [], ""
            except AWAY as error:
                if time.monotonic() > until:
                    raise Refused(
                        "NotesDown",
                        f"the notes do not answer now ({error}), and {room!r} may have a transcript; try again",
                    ) from None
                await asyncio.sleep(backoff.take())  # the store is being started again
        fault = str(record.get("error") or "")
        if record.get("cut"):
            fault = "it is too long to be read whole, and the room begins with its first part"
        if record.get("class") != "transcript":
            return [], fault  # somebody's own note, if it has no fault
        return parse(str(record.get("body") or "")), fault
