"""OpenAI, and all who speak one of its two wire formats: which of them a model is asked over.

Chat Completions is what everybody speaks, and is asked for unless something says otherwise. OpenAI's own models that reason
are asked over Responses: Chat Completions loses what they thought between two rounds of tools, and refuses tools beside an
effort (from gpt-5.4 on) or altogether (from gpt-6 on). `api:` of an entry decides where we cannot know: behind a `base_url`
of somebody's own.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from egghead.llm import listing, openai_responses
from egghead.llm.errors import ProviderMissing
from egghead.llm.openai_chat import OTHER, PRESETS, Parser, build, failure, reasons
from egghead.llm.remote import Format, Remote

if TYPE_CHECKING:
    from egghead.llm.registry import Entry

OWN = ("https://api.openai.com", "https://eu.api.openai.com", "https://us.api.openai.com")


def over_responses(entry: Entry, model: str) -> bool:
    """Whether this model is asked over Responses. Raises ProviderMissing for an `api` that there is not."""
    if entry.api not in (None, "chat", "responses"):
        raise ProviderMissing(f"the api of {entry.name} cannot be {entry.api!r}: it is 'chat' or 'responses'")
    if entry.api is not None:
        return entry.api == "responses"
    own = not entry.base_url or entry.base_url.startswith(OWN)
    return entry.kind == "openai" and own and reasons(model.rpartition("/")[2])


def provider(entry: Entry) -> Remote:
    """The provider of one entry of the configuration, of any kind in PRESETS or with a `base_url`."""
    preset = PRESETS.get(entry.kind, OTHER)
    headers = {"authorization": f"Bearer {entry.api_key}"} if entry.api_key else {}
    chat = Format("chat/completions", functools.partial(build, preset=preset), Parser, failure)
    over_responses(entry, "")  # what cannot be meant is told before the first call

    def spoken(model: str) -> Format:
        return openai_responses.FORMAT if over_responses(entry, model) else chat

    return Remote(entry, preset.base_url, headers, spoken, listing.OPENAI)
