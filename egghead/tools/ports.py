"""What the tools need of the world: one function that asks `store` or `index`, and the errors it may raise."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol


class Ask(Protocol):
    """Call `method` of the process `target` (`store` or `index`). Raises Refusal or Unavailable, nothing else."""

    def __call__(self, target: str, method: str, /, **params: Any) -> Awaitable[Any]: ...


class Refusal(Exception):
    """The other side said no, for a reason that the caller can do something about: NotFound, Exists, Conflict, …"""

    def __init__(self, type: str, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.data = data


class Unavailable(Exception):
    """Nobody answered. `sent`: the call may have been carried out, so its outcome is unknown."""

    def __init__(self, target: str, reason: str, sent: bool = True) -> None:
        super().__init__(f"{target} does not answer: {reason}")
        self.target = target
        self.sent = sent
