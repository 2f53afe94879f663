"""`egghead llm`: the providers of models: list, models, test, add, remove. Works with a running node and without."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import Family
from egghead.cli.common import (
    ago,
    asynchronous,
    connected,
    find_node,
    json_option,
    only_here,
    options,
    print_json,
    print_table,
    records_option,
    server,
)
from egghead.cli.llm_local import local
from egghead.envelope import digest
from egghead.errors import ConfigError, EggheadError, ExitCode

if TYPE_CHECKING:
    from egghead.llm.registry import Registry

TAKEN = 5.0  # seconds for a running node to take a changed configuration


@click.group(cls=Family)
@records_option
def llm() -> None:
    """The providers of models: list, models, test, add, remove; models of this machine: local."""


llm.add_command(local)


@llm.command("list")
@records_option
@json_option
@asynchronous
async def list_(as_json: bool) -> None:
    """Each provider: where its key is from, how it is, who runs and waits. A key is never shown."""
    async with asked() as (live, ask):
        found = await ask("providers")
    if as_json:
        print_json({"node": live, **found})
        return
    _print_providers(found, live)


@llm.command()
@click.argument("provider", required=False)
@records_option
@json_option
@asynchronous
async def models(provider: str | None, as_json: bool) -> None:
    """The models of PROVIDER, or of all: window, longest answer, price, abilities.

    Where the provider lists its models, it is asked; `*` marks what it said itself. The rest is from the table that comes
    with Egghead, with its date; a dash is what nobody says.
    """
    async with asked() as (_, ask):
        found = await ask("known", provider=provider)
    if as_json:
        print_json(found)
    else:
        print_table(
            ("MODEL", "WINDOW", "ANSWER", "$ IN", "$ OUT", "ABILITIES"),
            [_model_row(row) for row in found["models"]],
            "no provider is configured: egghead llm add",
        )
    for why in found["faults"].values():
        click.echo(click.style(why, fg="yellow"), err=True)
    if not as_json and sys.stdout.isatty() and found["models"]:
        click.echo(
            click.style(
                f"* the provider's own word; others: Egghead's table of {found['table']}; $ for a million tokens",
                dim=True,
            )
        )
    if provider is not None and not found["models"]:
        sys.exit(int(ExitCode.FAILED))


@llm.command()
@click.argument("name")
@click.option("--model", metavar="MODEL", help="This model, not the provider's usual one.")
@records_option
@json_option
@asynchronous
async def test(name: str, model: str | None, as_json: bool) -> None:
    """Ask the provider NAME for one word, and say how long it took. It may cost a fraction of a cent.

    NAME may be that of a model, as an agent's note has it: `egghead llm test anthropic/claude-haiku-4-5`.
    """
    provider, _, rest = name.partition("/")
    async with asked() as (_, ask):
        found = await ask("test", provider=provider, model=model or rest or None)
    if as_json:
        print_json(found)
    else:
        click.echo(_went(found))


@llm.command()
@click.argument("provider", required=False)
@click.option("--name", metavar="NAME", help="What its models are called by, when it is not PROVIDER.")
@click.option("--base-url", metavar="URL", help="Another address than the provider's own.")
@click.option("--model", "models_", metavar="MODEL", multiple=True, help="A model it has; can be given again.")
@click.option("--api-key-env", metavar="VARIABLE", help="Take the key from this variable at each start of the node.")
@click.option("--no-test", is_flag=True, help="Save it without trying it.")
def add(
    provider: str | None, name: str | None, base_url: str | None, models_: tuple[str, ...], api_key_env: str | None,
    no_test: bool,
) -> None:  # fmt: skip
    """Add PROVIDER to the configuration, or give it a new key. A running node takes it at once.

    The key is asked for and not shown, or read from standard input: `pass anthropic | egghead llm add anthropic`.
    """
    only_here("llm add")
    from egghead import config_edit

    path = _file()
    # `egghead llm add work` is what an error says when the key of the entry `work` is refused.
    there = _configured(path, name or provider or "")
    kind = str(there["provider"]) if there else _kind(provider, base_url)
    name = name or (provider if provider != kind else None)
    entry: dict[str, Any] = {"provider": kind}
    given = {"name": name, "base_url": base_url, "models": list(models_) or None}
    entry |= {key: value for key, value in given.items() if value}
    key = f"{{env:{api_key_env}}}" if api_key_env else _key(kind, base_url or there.get("base_url"))
    if key:
        entry["api_key"] = key
    if not no_test:
        _try(there | entry)
    closed = config_edit.change(
        path, lambda text: config_edit.with_provider(text, entry), bool(key) and not api_key_env
    )
    called = name or kind
    click.echo(f"{called} is in {path}" + (" (its mode is 0600 now: others could read it)" if closed else ""))
    _taken(path)


@llm.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take the provider NAME out of the configuration."""
    only_here("llm remove")
    from egghead import config_edit

    path = _file()
    try:
        config_edit.change(path, lambda text: config_edit.without_provider(text, name), secret=False)
    except KeyError:
        source = next((row["key"] for row in _registry().providers() if row["name"] == name), None)
        more = (
            f"; its key is {source}: unset it and start the node again" if source else "; egghead llm list shows them"
        )
        raise ConfigError(f"no provider called {name!r} is in {path}{more}") from None
    click.echo(f"{name} is no longer in {path}")
    _taken(path)


