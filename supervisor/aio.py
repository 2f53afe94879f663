"""The asyncio face of a `Context`: the same messages as awaitables, an event and an iterator.

Nothing is decided here. It must be made inside a running loop and lives as long as that loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.context import Context


class ControlError(Exception):
    """The root refused or could not do what was asked. `code` is for programs, `detail` for people."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Snapshot:
    """Every process that is up when watching begins: (name, incarnation)."""

    children: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Up:
    """A process said READY."""

    name: str
    incarnation: int


@dataclass(frozen=True)
class Down:
    """A process has ended; also one that never became ready."""

    name: str
    incarnation: int
    reason: str
    planned: bool


Change = Snapshot | Up | Down


class AsyncControl:
    """`stop` is set when the root asks this process to end, and when the root is gone."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.stop = asyncio.Event()
        self.notices: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self._gone = False
        self._loop.add_reader(context.fileno(), self._readable)
        self._readable()  # what came before the loop was watching

    async def start_child(self, supervisor: str, spec: Mapping[str, Any]) -> Any:
        """Start a child and wait until it is ready. Dynamic supervisor: `{"id": …, "args": {…}}`."""
        return await self._ask("start_child", supervisor=supervisor, spec=dict(spec))

    async def terminate_child(self, supervisor: str, id: str) -> None:
        """Stop a child and wait until it is gone; a dynamic supervisor also forgets it."""
        await self._ask("terminate_child", supervisor=supervisor, id=id)

    async def restart_child(self, supervisor: str, id: str) -> Any:
        """Start a terminated child again."""
        return await self._ask("restart_child", supervisor=supervisor, id=id)

    async def delete_child(self, supervisor: str, id: str) -> None:
        """Forget a terminated child."""
        await self._ask("delete_child", supervisor=supervisor, id=id)

    async def which_children(self, supervisor: str) -> list[list[str]]:
        """`[[id, "running" | "restarting" | "terminated" | "parked"], …]`."""
        result: list[list[str]] = await self._ask("which_children", supervisor=supervisor)
        return result

    async def count_children(self, supervisor: str) -> dict[str, int]:
        """How many: specs, active, supervisors, workers."""
        result: dict[str, int] = await self._ask("count_children", supervisor=supervisor)
        return result

    async def unpark(self, supervisor: str, id: str) -> None:
        """Start a parked child again, with a fresh budget."""
        await self._ask("unpark", supervisor=supervisor, id=id)

    async def park(self, supervisor: str, id: str) -> None:
        """Stop a child and keep it parked until `unpark`."""
        await self._ask("park", supervisor=supervisor, id=id)

    async def changes(self) -> AsyncIterator[Change]:
        """What happens in the tree, beginning with a Snapshot (`observe: true`). Ends when the root is gone."""
        while (change := await self._changes.get()) is not None:
            yield change
        self._changes.put_nowait(None)  # for whoever else is iterating

    def close(self) -> None:
        """Stop reading the channel. Requests in flight fail."""
        self._loop.remove_reader(self.context.fileno())
        self._end("the control channel was closed here")

    async def _ask(self, method: str, **params: Any) -> Any:
        if self._gone:
            raise ControlError("error", "the supervisor is gone")
        try:
            number = self.context.request(method, **params)
        except EOFError as error:
            raise ControlError("error", str(error)) from None
        future = self._loop.create_future()
        self._answers[number] = future
        try:
            return await future
        finally:
            self._answers.pop(number, None)

    def _readable(self) -> None:
        if self._gone:
            return
        try:
            messages = self.context.receive()
        except EOFError:
            self._loop.remove_reader(self.context.fileno())
            self.stop.set()
            self._end("the supervisor is gone")
            return
        for message in messages:
            self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if "answer" in message:
            future = self._answers.get(message["answer"])
            if future is not None and not future.done():
                if "error" in message:
                    future.set_exception(ControlError(message["error"], message.get("detail") or ""))
                else:
                    future.set_result(message.get("result"))
        elif "stop" in message:
            self.stop.set()
        elif "notice" in message:
            self.notices.put_nowait(message["notice"])
        elif "up" in message:
            self._changes.put_nowait(Up(message["up"], message["incarnation"]))
        elif "down" in message:
            self._changes.put_nowait(
                Down(message["down"], message["incarnation"], message["reason"], message["planned"])
            )
        elif "snapshot" in message:
            self._changes.put_nowait(Snapshot(tuple((name, number) for name, number in message["snapshot"])))

    def _end(self, why: str) -> None:
        self._gone = True
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ControlError("error", why))
        self._changes.put_nowait(None)
