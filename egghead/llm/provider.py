"""What a provider is: one adapter for each wire format behind this interface, one file (or package) each.

An adapter turns a neutral request into its own wire format and its stream into neutral events. Which adapter serves
which name, and whose key it gets, is the business of `registry`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from egghead.llm.shapes import Event, Request


@dataclass(frozen=True)
class Model:
    """One model that can be named. `window` (the largest prompt) and `max_output` are tokens; prices are USD for a
    million tokens; `long_prompt` is (tokens, factor, factor): a larger prompt costs that many times its price, and its
    answer the second. What nobody says is None. `name` is `provider/model`."""

    name: str
    provider: str
    window: int | None = None
    max_output: int | None = None
    note: str = ""
    input_price: float | None = None
    output_price: float | None = None
    cache_read_price: float | None = None
    cache_write_price: float | None = None
    long_prompt: tuple[int, float, float] | None = None
    tools: bool | None = None
    vision: bool | None = None
    thinking: bool | None = None
    told: tuple[
        str, ...
    ] = ()  # the fields that the provider itself said, when it was asked; others are the shipped table's


class Provider(Protocol):
    """A source of completions. Instances belong to one process and one event loop."""

    @property
    def name(self) -> str:
        """The word before the slash of its models' names."""
        ...

    def models(self) -> Sequence[Model]:
        """The models it offers, without asking anybody."""
        ...

    async def list_models(self) -> Sequence[Model]:
        """The models that the provider says it has, and what it says of them; it is asked each time. Raises LlmError."""
        ...

    def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        """Streams one completion by `model` (without the provider's name). The last event is a Stop. Closing the
        iterator ends the work at once. Raises LlmError with a sentence a person can act on."""
        ...

    async def aclose(self) -> None:
        """Lets go of connections."""
        ...
