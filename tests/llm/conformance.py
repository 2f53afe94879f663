"""What every provider must do, as checks of a target: a name, an address, a key, a model, and what that model can.

The target may be the model double or a real server. No check knows which: it asks, and says what the answer must be like.
What needs a model that says what the test wants stands in `test_conformance.py`. For a real server:

    target = Target("llamacpp", url, None, "smollm2", can=frozenset({"stream", "max_tokens", "usage", "overflow"}))
    for check, needs in CHECKS.items():
        if target.can >= needs:
            await check(target)
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from egghead.llm.errors import AuthFailed, ContextOverflow
from egghead.llm.provider import Provider
from egghead.llm.registry import Registry
from egghead.llm.shapes import Event, Message, Request, Stop, Text, Thinking, ToolResult, ToolUse, request_from

# What a target may be able to do. A check says which of them it needs.
ABILITIES = frozenset(
    {
        "stream",  # says its answer in pieces
        "tools",  # calls the tool when it is asked to
        "max_tokens",  # stops at the longest answer and says so
        "usage",  # tells figures
        "overflow",  # refuses a prompt larger than its window, and says so
        "key",  # refuses a wrong key
        "models",  # lists its models
    }
)
LOOK = {
    "name": "look",
    "description": "Looks at a place and says what is there.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


@dataclass(frozen=True)
class Target:
    """A provider to be asked. `kind` is the name of a known provider, or "" for any other server of that wire; `api` as in
    the configuration; `window` is how many tokens are too many, at the least."""

    name: str
    base_url: str
    key: str | None
    model: str
    can: frozenset[str] = ABILITIES
    kind: str = ""
    api: str | None = None
    window: int = 4096
    limits: Mapping[str, float] = field(default_factory=lambda: {"backoff": 0.01, "retries": 2})

    def entry(self, **more: Any) -> dict[str, Any]:
        """Its entry of the configuration."""
        return {
            "provider": self.kind or self.name,
            "name": self.name,
            "base_url": self.base_url,
            "models": [self.model],
            "limits": dict(self.limits),
            **({"api_key": self.key} if self.key else {}),
            **({"api": self.api} if self.api else {}),
            **more,
        }

    @contextlib.asynccontextmanager
    async def opened(self, **more: Any) -> AsyncIterator[tuple[Provider, str]]:
        """The provider as the registry makes it, and the name that it knows its model by."""
        registry = Registry.from_config({"llm": [self.entry(**more)]}, {})
        try:
            yield registry.resolve(f"{self.name}/{self.model}")
        finally:
            await registry.aclose()


def asking(text: str, **more: Any) -> Request:
    """A request with one message of a person."""
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    return request_from({"messages": [message], "system": "You are Scout (agent scout).", "agent": "scout", **more})


async def answer(target: Target, request: Request, **more: Any) -> list[Event]:
    """All events of one completion. The law of every answer is checked: one stop, and it is the last."""
    heard: list[Event] = []
    async with target.opened(**more) as (provider, model):
        async with contextlib.aclosing(provider.complete(request, model)) as events:
            async for event in events:
                heard.append(event)
    assert heard and isinstance(heard[-1], Stop), heard
    assert all(isinstance(event, Text | Thinking | ToolUse) for event in heard[:-1]), heard
    assert all(event.text for event in heard if isinstance(event, Text)), "an empty piece of text"
    return heard


def said(events: list[Event]) -> str:
    """The words of an answer."""
    return "".join(event.text for event in events if isinstance(event, Text))


def stopped(events: list[Event]) -> Stop:
    """How an answer ended."""
    last = events[-1]
    assert isinstance(last, Stop)
    return last


def with_results(request: Request, events: list[Event], results: Mapping[str, str]) -> Request:
    """The next round of a turn: the answer as it came, and what the tools gave, by the tool's name."""
    uses = [event for event in events if isinstance(event, ToolUse)]
    blocks = [event for event in events if not isinstance(event, Stop)]
    more = [
        Message("assistant", blocks),
        Message("user", [ToolResult(use.id, results[use.name]) for use in uses]),
    ]
    return msgspec.structs.replace(request, messages=[*request.messages, *more])


Check = Callable[[Target], Awaitable[None]]


async def check_text(target: Target) -> None:
    """Words come, and the answer ends by itself or at its longest."""
    events = await answer(target, asking("Say hello.", max_tokens=64))
    assert said(events).strip() and stopped(events).reason in ("end_turn", "max_tokens")


async def check_stream(target: Target) -> None:
    """They come in more than one piece."""
    events = await answer(target, asking("Count from one to ten.", max_tokens=64))
    assert sum(isinstance(event, Text) for event in events) > 1


async def check_max_tokens(target: Target) -> None:
    """The longest answer is kept, and said to be the reason."""
    events = await answer(target, asking("Write a long story about the sea.", max_tokens=16))
    assert stopped(events).reason == "max_tokens"


async def check_usage(target: Target) -> None:
    """The figures are there, and a longer prompt has the larger one."""
    short = stopped(await answer(target, asking("Say hello.", max_tokens=16))).usage
    long = stopped(await answer(target, asking("Say hello. " + "Be kind. " * 50, max_tokens=16))).usage
    assert short.output > 0
    assert 0 < short.input + short.cached_read + short.cached_write < long.input + long.cached_read + long.cached_write


async def check_tools(target: Target) -> None:
    """A call with its arguments, its result taken back, and words about it."""
    request = asking("Use the tool look on the place 'shed', then say what is there.", tools=[LOOK], max_tokens=256)
    events = await answer(target, request)
    uses = [event for event in events if isinstance(event, ToolUse)]
    assert uses and stopped(events).reason == "tool_use"
    assert all(use.name == "look" and use.id and "place" in use.input for use in uses)
    assert len({use.id for use in uses}) == len(uses)
    after = await answer(target, with_results(request, events, {"look": "a blue bicycle"}))
    assert said(after).strip()


async def check_overflow(target: Target) -> None:
    """A conversation that is too long is no failure like others: the agent must know."""
    with contextlib.suppress(ContextOverflow):
        await answer(target, asking("word " * (target.window * 2), max_tokens=16))
        raise AssertionError("an answer came, though the prompt was larger than the window")


async def check_key(target: Target) -> None:
    """A wrong key is told, and is not in what is told."""
    try:
        await answer(target, asking("Say hello."), api_key="wrong-key-0123456789")
    except AuthFailed as error:
        assert target.name in str(error) and "wrong-key" not in str(error)
    else:
        raise AssertionError("an answer came, though the key was wrong")


async def check_models(target: Target) -> None:
    """The provider's own list has the model that we ask, under our name for the provider."""
    async with target.opened() as (provider, model):
        listed = {found.name: found for found in await provider.list_models()}
        assert f"{target.name}/{model}" in listed, sorted(listed)
        assert all(found.provider == target.name for found in listed.values())


CHECKS: dict[Check, frozenset[str]] = {
    check_text: frozenset(),
    check_stream: frozenset({"stream"}),
    check_max_tokens: frozenset({"max_tokens"}),
    check_usage: frozenset({"usage"}),
    check_tools: frozenset({"tools"}),
    check_overflow: frozenset({"overflow"}),
    check_key: frozenset({"key"}),
    check_models: frozenset({"models"}),
}
"""Each check, and what a target must be able to do for it."""
