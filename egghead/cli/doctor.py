"""`egghead doctor`: prints what `egghead.doctor` finds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from egghead.cli.common import (
    asynchronous,
    connected,
    find_node,
    json_option,
    load_config,
    options,
    print_json,
    records_option,
    server,
)
from egghead.errors import ConfigError, EggheadError, ExitCode, NodeError

if TYPE_CHECKING:
    from egghead.doctor import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@records_option
@json_option
def doctor(as_json: bool) -> None:
    """Check configuration, notes, index, confinement, sockets; say what to do. Exit code 1 when something fails.

    With --server: the way to that node and how it is; its files can be checked on its own machine only.
    """
    where = server()
    findings = _findings() if where is None else _findings_there(where)
    if as_json:
        print_json([f.to_dict() for f in findings])
    else:
        for finding in findings:
            state = click.style(f"{finding.state:<5}", fg=COLOURS[finding.state])
            click.echo(f"{state}{finding.check:<12} {finding.why}")
            if finding.fix:
                click.echo(f"{'':17} → {finding.fix}")
    if any(f.state == "fail" for f in findings):
        sys.exit(int(ExitCode.FAILED))


@asynchronous
async def _findings_there(where: str) -> list[Finding]:
    import time

    from egghead import keys, paths
    from egghead.doctor import Finding, watched
    from egghead.status import workers
    from ipc.curve import fingerprint

    place = keys.place(where)
    try:
        pair = keys.own_pair(paths.client_key())
        async with connected() as client:
            began = time.perf_counter()
            await client.call("bus", "ping")
            trip = (time.perf_counter() - began) * 1000
            status = await client.status()
            watching = await client.call("store", "watching")
    except EggheadError as error:
        return [Finding("server", "fail", str(error), "see docs/lan.md")]
    known = keys.known_server(place)
    ill = [f"{p['name']} is {p['state']}" for p in workers(status["tree"]) if p["state"] != "running"]
    level, notes = status["node"]["level"], " ".join(status["node"].get("level_notes", []))
    return [
        Finding("key", "ok", f"this machine is {client.peer.name} there, with {fingerprint(pair.public)}"),
        Finding("server", "ok", f"{place}, {fingerprint(known) if known else '?'}, egghead {client.node['version']}"),
        Finding(
            "way",
            "ok" if trip < 200 else "warn",
            f"{trip:.1f} ms there and back",
            "" if trip < 200 else "a slow network",
        ),
        Finding("processes", "warn", "; ".join(ill), f"egghead --server {place} tree; egghead --server {place} logs")
        if ill
        else Finding("processes", "ok", f"{sum(1 for _ in workers(status['tree']))} running"),
        watched(watching),
        Finding(
            "confinement",
            "ok" if level == "full" else "warn",
            f"level {level}. {notes}".strip(),
            "" if level == "full" else "see docs/confinement.md",
        ),
    ]


@asynchronous
async def _asked(target: str, method: str) -> dict[str, Any] | None:
    """What a process of the running node says; None when it does not answer now."""
    try:
        async with connected() as client:
            found: dict[str, Any] = await client.call(target, method, timeout=5.0)
    except EggheadError:
        return None
    return found


def _findings() -> list[Finding]:
    from egghead import doctor, node
    from egghead.config import Config

    faults = []
    try:
        config, path = load_config()
    except ConfigError as error:
        from egghead import paths

        config, path = Config(), paths.config_file(options()["config"])
        faults.append(doctor.Finding("config", "fail", str(error), f"edit {path}"))
    try:
        found = find_node()
        given = found[1]["records"] if found else options()["records"]
        patient = doctor.Patient(
            config, path, node.resolve_records(config, given),
            watching=_asked("store", "watching") if found else None,
            providers=_asked("llm", "providers") if found else None,
        )  # fmt: skip
    except (NodeError, EggheadError) as error:
        patient = doctor.Patient(config, path, None, str(error))
    return faults + [f for f in doctor.examine(patient) if not (faults and f.check == "config")]
