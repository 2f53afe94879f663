"""What the environment says about the way into the network: proxies, and whose certificates are trusted.

The root reads it, because the process `llm` sees neither the person's environment nor their files; the value crosses in
the handover. The reading of the variables is that of curl: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` in either
case, `SSL_CERT_FILE`, `SSL_CERT_DIR`. No connection is made here.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from egghead.llm.errors import ProviderMissing

PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
MAX_CERTIFICATES = 4 * 1024 * 1024  # bytes of them; more do not fit the way to a process
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def shown(url: str | None) -> str | None:
    """An address without what may be a secret in it: user, password and query."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0] if url else None


@dataclass(frozen=True)
class Surroundings:
    """`proxies`: variable as it was written → value. `certificates`: PEM of those to trust, None for the usual ones;
    `fault`: why they could not be read. A proxy's address may hold a password, so it is in no repr."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: str | None = field(default=None, repr=False)
    fault: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Surroundings:
        """Out of an environment; reads the files that it names. Raises nothing."""
        proxies = {name: environ[name] for name in environ if name.lower() in PROXIES and environ[name].strip()}
        try:
            return cls(proxies, _certificates(environ))
        except ValueError as error:
            return cls(proxies, None, str(error))

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Surroundings:
        return cls(dict(data.get("proxies") or {}), data.get("certificates"), data.get("fault"))

    def data(self) -> dict[str, Any]:
        """As plain data. Secret: to be given to the process `llm` alone."""
        return {"proxies": dict(self.proxies), "certificates": self.certificates, "fault": self.fault}

    def proxy(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """The proxy for an address, None for none: never for this machine. Raises ProviderMissing for a variable that
        cannot be used."""
        if is_near(host) or self._is_exempt(host, port):
            return None
        for wanted in (f"{scheme}_proxy", "all_proxy"):
            for variable in (wanted, wanted.upper()):
                if value := self.proxies.get(variable, "").strip():
                    return Proxy.of(variable, value)
        return None

    def _is_exempt(self, host: str, port: int | None) -> bool:
        listed = self.proxies.get("no_proxy") or self.proxies.get("NO_PROXY") or ""
        return any(_covers(item, host.lower().strip("[]"), port) for item in listed.replace(",", " ").split())


_settled: Surroundings | None = None


def settle(found: Surroundings) -> None:
    """What holds in this process for all connections that are made from now on."""
    global _settled
    _settled = found


def current() -> Surroundings:
    """What was settled, else what the environment says."""
    return _settled if _settled is not None else Surroundings.of(os.environ)


@dataclass(frozen=True)
class Proxy:
    """`url` may hold a user and a password; `place` is where it is without them, `variable` who says so."""

    variable: str
    url: str = field(repr=False)
    place: str

    @classmethod
    def of(cls, variable: str, value: str) -> Proxy:
        parts = _split(value if "://" in value else f"http://{value}")
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ProviderMissing(
                f"{variable} in the environment cannot be used: write it as http://host:port or https://host:port"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        return cls(variable, parts.geturl(), place)


def is_near(host: str) -> bool:
    """Whether a host is this machine, by its name or its address; nothing is looked up."""
    host = host.lower().strip("[]").rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or host == socket.gethostname().lower():
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or _is_ours(address)


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is one of this machine's addresses: only these can be bound."""
    try:
        with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return None
    return parts


def _covers(item: str, host: str, port: int | None) -> bool:
    """Whether an item of NO_PROXY means this host: `*`, a name (and what ends with it), an address, a range of them."""
    if item == "*":
        return True
    try:
        if "/" in item or item.count(":") > 1:
            return ipaddress.ip_address(host) in ipaddress.ip_network(item.strip("[]"), strict=False)
    except ValueError:
        return False
    name, _, wanted = item.lower().partition(":")
    if wanted and wanted != str(port):
        return False
    name = name.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _certificates(environ: Mapping[str, str]) -> str | None:
    """PEM of what SSL_CERT_FILE and SSL_CERT_DIR name, each certificate once. Raises ValueError with a sentence."""
    found: dict[str, None] = {}
    size = 0
    for variable, path in _files(environ):
        try:
            if path.stat().st_size > MAX_CERTIFICATES:
                raise ValueError(f"{variable} names {str(path)!r}, which is larger than certificates are")
            text = path.read_text("ascii", "replace")
        except OSError as error:
            raise ValueError(f"{variable} names {str(path)!r}, which cannot be read: {error.strerror}") from None
        for part in text.split(_BEGIN)[1:]:
            pem = f"{_BEGIN}{part.partition(_END)[0]}{_END}"
            size += 0 if pem in found else len(pem)
            found[pem] = None
        if variable == "SSL_CERT_FILE" and not found:
            raise ValueError(f"{variable} names {str(path)!r}, which holds no certificate")
        if size > MAX_CERTIFICATES:
            raise ValueError(f"{variable} names more certificates than can be used")
    return "\n".join(found) or None


def _files(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if file := environ.get("SSL_CERT_FILE"):
        yield "SSL_CERT_FILE", Path(file)
    for folder in filter(None, environ.get("SSL_CERT_DIR", "").split(os.pathsep)):
        try:
            inside = sorted(Path(folder).iterdir())
        except OSError as error:
            raise ValueError(f"SSL_CERT_DIR names {folder!r}, which cannot be read: {error.strerror}") from None
        # A link to nowhere is what an uninstalled certificate leaves: nothing to trust, no fault of the folder.
        yield from (("SSL_CERT_DIR", path) for path in inside if path.is_file())
