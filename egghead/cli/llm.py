"""`egghead llm`: the models that agents think with."""

from __future__ import annotations

import click

from egghead.cli.llm_local import local


@click.group()
def llm() -> None:
    """The models that agents think with."""


llm.add_command(local)
