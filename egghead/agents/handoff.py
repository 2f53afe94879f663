"""When a session is handed off, and how much of it goes on: pure decisions on tokens and characters.

A handoff must never cause a handoff. So what the next life begins with is cut to at most half of what would trigger the
next one, a handoff that would not make the session smaller is not begun, and a window that is nearly full from the
start is allowed to fill halfway to its end first.

Tokens are estimated here from bytes, rather too many than too few; what a provider has counted is believed instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from egghead.agents.conversation import Message, messages
from egghead.agents.record import AgentSpec
from egghead.agents.session import Session
from egghead.agents.session_fold import LEAST, fold

ASSUMED = 32_000  # tokens of a window that nobody knows, for cutting; it triggers nothing
SHARE = 0.5  # of what triggers a handoff: what the next life may begin with
NOTE_SHARE = 0.4  # of that, for the note; the rest is for the last messages
MAX_NOTE = 3_000  # tokens; a longer one is not read, only carried
MAX_KEEP = 40_000  # tokens
PER_TOKEN = 3  # bytes; English has 4 and more, what is no English fewer
WORTH = 0.75  # a handoff is begun when what is left is at most this share of what there was


@dataclass(frozen=True)
class Budget:
    """What the next life may begin with. `note`, `keep`: characters of the note and of the last messages; `fixed`: tokens
    of what is there in any case."""

    note: int
    keep: int
    fixed: int = 0


def estimate(text: str) -> int:
    """Tokens of a text, rather too many."""
    return len(text.encode("utf-8", "surrogatepass")) // PER_TOKEN + 1


def estimate_messages(history: Iterable[Message]) -> int:
    """Tokens of a conversation."""
    return sum(_block(block) for message in history for block in message["content"])


def _block(block: Mapping[str, Any]) -> int:
    parts = [str(block.get(key) or "") for key in ("text", "content", "name")]
    if block.get("input"):
        parts += [f"{key} {value}" for key, value in block["input"].items()]
    return sum(estimate(part) for part in parts if part)


def budget(threshold: float, window: int | None, fixed: int) -> Budget:
    """How much is kept. `threshold`: share of the window that triggers; `fixed`: tokens of what is there in any case (the
    system prompt without the note, the tools)."""
    room = max(0.0, threshold * (window or ASSUMED) * SHARE - fixed)
    note = max(LEAST, int(min(MAX_NOTE, room * NOTE_SHARE) * PER_TOKEN))
    return Budget(note, max(LEAST, int(min(MAX_KEEP, room * (1 - NOTE_SHARE)) * PER_TOKEN)), fixed)


def left_over(
    spec: AgentSpec,
    session: Session,
    system: str,
    tools: Iterable[Mapping[str, Any]],
    window: int | None = None,
    overflow: Iterable[Message] | None = None,
) -> Budget:
    """The budget of this session. `system`: its prompt, with the note of before; `window`: what the provider says of it;
    `overflow`: the conversation that did not fit, which says more about the window than anybody."""
    prompt = estimate(system)
    fixed = max(0, prompt - estimate(session.note)) + estimate(json.dumps(list(tools), default=str))
    known = spec.context_window or window or session.window
    if overflow is not None:
        known = min(known or ASSUMED, int(WORTH * (estimate_messages(overflow) + prompt)))
    return budget(spec.context_threshold, known, fixed)


def trigger(threshold: float, window: int, base: int) -> float:
    """The tokens of the last exchange from which on a session is handed off. `base`: what the first exchange after the
    last handoff took; when that is much already, handing off again soon would only repeat it."""
    return max(threshold * window, base + (window - base) / 2 if base else 0.0)


def full(context: int, base: int, threshold: float, window: int | None) -> bool:
    """Whether the last exchange is over what triggers a handoff. Never when nobody knows the window."""
    return bool(window) and context >= trigger(threshold, int(window or 0), base)


def worth_it(session: Session, history: Iterable[Message], kept: Budget, context: int = 0) -> bool:
    """Whether the conversation (`history`, as the model was last given it, of which the provider counted `context` tokens
    with all that goes with it) would be clearly smaller after a handoff."""
    after = fold(session, [_handed(session, kept.keep)])
    now = max(estimate_messages(history), context - kept.fixed)
    return estimate_messages(messages(after)) + kept.note // PER_TOKEN <= WORTH * now


def _handed(session: Session, keep: int) -> dict[str, Any]:
    return {"seq": session.seq + 1, "kind": "handoff", "by": f"agents/{session.agent}", "record": "-", "keep": keep}


def percent(context: int, window: int | None) -> str:
    """For the line that people read; nothing when nobody knows the window."""
    return f"{context * 100 // window} % of its context is used" if window else ""
