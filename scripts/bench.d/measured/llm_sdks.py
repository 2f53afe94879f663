"""What the providers' own libraries would cost in our place: CPU of the import, private memory after one streamed answer, CPU
for each event of a stream, and the headers that they send.

The libraries are installed once, pinned, into an environment of their own under the user's cache; ours is what the node
uses, made by the registry. Each is measured in a process of its own, against one server that says prebuilt events as fast as
they are read. `python llm_sdks.py WHO PORT` is such a process; `rows()` starts them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import socketserver
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = {"anthropic": "anthropic==2.12.0", "openai": "openai==3.54.0", "google": "google-genai==3.4.0"}
FEW, MANY = 50, 5000  # events of an answer
TIMES = 3
KEY = "sk-0123456789abcdef"
INSTALL_LIMIT = 600  # seconds


class Unavailable(Exception):
    """They cannot be measured on this machine; says why."""


def rows() -> Iterator[dict[str, Any]]:
    """Rows {name, value, unit, floor, ratio}: the library's figure, ours as the floor."""
    python = _installed()
    with _Server() as server:
        bare = _measure(sys.executable, "bare", server.port)
        yield {"name": "Python alone, private memory", "value": bare["private"], "unit": "MiB"}
        for name, requirement in LIBRARIES.items():
            ours = _measure(sys.executable, f"ours-{name}", server.port)
            theirs = _measure(python, name, server.port)
            library = requirement.replace("==", " ")
            for key, what, unit in (
                ("import", "CPU of the import", "ms"),
                ("private", "private memory after one answer", "MiB"),
                ("pss", "PSS after one answer", "MiB"),
                ("event", "CPU of an event", "µs"),
                ("headers", "headers of a request", ""),
            ):
                one, floor = theirs[key], ours[key]
                yield {"name": f"{library}: {what}", "value": one, "unit": unit, "floor": floor, "ratio": one / floor}


