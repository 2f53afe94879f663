"""Where the process `llm` has its keys from: the configuration file as it is brought, at the start and after each change.

The shell around `reading`: descriptors and the loop. A file that cannot be read or understood changes nothing: the
providers stay as they were, and the fault is told. When there is nothing to stay with, the environment's keys are there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from egghead.envelope import digest
from egghead.errors import ConfigError
from egghead.llm.reading import MAX_FILE, Reader
from egghead.llm.registry import ADAPTERS, Adapter, Registry

if TYPE_CHECKING:
    from egghead.llm.gateway import Gateway

logger = logging.getLogger("egghead.llm")

FIRST = 5.0  # seconds to wait for the file at the start
UNREAD = ConfigError("the configuration file was not brought")


class Keys:
    """The configuration's side of a gateway. `told` is what people may see of it: `{digest, at, fault, restart}`."""

    def __init__(self, reader: Reader, adapters: Mapping[str, Adapter] = ADAPTERS) -> None:
        self.reader = reader
        self.adapters = adapters
        self.told: dict[str, Any] = {"digest": reader.known, "at": time.time(), "fault": None, "restart": []}
        self._line: socket.socket | None = None

    async def first(self, line: int | None) -> Registry:
        """The providers at the start. `line`: the descriptor on which the file is brought; None: nobody brings it, and the
        settings are all there is."""
        if line is None:
            return self._registry(self.reader.shown)
        self._line = socket.socket(fileno=line)
        self._line.setblocking(False)
        try:
            async with asyncio.timeout(FIRST):
                return self._made(await self._receive())
        except TimeoutError:
            self._fault(UNREAD)
        except ConfigError as error:
            self._fault(error)
        # Without the file there are no keys from it; what needs none, and the environment's, still works.
        return self._registry(self.reader.shown)

    async def watch(self, gateway: Gateway) -> None:
        """Take each change into the gateway, while the node runs."""
        if self._line is None:
            return
        while True:
            try:
                content = await self._receive()
                gateway.registry.take(self._made(content))
                logger.info("the configuration was read again: %s", ", ".join(gateway.registry.names()))
                gateway.changed.set()
            except ConfigError as error:
                self._fault(error)
            except EOFError:
                return  # the root has gone, and we go with it

    def _made(self, content: bytes | None) -> Registry:
        read = self.reader.read(content)
        self.told = {
            "digest": digest(content) if content is not None else None,
            "at": time.time(),
            "fault": None,
            "restart": list(read.restart),
        }
        if read.restart:
            logger.warning("changed in the configuration, in force at the next start: %s", ", ".join(read.restart))
        return self._registry(read.config)

    def _registry(self, config: Mapping[str, Any]) -> Registry:
        return Registry.from_config(config, self.reader.environ, adapters=self.adapters)

    def _fault(self, error: ConfigError) -> None:
        logger.warning("the configuration is not read, what was stays in force: %s", error)
        self.told = {**self.told, "fault": str(error), "at": time.time()}

    async def _receive(self) -> bytes | None:
        """The file that is brought next; None: there is none. Raises ConfigError, and EOFError when nobody brings any."""
        assert self._line is not None
        loop = asyncio.get_running_loop()
        came: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._line, _settle, came)
        try:
            await came
        finally:
            loop.remove_reader(self._line)
        data, files, _, _ = socket.recv_fds(self._line, 4096, 4)
        try:
            if not data:
                raise EOFError
            return _content(json.loads(data), files)
        finally:
            for fd in files:
                os.close(fd)


def _settle(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


def _content(message: Mapping[str, Any], files: list[int]) -> bytes | None:
    if message.get("missing"):
        return None
    if message.get("error") or len(files) != 1:
        raise ConfigError(f"the configuration file cannot be read: {message.get('error') or 'it did not come'}")
    info = os.fstat(files[0])
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE:
        raise ConfigError(f"the configuration is no file, or larger than {MAX_FILE >> 20} MiB")
    try:
        return os.pread(files[0], MAX_FILE + 1, 0)
    except OSError as error:
        raise ConfigError(f"the configuration file cannot be read: {error.strerror}") from None
