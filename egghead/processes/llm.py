"""The process `llm`: it streams completions to agents and says which models there are. The only one that holds keys, which
it reads itself from what the root hands it unread.

Only wiring: what it serves is `egghead/llm/gateway.py`. Learns the limits in agents' notes from the roster, and publishes
`usage/paused/` when a limit is reached or over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead.envelope import environment
from egghead.heap import Heap
from egghead.llm.gateway import Gateway
from egghead.llm.keys import Keys
from egghead.llm.ledger import Ledger
from egghead.llm.librarian import warm_up
from egghead.llm.local.shelf import Local
from egghead.llm.purse import Purse
from egghead.llm.reading import Reader
from egghead.llm.registry import ADAPTERS, Adapter
from egghead.llm.surroundings import Surroundings, settle
from egghead.processes.common import Service, run
from ipc import Event, IpcError
from supervisor.aio import AsyncControl, ControlError
from supervisor.jail import withhold_memory

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.llm")

MODELS = "models"  # the supervisor of local models
GRANTS_TIMEOUT = 10.0  # seconds; a turn waits for it
LOOK_EVERY = 20.0  # seconds; a new day begins at midnight, asked or not


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    warm_up()  # the first person to ask does not wait for our tables
    if service.context.level == "none":
        withhold_memory()  # keys come next
    secret = service.context.handover.get("secret") or {}
    settle(Surroundings.from_data(secret.get("network") or {}))
    kept = service.context.handover.get("usage")
    files = service.context.files
    environ = environment(files["envelope"]) if "envelope" in files else os.environ
    local = _local(service)
    adapters: dict[str, Adapter] = {**ADAPTERS, "local": lambda entry: local}
    keys = Keys(Reader(service.config, secret.get("digest"), environ, secret.get("path", "config.yml")), adapters)
    registry = await keys.first(files.get("config"))
    gateway = Gateway(
        registry,
        Purse(Ledger(Path(kept) if kept else None), service.config.get("limits")),
        lambda: keys.told,
        lambda agent: service.peer.call("tools", "provider_tools", agent=agent, timeout=GRANTS_TIMEOUT),
    )
    heap = Heap(lambda: not gateway.running)
    gateway.rested = heap.used
    service.start(keys.watch(gateway), "configuration")
    service.expose(gateway.methods())
    service.on_stop(gateway.aclose)
    await service.connect()
    limits = await service.peer.subscribe("limits/")
    service.start(_learn(service, gateway.purse, limits), "limits")
    service.start(_meet(service, gateway.purse), "roster")
    service.start(_publish(service, gateway), "paused")
    service.start(local.adopt(), "local models")
    names = [model.name for model in gateway.registry.models()]
    service.info["models"] = names
    logger.info("models: %s; default %s", ", ".join(names), gateway.registry.default)


def _local(service: Service) -> Local:
    """The models on this machine; without the directories for them (a tree file of one's own) the librarian alone."""
    models, servers = (service.context.handover.get(key) for key in ("models", "servers"))
    if not (models and servers):
        return Local()
    return Local(Path(models), Path(servers), Models(service.control))


class Models:
    """The processes `models/<name>`, by the supervisor's word (`egghead.llm.local.shelf.Starter`)."""

    def __init__(self, control: AsyncControl) -> None:
        self._control = control

    async def start(self, name: str, args: Mapping[str, Any]) -> str:
        try:
            await self._control.start_child(MODELS, {"id": name, "args": dict(args)})
        except ControlError as error:
            if error.code == "already_present":
                return "parked" if (await self._states()).get(name) == "parked" else "starting"
            return "running" if error.code == "already_started" else error.detail or error.code
        return "running"

    async def stop(self, name: str) -> None:
        try:
            await self._control.terminate_child(MODELS, name)
        except ControlError as error:
            if error.code != "not_found":
                logger.warning("models/%s was not stopped: %s", name, error)

    async def names(self) -> list[str]:
        return list(await self._states())

    async def _states(self) -> dict[str, str]:
        try:
            return {row[0]: row[1] for row in await self._control.which_children(MODELS)}
        except ControlError as error:
            logger.info("which local models run is not known: %s", error)  # at boot their supervisor comes after us
            return {}


async def _learn(service: Service, purse: Purse, events: AsyncIterator[Event]) -> None:
    """The limits that stand in agents' notes, as the roster publishes them."""
    async for event in events:
        if isinstance(event.data, dict) and isinstance(event.data.get("limits"), dict):
            purse.learn(event.data["limits"])
        elif event.gap:
            await _ask_limits(service, purse)


async def _meet(service: Service, purse: Purse) -> None:
    async for change in service.peer.monitor("roster"):
        if change.up:
            await _ask_limits(service, purse)


async def _ask_limits(service: Service, purse: Purse) -> None:
    try:
        purse.learn(await service.peer.call("roster", "limits", timeout=10.0))
    except IpcError as error:
        logger.info("the limits in agents' notes stay as they were: %s", error)  # the next change brings them


async def _publish(service: Service, gateway: Gateway) -> None:
    """Tell when who is paused has changed; a day may end while nobody asks for anything."""
    purse, told = gateway.purse, None
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await gateway.changed.wait()
        gateway.changed.clear()
        purse.look()
        await purse.durable()  # what a disk did not take, it may take by now
        if (now := purse.told()["paused"]) == told:
            continue
        for agent in sorted(now.keys() - (told or {}).keys()):
            logger.warning("agent=%s paused: %s", agent, now[agent])
        try:
            await service.peer.publish("usage/paused/", purse.told())
            told = now
        except IpcError as error:
            logger.info("who is paused was not published: %s", error)
            gateway.changed.set()
            await asyncio.sleep(1.0)  # the bus is away; without a pause this would spin
