"""Names, addresses, certificates: how a connection to a provider comes about, under the HTTP of `connection` and httpx.

asyncio looks names up in a few threads that all share: a resolver that hangs stands in the way of everybody there, and of
the end of the process. Here each name has a thread of its own, shared by those who wait for it. And every socket that is
given up is closed at once, also in the middle of a TLS handshake.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import httpcore
import httpx

from egghead.llm import surroundings
from egghead.llm.errors import ProviderMissing
from egghead.llm.surroundings import Proxy

NEXT_ADDRESS = 0.25  # seconds that an address has for itself before the next one is tried as well (RFC 8305, 5)
BUSY = 0.005  # seconds between two tries at a unix socket whose line is full
MAX_ADDRESSES = 8  # of one name
LOOKING_UP, CONNECTING, SHAKING_HANDS = "looking up", "connecting", "shaking hands"  # what a ConnectTimeout cut off

_lookups: dict[tuple[str, int], Future[list[Any]]] = {}  # under way; one thread each
_lock = threading.Lock()


def trust(name: str) -> ssl.SSLContext:
    """The certificates to trust, for the provider `name`. Raises ProviderMissing when those named cannot be used."""
    found = surroundings.current()
    if found.fault is not None:
        raise ProviderMissing(f"{name} cannot be asked over https: {found.fault}; correct or unset the variable")
    try:
        return _context(found.certificates)
    except ssl.SSLError:
        raise ProviderMissing(
            f"{name} cannot be asked over https: SSL_CERT_FILE or SSL_CERT_DIR holds what is no certificate; "
            "correct or unset the variable"
        ) from None


@functools.lru_cache(maxsize=1)
def _context(certificates: str | None) -> ssl.SSLContext:
    if certificates is None:
        context = httpx.create_ssl_context(trust_env=False)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=certificates)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Phase:
    """What is being done for a connection that is not there yet."""

    def __init__(self) -> None:
        self.now = LOOKING_UP


async def connect(host: str, port: int, phase: Phase, uds: str | None = None) -> socket.socket:
    """A connected socket; `uds`: to the unix socket of this path instead. Raises OSError: why the name is not known, or what
    the first address said."""
    if uds is not None:
        phase.now = CONNECTING
        return await unix(uds)
    addresses = await lookup(host, port)
    phase.now = CONNECTING
    return await _first(addresses)


async def unix(path: str) -> socket.socket:
    """A socket connected to the unix socket of this path. Raises OSError when nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        while True:
            try:
                made.connect(path)
                return made
            except BlockingIOError:
                # Its line is full (llama.cpp's has room for five). The kernel tells nobody when it is not any more, and
                # asyncio takes this for a connection under way.
                await asyncio.sleep(BUSY)
    except BaseException:  # raised again; also who is cancelled leaves no socket behind
        made.close()
        raise


async def lookup(host: str, port: int) -> list[tuple[int, Any]]:
    """The addresses of a name as (family, address), either family taking turns. Raises OSError."""
    with _lock:
        found = _lookups.get((host, port))
        if found is None:
            found = _lookups[host, port] = Future()
            threading.Thread(target=_look_up, args=(host, port, found), name=f"look up {host}", daemon=True).start()
    # Shielded: the others who wait for this name go on waiting when one of them leaves.
    answers = [(answer[0], answer[4]) for answer in await asyncio.shield(asyncio.wrap_future(found))]
    families = [[a for a in answers if a[0] == family] for family in dict.fromkeys(a[0] for a in answers)]
    longest = max(map(len, families), default=0)
    return [family[turn] for turn in range(longest) for family in families if turn < len(family)][:MAX_ADDRESSES]


def _look_up(host: str, port: int, promised: Future[list[Any]]) -> None:
    error: OSError | None = None
    answers: list[Any] = []
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a part of more than 63 letters, or of none
        error = socket.gaierror(socket.EAI_NONAME, "no host can have this name")
    except OSError as failed:
        error = failed
    with _lock:
        del _lookups[host, port]  # before it is told: who asks from now on asks anew
    if error is None:
        promised.set_result(answers)
    else:
        promised.set_exception(error)


async def _first(addresses: Sequence[tuple[int, Any]]) -> socket.socket:
    """The socket of the address that was the first to take a connection; the others are closed."""
    asking: list[asyncio.Task[socket.socket]] = []
    won: asyncio.Task[socket.socket] | None = None
    rest = list(addresses)
    try:
        while won is None:
            if rest:
                asking.append(asyncio.create_task(_one(*rest.pop(0))))
            under_way = [task for task in asking if not task.done()]
            if under_way:
                patience = NEXT_ADDRESS if rest else None
                await asyncio.wait(under_way, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            elif not rest:
                raise next((task.exception() for task in asking), None) or OSError("the name has no address")
            won = next((task for task in asking if task.done() and task.exception() is None), None)
        return won.result()
    finally:
        for task in asking:
            if task is not won:
                task.cancel()
        for late in await asyncio.gather(*(task for task in asking if task is not won), return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _one(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:  # raised again; also who is cancelled leaves no socket behind
        made.close()
        raise
    return made


# ---- by a proxy, which is httpx's business


def by_proxy(name: str, proxy: Proxy, secure: bool) -> httpx.AsyncHTTPTransport:
    """httpx's own transport by this proxy, with connections made here. `secure`: the provider is asked over https."""
    own = trust(name) if proxy.url.startswith("https:") else None
    transport = httpx.AsyncHTTPTransport(
        proxy=httpx.Proxy(proxy.url, ssl_context=own),
        verify=trust(name) if secure else False,  # False: plain HTTP, and nothing else is ever followed
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        trust_env=False,
    )
    # httpx has no parameter for what its httpcore has one for.
    transport._pool._network_backend = _Network()
    return transport


class _Network(httpcore.AsyncNetworkBackend):
    """What httpcore makes its connections with."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        phase, last = Phase(), OSError("the name has no address")
        try:
            async with asyncio.timeout(timeout):
                addresses = await lookup(host, port)
                phase.now = CONNECTING
                for _, address in addresses:
                    try:
                        return _Stream(await httpcore.AnyIOBackend().connect_tcp(address[0], port))
                    except httpcore.ConnectError as error:
                        last = OSError(*_told(error))
                raise last
        except TimeoutError:
            raise httpcore.ConnectTimeout(phase.now) from None
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        return await httpcore.AnyIOBackend().connect_unix_socket(path, timeout)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _told(error: BaseException | None) -> tuple[Any, ...]:
    """Number and words of the system's error that another one stands for."""
    while error is not None and not (isinstance(error, OSError) and error.errno):
        error = error.__cause__ or error.__context__
    return (error.errno, error.strerror) if isinstance(error, OSError) else ("no connection",)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection whose socket is closed when its TLS handshake does not come to an end."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            # Wrapped anew: with a proxy that is spoken to over TLS there is a second handshake within the first.
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except httpcore.ConnectTimeout:
            raise httpcore.ConnectTimeout(SHAKING_HANDS) from None
        except BaseException:  # raised again
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
