"""Which tools of a model's provider a grant allows, and how far they reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.capabilities.grants import parse_grant
from egghead.capabilities.match import Authority, Request, allows
from egghead.capabilities.offered import Offered, offered, serves


def tools(*grants: str, sandbox: str | None = None) -> tuple[Offered, ...]:
    return offered(Authority("scout", tuple(map(parse_grant, grants)), sandbox))


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ((), ()),
        (("records.read",), ()),
        (("net.get",), ()),
        (("net.post{hosts=[*.x.org]}",), ()),
        (("net.get{hosts=[*.x.org]}",), (Offered("web_search", ("x.org",)),)),
        (("net.get{hosts=[*.x.org]}", "net.get{hosts=[*.a.org]}"), (Offered("web_search", ("a.org", "x.org")),)),
        (("net.get{hosts=[x.org]}",), ()),  # a search would take what is below it, too
        (("net.get{hosts=[x.org,*.a.org]}",), (Offered("web_search", ("a.org",)),)),
        (("net.get{hosts=[*.x.org:8443]}",), ()),
        (("net.get{hosts=[127.0.0.1]}",), ()),
        (('net.get{hosts=["*"]}',), (Offered("web_search"),)),
        (("net.get{*}",), (Offered("web_search"),)),
        (("proc.eval",), ()),
        (("proc.eval{in=[/srv]}",), ()),
        (("proc.eval{*}",), (Offered("code_execution"),)),
        (("proc.exec{*}",), ()),
    ],
)
def test_what_a_grant_offers(grants: tuple[str, ...], expected: tuple[Offered, ...]) -> None:
    """A search within the granted domains, code only for who may run it anywhere, and nothing for a bare verb."""
    assert tools(*grants) == expected


def test_a_sandbox_keeps_code_at_home() -> None:
    """A machine of the provider's lies in no folder of ours; a search has nothing to do with folders."""
    assert tools("proc.eval{*}", sandbox="/srv") == ()
    assert tools("net.get{*}", sandbox="/srv") == (Offered("web_search"),)


def test_domains_are_as_many_as_providers_take() -> None:
    """More are left out: narrower is sound, wider would not be."""
    [search] = tools(f"net.get{{hosts=[{','.join(f'*.h{n}.org' for n in range(150))}]}}")
    assert search.allowed_domains is not None and len(search.allowed_domains) == 100


HOSTS = st.sampled_from(
    ["x.org", "*.x.org", "*.a.x.org", "*.y.org", "*.x.org:443", "*.x.org:80", "*.x.org:*", "10.0.0.1"]
)


@given(st.lists(HOSTS, min_size=1, max_size=4), st.sampled_from(["x.org", "a.x.org", "b.a.x.org", "y.org", "z.org"]))
def test_a_search_reaches_no_further_than_the_grant(hosts: list[str], page: str) -> None:
    """Each page that the provider's reading of the domains takes could be fetched under the grant itself."""
    authority = Authority("scout", (parse_grant({"net.get": {"hosts": hosts}}),))
    for tool in offered(authority):
        assert tool.allowed_domains is not None and serves(authority.grants[0], None)
        if any(page == domain or page.endswith(f".{domain}") for domain in tool.allowed_domains):
            assert allows(authority, Request.of("net.get", hosts=(page, "443")))
