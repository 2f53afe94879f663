"""Which tools of a model's provider an authority allows: web search and code that the provider runs on its own machines.

They act outside our sandbox, so nothing of ours can hold them to a scope: what the provider itself holds them to must be a
part of the grant. A search takes `allowed_domains`, each with all that is below it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from egghead.capabilities.grants import Grant
from egghead.capabilities.match import Authority, inert_reason
from egghead.capabilities.patterns import is_address, parse_host

WEB = ("net",)
MOST_DOMAINS = 100  # more are not taken by the providers

_WEB_PORTS = (None, -1, 443)  # pages are read over https


@dataclass(frozen=True)
class Offered:
    """One tool of the provider. `allowed_domains`: where it may look, None for everywhere."""

    name: str
    allowed_domains: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, object]:
        domains = None if self.allowed_domains is None else list(self.allowed_domains)
        return {"name": self.name, "allowed_domains": domains}


def offered(authority: Authority) -> tuple[Offered, ...]:
    """The provider's tools that this authority allows."""
    found: list[Offered] = []
    grants = [g for g in authority.of("net.get") if inert_reason(g, authority.sandbox, WEB) is None]
    domains = {domain for grant in grants for domain in _domains(grant)}
    if any(_everywhere(grant) for grant in grants):
        found.append(Offered("web_search"))
    elif domains:
        found.append(Offered("web_search", tuple(sorted(domains)[:MOST_DOMAINS])))
    # Code on a machine that is in no folder: a grant that has one, or an agent with a sandbox, does not reach it.
    if authority.sandbox is None and any(grant.anything for grant in authority.of("proc.eval")):
        found.append(Offered("code_execution"))
    return tuple(found)


def serves(grant: Grant, sandbox: str | None) -> bool:
    """Whether a tool of the provider could come of this grant alone."""
    return bool(offered(Authority("", (grant,), sandbox)))


def _everywhere(grant: Grant) -> bool:
    hosts = [parse_host(host) for host in grant.scopes.get("hosts", ())]
    return grant.anything or any(host.name == "*" and host.port in _WEB_PORTS for host in hosts)


def _domains(grant: Grant) -> list[str]:
    hosts = [parse_host(host) for host in grant.scopes.get("hosts", ())]
    return [h.name for h in hosts if h.below and h.port in _WEB_PORTS and not is_address(h.name)]
