"""How a node finds what other programs change, and that it says so: by events of either source in its jail, or by polling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from egghead.doctor import watched
from records.watch import Watching
from tests.e2e.node import Home, serving, until

# A user namespace of the test's own in which the kernel gives fewer watches than there are folders.
FEW_WATCHES = [
    "unshare", "--user", "--map-root-user", "sh", "-c",
    'echo 3 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"',
]  # fmt: skip


def finding(home: Home, check: str) -> dict[str, str]:
    """One line of the doctor's report, whatever else is wrong."""
    done = home.run("doctor", "--json")
    (found,) = [found for found in json.loads(done.stdout) if found["check"] == check]
    return dict(found)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("config", "wrap", "by", "state"),
    [
        ({"watch": "watchfiles"}, (), "by events (watchfiles), and a look at everything every 60 s", "ok"),
        ({}, FEW_WATCHES, "by polling every 2 s: the system gives no file events (No space left on device", "warn"),
    ],
    ids=["watchfiles", "few watches"],
)
def test_a_node_says_how_it_watches_and_finds_what_changes(
    home: Home, foam: Path, config: dict[str, str], wrap: Sequence[str], by: str, state: str
) -> None:
    """`doctor` and `records stats` ask the store; a note that another program saves is found either way."""
    home.configure(config)
    with serving(home, foam, wrap=wrap):
        found = finding(home, "watching")
        assert found["state"] == state and found["why"].startswith(f"changes are found {by}")
        assert found["fix"].startswith("sysctl") == (state == "warn")
        assert f"changes  are found {by}" in home.ok("records", "stats")
        (foam / "fresh.md").write_text("# Marmalade\n")
        until("the note is found", lambda: "fresh" in home.run("records", "search", "marmalade").stdout)
    assert home.json("records", "stats")["watching"]["by"] == "nothing"


@pytest.mark.parametrize(
    ("watching", "state", "why", "fix"),
    [
        (Watching("inotify"), "ok", "changes are found by events (inotify)", ""),
        (Watching("polling", "asked for", 2.0), "warn", "by polling every 2 s: asked for", "unset watch in"),
        (Watching("polling", "/n is a nfs4 mount", 2.0), "warn", "by polling every 2 s: /n is a nfs4 mount", ""),
        (Watching("nothing", "the folder /n is not there"), "warn", "by nothing: the folder /n is not there", ""),
    ],
)
def test_the_doctor_says_what_can_be_done_about_polling(watching: Watching, state: str, why: str, fix: str) -> None:
    """What was configured can be unset; a network mount has no remedy, and none is made up."""
    found = watched(watching.to_dict())
    assert found.state == state and why in found.why and found.fix.startswith(fix) and bool(found.fix) == bool(fix)
