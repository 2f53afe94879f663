"""The process `bus`: names, calls and events. All of it is `ipc.bus`; this file hands it what the launch hook gave,
and tells it whose keys may come in from the network."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

from egghead import keys
from egghead.processes.common import configure_logging
from egghead.rights import allow
from ipc.bus import Bus
from supervisor import Context

logger = logging.getLogger("egghead.lan")

LOOK_EVERY = 0.25  # seconds between looks at the file of authorized keys


def main(context: Context) -> None:
    configure_logging(context.name)
    # One descriptor for each peer and client: as many as this user may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    given = context.handover["bus"]
    bus = Bus(
        given["directory"],
        epoch=context.incarnation,
        registrations=given["registrations"],
        token=given["token"],
        client_allow=given["client_allow"],
        listener=context.files.get("listener"),
        secret_key=given.get("secret_key"),
    )
    guests = Guests(bus, Path(given["authorized_keys"])) if "authorized_keys" in given else None

    def tick() -> None:
        context.beat()
        if guests is not None:
            guests.look()

    # Somebody whose key is removed is to be out within a second, and there is no cheaper way to hear of it everywhere.
    bus.run(context, on_ready=context.ready, on_tick=tick, every=1.0 if guests is None else LOOK_EVERY)


class Guests:
    """Keeps the bus's guests equal to the file that names them."""

    def __init__(self, bus: Bus, path: Path) -> None:
        self._bus = bus
        self._path = path
        self._seen: object = None
        self.look()

    def look(self) -> None:
        """Read the file if it is another one than before, or has changed."""
        try:
            found = self._path.stat()
            seen: object = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        self._seen = seen
        good, faults = keys.read_authorized(self._path)
        for fault in faults:
            logger.warning("authorized_keys: %s", fault)
        self._bus.admit([{"key": g.key, "name": g.name, "label": g.rights, "allow": allow(g.rights)} for g in good])
        logger.info("%d keys may connect from the network", len(good))
