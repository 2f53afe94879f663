"""`egghead serve`: a node in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from egghead.cli.common import only_here, options, records_option
from egghead.errors import ExitCode


@click.command()
@records_option
@click.option(
    "--tree", "tree_path", metavar="FILE", help="Another supervision tree (see `python -m supervisor check`)."
)
@click.option("--ephemeral", is_flag=True, hidden=True, help="Stop when the process that started this one ends.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def serve(tree_path: str | None, ephemeral: bool, verbose: bool) -> None:
    """Run a node: the notes, the rooms and the agents of one folder, until Ctrl-C or SIGTERM.

    Logs go to stderr; the READY line on stdout says what is running and how to talk to it. Commands that come while the node
    starts wait for it, 15 s at most; searches are answered from the index that is there.
    SIGHUP (kill -HUP) reads the tree file again and touches only what changed; closing the terminal stops the node.
    """
    only_here("serve")
    from egghead import envelope, node, nodelog

    if ephemeral:
        node.die_with_parent()
    envelope.leave_no_core()
    sealed = envelope.prepare(options()["config"], node.load)
    nodelog.to_stderr(verbose)
    config = sealed.config
    tree = tree_path or config.tree
    settings = node.Settings(
        records=node.resolve_records(config, options()["records"]),
        config=config,
        envelope=sealed.fd,
        tree=Path(tree).expanduser() if tree else node.default_tree(),
        ephemeral=ephemeral,
    )
    # The root has exit codes of its own (docs/supervisor.md); here they are one: it gave up, and the log says why.
    if node.serve(settings, _announce) != 0:
        sys.exit(int(ExitCode.FAILED))


def _network(lan: dict[str, Any] | None) -> list[str]:
    if lan is None:
        return []
    return [f"  network: {lan['bind']} port {lan['port']}, fingerprint {lan['fingerprint']}"]


def _announce(info: dict[str, Any]) -> None:
    lines = [
        f"READY in {info['seconds']:.1f} s: {info['processes']} processes on {info['records']} (pid {info['pid']})",
        f"  confinement: {info['level']}" + "".join(f"\n    {note}" for note in info["level_notes"]),
        *_network(info.get("lan")),
        '  attach: egghead chat default "…"   look: egghead tree   stop: Ctrl-C',
    ]
    try:
        click.echo("\n".join(lines))
    except OSError:
        # Nobody reads stdout; the node serves all the same.
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
