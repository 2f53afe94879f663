"""Grants by command: what a denial tells a person to type, typed."""

from __future__ import annotations

from tests.e2e.node import Home, Node, until


def grants(home: Home, agent: str) -> list[str]:
    return list(home.json("agents", "capabilities", agent)["capabilities"])


def test_a_grant_is_an_edit_of_the_note(node: Node) -> None:
    """`grant` and `revoke` change the note and nothing else in it; the running agent has what the note says."""
    home, path = node.home, node.records / "agents" / "scout.md"
    path.parent.mkdir()
    text = "---\nclass: agent\ntitle: Scout # the finder\ntags: [publishing]\n---\nYou find things.\n"
    path.write_text(text, encoding="utf-8")
    until("scout runs", lambda: node.processes().get("agents/scout", {}).get("state") == "running")
    assert grants(home, "scout") == ["records.read"]
    home.ok("agents", "grant", "scout", "records.create")
    until("granted", lambda: grants(home, "scout") == ["records.read", "records.create"])
    assert "create_record" in home.ok("agents", "capabilities", "scout")
    assert "title: Scout # the finder\n" in path.read_text() and "You find things." in path.read_text()
    home.ok("agents", "revoke", "scout", "records.create")
    until("revoked", lambda: grants(home, "scout") == ["records.read"])
    refused = home.run("agents", "grant", "scout", "record.create")
    assert refused.returncode == 2 and "records.create" in refused.stderr


def test_a_built_in_agent_gets_a_note_of_its_own(node: Node) -> None:
    """Granting to `index`, which ships with the program, makes its note and says so."""
    done = node.home.run("agents", "grant", "index", "records.update")
    assert done.returncode == 0 and "agents/index" in done.stderr, done.stderr
    assert (node.records / "agents" / "index.md").exists()
    until("granted", lambda: "records.update" in grants(node.home, "index"))
