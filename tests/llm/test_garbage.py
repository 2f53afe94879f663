"""Whatever stands in the configuration: the gateway is made of it or says what is wrong, and a key is in no message."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.errors import ConfigError
from egghead.llm.errors import LlmError
from egghead.llm.reading import Reader
from egghead.llm.registry import Registry
from tests.llm.double import KEY

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "http://",
            "https://[::1",
            "http://a b",
            "{env:NOT_SET}",
            "{env:}",
            "ftp://x",
            "http://x:99999",
            "//",
            "*",
            ".nan",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LIMITS = st.dictionaries(
    st.sampled_from(
        ["retries", "backoff", "first_byte_timeout", "idle_timeout", "concurrent", "requests_per_minute", "x"]
    ),
    VALUES,
    max_size=3,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from(["anthropic", "openai", "google", "ollama", "mine", "local", ""]) | VALUES,
        "name": VALUES,
        "api_key": st.just(KEY) | VALUES,
        "base_url": VALUES,
        "models": VALUES,
        "limits": LIMITS | VALUES,
        "api": VALUES,
    },
)
CONFIGS = st.fixed_dictionaries({"llm": st.lists(ENTRIES, max_size=3) | VALUES}, optional={"default_model": VALUES})


def digested(content: bytes) -> None:
    """Read, made and asked as the process `llm` does it. Only errors with a sentence come out."""
    try:
        read = Reader({}, None, {"OPENAI_API_KEY": KEY}).read(content)
        registry = Registry.from_config(read.config, {"OPENAI_API_KEY": KEY})
    except ConfigError as error:
        assert KEY not in str(error)
        return
    names = [model.name for model in registry.models()]
    entries: list[dict[str, Any]] = list(read.config.get("llm") or [])
    for name in (
        None,
        "",
        "x",
        "mine/x",
        *names,
        *(f"{entry.get('name') or entry.get('provider')}/m" for entry in entries),
    ):
        try:
            registry.resolve(name)
        except LlmError as error:
            assert KEY not in str(error)


@given(CONFIGS)
@settings(max_examples=300)
def test_any_section(config: dict[str, Any]) -> None:
    """Values of any kind in the section `llm`: used, or refused in words."""
    digested(json.dumps(config).encode())


@given(st.binary(max_size=60) | st.text("llm: -[]{}&*!|>'\"#%@`\n\t\\provider", max_size=60).map(str.encode))
@settings(max_examples=300)
def test_any_bytes(content: bytes) -> None:
    """A file that is no YAML, or not ours, is refused in words."""
    digested(content)
