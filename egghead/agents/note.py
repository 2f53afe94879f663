"""The hand-off note and the record around it: what the model is asked, what is extracted when it fails, how it is kept.

Values in, text out. Calling the model and writing the record is done in `egghead/agents/handing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from egghead.agents.conversation import Message, messages
from egghead.agents.handoff import PER_TOKEN, estimate_messages
from egghead.agents.record import AgentSpec
from egghead.agents.session import Line, Session, Used
from egghead.agents.wording import describe
from egghead.tools.results import capped

NOTE = "## Hand-off note"
TRAIL = "## Trail"

ASK = """\
(You are about to begin anew in this room: all you will have is the note that you write now, and the last messages. \
Write that note, for yourself, in at most {words} words, under these headings:
### Goal
### State
### Decisions and why
### Open threads
### Records that matter
Keep names, numbers, dates and [[ids]] exactly. Take over from your earlier note what still holds. \
Write the note and nothing else; ask for no tools.)"""

EXTRACTED = "*This note was extracted by the program, not written by the model: {why}.*"
MAX_RECORDS = 40


def request(spec: AgentSpec, session: Session, system: str, note: int, most: int | None) -> dict[str, Any]:
    """The one model call for the note: no tools, an output of about `note` characters. `most`: tokens that the
    conversation may take, None for all of it; what is too old for it is left out."""
    talk = [*_plain(messages(session))]
    if most is not None:
        talk = _last(talk, most)
    words = max(40, note // 8)
    ask = {"type": "text", "text": ASK.format(words=words)}
    if talk and talk[-1]["role"] == "user":
        talk[-1] = {"role": "user", "content": [*talk[-1]["content"], ask]}
    else:
        talk.append({"role": "user", "content": [ask]})
    return {
        "model": spec.model or "",
        "fallback": list(spec.fallback),
        "system": system,
        "messages": talk,
        "tools": [],
        "max_tokens": max(64, note // PER_TOKEN),
        "temperature": spec.temperature,
        "agent": spec.id,
        "room": session.room,
        "turn": "",
        "mode": "handoff",
    }


def _plain(history: Sequence[Message]) -> list[Message]:
    """The conversation with tool calls as words: no provider takes calls without the tools they were made with."""
    found: list[Message] = []
    for message in history:
        blocks = [{"type": "text", "text": _words(block)} for block in message["content"]]
        found.append({"role": message["role"], "content": blocks})
    return found


def _words(block: dict[str, Any]) -> str:
    if block["type"] == "tool_use":
        return f"(You called {describe(block['name'], block['input'], 2_000)})"
    if block["type"] == "tool_result":
        return f"(It {'did not work' if block['is_error'] else 'gave'}: {block['content']})"
    return str(block["text"])


def _last(history: list[Message], most: int) -> list[Message]:
    """The end of a conversation, beginning with a user's message; each text cut to a quarter of what may be there."""
    cut = [
        {**message, "content": [{**b, "text": capped(b["text"], most * PER_TOKEN // 4)} for b in message["content"]]}
        for message in history
    ]
    while len(cut) > 1 and (estimate_messages(cut) > most or cut[0]["role"] != "user"):
        cut.pop(0)
    return cut


def told(text: str, most: int) -> str:
    """The model's answer as the note: within `most` characters, its headings below the record's own. Empty: it is none."""
    lines = [re.sub(r"^(\s{0,3})#{1,2}(?=\s)", r"\1###", line) for line in text.strip().splitlines()]
    note = "\n".join(lines).strip()
    return note if len(note) <= most else note[:most].rsplit(" ", 1)[0].rstrip() + " …"


def extracted(session: Session, why: str, most: int) -> str:
    """A note without a model: the first words after the last note, the last ones, the records, what is unfinished, and
    the earlier note, all within about `most` characters."""
    lines = [item for item in session.items if isinstance(item, Line) and item.said]
    heard = [line.text for line in lines if not line.own]
    own = [line.text for line in lines if line.own and line.text != "/pass"]
    calls = [call for item in session.items if isinstance(item, Used) for call in item.calls]
    records = list(dict.fromkeys(str(call.input["id"]) for call in calls if isinstance(call.input.get("id"), str)))
    unsure = [describe(call.tool, dict(call.input)) for call in calls if call.outcome is None and not call.read_only]
    share = max(80, most // 6)
    parts = [
        ("Earlier note", [capped(_body(session.note), most // 3)] if session.note else []),
        ("Goal", [capped(text, share) for text in heard[:1]]),
        ("State", [capped(text, share) for text in own[-1:]]),
        (
            "Open threads",
            [*(capped(text, share) for text in heard[-1:]), *(f"Outcome unknown: {one}" for one in unsure)],
        ),
        ("Records that matter", [", ".join(f"[[{one}]]" for one in records[-MAX_RECORDS:])] if records else []),
    ]
    body = "\n\n".join(f"### {title}\n\n" + "\n".join(texts) for title, texts in parts if texts)
    return told(f"{EXTRACTED.format(why=why.rstrip('.'))}\n\n{body}", most + 300)


def _body(note: str) -> str:
    """A note without the line that says how it was made and without its frame: notes are carried on, frames are not."""
    lines = [line for line in note.splitlines() if not line.startswith(EXTRACTED[:30])]
    return re.sub(r"^#+ ", "- ", "\n".join(lines).strip(), flags=re.MULTILINE)


def body(title: str, note: str, trail: str, more: Sequence[str]) -> str:
    """The text of the record. `more`: ids of the records that the trail goes on in."""
    goes_on = "".join(f"\n\nGoes on in [[{record}]]." for record in more)
    return f"# {title}\n\n{NOTE}\n\n{note}\n\n{TRAIL}\n\n{trail.rstrip()}{goes_on}\n"


def note_of(text: str) -> str:
    """The note of a record's text, as it stands there now: a person may have put it right."""
    _, found, rest = text.partition(f"{NOTE}\n")
    return (rest.partition(f"\n{TRAIL}\n")[0] if found else "").strip()
