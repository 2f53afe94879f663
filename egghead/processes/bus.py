"""The process `bus`: names, calls and events. All of it is `ipc.bus`; this file hands it what the launch hook gave."""

from __future__ import annotations

import resource

from ipc.bus import Bus
from supervisor import Context


def main(context: Context) -> None:
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
    )
    bus.run(context, on_ready=context.ready, on_tick=context.beat)
