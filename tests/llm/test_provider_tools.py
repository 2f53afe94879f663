"""Tools that a provider runs itself: offered only with the grant, found out where the key is, carried back as they came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from egghead.llm import anthropic, gemini, openai_chat, openai_responses
from egghead.llm.errors import BadRequest
from egghead.llm.gateway import Gateway
from egghead.llm.registry import Registry
from egghead.llm.shapes import Request, Text, ToolUse, Usage
from ipc import RemoteError
from ipc.testing import running_bus
from tests.llm.conformance import LOOK, Target, answer, asking, said, stopped, with_results
from tests.llm.double import KEY, Double, Search, Stop, Tokens, Use
from tests.llm.test_process import request, stream

SCOPED = {"name": "web_search", "allowed_domains": ["example.org"]}
ANYWHERE = {"name": "web_search", "allowed_domains": None}
CODE = {"name": "code_execution"}
WIRES = [
    ("anthropic", "claude-sonnet-5-5", None),
    ("openai", "gpt-6.1-sol", "responses"),
    ("google", "gemini-3.8-flash", None),
]


def theirs(build: Callable[[Request, str], dict[str, Any]], model: str, *tools: Any, own: bool = True) -> list[Any]:
    body = build(asking("go", provider_tools=list(tools), tools=[LOOK] if own else []), model)
    found = [{k: v for k, v in tool.items() if k != "cache_control"} for tool in body.get("tools", [])]
    return [tool for tool in found if "look" not in json.dumps(tool)]


@pytest.mark.parametrize(
    ("build", "model", "given", "expected"),
    [
        (
            anthropic.build,
            "claude-opus-5-5",
            [SCOPED, CODE],
            [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "max_uses": 5,
                    "allowed_domains": ["example.org"],
                },
                {"type": "code_execution_20250825", "name": "code_execution"},
            ],
        ),
        (
            anthropic.build,
            "claude-opus-5-5",
            [ANYWHERE],
            [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
        ),
        (anthropic.build, "claude-3-haiku-20240307", [ANYWHERE, CODE], []),
        (
            openai_responses.build,
            "gpt-5.4",
            [SCOPED, CODE],
            [
                {"type": "web_search", "filters": {"allowed_domains": ["example.org"]}},
                {"type": "code_interpreter", "container": {"type": "auto"}},
            ],
        ),
        (openai_responses.build, "gpt-4.1-nano", [ANYWHERE], []),
        (gemini.build, "gemini-3.8-flash", [ANYWHERE, CODE], [{"googleSearch": {}}, {"codeExecution": {}}]),
        (gemini.build, "gemini-3.8-flash", [SCOPED], []),
        (gemini.build, "gemini-2.5-flash", [ANYWHERE], []),
        (openai_chat.build, "gpt-4o", [ANYWHERE, CODE], []),
    ],
)
def test_each_api_is_asked_in_its_own_words(build: Any, model: str, given: list[Any], expected: list[Any]) -> None:
    """A scope is told where it can be; where it cannot, or where the model has no such tool, it is not offered."""
    assert theirs(build, model, *given) == expected


def test_before_gemini_3_a_search_stands_alone() -> None:
    """Beside tools of ours it would be refused; without any it is taken."""
    assert theirs(gemini.build, "gemini-2.5-flash", ANYWHERE, own=False) == [{"googleSearch": {}}]


@pytest.mark.parametrize(("kind", "model", "api"), WIRES)
async def test_what_a_search_found_is_a_link_and_goes_back_as_it_came(kind: str, model: str, api: str | None) -> None:
    """The page is named under the answer; the provider's own blocks are in the next round of the turn, to the letter."""
    page = Search("ferns", "https://example.org/ferns", "Ferns [all]")
    script: list[Any] = [[page, "They like shade.", Use("look", {"place": "shed"})], "Done."]
    with Double(script) as double:
        target = Target(kind, double.base_url(kind), KEY, model, kind=kind, api=api)
        asked = asking("go", tools=[LOOK], provider_tools=[ANYWHERE])
        events = await answer(target, asked)
        assert said(events) == "They like shade.\n\nSources: [Ferns all](https://example.org/ferns)"
        assert [event.name for event in events if isinstance(event, ToolUse)] == ["look"]
        assert said(await answer(target, with_results(asked, events, {"look": "x"}))) == "Done."
        assert double.faults == []
        kept = {"anthropic": "web_search_tool_result", "openai": "web_search_call"}.get(kind)
        assert kept is None or kept in json.dumps(double.asked[1].body)


async def test_an_answer_that_pauses_is_asked_to_go_on() -> None:
    """Anthropic stops long work of its own tools in the middle: what came goes back, the figures are added up."""
    script: list[Any] = [[Search(), "One, ", Tokens(10, 2), Stop("pause_turn")], ["two.", Tokens(20, 3)]]
    with Double(script) as double:
        target = Target("anthropic", double.url, KEY, "claude-opus-5-5")
        events = await answer(target, asking("go", provider_tools=[ANYWHERE]))
    assert "".join(e.text for e in events if isinstance(e, Text)).startswith("One, ")
    assert said(events).endswith("two.") and stopped(events).usage == Usage(30, 5)
    assert [m["role"] for m in double.asked[1].body["messages"]] == ["user", "assistant"]
    assert "web_search_tool_result" in json.dumps(double.asked[1].body)


GRANTED: dict[str, list[dict[str, Any]]] = {"scout": [SCOPED], "sage": []}


async def granted(agent: str) -> list[dict[str, Any]]:
    if agent not in GRANTED:
        raise RemoteError("Denied", f"{agent} has no record any more")
    return GRANTED[agent]


@pytest.mark.parametrize(
    ("caller", "domains"),
    [("agents/scout", ["example.org"]), ("agents/sage", None), ("agents/ghost", None), ("roster", None)],
)
async def test_an_agents_word_is_no_authority(caller: str, domains: list[str] | None) -> None:
    """Whatever it asks for, a provider is given what the grants say, with their scope; and nothing when nobody can say."""
    with Double(["hi"]) as double:
        target = Target("anthropic", double.url, KEY, "claude-opus-5-5")
        served = Gateway(Registry.from_config({"llm": [target.entry()]}, {}), granted=granted)
        async with running_bus() as bus:
            peer = await bus.peer("llm")
            peer.expose(served.methods())
            asked = request(model="anthropic/claude-opus-5-5", provider_tools=[ANYWHERE, CODE])
            await stream(bus, caller, asked)
            await served.aclose()
    tools = double.asked[0].body.get("tools", [])
    assert [tool.get("allowed_domains") for tool in tools] == ([domains] if domains else [])


def test_a_tool_that_there_is_not_is_refused() -> None:
    """The neutral request knows two."""
    with pytest.raises(BadRequest, match="'shell'"):
        asking("go", provider_tools=[{"name": "shell"}])
    assert msgspec.to_builtins(asking("go", provider_tools=[SCOPED]).provider_tools) == [SCOPED]