# -- with a node and without

Ask = Callable[..., Awaitable[dict[str, Any]]]


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[bool, Ask]]:
    """Whether a node answers, and who does: its gateway, else one made here of the configuration, for these questions."""
    if server() is not None or find_node() is not None:
        async with connected() as client:
            yield True, partial(client.call, "llm", timeout=120.0)
        return
    from egghead.llm import looking

    registry = _registry()

    async def ask(method: str, **given: Any) -> dict[str, Any]:
        found: dict[str, Any] = await getattr(looking, method)(registry, **given)
        return found

    try:
        yield False, ask
    finally:
        await registry.aclose()


def _registry(entry: Mapping[str, Any] | None = None) -> Registry:
    """The providers of the configuration and the environment, or of this entry alone."""
    from egghead.llm.registry import ADAPTERS, Registry
    from egghead.llm.surroundings import Surroundings, settle

    settle(Surroundings.of(os.environ))
    if entry is not None:
        return Registry.from_config({"llm": [entry]}, os.environ)
    from egghead import config, paths
    from egghead.llm.local.shelf import Local
    from egghead.llm.reading import Reader

    text, path = config.read(options()["config"])
    shown = (config.parse(text, str(path)) if text is not None else config.Config()).redacted()
    content = None if text is None else text.encode()
    known = None if content is None else digest(content)
    config_ = Reader(shown, known, os.environ, str(path)).read(content).config
    adapters = {**ADAPTERS, "local": lambda entry: Local(paths.models_dir())}
    return Registry.from_config(config_, os.environ, adapters=adapters)


# -- what is printed


def _print_providers(found: Mapping[str, Any], live: bool) -> None:
    rows = [_provider_row(row) for row in found["providers"]]
    print_table(("NAME", "SPEAKS", "KEY", "STATE", "RUNNING", "WAITING", "ADDRESS"), rows)
    for row in found["providers"]:
        if row["why"]:
            click.echo(click.style(row["why"], fg="yellow"), err=True)
        if row.get("error"):
            when = ago(time.time() - row["error_at"])
            click.echo(click.style(f"{row['name']}, {when} ago: {row['error']}", fg="yellow"), err=True)
        for name, count in (row.get("waiting") or {}).items():
            click.echo(f"{row['name']}: {count} of {name} waiting", err=True)
    config = found.get("config") or {}
    if config.get("fault"):
        click.echo(click.style(f"the configuration is not in force: {config['fault']}", fg="red"), err=True)
    if config.get("restart"):
        click.echo(f"changed, in force at the next start: {', '.join(config['restart'])}", err=True)
    if sys.stdout.isatty():
        click.echo(
            click.style(f"default model: {found['default']}" + ("" if live else "; no node is running"), dim=True)
        )


def _provider_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    running, waiting = (sum((row.get(key) or {}).values()) for key in ("running", "waiting"))
    most = row.get("at_once")
    return (
        row["name"] + ("*" if row["default"] and sys.stdout.isatty() else ""),
        row["provider"], row["key"] or "none", _state(row),
        f"{running}/{most}" if most else running, waiting, row["base_url"],
    )  # fmt: skip


def _state(row: Mapping[str, Any]) -> str:
    if not row["usable"]:
        return "not usable"
    if row.get("needs_key"):
        return "key refused"
    if row.get("paused"):
        return f"full for {row['paused']:.0f} s"
    if row.get("breaker", "closed") == "closed":
        full = [f"{model} full for {seconds:.0f} s" for model, seconds in (row.get("paused_models") or {}).items()]
        return "; ".join(full) or "ok"
    return f"down, tried in {row['again']:.0f} s" if row.get("again") else "down, trying"


