"""What is known of models without asking anybody: the shipped table `models.toml`, its lookup, and what a call costs.

The table is data with a date and its sources. What it does not say is None: unknown is never guessed.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from typing import TYPE_CHECKING, Any

from egghead.llm.provider import Model
from egghead.llm.shapes import Usage

if TYPE_CHECKING:
    from egghead.llm.registry import Entry

_DATED = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d|latest)$")


@functools.cache
def shipped() -> dict[str, Any]:
    """The table: {"date", "sources", "models": {kind: {model: row}}}."""
    import tomllib  # late: the zygote imports this module and never the table

    text = (importlib.resources.files("egghead.llm") / "models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def known(kind: str, provider: str, model: str) -> Model:
    """What the table says of `model` of a provider of this kind that people call `provider`. A dated name is the model
    without the date, unless the table has it."""
    rows = shipped()["models"].get(kind, {})
    row = dict(rows.get(model) or rows.get(_DATED.sub("", model)) or {})
    if "long_prompt" in row:
        row["long_prompt"] = tuple(row["long_prompt"])
    return Model(name=f"{provider}/{model}", provider=provider, **row)


def offered(entry: Entry) -> tuple[Model, ...]:
    """The models of an entry: those that it lists, else those that the table knows for its kind."""
    if entry.models:
        names = list(entry.models)
    else:
        # At another address the same names may mean nothing.
        names = [] if entry.base_url else list(shipped()["models"].get(entry.kind, {}))
    return tuple(known(entry.kind, entry.name, name) for name in names)


def cost(model: Model, usage: Usage) -> float | None:
    """USD of one call at list price. None when a price is missing for tokens that were used."""
    over, dearer, dearer_answer = model.long_prompt or (0, 1.0, 1.0)
    prompt = usage.input + usage.cached_read + usage.cached_write
    factor, answer_factor = (dearer, dearer_answer) if over and prompt > over else (1.0, 1.0)
    total = 0.0
    for tokens, price, times in (
        (usage.input, model.input_price, factor),
        (usage.cached_read, model.cache_read_price, factor),
        (usage.cached_write, model.cache_write_price, factor),
        (usage.output, model.output_price, answer_factor),
    ):
        if tokens and price is None:
            return None
        total += tokens * (price or 0.0) * times
    return round(total / 1_000_000, 9)
