"""A call as an agent makes it, through the gateway and without a bus; and what the manual promises to say of its faults."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

from egghead.llm.gateway import Gateway
from egghead.llm.registry import Registry
from ipc import Call, Refused
from tests.llm.double import KEY

HELLO = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
PAGE = Path(__file__).parents[2] / "docs" / "llm.md"
ABBREVIATIONS = ("TLS", "HTTP", "JSON", "API")
TRIES = r"( \((tried \d+ times)?(, )?(it asks to wait \d+ s)?\))?"


def table(after: str = "### What a room is told") -> dict[str, re.Pattern[str]]:
    """What happened → the sentence that the page promises for it; words in capitals and `…` stand for anything. The first
    table behind these words of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(after)[2].partition("\n#")[0]
    text = text[text.index("\n|") :].partition("\n\n")[0]
    lines = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    found: dict[str, re.Pattern[str]] = {}
    for what, sentence, remedy in (map(str.strip, line.split(" | ")) for line in lines[2:]):
        assert remedy and what not in found, what
        pattern = re.sub(r"\b[A-Z]{3,}\b", _anything, re.escape(sentence.removeprefix("`").removesuffix("`")))
        found[what] = re.compile(pattern.replace("…", ".*") + TRIES)
    return found


def _anything(word: re.Match[str]) -> str:
    return word[0] if word[0] in ABBREVIATIONS else ".+?"


@contextlib.asynccontextmanager
async def gateway(**providers: tuple[str, str, dict[str, float]]) -> AsyncIterator[Gateway]:
    """A gateway with these providers: name → (wire, address, limits)."""
    common = {"backoff": 0.005, "retries": 2}
    entries = [
        {"provider": wire, "name": name, "api_key": KEY, "base_url": url, "limits": {**common, **limits}}
        for name, (wire, url, limits) in providers.items()
    ]
    served = Gateway(Registry.from_config({"llm": entries}, {}))
    try:
        yield served
    finally:
        await served.aclose()


async def ask(served: Gateway, heard: list[str], name: str, *fallback: str) -> None:
    """One call; adds the texts that come to `heard`, and `<end>`."""
    call = Call("agents/scout", 1, "complete", time.monotonic() + 600)
    request = {**HELLO, "model": f"{name}/m", "fallback": [f"{other}/m" for other in fallback], "agent": "scout"}
    async with contextlib.aclosing(served.complete(call, request)) as events:
        async for event in events:
            heard += [event["text"]] if event["type"] == "text" else ["<end>"] if event["type"] == "stop" else []


async def refusal(served: Gateway, heard: list[str], name: str, *fallback: str) -> Refused:
    """As `ask`, of a call that must fail."""
    try:
        await ask(served, heard, name, *fallback)
    except Refused as refused:
        assert KEY not in refused.message and "\n" not in refused.message
        return refused
    raise AssertionError(f"{name} answered {heard}")
