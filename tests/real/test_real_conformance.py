"""The suite of all providers, held to a real server: llama.cpp's, over each wire that it speaks."""

from __future__ import annotations

import pytest

from egghead.llm.shapes import Text
from tests.llm.conformance import ABILITIES, CHECKS, Check, Target, answer, asking, check_max_tokens
from tests.real.conftest import KEY, WINDOW

pytestmark = [pytest.mark.real_model, pytest.mark.timeout(240)]

# A model of 135 million parameters calls no tool when it is asked to. What it is held to instead: test_real_shelf.
CAN = ABILITIES - {"tools"}
WIRES = {
    "chat": ("llamacpp", None, "/v1"),
    "responses": ("vllm", "responses", "/v1"),
    "messages": ("anthropic", None, ""),
}


# Over Responses llama.cpp calls an answer that it has cut "completed", and gives no reason.
KEPT_BACK = {("responses", check_max_tokens)}
CASES = [
    (wire, check)
    for wire in WIRES
    for check, needs in CHECKS.items()
    if needs <= CAN and (wire, check) not in KEPT_BACK
]


def target(wire: str, port: int) -> Target:
    kind, api, path = WIRES[wire]
    address = f"http://127.0.0.1:{port}{path}"
    return Target(f"real-{wire}", address, KEY, "smollm2", CAN, kind, api, WINDOW, {"backoff": 0.01, "retries": 1})


@pytest.mark.parametrize(("wire", "check"), CASES, ids=lambda value: getattr(value, "__name__", value))
async def test_a_real_server_passes(wire: str, check: Check, port: int) -> None:
    """What every provider must do, llama.cpp's server does over this wire, through our adapter for it."""
    await check(target(wire, port))


async def test_wires_say_the_same(port: int) -> None:
    """One model with one seed says the same words over each wire: no adapter loses or adds any."""
    said = set()
    for wire in WIRES:
        events = await answer(target(wire, port), asking("Count from one to five.", max_tokens=24, temperature=0.0))
        said.add("".join(event.text for event in events if isinstance(event, Text)).strip())
    assert len(said) == 1 and said != {""}, said
