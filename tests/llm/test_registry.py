"""Names of models, providers and keys: what is resolved, and what is said when nothing fits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from egghead.llm import openai
from egghead.llm.errors import LlmError, ProviderMissing, UnknownModel, UnknownProvider
from egghead.llm.provider import Model
from egghead.llm.registry import ADAPTERS, KNOWN, Entry, Registry
from egghead.llm.shapes import Event, Request, Stop


class Held:
    """A provider that shows what entry it was made of."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.name = entry.name
        self.closed = False

    def models(self) -> tuple[Model, ...]:
        return tuple(Model(f"{self.name}/{model}", self.name) for model in self.entry.models)

    async def list_models(self) -> tuple[Model, ...]:
        return self.models()

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        yield Stop("end_turn")

    async def aclose(self) -> None:
        self.closed = True


WITH = {**ADAPTERS, "anthropic": Held, "openai": Held}


def key_of(registry: Registry, model: str) -> Any:
    lane, _ = registry.resolve(model)
    assert isinstance(lane.provider, Held)
    return lane.provider.entry.api_key


def test_without_configuration_the_librarian_is_the_default() -> None:
    """No provider, no key: `local/librarian`, under its name and under none."""
    for name in (None, "", "local/librarian", "librarian"):
        provider, model = Registry().resolve(name)
        assert (provider.name, model) == ("local", "librarian")


def test_a_configured_key_wins_over_the_environment() -> None:
    """For the same provider; `{env:NAME}` is looked up."""
    environ = {"ANTHROPIC_API_KEY": "from-environment", "MINE": "from-mine"}
    bare = Registry.from_config({}, environ, adapters=WITH)
    assert key_of(bare, "claude-x") == "from-environment"
    config = {"llm": [{"provider": "anthropic", "api_key": "from-file"}]}
    assert key_of(Registry.from_config(config, environ, adapters=WITH), "anthropic/claude-x") == "from-file"
    config = {"llm": [{"provider": "anthropic", "api_key": "{env:MINE}"}]}
    assert key_of(Registry.from_config(config, environ, adapters=WITH), "claude-x") == "from-mine"


def test_a_key_that_was_made_safe_for_showing_is_no_key() -> None:
    """Stars in place of a key mean that the environment is asked."""
    config = {"llm": [{"provider": "openai", "api_key": "********"}]}
    registry = Registry.from_config(config, {"OPENAI_API_KEY": "real"}, adapters=WITH)
    assert key_of(registry, "gpt-x") == "real"


def test_later_slashes_belong_to_the_model() -> None:
    """`openai/org/model` is the model `org/model` of openai."""
    registry = Registry.from_config({}, {"OPENAI_API_KEY": "k"}, adapters=WITH)
    assert registry.resolve("openai/org/model")[1] == "org/model"


