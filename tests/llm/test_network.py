"""The way to a provider: ports, names, addresses, certificates and proxies, each with what can be wrong with it.

What needs a name server or a network of its own runs in `tests/llm/apart.py`, in namespaces of its own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egghead.llm.surroundings import Surroundings, is_near
from tests.llm.asking import ask, gateway, refusal, table
from tests.llm.certs import certificate
from tests.llm.faulty import Again, Deaf, Faulty, Reset, Silence, head, whole

TABLE = table()
QUICK = {"connect_timeout": 0.3, "retries": 1.0}
NETWORK = {  # case of `apart` → the row of the table
    "no host": "no such host",
    "a name that none can be": "no such host",
    "no answer of the name server": "names cannot be looked up",
    "a silent name server": "the name server is silent",
    "no way": "no way there",
    "nobody here": "nobody listens here",
    "nobody there": "nobody listens there",
    "the proxy has no host": "the proxy's name is unknown",
}
CERTIFICATES = {
    "self-signed": "a certificate that is self-signed",
    "expired": "a certificate that has expired",
    "not yet": "a certificate that is not valid yet",
    "another host": "a certificate of another host",
    "unknown authority": "a certificate of an unknown authority",
}
HERE = {
    "no connection in time",
    "plain HTTP on a TLS address",
    "TLS on a plain address",
    "closed in the handshake",
    "a handshake without end",
    "the proxy is down",
    "the proxy wants a password",
    "the proxy says no",
    "the proxy cannot reach it",
    "a proxy that cannot be used",
    "certificates that cannot be used",
}
SAID_THERE = {*NETWORK.values(), *CERTIFICATES.values(), *HERE}


def fits(row: str, sentence: str) -> bool:
    assert row in SAID_THERE
    return TABLE[row].fullmatch(sentence) is not None


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates but those of the test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


# ---- TLS


async def sentence(url: str, **limits: float) -> str:
    async with gateway(p=("openai", url, {**QUICK, **limits})) as served:
        return str((await refusal(served, [], "p")).message)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certs")


@pytest.mark.parametrize("what", CERTIFICATES)
async def test_a_certificate_that_proves_nothing(what: str, certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, it is not tried again, and the sentence says which fault it is."""
    names = "IP:127.0.0.2" if what == "another host" else "IP:127.0.0.1"
    dates = {"expired": ("20200101000000Z", "20200102000000Z"), "not yet": ("20980101000000Z", "20990101000000Z")}
    folder = certs / what.replace(" ", "-")
    context = certificate(folder, names, *dates.get(what, ()))
    if what != "self-signed":
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    if what == "unknown authority":
        certificate(certs / "authority", "DNS:authority.example")
        context = certificate(certs / "signed", names, issuer=certs / "authority")
    with Faulty([whole("openai")], tls=context) as server:
        said = await sentence(server.url)
        assert server.connections == 1 and server.requests == []
    assert fits(CERTIFICATES[what], said), said


