"""Why a request did not get through, in a sentence that a person can act on: what httpx raised → an error of ours.

Pure. Only what happens between two machines belongs here; what a provider says in words is its adapter's. `docs/llm.md`
lists the sentences, and `tests/llm/test_faults.py` compares them with what really comes.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from egghead.llm.connection import TLS_ALERT
from egghead.llm.errors import LlmError, NotAnApi, ProxyRefused, Unreachable, Untrusted
from egghead.llm.limits import Limits
from egghead.llm.net import LOOKING_UP, SHAKING_HANDS
from egghead.llm.surroundings import Proxy

MAX_SHOWN = 300  # characters of somebody else's own words in a sentence of ours

# OpenSSL's X509_V_ERR_*
_EXPIRED, _NOT_YET, _WRONG_HOST = 10, 9, 62
_SELF_SIGNED = (18, 19)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_LOST = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, httpx.ReadError, httpx.WriteError)


@dataclass(frozen=True)
class Address:
    """A provider as people know it: its name, where it is (without a password), whether that is this machine, and the
    proxy on the way there."""

    name: str
    place: str
    near: bool
    proxy: Proxy | None = None

    @property
    def host(self) -> str:
        return str(httpx.URL(self.place).host)


def of(error: httpx.HTTPError, at: Address, limits: Limits) -> LlmError:
    """The error of ours for one that httpx raised before the answer was whole."""
    chain = list(_chain(error))
    if isinstance(error, httpx.ProxyError):
        return by_proxy(words(error), at)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause, at)
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _no_tls(cause, at)
    if re.search(f"illegal (status|request) line|{TLS_ALERT}", str(error)):
        hint = f"is the base_url of {at.name} {'meant to be https://?' if TLS_ALERT in str(error) else 'right?'}"
        return NotAnApi(f"{at.place} does not speak HTTP: {hint}")
    return unreachable(at, *_why(error, chain, at, limits))


def unreachable(at: Address, reason: str, hint: str | None = None) -> Unreachable:
    """A connection that did not come about or was lost before the answer, and what to look at."""
    if hint is None:
        hint = "is it running?" if at.near else "is the network up?"
    return Unreachable(f"{at.name} cannot be reached at {at.place}: {reason}; {hint}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _why(
    error: httpx.HTTPError, chain: list[BaseException], at: Address, limits: Limits
) -> tuple[str, str] | tuple[str]:
    lookup = next((cause for cause in chain if isinstance(cause, socket.gaierror)), None)
    if lookup is not None:
        return _not_found(lookup, _looked_up(at))
    if isinstance(error, httpx.ConnectTimeout):
        return _too_slow(str(error), limits.connect_timeout, at)
    if isinstance(error, httpx.WriteTimeout):
        return (f"it did not take the request within {limits.idle_timeout:g} s",)
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    if errno.ECONNREFUSED in numbers:
        return _refused(at)
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}:
        return ("there is no way to it", "is the network up?")
    if isinstance(error, httpx.ConnectError) and at.place.startswith("https:"):
        return ("the connection was closed while TLS was agreed on", "is the base_url right?")
    if isinstance(error, httpx.RemoteProtocolError):
        if re.search("closed|disconnected|incomplete", str(error)):
            return ("the connection was closed before the answer",)
        return (f"what it sent is not valid HTTP ({words(error)})", "is the base_url right?")
    if any(isinstance(cause, _LOST) for cause in chain):
        return ("the connection was lost before the answer",)
    return (words(error) or type(error).__name__,)


def _looked_up(at: Address) -> str:
    """The name that had to be looked up."""
    return f"of the proxy {at.proxy.place} ({at.proxy.variable})" if at.proxy else repr(at.host)


def _not_found(error: socket.gaierror, name: str) -> tuple[str, str]:
    if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL):
        return f"the host {name} cannot be looked up now", "is the network up?"
    return f"the host {name} is not known", "is it written right, and is the network up?"


def _too_slow(doing: str, seconds: float, at: Address) -> tuple[str, str] | tuple[str]:
    if doing == LOOKING_UP:
        return f"the host {_looked_up(at)} was not looked up within {seconds:g} s", "is the network up?"
    if doing == SHAKING_HANDS:
        return f"TLS was not agreed on within {seconds:g} s", "is the base_url right?"
    if at.proxy:
        return (
            f"no connection to the proxy {at.proxy.place} ({at.proxy.variable}) within {seconds:g} s",
            "is the proxy running?",
        )
    return (f"no connection within {seconds:g} s",)


def _refused(at: Address) -> tuple[str, str]:
    if at.proxy:
        return f"nobody listens at the proxy {at.proxy.place} ({at.proxy.variable})", "is the proxy running?"
    return "nobody listens there", "is it running?" if at.near else "is the base_url right?"


def by_proxy(said: str, at: Address) -> LlmError:
    """The proxy answered in the provider's place. `said`: its status and its words."""
    place, variable = (at.proxy.place, at.proxy.variable) if at.proxy else ("", "")
    if said.startswith(("502", "503", "504")):
        return unreachable(at, f"the proxy {place} answered in its place ({said})", "ask again")
    if said.startswith("407"):
        return ProxyRefused(
            f"{at.name} cannot be asked: the proxy {place} wants a user and a password: "
            f"write them into {variable} as http://user:password@host:port"
        )
    return ProxyRefused(
        f"{at.name} cannot be asked: the proxy {place} ({variable}) does not let us through to it: {said}; "
        "ask who runs the proxy, or name the host in NO_PROXY"
    )


def _untrusted(error: ssl.SSLCertVerificationError, at: Address) -> Untrusted:
    code, why, hint = error.verify_code, words(error.verify_message), "is somebody between it and us?"
    if code == _EXPIRED:
        why, hint = "it has expired", "is the clock of this machine right?"
    elif code == _NOT_YET:
        why, hint = "it is not valid yet", "is the clock of this machine right?"
    elif code == _WRONG_HOST or "mismatch" in why:
        why, hint = f"it is not made out to {at.host!r}", "is the base_url right?"
    elif code in _SELF_SIGNED or "issuer" in why:
        why = "it is self-signed" if code in _SELF_SIGNED else "who signed it is not known here"
        hint = "if this is your own server or your company's proxy, name its certificate in SSL_CERT_FILE"
    return Untrusted(f"the certificate of {at.name} at {at.place} is not trusted: {why}; {hint}")


def _no_tls(error: ssl.SSLError, at: Address) -> LlmError:
    reason = str(error.reason or "")
    if any(reason.startswith(known) for known in _NO_TLS):
        return NotAnApi(
            f"{at.place} does not speak TLS: is the base_url of {at.name} right, or is it meant to be http://?"
        )
    detail = (reason or words(error)).replace("_", " ").lower()
    return unreachable(at, f"TLS failed ({detail})", "is the base_url right?")


def words(text: Any) -> str:
    """Somebody else's own words, fit for a sentence of ours: one line, not long, nothing that moves a cursor."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"
