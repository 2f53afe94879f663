"""What can go wrong between peers, named by whose fault it is.

Only exceptions live here. Nothing in this module imports ZeroMQ, so a command line can catch these without loading it.
"""

from __future__ import annotations

from typing import Any


class IpcError(Exception):
    """Base of everything this package raises."""


class LocalProtocolError(IpcError):
    """This side asked for something that the API does not allow: a bug of the caller."""


class RemoteProtocolError(IpcError):
    """The other side sent frames that are no message of this protocol."""


class VersionMismatch(RemoteProtocolError):
    """Peer and bus speak different versions of the protocol; `ours` and `theirs` are the numbers."""

    def __init__(self, ours: int, theirs: int, text: str) -> None:
        super().__init__(text)
        self.ours = ours
        self.theirs = theirs


class PeerDown(IpcError):
    """`name` is absent or died with the call in flight: no answer will be delivered.

    `sent` false: it was never given to `name`, so nothing was executed. Otherwise the outcome is unknown.
    """

    def __init__(self, name: str, reason: str = "", sent: bool = True) -> None:
        super().__init__(f"{name} is down" + (f": {reason}" if reason else ""))
        self.name = name
        self.reason = reason
        self.sent = sent


class CallTimeout(IpcError):
    """No answer within the caller's deadline; the outcome is unknown, the callee has been told to stop."""

    def __init__(self, target: str, method: str, seconds: float) -> None:
        super().__init__(f"{target}.{method} gave no answer within {seconds:g} s")
        self.target = target
        self.method = method
        self.seconds = seconds


class Forbidden(IpcError):
    """The bus refused: a bad credential, or a target, topic or pattern that `allow` does not name."""


class Overloaded(IpcError):
    """A bound was reached (bytes waiting for a peer, calls in flight, messages a second). Nothing was executed."""


class TooBig(IpcError):
    """A message is over the frame limit. Nothing was sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a message of {size} bytes is over the limit of {limit}: send it in parts, as a stream")
        self.size = size
        self.limit = limit


class RemoteError(IpcError):
    """The handler of the other side raised: `type`, `message` and `data` are what it said."""

    def __init__(self, type: str, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message
        self.data = data or {}


class Refused(Exception):
    """Raised by a handler (or a subclass of it) to answer with a typed error instead of a result."""

    def __init__(self, type: str, message: str, **data: Any) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message
        self.data = data
