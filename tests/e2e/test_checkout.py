"""`git checkout` of another branch under a running node: thousands of notes change, go and come at once.

`python -m tests.e2e.test_checkout 10000` does the same with more notes and prints how long it took.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egghead.client import Client
from tests.e2e.cast import client_of
from tests.e2e.node import Home, Node, serving

CHANGES = 1500
FOLDERS = 20


@dataclass
class Branch:
    """Its notes as files, and what must be known of them: titles, and where each note's one link leads."""

    files: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    links: dict[str, str | None] = field(default_factory=dict)

    def note(self, id: str, title: str, target: str) -> None:
        self.files[f"{id}.md"] = f"# {title}\n\nOf the {title.split()[0]}: see [[{target}]].\n"
        self.titles[id] = title
        self.links[id] = target

    def end(self) -> None:
        """No note is written any more: links to notes that are not there lead nowhere."""
        self.links = {id: target if target in self.titles else None for id, target in self.links.items()}


def branches(count: int) -> tuple[Branch, Branch]:
    """Two branches that differ in `count` notes: a third is rewritten, a third goes for others, a third only leads elsewhere."""
    one, two = Branch(), Branch()

    def old(number: int) -> str:
        return f"d{number % FOLDERS}/n{number % count}"

    for n in range(count):
        one.note(old(n), f"Winter {n}", old(n + 1))
        if n % 3 == 0:
            two.note(old(n), f"Summer {n}", old(n + 2))
        elif n % 3 == 1:
            two.note(f"e{n % FOLDERS}/m{n}", f"Moved {n}", old(n - 1))
        else:
            two.note(old(n), f"Winter {n}", old(n - 1))
    one.end()
    two.end()
    return one, two


def git(folder: Path, *arguments: str) -> None:
    """Real git, with no configuration but ours."""
    who = {f"GIT_{role}_{what}": "ada@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **who}
    subprocess.run(["git", "-C", folder, *arguments], env=env, check=True, capture_output=True)


def repository(folder: Path, one: Branch, two: Branch) -> None:
    """A folder under git with the branches `one` and `two`, at the first."""
    folder.mkdir()
    git(folder, "init", "-b", "one")
    for name, branch in (("one", one), ("two", two)):
        if name == "two":
            git(folder, "checkout", "-b", name)
            git(folder, "rm", "-rq", ".")
        for path, text in branch.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", name)
    git(folder, "checkout", "-q", "one")
    (folder / "always.md").write_text("# Always\n\nNobody commits the marmalade.\n")


async def titles(client: Client) -> dict[str, str]:
    """id -> title of every note of the branch, as the index has it; by folders, because a list has an end."""
    rows: list[dict[str, Any]] = []
    for folder in (f"{letter}{n}/" for letter in "de" for n in range(FOLDERS)):
        rows += await client.call("index", "list", prefix=folder, limit=None, order="id")
    return {row["id"]: row["title"] for row in rows}


async def search_on(client: Client, over: asyncio.Event) -> list[float]:
    """Search again and again for the note that no branch has; how long each answer took, in seconds."""
    times = []
    while not over.is_set():
        began = time.monotonic()
        hits = await client.call("index", "search", query="marmalade", limit=3)
        times.append(time.monotonic() - began)
        assert [hit["id"] for hit in hits] == ["always"]
        await asyncio.sleep(0.01)  # a person's pace, and then some
    return times


async def switch(client: Client, folder: Path, name: str, branch: Branch) -> tuple[float, list[float]]:
    """Check a branch out, write a note meanwhile, and wait until the index has every title: (seconds, those of searches)."""
    over = asyncio.Event()
    searching = asyncio.create_task(search_on(client, over))
    began = time.monotonic()
    changing = asyncio.create_task(asyncio.to_thread(git, folder, "checkout", "-q", name))
    made = await client.call("store", "create", title=f"Made on {name}", body="by an agent", timeout=30)
    await changing
    async with asyncio.timeout(120):
        while await titles(client) != branch.titles:
            assert not searching.done(), searching.exception()
            await asyncio.sleep(0.05)  # each list is a look at what the watcher has done; the last event is not told
    seconds = time.monotonic() - began
    over.set()
    times = await searching
    assert (folder / f"{made['record']['id']}.md").read_text().endswith("by an agent\n")
    return seconds, times


async def is_right(client: Client, branch: Branch, sample: int) -> None:
    """Links of all notes, and the text of every `sample`th: what the files of the branch say."""
    lost = {row["source"] for row in await client.call("index", "unresolved")}
    assert lost == {id for id, target in branch.links.items() if target is None}
    for id in list(branch.titles)[::sample]:
        [link] = await client.call("index", "links", id=id)
        assert link["id"] == branch.links[id]
        record = await client.call("store", "get", id=id)
        data = branch.files[f"{id}.md"].encode()
        assert record["revision"] == hashlib.blake2b(data, digest_size=12).hexdigest()
        assert record["body"] == data.decode()
        word, number = branch.titles[id].split()
        hits = await client.call("index", "search", query=f'"{word} {number}"', limit=3)
        assert hits[0]["id"] == id


def rounds(base: Path, count: int) -> list[str]:
    """There and back again, each time all of it right; what to print."""
    one, two = branches(count)
    folder = base / "notes"
    repository(folder, one, two)
    home = Home(base / "home")
    told = []
    with serving(home, folder) as node:
        for name, branch in (("two", two), ("one", one)):
            seconds, times = asyncio.run(switched(node, folder, name, branch))
            told.append(
                f"{count} notes to branch {name}: {seconds:.2f} s; {len(times)} searches, the longest {max(times):.3f} s"
            )
            assert len(times) > 3 and max(times) < 5
            assert "the index is as the files are" in home.ok("records", "verify", timeout=120)
        git(folder, "diff", "--quiet")  # the node wrote into none of them
        assert {p["restarts"] for p in node.processes().values()} == {0}
    assert sorted(path.name for path in folder.glob("*.md")) == ["always.md", "made-on-one.md", "made-on-two.md"]
    return told


async def switched(node: Node, folder: Path, name: str, branch: Branch) -> tuple[float, list[float]]:
    async with await client_of(node.home) as client:
        found = await switch(client, folder, name, branch)
        await is_right(client, branch, max(1, len(branch.titles) // 25))
        return found


def test_a_checkout_under_a_running_node_is_followed_whole(short_dir: Path) -> None:
    """Two branches apart by 1,500 notes, there and back: every title, link and text is right afterwards, the index equals the
    files, searches were answered and a note was written meanwhile, and git finds no file of its own touched."""
    assert len(rounds(short_dir, CHANGES)) == 2


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as place:
        print("\n".join(rounds(Path(place), int(sys.argv[1]))))