async def test_a_certificate_that_is_named_is_trusted(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE, and SSL_CERT_DIR with whatever else lies there, make one's own server known."""
    context = certificate(certs / "own", "IP:127.0.0.1,IP:::1")
    for variable, path in (("SSL_CERT_FILE", certs / "own" / "cert.pem"), ("SSL_CERT_DIR", certs / "own")):
        with monkeypatch.context() as patch, Faulty([whole("openai"), Again()], tls=context) as server:
            patch.setenv(variable, str(path))
            async with gateway(p=("openai", server.url, {})) as served:
                heard: list[str] = []
                await ask(served, heard, "p")
                await ask(served, heard, "p")
            assert heard == ["Whole.", "<end>"] * 2 and server.lines == 1


@pytest.mark.parametrize(
    "content", [None, "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
async def test_certificates_that_cannot_be_used(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not there, or holds something else: which variable, and nothing is asked without it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with Faulty([whole("openai")]) as server:
        said = await sentence(server.url.replace("http:", "https:"))
        assert fits("certificates that cannot be used", said) and "SSL_CERT_FILE" in said
        assert server.connections == 0
        async with gateway(p=("openai", server.url, {})) as served:
            heard: list[str] = []
            await ask(served, heard, "p")  # plain HTTP does not need them
            assert heard == ["Whole.", "<end>"]


async def test_two_who_speak_past_each_other(certs: Path) -> None:
    """TLS to a plain server, plain HTTP to a TLS server, one that hangs up in the handshake, one that never answers it."""
    with Rude(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        said = await sentence(plain.url.replace("http:", "https:"))
        assert fits("plain HTTP on a TLS address", said), said
    with Rude(b"\x15\x03\x01\x00\x02\x02\x46\n") as tls:  # an alert, as OpenSSL says it
        said = await sentence(tls.url)
        assert fits("TLS on a plain address", said), said
    with Faulty([Silence()]) as silent:
        said = await sentence(silent.url.replace("http:", "https:"))
        assert fits("a handshake without end", said), said
    with Rude() as closing:
        said = await sentence(closing.url.replace("http:", "https:"))
        assert fits("closed in the handshake", said), said


class Rude(Faulty):
    """Says its piece to whatever comes first, and hangs up."""

    def __init__(self, piece: bytes = b"") -> None:
        super().__init__()
        self._piece = piece

    def _serve(self, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(self._piece)
        connection.close()


async def test_who_leaves_during_a_handshake_is_gone_at_once() -> None:
    """A connection that is being made is closed when its caller is halted."""
    with Faulty([Deaf()]) as server:
        async with gateway(p=("openai", server.url.replace("http:", "https:"), {})) as served:
            await left_at_once(served, server)


async def left_at_once(served: Any, server: Faulty) -> None:
    waiting = asyncio.create_task(ask(served, [], "p"))
    assert await asyncio.to_thread(server.reached.wait, 10)
    begun = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(server.left.wait, 5)
    assert time.monotonic() - begun < 3  # and not when it would have ended by itself


# ---- connections


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose queue is full: nothing is accepted, nothing is refused."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        yield deaf.getsockname()[1]
        for caller in callers:
            caller.close()


async def test_a_slow_connection(full: int) -> None:
    """It has a limit of its own; who leaves before is gone at once, and others are answered meanwhile."""
    said = await sentence(f"http://127.0.0.1:{full}")
    assert fits("no connection in time", said), said
    with Faulty([whole("openai"), Again()]) as other:
        async with gateway(
            p=("openai", f"http://127.0.0.1:{full}", {"connect_timeout": 60.0}), good=("openai", other.url, {})
        ) as served:
            waiting = asyncio.create_task(ask(served, [], "p"))
            heard: list[str] = []
            await ask(served, heard, "good")
            assert heard == ["Whole.", "<end>"] and not waiting.done()
            begun = time.monotonic()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert time.monotonic() - begun < 3  # and not when it would have ended by itself


# ---- proxies

WORLD = "http://models.example/v1"
SECURE = "https://models.example/v1"


@pytest.mark.parametrize("url", [WORLD, SECURE])
@pytest.mark.parametrize(
    ("status", "row", "asked"),
    [
        ("407 Proxy Authentication Required", "the proxy wants a password", 1),
        ("403 Forbidden", "the proxy says no", 1),
        ("502 Bad Gateway", "the proxy cannot reach it", 2),
    ],
)
async def test_a_proxy_that_says_no(
    url: str, status: str, row: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP and over TLS the proxy is named, and how it is mended; no password is shown."""
    with Faulty([head(status, "text/html"), b"<html>no</html>"]) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url.replace("http://", "http://ada:hunter2@"))
        said = await sentence(url)
        assert fits(row, said), said
        assert proxy.url in said and "hunter2" not in said
        assert len(proxy.requests) == asked
        assert b"proxy-authorization: basic" in proxy.requests[0].lower()


@pytest.mark.parametrize("url", [WORLD, SECURE])
async def test_a_proxy_that_is_down(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said of the proxy and not of the provider."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{bound.getsockname()[1]}/")
        said = await sentence(url)
    assert fits("the proxy is down", said), said


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1", "http://", "nonsense://x", "http://h:port", "://"])
async def test_a_proxy_that_cannot_be_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and how it is written."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    said = await sentence(SECURE)
    assert fits("a proxy that cannot be used", said) and "HTTPS_PROXY" in said


@pytest.mark.parametrize("answer", [[Silence()], [b"HTTP/1.1 200 OK\r\n\r\n", Silence()], [Reset()]], ids=range(3))
async def test_a_proxy_that_hangs(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing, or lets us through to nothing: told in time; who leaves is gone at once."""
    with Faulty(answer) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        began = time.monotonic()
        said = await sentence(SECURE, first_byte_timeout=0.4)
        assert time.monotonic() - began < 5 and "p " in said
        if not isinstance(answer[0], Reset):
            async with gateway(p=("openai", SECURE, {})) as served:
                proxy.reached.clear()
                proxy.left.clear()
                await left_at_once(served, proxy)


async def test_through_a_proxy(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the proxy lets through is an answer like any other, and the key is for the provider alone."""
    with Faulty([whole("openai"), Again()]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with gateway(p=("openai", WORLD, {})) as served:
            heard: list[str] = []
            await ask(served, heard, "p")
        assert heard == ["Whole.", "<end>"]
        assert proxy.requests[0].startswith(b"POST http://models.example/v1/chat/completions ")


NEAR = [
    "localhost",
    "LOCALHOST",
    "me.localhost",
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "[::1]",
    "0.0.0.0",
    "::",
    "localhost.",
]


@pytest.mark.parametrize("host", [*NEAR, socket.gethostname()])
def test_what_is_this_machine(host: str) -> None:
    """No proxy is ever asked for it, by whatever name."""
    environment = {"ALL_PROXY": "http://proxy.example:1", "HTTP_PROXY": "http://proxy.example:1"}
    assert is_near(host) and Surroundings.of(environment).proxy("http", host, 80) is None


@pytest.mark.parametrize(
    ("listed", "host", "port", "exempt"),
    [
        ("*", "a.example", 443, True),
        ("a.example", "a.example", 443, True),
        ("a.example", "b.a.example", 443, True),
        ("a.example", "ba.example", 443, False),
        (".a.example", "b.a.example", 443, True),
        ("*.a.example", "b.a.example", 443, True),
        ("x, A.example:8080 ,y", "a.example", 8080, True),
        ("a.example:8080", "a.example", 443, False),
        ("198.51.100.0/24", "198.51.100.7", 443, True),
        ("198.51.100.0/24", "198.51.101.7", 443, False),
        ("2001:db8::/32", "2001:db8::1", 443, True),
        ("198.51.100.7", "198.51.100.7", None, True),
        ("1/x,,:,[", "a.example", 443, False),
        ("198.51.100.0/24", "a.example", 443, False),
        ("", "a.example", 443, False),
    ],
)
def test_no_proxy(listed: str, host: str, port: int | None, exempt: bool) -> None:
    """NO_PROXY names hosts, what ends with them, ports, addresses and ranges; garbage in it exempts nobody."""
    found = Surroundings.of({"https_proxy": "http://proxy.example:1", "no_proxy": listed}).proxy("https", host, port)
    assert (found is None) == exempt


def test_surroundings_cross_to_another_process() -> None:
    """As plain data, whole; and a password is in no repr."""
    environment = {"HTTPS_PROXY": "http://ada:hunter2@proxy.example:1", "SSL_CERT_FILE": "/nowhere", "HOME": "/x"}
    found = Surroundings.of(environment)
    assert Surroundings.from_data(json.loads(json.dumps(found.data()))) == found
    proxy = found.proxy("https", "a.example", None)
    assert proxy is not None and proxy.place == "http://proxy.example:1"
    assert "hunter2" not in repr(found) + repr(proxy) and "/nowhere" in str(found.fault)


# ---- names and addresses, in a network of one's own


@pytest.fixture(scope="module")
def apart() -> dict[str, Any]:
    """What came of each case of `tests/llm/apart.py`."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, "-m", "tests.llm.apart"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("case", NETWORK)
def test_names_and_networks(apart: dict[str, Any], case: str) -> None:
    """Each fault of names and networks has its sentence."""
    assert fits(NETWORK[case], apart[case]), apart[case]


@pytest.mark.kernel
def test_two_families(apart: dict[str, Any]) -> None:
    """A server that only has one of a name's addresses is found on it, whichever it is, also when the other is silent."""
    assert set(apart["families"].values()) == {"Whole.<end>"} and len(apart["families"]) == 5


@pytest.mark.kernel
def test_a_name_server_that_hangs_holds_nobody_up(apart: dict[str, Any]) -> None:
    """While it keeps a hundred calls for twenty names waiting, another provider, with a name too, answers; who leaves is
    gone at once; and the end of the process waits for none of it."""
    found = apart["hanging"]
    assert found["other"] == "Whole.<end>" and found["waiting"] == 100
    assert found["leaving"] < 0.3 and found["end"] < 2.0
