"""What is known of models without asking: the shipped table, its names, and what a call costs."""

from __future__ import annotations

import datetime
from dataclasses import fields
from typing import Any

import pytest

from egghead.llm import models
from egghead.llm.provider import Model
from egghead.llm.registry import ADAPTERS, KNOWN, Entry, Registry
from egghead.llm.shapes import Usage

ROWS = [(kind, name, row) for kind, rows in models.shipped()["models"].items() for name, row in rows.items()]


def test_the_table_has_a_date_and_sources() -> None:
    """A figure without a date is a rumour."""
    assert models.shipped()["date"] > datetime.date(2026, 1, 1)
    assert all(source.startswith("https://") for source in models.shipped()["sources"])


@pytest.mark.parametrize(("kind", "name", "row"), ROWS, ids=[f"{kind}/{name}" for kind, name, _ in ROWS])
def test_each_row_can_be_meant(kind: str, name: str, row: dict[str, Any]) -> None:
    """Known keys, a provider that we speak to, prices in the order in which they are charged."""
    assert kind in ADAPTERS and set(row) <= {field.name for field in fields(Model)}
    model = models.known(kind, kind, name)
    assert model.window is not None and model.window >= 32_000
    assert model.max_output is None or model.max_output <= model.window
    assert model.input_price is not None and model.output_price is not None
    assert 0 < (model.cache_read_price or 0.001) < model.input_price <= model.output_price < 100
    if model.long_prompt:
        over, dearer, answer = model.long_prompt
        assert 0 < over < model.window and dearer >= 1 and answer >= 1


def test_the_defaults_of_providers_are_in_the_table() -> None:
    """The model of an agent that names none is one that we know something of, and that takes tools."""
    for known in KNOWN.values():
        if known.default:
            assert models.known(known.name, known.name, known.default).tools is True, known


def test_names() -> None:
    """A dated name is the model without its date; another name of the provider is kept; unknown is unknown."""
    plain = models.known("anthropic", "work", "claude-haiku-4-5")
    assert plain.name == "work/claude-haiku-4-5" and plain.provider == "work"
    assert models.known("anthropic", "anthropic", "claude-haiku-4-5-20251001").window == plain.window
    assert models.known("openai", "openai", "gpt-4o-2024-11-20").window == 128_000
    unknown = models.known("anthropic", "anthropic", "claude-from-the-future")
    assert (unknown.window, unknown.input_price, unknown.tools) == (None, None, None)
    assert models.known("ollama", "ollama", "gpt-4o").window is None


def test_what_is_offered() -> None:
    """The configured models, else the table's; at another address nobody knows which."""
    assert [m.name for m in models.offered(Entry("openai", "o", models=("x", "gpt-4o")))] == ["o/x", "o/gpt-4o"]
    assert len(models.offered(Entry("anthropic", "anthropic"))) > 5
    assert models.offered(Entry("anthropic", "anthropic", base_url="http://127.0.0.1:1")) == ()


def test_cost() -> None:
    """Each kind of token at its price; a long prompt dearer; None when a price that is needed is not known."""
    model = Model(
        "p/m", "p", input_price=3.0, output_price=15.0, cache_read_price=0.3, cache_write_price=3.75,
        long_prompt=(2_000_000, 2.0, 1.5),
    )  # fmt: skip
    million = 1_000_000
    assert models.cost(model, Usage(million, million, million, 0)) == 18.3
    assert models.cost(model, Usage(0, 0, 0, million)) == 3.75
    assert models.cost(model, Usage(2 * million, million, 0, million)) == 2 * (6.0 + 3.75) + 1.5 * 15.0
    assert models.cost(Model("p/m", "p"), Usage(1, 0)) is None
    assert models.cost(Model("p/m", "p"), Usage()) == 0.0
    assert models.cost(Model("p/m", "p", input_price=1.0, output_price=1.0), Usage(1, 1, 5)) is None


@pytest.mark.parametrize(
    ("config", "environ", "default"),
    [
        ({}, {}, "local/librarian"),
        ({}, {"ANTHROPIC_API_KEY": "k"}, "anthropic/claude-sonnet-5-5"),
        ({"default_model": "local/librarian"}, {"ANTHROPIC_API_KEY": "k"}, "local/librarian"),
        ({"llm": [{"provider": "ollama", "models": ["qwen"]}]}, {"ANTHROPIC_API_KEY": "k"}, "ollama/qwen"),
        ({"llm": [{"provider": "ollama"}]}, {"OPENAI_API_KEY": "k"}, "openai/gpt-5.4"),
        ({"llm": [{"provider": "anthropic"}]}, {}, "local/librarian"),
        ({"llm": [{"provider": "openai", "name": "work", "api_key": "k"}]}, {}, "work/gpt-5.4"),
        ({}, {"GEMINI_API_KEY": "k"}, "google/gemini-3.8-flash"),
        ({"llm": [{"provider": "together", "api_key": "k"}]}, {}, "local/librarian"),
        ({"llm": [{"provider": "mine", "base_url": "http://127.0.0.1:1", "models": ["m"]}]}, {}, "mine/m"),
    ],
)
def test_the_default_is_that_of_the_first_provider(config: Any, environ: dict[str, str], default: str) -> None:
    """The configured default, else the first provider that can be used and has a model, else the librarian."""
    registry = Registry.from_config(config, environ)
    assert registry.default == default
    provider, model = registry.resolve(None)
    assert f"{provider.name}/{model}" == default
    assert registry.models()[0].name == default
