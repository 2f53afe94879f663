"""`egghead version`."""

import click

from egghead import __version__
from egghead.cli.common import json_option, print_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """The version of Egghead and of what it runs on."""
    if not as_json:
        click.echo(f"egghead {__version__}")
        return
    import platform

    print_json({"egghead": __version__, "python": platform.python_version(), "system": platform.platform()})
