"""`local/librarian`: the model of a node without keys. No weights, no network, no randomness.

It stands behind the same interface as any provider and takes the same road: tools, streaming, usage. What it does next
is decided in `steps`, a pure function of the request; this file only streams the result.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from egghead.llm.errors import NoNotes
from egghead.llm.librarian.answer import compose
from egghead.llm.librarian.intents import intent
from egghead.llm.librarian.languages import detect
from egghead.llm.librarian.ranking import Candidate, read
from egghead.llm.librarian.steps import step
from egghead.llm.librarian.words import terms
from egghead.llm.provider import Model
from egghead.llm.shapes import Event, Request, Stop, Text, Usage, estimate_input, estimate_tokens

__all__ = ["Librarian", "warm_up"]

PIECE = 3  # words in one streamed piece


def warm_up() -> None:
    """Make the tables that a first question would wait for: word lists, thesaurus, patterns. About 50 ms."""
    body = "# How to water tomatoes\n\n1. Water them in the morning.\n"
    candidate = Candidate("warm/up", "Water", 0, body=body)
    for question in ("How often do I water the tomatoes?", "Как часто поливать помидоры?"):
        language = detect(question)
        compose(read(question, [candidate], terms(question, language), language), language)
    intent("hello")
    intent("Where do the tomatoes stand?")  # what no pattern knows tries them all


class Librarian:
    """The provider `local` with its one built-in model, `librarian`."""

    name = "local"

    def models(self) -> tuple[Model, ...]:
        return (
            Model(
                name="local/librarian",
                provider="local",
                window=200_000,
                max_output=1_000,
                input_price=0.0,
                output_price=0.0,
                note="built in: finds and quotes notes, needs no key",
            ),
        )

    async def list_models(self) -> tuple[Model, ...]:
        return self.models()

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        """Text in small pieces, or tool uses; then a stop with estimated usage. Never raises for what a request says, but
        for the one thing that takes a language model: a hand-off note."""
        if request.mode == "handoff":
            raise NoNotes("the built-in librarian writes no notes")
        decided = step(request)
        output = 0
        for said, piece in enumerate(pieces(decided.text)):
            if said % 8 == 7:
                await asyncio.sleep(0)  # one turn of the loop for the others: it never waits for anything
            cost = estimate_tokens(piece)
            if output + cost > request.max_tokens:
                yield Stop("max_tokens", Usage(estimate_input(request), output))
                return
            output += cost
            yield Text(piece)
        for use in decided.uses:
            output += 1 + estimate_tokens(" ".join(map(str, use.input.values())))
            yield use
        yield Stop("tool_use" if decided.uses else "end_turn", Usage(estimate_input(request), output))

    async def aclose(self) -> None:
        """Nothing is held."""


def pieces(text: str) -> list[str]:
    """A text in pieces of a few words; joined they are the text, byte for byte."""
    words = re.findall(r"\S+\s*|\s+", text)
    grouped = ["".join(words[at : at + PIECE]) for at in range(0, len(words), PIECE)]
    return [piece[at : at + 40] for piece in grouped for at in range(0, len(piece), 40)]
