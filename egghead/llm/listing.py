"""What providers say of their models when they are asked: the answer of a `models` endpoint → facts. Pure.

Each provider says other things in other words, many say a name and no more. What it does not say is None here, and the
shipped table is asked next (`models`). Sources, read 2026-11: the public references of the providers' model lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import quote

from egghead.llm import models
from egghead.llm.provider import Model
from egghead.llm.reasons import words
from egghead.llm.wire import figure

MOST = 5000  # models of one provider that are kept
PAGES = 10

# What is at the endpoint beside models that talk.
_OTHER = re.compile(
    r"embed|whisper|tts|dall-e|moderation|imagen?\b|-image|veo|lyria|audio|realtime|transcri|sora|davinci|babbage|rerank|ocr",
    re.I,
)

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Listing:
    """Where a provider lists its models, and how a page of the list is read: the models' facts, each with its `id`, and
    the address of the next page, "" when this is the last."""

    path: str
    read: Callable[[Any], tuple[Sequence[Facts], str]]


def models_of(kind: str, provider: str, rows: Sequence[Facts]) -> tuple[Model, ...]:
    """The models of a provider of this kind that people call `provider`: what it says of them, else the shipped table.
    `Model.told` names what it said itself."""
    known = {field.name for field in fields(Model)}
    found: dict[str, Model] = {}
    for row in rows[:MOST]:
        facts = {key: value for key, value in row.items() if key in known and value is not None}
        name = str(row["id"])
        figures = tuple(sorted(facts.keys() - {"note"}))
        found[name] = replace(models.known(kind, provider, name), **facts, told=figures)
    return tuple(sorted(found.values(), key=lambda model: model.name))


def anthropic(data: Any) -> tuple[Sequence[Facts], str]:
    """`GET v1/models`."""
    rows = [_anthropic(row) for row in _rows(data, "data") if row.get("lifecycle") != "retired"]
    last = str(_dict(data).get("last_id") or "")
    return rows, f"v1/models?limit=1000&after_id={quote(last, safe='')}" if _dict(data).get("has_more") and last else ""


def _anthropic(row: Facts) -> Facts:
    can = _dict(row.get("capabilities"))
    return {
        "id": row["id"],
        "note": _note(row.get("display_name")),
        "window": _tokens(row, "max_input_tokens"),
        "max_output": _tokens(row, "max_tokens"),
        "vision": _supported(can.get("image_input")),
        "thinking": _supported(can.get("thinking")),
    }


def google(data: Any) -> tuple[Sequence[Facts], str]:
    """`GET v1beta/models`."""
    rows = [
        {
            "id": str(row["name"]).removeprefix("models/"),
            "note": _note(row.get("displayName")),
            "window": _tokens(row, "inputTokenLimit"),
            "max_output": _tokens(row, "outputTokenLimit"),
            "thinking": row["thinking"] if isinstance(row.get("thinking"), bool) else None,
        }
        for row in _rows(data, "models", "name")
        if "generateContent" in _list(row.get("supportedGenerationMethods")) and not _OTHER.search(str(row["name"]))
    ]
    following = str(_dict(data).get("nextPageToken") or "")
    return rows, f"models?pageSize=1000&pageToken={quote(following, safe='')}" if following else ""


def openai(data: Any) -> tuple[Sequence[Facts], str]:
    """`GET models` of OpenAI and of all who speak like it, some of whom say much more than a name."""
    return [_openai(row) for row in _rows(data, "data") if _talks(row)], ""


def _talks(row: Facts) -> bool:
    if row.get("active") is False or row.get("archived") is True:
        return False
    if "completion_chat" in _dict(row.get("capabilities")):
        return bool(_dict(row.get("capabilities"))["completion_chat"])
    if row.get("type") in ("chat", "language", "llm", "vlm"):
        return True
    written = _list(_dict(row.get("architecture")).get("output_modalities"))
    if written:
        return "text" in written
    return row.get("type") in (None, "model") and not _OTHER.search(str(row["id"]))


def _openai(row: Facts) -> Facts:
    can, meta, top = _dict(row.get("capabilities")), _dict(row.get("meta")), _dict(row.get("top_provider"))
    takes = _list(row.get("supported_parameters"))
    given = _list(_dict(row.get("architecture")).get("input_modalities"))
    return {
        "id": row["id"],
        "note": _note(row.get("display_name") or row.get("name")),
        "window": _tokens(meta, "n_ctx")
        or _tokens(
            row, "loaded_context_length", "context_length", "max_model_len", "context_window", "max_context_length"
        )
        or _tokens(meta, "n_ctx_train"),
        "max_output": _tokens(row, "max_completion_tokens", "max_output_tokens")
        or _tokens(top, "max_completion_tokens"),
        "tools": "tools" in takes if takes else _flag(can.get("function_calling")),
        "thinking": "reasoning" in takes if takes else _flag(can.get("reasoning")),
        "vision": "image" in given if given else _flag(can.get("vision")),
        **_prices(_dict(row.get("pricing"))),
    }


def _prices(pricing: Facts) -> Facts:
    """USD for a million tokens. OpenRouter writes USD for one, as text; Together for a million, as numbers."""
    if "prompt" in pricing:
        keys, scale = ("prompt", "completion", "input_cache_read", "input_cache_write"), 1e6
    else:
        keys, scale = ("input", "output", "cached_input", "cache_write"), 1.0
    names = ("input_price", "output_price", "cache_read_price", "cache_write_price")
    return {name: _price(pricing.get(key), scale) for name, key in zip(names, keys, strict=True)}


def _price(value: Any, scale: float) -> float | None:
    try:
        price = float(value) * scale
    except (TypeError, ValueError, OverflowError):
        return None
    return round(price, 6) if 0 <= price < 1e6 else None  # -1: it depends


def _rows(data: Any, key: str, name: str = "id") -> list[Facts]:
    found = data if isinstance(data, list) else _dict(data).get(key)
    return [row for row in _list(found) if isinstance(row, dict) and isinstance(row.get(name), str) and row[name]]


def _tokens(row: Facts, *keys: str) -> int | None:
    return next((count for key in keys if (count := figure(row.get(key)))), None)


def _supported(value: Any) -> bool | None:
    return _flag(_dict(value).get("supported"))


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _note(value: Any) -> str | None:
    return words(value)[:100] if value else None


def _dict(value: Any) -> Facts:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


ANTHROPIC = Listing("v1/models?limit=1000", anthropic)
GOOGLE = Listing("models?pageSize=1000", google)
OPENAI = Listing("models", openai)