def _measure(python: str, who: str, port: int) -> dict[str, float]:
    """The median of some processes, each new."""
    found: list[dict[str, float]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    for _ in range(TIMES):
        command = [python, __file__, who, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        if done.returncode:
            raise Unavailable(f"{who}: {done.stderr.strip().splitlines()[-1:]}")
        found.append(json.loads(done.stdout))
    return {key: statistics.median(figures[key] for figures in found) for key in found[0]}


def _installed() -> str:
    """The Python of the libraries' environment, made once. Raises Unavailable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egghead-bench"
    home = cache / "venv-llm-sdks"
    wanted = "\n".join(LIBRARIES.values())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "llm-sdks.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs at once install once
            complete = home / "complete"
            if not complete.exists() or complete.read_text() != wanted:
                shutil.rmtree(home, ignore_errors=True)
                subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=INSTALL_LIMIT)
                install = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
                told = {"check": True, "timeout": INSTALL_LIMIT, "capture_output": True}
                subprocess.run([*install, *LIBRARIES.values()], **told)
                complete.write_text(wanted)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"the libraries could not be installed: {error}") from None
    return str(home / "bin" / "python")


# -- the server: one request a connection, the number of events in the model's name


def _events(path: str, count: int) -> Iterator[bytes]:
    if path.endswith("/messages"):
        usage = {"input_tokens": 10, "output_tokens": 1}
        head = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None}
        yield _named("message_start", {"message": {**head, "stop_sequence": None, "usage": usage}})
        yield _named("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
        delta = _named("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "word "}})
        yield from (delta for _ in range(count))
        yield _named("content_block_stop", {"index": 0})
        yield _named("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage})
        yield _named("message_stop", {})
    elif "/chat/" in path:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
        said = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
        yield from (_data({**head, "choices": [said]}) for _ in range(count))
        yield _data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield _data({**head, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}})
        yield b"data: [DONE]\n\n"
    else:
        said = {"content": {"role": "model", "parts": [{"text": "word "}]}, "index": 0}
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10}
        yield from (_data({"candidates": [said], "usageMetadata": usage}) for _ in range(count))
        yield _data({"candidates": [{**said, "finishReason": "STOP"}], "usageMetadata": usage})


def _data(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _named(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + _data({"type": name, **data})


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        head: list[str] = []
        while line := self.rfile.readline().decode("latin-1").strip():
            head.append(line)
        if not head:
            return
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        path = head[0].split(" ")[1].partition("?")[0]
        model = path.rpartition("/models/")[2].partition(":")[0] if "/models/" in path else json.loads(body)["model"]
        events = list(_events(path, int(model.removeprefix("n"))))
        answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        self.wfile.write(f"{answer}transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode())
        for event in events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")


class _Server:
    def __enter__(self) -> _Server:
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# -- the measured process


async def _anthropic(url: str, model: str) -> AsyncIterator[Any]:
    import anthropic

    client = anthropic.AsyncAnthropic(base_url=url, api_key=KEY)
    given = [{"role": "user", "content": "hi"}]
    async with await client.messages.create(model=model, max_tokens=64, messages=given, stream=True) as events:
        async for event in events:
            yield event
    await client.close()


async def _openai(url: str, model: str) -> AsyncIterator[Any]:
    import openai

    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY)
    given: list[Any] = [{"role": "user", "content": "hi"}]
    async with await client.chat.completions.create(model=model, messages=given, stream=True) as events:
        async for event in events:
            yield event
    await client.close()


async def _google(url: str, model: str) -> AsyncIterator[Any]:
    from google import genai

    client = genai.Client(api_key=KEY, http_options={"base_url": url})
    async for event in await client.aio.models.generate_content_stream(model=model, contents="hi"):
        yield event
    await client.aio.aclose()


async def _ours(kind: str, url: str, model: str) -> AsyncIterator[Any]:
    from egghead.llm.registry import Registry
    from egghead.llm.shapes import request_from

    base = {"anthropic": url, "openai": f"{url}/v1", "google": f"{url}/v1beta"}[kind]
    registry = Registry.from_config({"llm": [{"provider": kind, "api_key": KEY, "base_url": base}]}, {})
    provider, name = registry.resolve(f"{kind}/{model}")
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    async for event in provider.complete(request_from({"messages": [message]}), name):
        yield event
    await registry.aclose()


def _imported(who: str) -> None:
    if who == "anthropic":
        import anthropic  # noqa: F401
    elif who == "openai":
        import openai
    elif who == "google":
        from google import genai  # noqa: F401
    elif who.startswith("ours-"):
        from egghead.llm import anthropic as _a  # noqa: F401
        from egghead.llm import gemini, openai  # noqa: F401


async def _heard(who: str, url: str, count: int) -> None:
    theirs = {"anthropic": _anthropic, "openai": _openai, "google": _google}
    events = (
        _ours(who.removeprefix("ours-"), url, f"n{count}") if who.startswith("ours-") else theirs[who](url, f"n{count}")
    )
    async for _ in events:
        pass


def _memory() -> dict[str, float]:
    """MiB: what is this process's alone, and its share of what is shared."""
    found: dict[str, float] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) / 1024
    return {"private": found["Private_Clean"] + found["Private_Dirty"], "pss": found["Pss"]}


def main(who: str, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    before = time.process_time()
    _imported(who)
    imported = (time.process_time() - before) * 1000
    if who == "bare":
        print(json.dumps(_memory()))
        return
    asyncio.run(_heard(who, url, FEW))
    figures = {"import": imported, **_memory()}
    took: list[float] = []
    for count in (FEW, MANY):
        before = time.process_time()
        asyncio.run(_heard(who, url, count))
        took.append(time.process_time() - before)
    print(json.dumps({**figures, "event": (took[1] - took[0]) * 1e6 / (MANY - FEW), "headers": _headers(who, url)}))


def _headers(who: str, url: str) -> int:
    """How many headers a request has: asked of a socket of our own."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as door:
        place = f"http://127.0.0.1:{door.getsockname()[1]}"
        seen: list[int] = []

        def hear() -> None:
            connection, _ = door.accept()
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(65536)
                seen.append(data.partition(b"\r\n\r\n")[0].count(b"\r\n"))
                connection.sendall(b"HTTP/1.1 400 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        with contextlib.suppress(Exception):  # each library has an error of its own for the refusal, which is expected
            asyncio.run(_heard(who, place, 1))
        thread.join(10)
    return seen[0]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
