"""`egghead key`, `clients`, `servers`: keys, who may connect to this machine's node, and which nodes there are."""

from __future__ import annotations

from typing import Any

import click

from egghead.cli import Family
from egghead.cli.common import (
    ago,
    asynchronous,
    connected,
    find_node,
    json_option,
    only_here,
    print_json,
    print_table,
    records_option,
    server,
)
from egghead.errors import EggheadError, ExitCode

BROWSE = 2.0  # seconds


@click.command()
@click.option("--server", "of_node", is_flag=True, help="The key and fingerprint of this machine's node.")
@json_option
def key(of_node: bool, as_json: bool) -> None:
    """This machine's public key, for `egghead clients add NAME KEY` on a server. Made when there is none."""
    from egghead import keys, paths
    from ipc.curve import fingerprint, shown

    pair = keys.own_pair(paths.server_key() if of_node else paths.client_key())
    found = {"key": shown(pair.public), "fingerprint": fingerprint(pair.public)}
    if as_json:
        print_json(found)
    elif of_node:
        click.echo(f"{found['fingerprint']}\n{found['key']}")
    else:
        click.echo(found["key"])


@click.group(cls=Family)
def clients() -> None:
    """Who may connect to this machine's node from the network. Changes count at once, on open connections too."""


@clients.command()
@click.argument("name")
@click.argument("key")
@click.option(
    "--rights", type=click.Choice(["full", "chat", "read"]), default="full", show_default=True, help="What it may do."
)
def add(name: str, key: str, rights: str) -> None:
    """Let the machine with KEY (`egghead key` there) in, as NAME."""
    only_here("clients add")
    from egghead import keys, paths

    keys.authorize(paths.authorized_keys(), name, key, rights)
    click.echo(f"{name} may connect ({rights})")


@clients.command()
@click.argument("name")
def remove(name: str) -> None:
    """Do not let NAME in any more; its connections are cut."""
    only_here("clients remove")
    from egghead import keys, paths

    keys.revoke(paths.authorized_keys(), name)
    click.echo(f"{name} may not connect any more")


@clients.command(name="list")
@records_option
@json_option
@asynchronous
async def list_(as_json: bool) -> None:
    """Who may connect, and who is connected now: from where, since when."""
    if server() is not None:
        async with connected() as client:
            _show([], await client.call("bus", "guests"), as_json)
        return
    from egghead import keys, paths

    good, faults = keys.read_authorized(paths.authorized_keys())
    present: list[dict[str, Any]] = []
    if find_node() is not None:
        async with connected() as client:
            present = await client.call("bus", "guests")
    _show(good, present, as_json)
    for fault in faults:
        click.echo(f"egghead: authorized_keys: {fault}", err=True)


def _show(good: list[Any], present: list[dict[str, Any]], as_json: bool) -> None:
    from ipc.curve import fingerprint, shown

    rows = [
        {"name": g.name, "rights": g.rights, "key": shown(g.key), "fingerprint": fingerprint(g.key),
         "connections": [p for p in present if p["guest"] == g.name]}
        for g in good
    ]  # fmt: skip
    listed = {row["name"] for row in rows}
    for one in present:  # from another machine only who is connected can be seen
        if one["guest"] not in listed:
            listed.add(one["guest"])
            rows.append({"name": one["guest"], "rights": one["rights"], "key": None, "fingerprint": None,
                         "connections": [p for p in present if p["guest"] == one["guest"]]})  # fmt: skip
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "RIGHTS", "CONNECTED", "FINGERPRINT"),
        [
            (
                row["name"],
                row["rights"],
                ", ".join(f"{c['address']} {ago(c['seconds'])}" for c in row["connections"]) or "no",
                row["fingerprint"],
            )
            for row in rows
        ],
        empty="nobody; egghead clients add NAME KEY",
    )


@click.group(cls=Family, invoke_without_command=True)
@json_option
@click.pass_context
def servers(ctx: click.Context, as_json: bool) -> None:
    """Nodes on the local network, as they announce themselves, and those that this machine knows."""
    if ctx.invoked_subcommand is None:
        _list_servers(as_json)


@servers.command(name="list")
@json_option
def list_servers(as_json: bool) -> None:
    """Nodes on the local network, as they announce themselves, and those that this machine knows."""
    _list_servers(as_json)


@asynchronous
async def _list_servers(as_json: bool) -> None:
    only_here("servers")
    from egghead import keys, mdns
    from ipc.curve import fingerprint

    known = keys.known_servers()
    try:
        found = await mdns.browse(BROWSE)
    except (OSError, ImportError) as error:
        click.echo(f"egghead: nodes cannot be looked for by mDNS here: {error}", err=True)
        found = []
    rows = [
        {"name": f.name, "server": str(keys.Place(f.addresses[0], f.port)), "host": f.host,
         "fingerprint": f.fingerprint, "known": f.key in known.values()}
        for f in found
    ]  # fmt: skip
    announced = {row["fingerprint"] for row in rows}
    rows += [
        {"name": None, "server": where, "host": None, "fingerprint": fingerprint(key), "known": True}
        for where, key in known.items()
        if fingerprint(key) not in announced
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "SERVER", "KNOWN", "FINGERPRINT"),
        [(r["name"], r["server"], "yes" if r["known"] else "no", r["fingerprint"]) for r in rows],
        empty="no node announces itself here",
    )


@servers.command()
@click.argument("where", metavar="SERVER")
@click.argument("key", metavar="KEY|FINGERPRINT")
@asynchronous
async def trust(where: str, key: str) -> None:
    """Believe that SERVER has this key (or, asking it for the key, this fingerprint), as its owner told you."""
    from egghead import keys
    from egghead.client import remote
    from ipc.curve import fingerprint, raw, text
    from ipc.errors import LocalProtocolError

    place = keys.place(where)
    known = keys.known_server(place)
    try:
        wanted = text(raw(key))
    except LocalProtocolError:
        told = await remote.greet(place)
        if told is None or not keys.same_fingerprint(key, told):
            has = f"it has {fingerprint(told)}" if told else "it tells no key"
            raise EggheadError(f"{place} does not have the fingerprint {key!r}: {has}", ExitCode.REFUSED) from None
        wanted = told
    if known is not None and known != wanted:
        raise EggheadError(
            f"{place} is known with the fingerprint {fingerprint(known)}; if it was set up anew: egghead servers forget {place}",
            ExitCode.REFUSED,
        )
    keys.trust(place, wanted)
    click.echo(f"{place} {fingerprint(wanted)}")


@servers.command()
@click.argument("where", metavar="SERVER")
def forget(where: str) -> None:
    """Forget the key of SERVER: the next contact is a first one."""
    from egghead import keys

    place = keys.place(where)
    if not keys.forget(place):
        raise EggheadError(f"{place} is not known; see: egghead servers", ExitCode.NOT_FOUND)
    click.echo(f"{place} is forgotten")
