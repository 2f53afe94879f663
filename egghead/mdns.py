"""Finding nodes on the local network: announcing one, and listing those that others announce (RFC 6762, RFC 6763).

Everything that python-zeroconf is asked for is here, and it is imported when it is needed. What arrives by multicast
is a claim of a stranger: a name and a key to be shown to a person, bounded and cleaned; CURVE proves the key later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipc.curve import fingerprint, raw, text
from ipc.errors import LocalProtocolError

if TYPE_CHECKING:
    from zeroconf import IPVersion, ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

logger = logging.getLogger("egghead.lan")

SERVICE = "_egghead._tcp.local."
VERSION = b"1"  # of the TXT record
MOST = 200  # nodes that are listed; whoever announces more is no help
_LABEL = re.compile(r"[^A-Za-z0-9-]+")


@dataclass(frozen=True)
class Found:
    """A node that somebody announces. `hosts`: its addresses, the host name first."""

    name: str
    host: str
    addresses: tuple[str, ...]
    port: int
    key: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)


def label(name: str) -> str:
    """A name as one DNS label: what it may not have becomes `-`."""
    return _LABEL.sub("-", name.split(".")[0]).strip("-")[:60] or "egghead"


def found(name: str, host: str, addresses: list[str], port: Any, properties: Any) -> Found | None:
    """What a service record says, or None when it makes no sense. Total: the values come from strangers."""
    try:
        if properties.get(b"v") != VERSION or not isinstance(port, int) or not 0 < port < 65536:
            return None
        key = text(raw(properties[b"key"].decode("ascii")))
        good = tuple(str(ipaddress.ip_address(address.partition("%")[0])) for address in addresses[:16])
    except (LocalProtocolError, KeyError, ValueError, AttributeError, TypeError):
        return None
    said = properties.get(b"name")
    instance = said.decode("utf-8", "replace") if isinstance(said, bytes) and said else name.removesuffix("." + SERVICE)
    return Found(_plain(instance), _plain(host.rstrip(".")), good, port, key) if good else None


def _plain(value: str) -> str:
    """Without what could command a terminal."""
    return "".join(c if c.isprintable() else "?" for c in value)[:100]


def instance(name: str, port: int, key: str) -> str:
    """The name of a node's record: machines may be called the same, and of two that probe at the same moment the library
    would take neither for the other. So each has its own to begin with."""
    digest = hashlib.sha256(f"{key} {port}".encode()).hexdigest()
    return f"{label(name)[:55]}-{digest[:6]}"


class Announcement:
    """One node, told to the local network until it is withdrawn."""

    def __init__(self, name: str, bind: str, port: int, key: str) -> None:
        self._name = label(name)
        self._bind = bind
        self._port = port
        self._key = key
        self._zeroconf: AsyncZeroconf | None = None
        self._info: ServiceInfo | None = None

    async def make(self) -> None:
        """Announce it. Without the library, or where multicast does not work, it is said in the log and that is all."""
        try:
            from zeroconf import Error, ServiceInfo
            from zeroconf.asyncio import AsyncZeroconf
        except ImportError as error:
            logger.warning("not announced by mDNS: %s; pip install zeroconf", error)
            return
        addresses = own_addresses(self._bind)
        if not addresses:
            logger.warning("not announced by mDNS: no address but loopback")
            return
        try:
            self._zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=_versions(addresses))
            self._info = ServiceInfo(
                SERVICE,
                f"{instance(self._name, self._port, self._key)}.{SERVICE}",
                port=self._port,
                properties={"v": VERSION, "key": self._key, "name": self._name},
                parsed_addresses=addresses,
                server=f"{self._name}.local.",
            )
            # A record name that somebody else claims all the same becomes another one.
            await (await self._zeroconf.async_register_service(self._info, allow_name_change=True))
            logger.info("announced as %s on %s", self._info.name, ", ".join(addresses))
        except (OSError, Error, RuntimeError) as error:
            logger.warning("not announced by mDNS: %s: %s", type(error).__name__, error)
            await self.withdraw()

    async def withdraw(self) -> None:
        """Tell the network that it is gone. Twice is fine."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                await zeroconf.async_unregister_all_services()
        with contextlib.suppress(OSError):
            await zeroconf.async_close()


def own_addresses(bind: str) -> list[str]:
    """The addresses under which a socket bound to `bind` can be reached from elsewhere."""
    address = ipaddress.ip_address(bind.partition("%")[0])
    if not address.is_unspecified:
        return [] if address.is_loopback else [str(address)]
    import ifaddr

    every: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if ip.is_IPv4:
                every.append(str(ip.ip))
            elif address.version == 6:
                every.append(str(ip.ip[0]))
    return [one for one in every if not (a := ipaddress.ip_address(one)).is_loopback and not a.is_link_local]


def _versions(addresses: list[str]) -> IPVersion:
    from zeroconf import IPVersion

    kinds = {ipaddress.ip_address(address).version for address in addresses}
    return IPVersion.All if len(kinds) == 2 else IPVersion.V6Only if kinds == {6} else IPVersion.V4Only


async def browse(seconds: float) -> list[Found]:
    """The nodes that answer within `seconds`. Raises OSError where multicast does not work, ImportError without zeroconf."""
    from zeroconf import IPVersion, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

    names: dict[str, None] = {}

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: Any) -> None:
        if len(names) < MOST:
            names[name] = None

    async with AsyncZeroconf(ip_version=IPVersion.V4Only) as zeroconf:
        browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
        await asyncio.sleep(seconds)  # answers come when they come: this is the time that they get
        infos = [AsyncServiceInfo(SERVICE, name) for name in names]
        await asyncio.gather(*(info.async_request(zeroconf.zeroconf, 1000) for info in infos))
        await browser.async_cancel()
        all_found = [
            found(info.name, info.server or "", info.parsed_scoped_addresses(), info.port, info.properties)
            for info in infos
        ]
    return sorted((one for one in all_found if one is not None), key=lambda one: (one.name, one.port))


async def resolve(host: str, seconds: float = 3.0) -> str | None:
    """The address of a `.local` name, for machines whose resolver does not ask the local network; None: nobody answers."""
    try:
        from zeroconf import AddressResolver, IPVersion  # type: ignore[attr-defined]  # public, left out of __all__
        from zeroconf.asyncio import AsyncZeroconf
    except ImportError:
        return None
    try:
        async with AsyncZeroconf(ip_version=IPVersion.V4Only) as zeroconf:
            resolver = AddressResolver(host.rstrip(".") + ".")
            if not await resolver.async_request(zeroconf.zeroconf, seconds * 1000):
                return None
            addresses = resolver.parsed_addresses(IPVersion.V4Only)
    except OSError:
        return None
    return addresses[0] if addresses else None
