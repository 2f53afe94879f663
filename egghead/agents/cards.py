"""What others are told of an agent: one plain mapping. The coordinator decides with it, people look at it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from egghead.agents.reconcile import RUNNING, Running
from egghead.agents.record import AgentSpec, spend_limits, unusable

MAX_DISPOSITION = 4_000  # characters; relevance needs the beginning, and a card is sent to everybody


def card(
    spec: AgentSpec,
    child: Running | None,
    parked: str | None = None,
    paused: str | None = None,
    held: Iterable[str] = (),
) -> dict[str, Any]:
    """`{id, title, tags, quiet, idle, disposition, model, capabilities, record, builtin, problems, state, reason, parked,
    limits, paused, held}`. `state`: running, restarting, parked, failed, terminated, or starting when there is no child yet.
    `parked`: why it is, by the supervisor or by a person (the argument); None when it is not. `paused`: which limit it has
    reached today. `held`: grants of its note that wait for `agents approve`."""
    reason = unusable(spec.id)
    state = "failed" if reason is not None else "starting" if child is None else child.state
    if parked is not None:
        state, reason = "parked", parked
    why = reason or (child.reason if child is not None and child.state != RUNNING else "")
    return {
        "id": spec.id,
        "title": spec.title,
        "tags": list(spec.tags),
        "quiet": spec.quiet,
        "idle": spec.idle,
        "disposition": spec.disposition[:MAX_DISPOSITION],
        "model": spec.model,
        "capabilities": list(spec.capabilities),
        "record": spec.record,
        "builtin": spec.builtin,
        "problems": list(spec.problems),
        "state": state,
        "reason": why,
        "parked": (why or "it crashed too often") if state == "parked" else None,
        "limits": spend_limits(spec),
        "paused": paused,
        "held": list(held),
    }
