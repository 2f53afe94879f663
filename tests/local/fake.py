"""A model's process without a model: a server on a unix socket that speaks a script, and a starter of such."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], list[str | None]]  # pieces of the answer; None: the process dies here


class Server:
    """Serves one socket until `die`."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path, self.answer = path, answer
        self.dead = False
        self.asked: list[dict[str, Any]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        self._listener.bind(str(self.path))
        self._listener.listen(5)  # as llama.cpp's
        self._accepting = asyncio.create_task(self._accept())
        self.tasks.add(self._accepting)

    async def _accept(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                taken, _ = await asyncio.get_running_loop().sock_accept(self._listener)
                reader, writer = await asyncio.open_connection(sock=taken)
                self._writers.add(writer)
                self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    def die(self) -> None:
        """Nobody listens any more, and who was talked to hears the end."""
        self.dead = True
        self.path.unlink(missing_ok=True)
        self._accepting.cancel()
        self._listener.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = json.loads(await reader.readexactly(length))
                self.asked.append(body)
                pieces = self.answer(body)
                if pieces[:1] == [None]:
                    self.die()
                    return
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for piece in pieces:
                    if piece is None:
                        await writer.drain()
                        self.die()
                        return
                    self._event(writer, {"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
                usage = {"prompt_tokens": 7, "completion_tokens": len(pieces)}
                self._event(writer, {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
                data = b"data: [DONE]\n\n"
                writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    def _event(writer: asyncio.StreamWriter, event: Mapping[str, Any]) -> None:
        data = b"data: " + json.dumps(event).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


class Starter:
    """A supervisor that starts such servers. `says`: what it answers before that, one after the other."""

    def __init__(self, sockets: Path, answer: Answer) -> None:
        self.sockets, self.answer = sockets, answer
        self.servers: dict[str, Server] = {}
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.tasks: set[asyncio.Task[Any]] = set()  # of all servers
        self.stopped: list[str] = []
        self.says: list[str] = []

    async def start(self, name: str, args: Mapping[str, Any]) -> str:
        if self.says:
            return self.says.pop(0)
        if name in self.servers and not self.servers[name].dead:
            return "running"
        self.started.append((name, dict(args)))
        self.servers[name] = Server(self.sockets / name / ".sock", self.answer)
        self.servers[name].tasks = self.tasks
        await self.servers[name].start()
        return "running"

    async def stop(self, name: str) -> None:
        self.stopped.append(name)
        if name in self.servers:
            self.servers.pop(name).die()

    async def names(self) -> list[str]:
        return list(self.servers)
