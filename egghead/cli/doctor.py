"""`egghead doctor`: prints what `egghead.doctor` finds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from egghead.cli.common import find_node, json_option, load_config, options, print_json, records_option
from egghead.errors import ConfigError, EggheadError, ExitCode, NodeError

if TYPE_CHECKING:
    from egghead.doctor import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@records_option
@json_option
def doctor(as_json: bool) -> None:
    """Check configuration, notes, index, confinement, sockets; say what to do. Exit code 1 when something fails."""
    findings = _findings()
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
        patient = doctor.Patient(config, path, node.resolve_records(config, given))
    except (NodeError, EggheadError) as error:
        patient = doctor.Patient(config, path, None, str(error))
    return faults + [f for f in doctor.examine(patient) if not (faults and f.check == "config")]
