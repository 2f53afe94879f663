"""The process `node`: tells clients from the network about the node itself: its tree, its log.

A local client reads the same from files, also when no process answers. It can read those two directories and nothing
else; who may ask is `egghead.rights`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from egghead import __version__
from egghead.nodelog import following, last_lines, unknown
from egghead.processes.common import Service, configure_logging, run
from egghead.status import workers
from ipc import Call, Refused
from supervisor import Context

MOST_LINES = 10_000
MOST_FOLLOWERS = 32  # each looks at the file five times a second


def main(context: Context) -> None:
    configure_logging(context.name)
    run(context, setup)


async def setup(service: Service) -> None:
    desk = Desk(service.context.handover["node"], service.settings)
    service.expose({"info": desk.info, "status": desk.status, "logs": desk.logs})


class Desk:
    """`files`: {status, log}, paths. `settings`: as every process has them."""

    def __init__(self, files: dict[str, str], settings: dict[str, Any]) -> None:
        self._status = Path(files["status"])
        self._log = Path(files["log"])
        self._settings = settings
        self._followers = 0

    async def info(self, call: Call) -> dict[str, Any]:
        """{version, records, pid, started_at}."""
        node = self._read()["node"]
        return {
            "version": __version__,
            "records": self._settings["records_dir"],
            "pid": node.get("pid"),
            "started_at": node.get("started_at"),
        }

    async def status(self, call: Call) -> dict[str, Any]:
        """The frozen status value that the root writes at every change."""
        return self._read()

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._status.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Refused("NoStatus", f"the node's status cannot be read: {error}") from error
        return found

    async def logs(
        self, call: Call, count: int = 50, process: str | None = None, follow: bool = False
    ) -> AsyncIterator[list[str]]:
        """A stream of lists of lines: the last `count`, then with `follow` those that are added."""
        if not isinstance(count, int) or not 0 <= count <= MOST_LINES:
            raise Refused("BadParameters", f"count must be 0 to {MOST_LINES}, not {count!r}")
        if follow and self._followers >= MOST_FOLLOWERS:
            raise Refused("Overloaded", f"{self._followers} clients follow the log, there may be no more")
        try:
            file = self._log.open(encoding="utf-8", errors="replace")
        except OSError as error:
            raise Refused("NotFound", f"no log at {str(self._log)!r}: {error.strerror}") from error
        with file:
            lines = last_lines(file, count, process)
            if not lines and process is not None:
                running = [one["name"] for one in workers(self._read()["tree"])]
                if (why := unknown(file, process, running)) is not None:
                    raise Refused("NotFound", why)
            yield lines
            if follow:
                self._followers += 1
                try:
                    async for lines in following(self._log, file, process):
                        yield lines
                finally:
                    self._followers -= 1
