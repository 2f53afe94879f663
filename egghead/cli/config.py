"""`egghead config path|view`."""

import click

from egghead.cli import Family
from egghead.cli.common import json_option, load_config, options, print_json


@click.group(cls=Family)
def config() -> None:
    """Where the configuration is, and what it says."""


@config.command()
def path() -> None:
    """The file that is read (it need not exist: every key has a default)."""
    from egghead import paths

    click.echo(str(paths.config_file(options()["config"])))


@config.command()
@json_option
def view(as_json: bool) -> None:
    """Every key with the value in force; keys, tokens and passwords are hidden."""
    found, file = load_config()
    if as_json:
        print_json(found.redacted())
        return
    import yaml

    click.echo(f"# {file}" + ("" if file.exists() else " (not there: all defaults)"))
    click.echo(yaml.safe_dump(found.redacted(), sort_keys=False, allow_unicode=True).rstrip())
