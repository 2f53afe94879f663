"""A session as the conversation that a model sees: neutral messages in order. What is in a session is decided in `session`."""

from __future__ import annotations

from typing import Any

from egghead.agents.session import Session, ToolCall, Used

Message = dict[str, Any]

UNKNOWN = (
    "The outcome of this call is unknown: the process ended while it ran, and it will not be run again by itself. "
    "Look whether it took effect before you repeat it."
)
YOUR_TURN = "(It is your turn.)"
GOES_ON = "(The conversation goes on.)"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _result(call: ToolCall) -> dict[str, Any]:
    lost = call.outcome is None or (call.outcome == "unknown" and not call.result)
    return {
        "type": "tool_result",
        "tool_use_id": call.call,
        "content": UNKNOWN if lost else call.result,
        "is_error": call.outcome != "ok",
    }


def _put(messages: list[Message], role: str, blocks: list[dict[str, Any]]) -> None:
    """Add blocks to the last message when it has the same role: providers want roles to alternate."""
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"].extend(blocks)
    else:
        messages.append({"role": role, "content": blocks})


def messages(session: Session) -> list[Message]:
    """The conversation as neutral messages: roles alternate, it begins and ends with a user message, and each tool use
    is followed at once by its result. A read that was cut off is left out: the agent reads again."""
    found: list[Message] = []
    for item in session.items:
        if isinstance(item, Used):
            calls = [call for call in item.calls if call.outcome is not None or not call.read_only]
            if calls:
                uses = [
                    {"type": "tool_use", "id": call.call, "name": call.tool, "input": dict(call.input)}
                    for call in calls
                ]
                _put(found, "assistant", uses)
                _put(found, "user", [_result(call) for call in calls])
        elif item.text.strip():
            _put(found, "assistant" if item.own else "user", [_text(item.text)])
    if found and found[0]["role"] == "assistant":
        found.insert(0, {"role": "user", "content": [_text(GOES_ON)]})
    if not found or found[-1]["role"] == "assistant":
        _put(found, "user", [_text(YOUR_TURN)])
    return found
