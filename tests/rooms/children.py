"""Entry points of processes that behave in one way each, for the tests of the common skeleton."""

from __future__ import annotations

import asyncio
from typing import Any

from egghead.processes.common import Service, run


def main(context: Any, how: str) -> None:
    """A process that does `how`."""
    run(context, lambda service: HOW[how](service), beat_every=0.05)


async def serves(service: Service) -> None:
    """Answers and ends in order."""

    async def hello(call: Any) -> str:
        return f"hello {call.caller}"

    async def leave(call: Any) -> None:
        service.leave("handoff")

    async def last_words() -> None:
        await service.peer.publish("log/last/", {"said": "bye"})

    service.expose({"hello": hello, "leave": leave})
    service.info["what"] = "serves"
    service.on_stop(last_words)


async def fails_in_setup(service: Service) -> None:
    """Raises before READY."""
    raise RuntimeError("no such luck")


async def fails_in_task(service: Service) -> None:
    """A task of it dies when it is told to."""
    told = asyncio.Event()

    async def break_(call: Any) -> None:
        told.set()

    async def work() -> None:
        await told.wait()
        raise RuntimeError("the loop broke")

    service.expose({"break": break_})
    service.start(work(), "work")


async def fails_unimportantly(service: Service) -> None:
    """A task that does not matter dies after READY."""

    async def work() -> None:
        raise RuntimeError("never mind")

    service.start(work(), "work", fatal=False)


async def never_ready(service: Service) -> None:
    """Hangs in setup."""
    await service.connect()
    await service.peer.publish("log/hangs/", {})
    await asyncio.Event().wait()


HOW = {
    "serves": serves,
    "fails_in_setup": fails_in_setup,
    "fails_in_task": fails_in_task,
    "fails_unimportantly": fails_unimportantly,
    "never_ready": never_ready,
}
