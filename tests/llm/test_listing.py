"""What providers say of their models: lists as they give them, what is kept of them, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm import listing
from egghead.llm.catalog import AGAIN, FRESH, Catalog
from egghead.llm.errors import AuthFailed, LlmError, NotAnApi, RequestRefused, Unreachable
from egghead.llm.provider import Model
from egghead.llm.registry import Registry
from tests.llm import catalogs
from tests.llm.conformance import Target, answer, asking
from tests.llm.double import KEY, Double, Status, Tokens
from tests.llm.test_process import gateway, request, stream


def facts(kind: str, data: Any) -> dict[str, Model]:
    read = {"anthropic": listing.anthropic, "google": listing.google}.get(kind, listing.openai)
    return {model.name: model for model in listing.models_of(kind, "p", read(data)[0])}


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        (
            "anthropic",
            catalogs.ANTHROPIC_FIRST,
            {"p/claude-opus-5-5": {"window": 1000000, "max_output": 128000, "vision": True, "thinking": True}},
        ),
        (
            "google",
            catalogs.GOOGLE_FIRST,
            {"p/gemini-3.8-flash": {"window": 1048576, "max_output": 65536, "thinking": True}},
        ),
        ("openai", catalogs.OPENAI, {"p/gpt-4o": {}, "p/gpt-5.4": {}, "p/gpt-6.1-sol": {}}),
        (
            "openrouter",
            catalogs.OPENROUTER,
            {
                "p/anthropic/claude-opus-5-5": {
                    "window": 1000000,
                    "max_output": 128000,
                    "input_price": 4.0,
                    "output_price": 20.0,
                    "cache_read_price": 0.2,
                    "tools": True,
                    "thinking": True,
                    "vision": True,
                },
                "p/openrouter/auto": {"window": 2000000},
            },
        ),
        ("groq", catalogs.GROQ, {"p/openai/gpt-oss-120b": {"window": 131072, "max_output": 65536}}),
        (
            "mistral",
            catalogs.MISTRAL,
            {"p/mistral-medium-latest": {"window": 262144, "tools": True, "vision": True, "thinking": True}},
        ),
        ("together", catalogs.TOGETHER, {"p/org/model": {"window": 131072, "input_price": 0.88, "output_price": 0.9}}),
        ("llamacpp", catalogs.LLAMACPP, {"p/smollm2": {"window": 8192}}),
        ("vllm", catalogs.VLLM, {"p/org/model": {"window": 32768}}),
    ],
)
def test_what_a_provider_says(kind: str, data: Any, expected: dict[str, dict[str, Any]]) -> None:
    """Models that talk, each with what its provider says and no more; `told` names it."""
    found = facts(kind, data)
    assert {name: {key: getattr(m, key) for key in m.told} for name, m in found.items()} == expected


def test_what_it_does_not_say_is_the_tables() -> None:
    """A name alone is enough to be priced; what neither knows is unknown."""
    told = facts("openai", catalogs.OPENAI)["p/gpt-4o"]
    assert (told.window, told.input_price, told.told) == (128_000, 2.5, ())
    assert facts("acme", catalogs.openai("x"))["p/x"].window is None


def test_a_provider_is_believed_before_the_table() -> None:
    """The window of a server of one's own is what it was started with."""
    rows = {"data": [{"id": "gpt-4o", "max_model_len": 4096, "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}]}
    assert facts("openai", rows)["p/gpt-4o"].window == 2048


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "models",
                    "id",
                    "name",
                    "pricing",
                    "prompt",
                    "meta",
                    "n_ctx",
                    "capabilities",
                    "architecture",
                    "type",
                    "last_id",
                    "has_more",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_list_is_read(data: Any) -> None:
    """Whatever is answered, models come of it or none."""
    for kind, read in (("anthropic", listing.anthropic), ("google", listing.google), ("openai", listing.openai)):
        rows, following = read(data)
        assert all(isinstance(model, Model) for model in listing.models_of(kind, "p", rows))
        assert isinstance(following, str)


@pytest.mark.parametrize(("kind", "pages"), [("anthropic", 2), ("google", 2), ("groq", 1)])
async def test_every_page_is_asked_for(kind: str, pages: int) -> None:
    """And a page is asked for once, however often the list is."""
    with Double(["hi"]) as double:
        async with Target(kind, double.base_url(kind), KEY, "m", kind=kind).opened() as (provider, _):
            first, again = await asyncio.gather(provider.list_models(), provider.list_models())
            assert first == again and len(double.listed) == pages
            assert all(KEY not in path for path in double.listed)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Status(200, {}, "<html>log in"), NotAnApi),
        (Status(401), AuthFailed),
        (Status(404), RequestRefused),
        (Status(404, {}, "nothing here"), NotAnApi),
        (Status(200, {}, ["x", 3, None]), None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_list_that_is_none(answer: Status, error: type[LlmError] | None) -> None:
    """It is told as what it is; completions do not depend on it."""
    with Double(["hi"]) as double:
        double.listing = answer
        async with Target("acme", double.base_url("acme"), KEY, "m").opened() as (provider, _):
            if error is None:
                assert await provider.list_models() == ()
            else:
                with pytest.raises(error) as caught:
                    await provider.list_models()
                assert "acme" in str(caught.value) and KEY not in str(caught.value)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_list_is_kept_for_hours_and_a_failure_for_minutes() -> None:
    """Asked again when it is old; a provider that fails is not asked at each completion."""
    asked: list[float] = []
    clock = Clock()

    async def ask() -> Sequence[Model]:
        asked.append(clock.now)
        if len(asked) == 2:
            raise Unreachable("away")
        return [Model("p/m", "p", window=len(asked))]

    catalog = Catalog(ask, clock)
    assert (await catalog.list_models())[0].window == 1 and (await catalog.list_models())[0].window == 1
    clock.now += FRESH
    for _ in range(3):
        catalog.refresh()
        await asyncio.sleep(0)
        assert catalog._task is not None
        await catalog._task
    assert len(asked) == 2 and catalog.known["p/m"].window == 1  # what was known stays known
    clock.now += AGAIN
    catalog.refresh()
    assert catalog._task is not None
    await catalog._task
    assert len(asked) == 3 and catalog.known["p/m"].window == 3
    catalog.forget()
    assert not catalog.known and (await catalog.list_models())[0].window == 4
    await catalog.aclose()


async def test_a_window_that_nobody_knew_is_known_soon() -> None:
    """The first call of a model that is in no table does not wait for the list; a later one has its window and price."""
    with Double([["hi", Tokens(1_000_000, 0)]]) as double:
        target = Target("openrouter", double.base_url("openrouter"), KEY, "anthropic/claude-opus-5-5")
        registry = Registry.from_config({"llm": [target.entry(models=[])]}, {})
        async with gateway(registry) as (bus, served):
            asked = request(model="openrouter/anthropic/claude-opus-5-5")
            assert (await stream(bus, "agents/a", asked))[-1]["window"] is None
            lane, _ = registry.resolve("openrouter/anthropic/claude-opus-5-5")
            await lane.list_models()
            last = (await stream(bus, "agents/a", asked))[-1]
            assert (last["window"], last["cost"]) == (1000000, 4.0) and len(double.listed) == 1
            await served.aclose()


async def test_who_closes_does_not_wait_for_a_list() -> None:
    """The question behind the caller's back ends with the provider."""
    with Double(["hi"]) as double:
        target = Target("acme", double.base_url("acme"), KEY, "org/model")
        async with target.opened() as (provider, _):
            provider.catalog.refresh()
        await answer(target, asking("go"))