def _model_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    def shown(fact: str) -> str | None:
        value = row[fact]
        if value is None:
            return None
        text = f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"
        return text + ("*" if row["sources"].get(fact) == "provider" else "")

    abilities = [fact for fact in ("tools", "vision", "thinking") if row[fact]]
    return (row["name"], *map(shown, ("window", "max_output", "input_price", "output_price")), abilities or None)


def _went(found: Mapping[str, Any]) -> str:
    price = f", ${found['cost']:.6f}" if found["cost"] is not None else ""
    said = f"said {found['text']!r}" if found["text"] else "said nothing, which may be its thinking"
    first = f"{found['first']:.2f} s to the first word, " if found["first"] is not None else ""
    return (
        f"{found['model']} works: it {said} ({first}{found['seconds']:.2f} s in all, "
        f"{found['input']} tokens in, {found['output']} out{price})"
    )


# -- adding


def _file() -> Path:
    from egghead import paths

    return paths.config_file(options()["config"])


def _configured(path: Path, name: str) -> dict[str, Any]:
    """The entry of this name as the file has it now; empty when there is none, or the file cannot be read as it is."""
    import yaml

    try:
        entries = yaml.safe_load(path.read_bytes())["llm"]
        return next((dict(e) for e in entries if (e.get("name") or e.get("provider")) == name), {})
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError):
        return {}  # what is wrong with the file is told when it is changed


def _kind(provider: str | None, base_url: str | None) -> str:
    """Which provider is meant. Raises UsageError."""
    from egghead.cli import unknown
    from egghead.llm.registry import KNOWN

    names = [name for name in KNOWN if name != "local"]
    if provider is None:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"which provider? One of: {', '.join(names)}; or a name of your own and --base-url URL"
            )
        provider = str(click.prompt("Provider", type=click.Choice(names), err=True))
    if provider == "local" or (provider not in names and base_url is None):
        raise click.UsageError(
            f"{unknown('provider', provider, names).rstrip('?')}? For a server of your own add --base-url URL"
        )
    return provider


def _key(kind: str, base_url: str | None) -> str:
    """The key, from a person or a pipe; empty for a provider that needs none. Raises UsageError."""
    from egghead.llm.registry import KNOWN

    known = KNOWN.get(kind)
    if known is not None and not known.keys:
        return ""
    needed = known is not None and base_url is None
    if sys.stdin.isatty():
        question = f"Key of {kind} (it is not shown" + (")" if needed else "; nothing if it needs none)")
        given = str(
            click.prompt(question, hide_input=True, default=None if needed else "", show_default=False, err=True)
        )
    else:
        given = sys.stdin.readline()
    key = given.strip()
    if needed and not key:
        raise click.UsageError(f"{kind} needs a key: type it, pipe it in, or name a variable with --api-key-env")
    if not (key.isascii() and key.isprintable()) or " " in key or set(key) == {"*"}:
        raise click.UsageError("that is no key: there is a space, a star or another sign in it that no key has")
    return key


def _try(entry: Mapping[str, Any]) -> None:
    """Raises EggheadError when the provider does not answer, and nothing is saved."""

    async def once() -> str:
        from egghead.llm import looking

        registry = _registry(entry)
        try:
            return _went(await looking.test(registry, str(entry.get("name") or entry["provider"])))
        finally:
            await registry.aclose()

    variable = str(entry.get("api_key", "")).removeprefix("{env:").removesuffix("}")
    if "{env:" in str(entry.get("api_key", "")) and not os.environ.get(variable):
        raise ConfigError(f"{variable} is not set here, so it cannot be tried; nothing was saved. --no-test saves it")
    try:
        click.echo(asyncio.run(once()))
    except EggheadError as error:
        raise ConfigError(f"{str(error).rstrip('.?')}. Nothing was saved; --no-test saves it all the same") from None


def _taken(path: Path) -> None:
    """Wait for the running node to have read the file, and say what it says."""
    found = find_node()
    if found is None:
        return
    wanted = digest(path.read_bytes())

    async def looked() -> None:
        async with connected() as client:
            until = time.monotonic() + TAKEN
            while time.monotonic() < until:
                config = (await client.call("llm", "providers"))["config"]
                if config.get("fault") or config.get("digest") == wanted:
                    click.echo(
                        f"the running node does not take it: {config['fault']}"
                        if config["fault"]
                        else "the running node uses it now"
                    )
                    return
                await asyncio.sleep(0.1)  # the file is looked at twice a second; nobody tells when
            click.echo("the running node has not read it; is another configuration its own? (egghead doctor)")

    asyncio.run(looked())
