"""The whole node where the kernel gives less: it says what it reached, works, or does not start an agent at all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.node import COMMAND, Home, serving

# A user namespace of the test's own in which the kernel refuses to make another one.
NO_USER_NAMESPACES = [
    "unshare", "--user", "--map-root-user", "sh", "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"',
]  # fmt: skip
QUESTION = "How do I publish my notes with GitHub Pages?"


@pytest.mark.kernel
def test_level_strong_works_and_says_so(home: Home, foam: Path) -> None:
    """Without user namespaces the node runs at `strong`, names what stays reachable and the remedy, and answers."""
    with serving(home, foam, wrap=NO_USER_NAMESPACES) as node:
        assert "confinement: strong" in node.ready_text
        assert "user namespaces" in node.ready_text
        assert home.json("status")["node"]["level"] == "strong"
        assert "[[user/publishing/publish-to-github-pages]]" in home.ok("chat", "default", QUESTION)


@pytest.mark.kernel
def test_below_the_configured_level_no_agent_is_started(home: Home, foam: Path) -> None:
    """`confinement: full` on a machine that reaches only `strong`: the node says why and how to go on."""
    config = home.path / "config.yml"
    config.write_text("confinement: full\n")
    done = subprocess.run(
        [*NO_USER_NAMESPACES, *COMMAND, "--config", str(config), "serve", "--records", str(foam)],
        env=home.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    for word in ("full", "strong", "user namespaces"):
        assert word in done.stderr, done.stderr


@pytest.mark.kernel
def test_level_full_here(home: Home, foam: Path) -> None:
    """On this machine, as this user, everything is confined fully; a machine that cannot must say so in this test."""
    allowed = subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False).returncode == 0
    assert shutil.which("unshare")
    with serving(home, foam) as node:
        assert f"confinement: {'full' if allowed else 'strong'}" in node.ready_text