def test_entries_of_one_provider_are_told_apart_by_name() -> None:
    """Two accounts of one provider, each under its own name."""
    config = {
        "llm": [
            {"provider": "openai", "name": "work", "api_key": "w", "models": ["a"]},
            {"provider": "openai", "name": "home", "api_key": "h", "models": ["b"]},
        ],
        "default_model": "home/b",
    }
    registry = Registry.from_config(config, {"OPENAI_API_KEY": "e"}, adapters=WITH)
    assert key_of(registry, "work/a") == "w" and key_of(registry, "home/b") == "h"
    assert [model.name for model in registry.models()] == ["home/b", "local/librarian", "work/a"]
    assert registry.resolve(None)[1] == "b"


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("anthropic/claude-x", ProviderMissing, "egghead llm add anthropic, or set ANTHROPIC_API_KEY"),
        ("claude-x", ProviderMissing, "egghead llm add anthropic"),
        ("google/x", ProviderMissing, "egghead llm add google, or set GOOGLE_API_KEY"),
        ("gemini-x", ProviderMissing, "needs the provider 'google'"),
        ("groq/x", ProviderMissing, "egghead llm add groq, or set GROQ_API_KEY"),
        ("antropic/x", UnknownProvider, "did you mean 'anthropic'?"),
        ("zzz/x", UnknownProvider, "known: anthropic"),
        ("local/libarian", UnknownModel, "did you mean 'librarian'?"),
        ("libarian", UnknownModel, "did you mean 'librarian'?"),
        ("whatever", UnknownModel, "there is local/librarian"),
    ],
)
def test_what_is_not_there_is_said_with_the_remedy(name: str, error: type[LlmError], words: str) -> None:
    """The value, the nearest name or the command that fixes it."""
    with pytest.raises(error) as caught:
        Registry(adapters=WITH).resolve(name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_configured_provider_that_there_is_not_does_not_break_the_others() -> None:
    """It is refused when it is asked for, and the librarian works."""
    registry = Registry.from_config({"llm": [{"provider": "grok"}]}, {})
    assert registry.resolve("local/librarian")[1] == "librarian"
    with pytest.raises(UnknownProvider, match="did you mean 'groq'"):
        registry.resolve("grok/x")


def api_of(entry: dict[str, Any], model: str) -> str:
    registry = Registry.from_config({"llm": [{"api_key": "k", **entry}]}, {})
    given = next(iter(registry._entries[name] for name in registry._entries if name != "local"))
    return "responses" if openai.over_responses(given, model) else "chat"


@pytest.mark.parametrize(
    ("entry", "model", "api"),
    [
        ({"provider": "openai"}, "gpt-4o", "chat"),
        ({"provider": "openai"}, "gpt-5-chat-latest", "chat"),
        ({"provider": "openai"}, "gpt-5.4", "responses"),
        ({"provider": "openai"}, "gpt-6.1-sol", "responses"),
        ({"provider": "openai"}, "o3", "responses"),
        ({"provider": "openai", "api": "chat"}, "gpt-5.4", "chat"),
        ({"provider": "openai", "api": "responses"}, "gpt-4o", "responses"),
        ({"provider": "openai", "base_url": "https://eu.api.openai.com/v1"}, "o3", "responses"),
        ({"provider": "openai", "base_url": "http://127.0.0.1:1/v1"}, "gpt-6-sol", "chat"),
        ({"provider": "groq"}, "openai/gpt-5.4", "chat"),
        ({"provider": "vllm", "api": "responses"}, "qwen", "responses"),
        ({"provider": "mine", "base_url": "http://127.0.0.1:1/v1", "api": "responses"}, "m", "responses"),
    ],
)
def test_which_of_openais_two_ways_a_model_is_asked(entry: dict[str, Any], model: str, api: str) -> None:
    """Its own models that reason over Responses, all else over Chat Completions, unless the entry says so."""
    assert api_of(entry, model) == api


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"provider": "openai", "api": "completions"}, "it is 'chat' or 'responses'"),
        ({"provider": "anthropic", "api": "chat"}, "anthropic has only one api"),
        ({"provider": "google", "api": "responses"}, "google has only one api"),
    ],
)
def test_an_api_that_there_is_not_is_refused(entry: dict[str, Any], words: str) -> None:
    """With the known ones, when the provider is asked for."""
    registry = Registry.from_config({"llm": [{"api_key": "k", **entry}]}, {})
    with pytest.raises(ProviderMissing, match=words):
        registry.resolve(f"{entry['provider']}/x")


def test_no_key_is_shown() -> None:
    """Neither the repr of an entry nor an error has it."""
    config = {"llm": [{"provider": "anthropic", "api_key": "sk-secret"}]}
    registry = Registry.from_config(config, {"OPENAI_API_KEY": "sk-secret"}, adapters=WITH)
    lane, _ = registry.resolve("claude-x")
    assert isinstance(lane.provider, Held) and "sk-secret" not in repr(lane.provider.entry)
    for name in ("google/x", "claud/x", "nope"):
        with pytest.raises(LlmError) as caught:
            registry.resolve(name)
        assert "sk-secret" not in str(caught.value)


async def test_closing_closes_the_providers_that_were_used() -> None:
    """And makes none that were not."""
    registry = Registry.from_config({}, {"OPENAI_API_KEY": "k"}, adapters=WITH)
    provider, _ = registry.resolve("gpt-x")
    await registry.aclose()
    assert isinstance(provider.provider, Held) and provider.provider.closed


def test_every_known_provider_has_an_adapter() -> None:
    """The table of providers and the table of adapters are one story."""
    assert set(KNOWN) == set(ADAPTERS)


def test_only_a_remote_provider_costs_an_http_client() -> None:
    """The zygote, which every process shares, and a node without keys never import it; nor does the command line."""
    code = (
        "import sys, egghead.cli, egghead.processes.warm, egghead.processes.llm\n"
        "from egghead.llm.registry import Registry\n"
        "heavy = {'httpx', 'httpcore', 'anyio', 'certifi', 'tomllib'}\n"
        "Registry.from_config({}, {}).models()\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "Registry.from_config({}, {'OPENAI_API_KEY': 'k'}).models()\n"
        "assert 'httpx' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
