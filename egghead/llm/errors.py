"""What can go wrong between an agent and a model, in words a person can act on. No logic.

The name of a class crosses the bus as the `type` of a `RemoteError`: an agent tells `ContextOverflow`, which is a reason
to hand off, from a failure. `docs/llm.md` lists them.
"""

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


class NoNotes(LlmError):
    """This model cannot write a hand-off note; the agent extracts one."""


class ContextOverflow(LlmError):
    """The conversation is larger than the model's window. Not a fault: the agent hands off."""


class AuthFailed(LlmError):
    """The provider does not take the key (`key`), or the key may not use this model."""

    def __init__(self, message: str, key: bool = False) -> None:
        super().__init__(message)
        self.key = key


def key_refused(provider: str) -> AuthFailed:
    """The provider does not take the key: no call will go well until there is another."""
    return AuthFailed(f"{provider} does not take the key; give it a new one: egghead llm add {provider}", key=True)


class OutOfCredit(LlmError):
    """The account behind the key cannot pay."""


class RequestRefused(LlmError):
    """The provider finds a fault in the request; the message has its words."""


class NotAnApi(LlmError):
    """Something answers at the address that does not speak the provider's format."""


class Untrusted(LlmError):
    """The server's certificate does not prove that it is the provider; nothing was sent."""


class ProxyRefused(LlmError):
    """The proxy on the way does not let us through."""


class StreamBroken(LlmError):
    """The answer broke off after it had begun. It is not asked for again: half of it has been heard."""


class ProviderTimeout(LlmError):
    """The provider accepted the request and then said nothing for too long."""


class Transient(LlmError):
    """Worth another try while nothing of the answer has been heard. `after` is how many seconds the provider asks to
    wait, None when it does not say."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RateLimited(Transient):
    """Too many requests or tokens for this key."""


class Overloaded(Transient):
    """The provider has trouble of its own."""


class Unreachable(Transient):
    """No connection: refused, no such host, TLS, reset."""


class LocalDown(LlmError):
    """The process of a model on this machine is down or cannot be started: that model's fault, not its provider's. A
    fallback is tried; the librarian and other local models are as they were."""


class LimitReached(LlmError):
    """The agent, or all of them, have used what they may use in a day."""
