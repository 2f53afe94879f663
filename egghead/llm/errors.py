"""What can go wrong between an agent and a model, in words a person can act on. No logic."""

from __future__ import annotations

from egghead.errors import EggheadError


class LlmError(EggheadError):
    """Base of the gateway's errors. The message names the thing, shows the value and says the remedy; never a key."""


class BadRequest(LlmError):
    """The caller's request is not of the neutral shape."""


class UnknownProvider(LlmError):
    """No provider has this name; the message has the nearest ones."""


class UnknownModel(LlmError):
    """The provider has no such model; the message has the nearest ones."""


class ProviderMissing(LlmError):
    """The provider is known, but not configured or not built in; the message says what to do."""
