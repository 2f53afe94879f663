"""The processes `store` and `index` over a real bus, real files, a real SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from egghead.processes import store as store_process
from egghead.processes.index import IndexServer
from egghead.processes.store import StoreServer
from egghead.row_parts import Gathered, parts_of
from ipc import RemoteError
from ipc.errors import IpcError
from ipc.events import Subscription
from records import Notes
from records.keeper import Step
from records.markdown import parse_markdown
from records.model import FileStat
from records.rows import Row, row_of
from records.store import Store
from tests.records.node import Node, running_node, scratch_of


async def changes(subscription: Subscription, count: int) -> list[dict[str, Any]]:
    found = []
    async with asyncio.timeout(10):
        async for event in subscription:
            if event.data is not None:
                found.append(event.data)
                if len(found) == count:
                    break
    return found


async def until(node: Node, query: str, wanted: list[str]) -> float:
    started = time.monotonic()
    async with asyncio.timeout(10):
        while await node.found(query) != wanted:
            await asyncio.sleep(0.005)  # the index tells nobody what it has taken in
    return time.monotonic() - started


@pytest.fixture
def empty(short_dir: Path) -> Path:
    path = short_dir / "notes"
    path.mkdir()
    return path


async def test_an_index_that_cannot_lie_with_the_notes_lasts_for_the_run(foam: Path) -> None:
    """It is kept in the node's own directory and answers all the same; what a life before it left there is gone."""
    (foam / ".egghead" / "index.db").mkdir(parents=True)  # root is refused no write, but it cannot write to a folder
    async with running_node(foam) as node:
        assert (await node.index("stats"))["notes"] == 86
        scratch = scratch_of(node.bus)
        assert (scratch / "index.db").exists()
        (scratch / "index.db.new").write_text("half")
        for name in ("store", "index"):
            await node.die(name)
        for name in ("index", "store"):
            await node.start(name)
        assert not (scratch / "index.db.new").exists() and (scratch / "index.db").exists()


async def test_a_folder_of_real_notes_opens_untouched(foam: Path) -> None:
    """READY means every note is searchable, and the start added nothing but `.egghead/`, which ignores itself in git."""
    before = {path: path.stat().st_mtime_ns for path in foam.rglob("*")}
    async with running_node(foam) as node:
        stats = await node.index("stats")
        assert stats["notes"] == 86 and stats["errors"] == 0
        assert (await node.store("watching"))["text"] == "by events (inotify)"
        assert (await node.found("How do I publish my notes with GitHub Pages?"))[
            0
        ] == "user/publishing/publish-to-github-pages"
    after = {path: path.stat().st_mtime_ns for path in foam.rglob("*") if ".egghead" not in path.parts}
    assert after == before
    assert (foam / ".egghead" / ".gitignore").read_text() == "*\n"


async def test_a_write_is_searchable_before_its_caller_hears_of_it_and_published_once(empty: Path) -> None:
    """Read your own writes, one event a write, none again from the watcher."""
    async with running_node(empty) as node:
        events = await node.user.subscribe("records/changed/")
        made = await node.store("create", title="Blue whale", body="The largest animal.", tags=["sea"], author="scout")
        assert made["indexed"] is True and made["record"]["id"] == "blue-whale"
        assert await node.found("largest") == ["blue-whale"]
        changed = await node.store(
            "update", id="blue-whale", changes={"class": "agent"}, revision=made["record"]["revision"]
        )
        assert (await node.index("search", query="whale", **{"class": "agent"}))[0]["class"] == "agent"
        await node.store("edit", id="blue-whale", old="largest", new="biggest")
        await node.store("trash", id="blue-whale")
        assert await node.found("whale") == []
        await node.store("restore", id="blue-whale")
        (empty / "other.md").write_text("From an editor.")
        seen = await changes(events, 6)
        assert [(event["kind"], event["id"]) for event in seen] == [
            ("created", "blue-whale"), ("updated", "blue-whale"), ("updated", "blue-whale"), ("trashed", "blue-whale"),
            ("created", "blue-whale"), ("created", "other"),
        ]  # fmt: skip
        assert seen[1]["previous_class"] == "durable" and seen[1]["class"] == "agent"
        assert seen[1]["revision"] == changed["record"]["revision"]


async def test_a_write_that_changes_nothing_is_no_change(empty: Path) -> None:
    """A key set to what it is, and a body to what it is, are told to nobody."""
    async with running_node(empty) as node:
        events = await node.user.subscribe("records/changed/")
        await node.store("create", title="Note", id="n", body="text", meta={"k": 1})
        assert (await node.store("update", id="n", changes={"meta": {"k": 1}, "body": "text\n"}))["indexed"] is True
        await node.store("update", id="n", changes={"meta": {"k": 2}})
        assert [event["kind"] for event in await changes(events, 2)] == ["created", "updated"]
        assert (await node.store("get", id="n"))["meta"]["k"] == 2


async def test_a_rename_tells_of_every_note_it_changed_once(empty: Path) -> None:
    """Of the note, of those whose links follow it, and of those whose links it would have taken from another."""
    for path, text in {"a/foo.md": "x", "b/bar.md": "y", "l.md": "[[bar]]", "m.md": "[[foo]]"}.items():
        (empty / path).parent.mkdir(exist_ok=True)
        (empty / path).write_text(text)
    async with running_node(empty) as node:
        events = await node.user.subscribe("records/changed/")
        done = await node.store("rename", old="a/foo", new="a/bar")
        assert (done["rewritten"], done["failed"]) == (["l.md", "m.md"], [])
        seen = await changes(events, 3)
        assert sorted((event["kind"], event["id"]) for event in seen) == [
            ("renamed", "a/bar"), ("updated", "l"), ("updated", "m"),
        ]  # fmt: skip
        assert [link["id"] for name in "lm" for link in await node.index("links", id=name)] == ["b/bar", "a/bar"]


async def test_an_editor_s_write_is_searchable_within_200_ms(foam: Path) -> None:
    """Writes by other programs appear without being asked for, and leave again when the file goes."""
    async with running_node(foam) as node:
        times = []
        for number in range(5):
            (foam / "user" / f"fresh-{number}.md").write_text(f"# Zebra{number} crossing\n")
            times.append(await until(node, f"zebra{number}", [f"user/fresh-{number}"]))
        assert sorted(times)[2] < 0.2, times
        temporary = foam / ".fresh.md.swp"
        temporary.write_text("# Zebra5")
        os.replace(foam / "user" / "fresh-0.md", foam / "user" / "moved.md")
        await until(node, "zebra0", ["user/moved"])
        shutil.rmtree(foam / "user")
        async with asyncio.timeout(10):
            while await node.index("list", prefix="user/", limit=None):
                await asyncio.sleep(0.005)  # the index tells nobody what it has taken in
        assert (await node.index("stats"))["notes"] == sum(".egghead" not in path.parts for path in foam.rglob("*.md"))


async def test_what_changed_while_nothing_ran_is_found_at_start(foam: Path) -> None:
    """Only files with another size, time or inode are read again; removed ones leave the index."""
    async with running_node(foam):
        pass
    (foam / "inbox.md").unlink()
    (foam / "principles.md").write_text("# Principles\n\nOnly the aardvark matters.\n")
    async with running_node(foam) as node:
        assert await node.found("aardvark") == ["principles"]
        stats = await node.index("stats")
        assert stats["notes"] == 85


async def test_without_the_index_a_write_stands_and_is_told_later(empty: Path) -> None:
    """Index down: `indexed` is false, the file is written, and the index has it once it is back."""
    async with running_node(empty) as node:
        await node.die("index")
        made = await node.store("create", title="Lonely", body="written in the dark")
        assert made["indexed"] is False
        assert (await node.store("get", id="lonely"))["body"] == "written in the dark\n"
        await node.start("index")
        await until(node, "dark", ["lonely"])
        assert (await node.store("faults"))["behind"] == 0


async def test_what_waits_for_the_index_together_fails_together_and_nothing_else(empty: Path) -> None:
    """Of changes told at once each is in the index when its call returns; a spoiled one takes only what it shared a
    transaction with, and none of what came before or comes after."""
    rows = [row_of(parse_markdown(f"word{n}".encode(), f"n{n}.md")) for n in range(60)]
    spoiled = rows[0]._replace(note=())
    async with running_node(empty) as node:
        peer = node.running["store"].service.peer

        async def tell(*upserts: Row) -> bool:
            try:
                assert await peer.call("index", "apply", upserts=upserts, removals=[], timeout=20) == len(upserts)
            except IpcError:
                return False
            assert upserts[0].stem in await node.found(f"word{upserts[0].path[1:-3]} ")
            return True

        assert all(await asyncio.gather(*map(tell, rows[:20])))
        told = await asyncio.gather(*map(tell, rows[20:30]), tell(spoiled), *map(tell, rows[30:50]))
        assert not told[10]
        assert all(await asyncio.gather(*map(tell, rows[50:])))
        taken = [row.stem for row, done in zip([*rows[20:30], spoiled, *rows[30:50]], told, strict=True) if done]
        expected = {row.stem for row in (*rows[:20], *rows[50:])} | set(taken)
        assert {row["id"] for row in await node.index("list", limit=None)} == expected


async def test_what_goes_on_is_written_also_when_it_does_not(empty: Path) -> None:
    """A call that says `more` shares a transaction with the next one: all of it is in the index, or none, once the next is
    answered. When nothing follows it is answered all the same, and a call that does not say so waits for nobody."""
    rows = [row_of(parse_markdown(f"word{n}".encode(), f"n{n}.md")) for n in range(40)]
    async with running_node(empty) as node:
        peer = node.running["store"].service.peer

        async def tell(row: Row, more: bool) -> int:
            return int(await peer.call("index", "apply", upserts=[row], removals=[], more=more, timeout=20))

        assert await tell(rows[0], True) == 1
        assert await asyncio.gather(*(tell(row, True) for row in rows[1:30])) == [1] * 29
        assert await asyncio.gather(*(tell(row, row is not rows[39]) for row in rows[30:])) == [1] * 10
        for row in rows:
            assert row.stem in await node.found(f"{row.body} ")
        spoiled = rows[0]._replace(note=())
        told = await asyncio.gather(
            tell(rows[1], True), tell(spoiled, True), tell(rows[2], False), return_exceptions=True
        )
        assert isinstance(told[1], RemoteError)
        assert await tell(rows[3], False) == 1


async def test_errors_arrive_typed(empty: Path) -> None:
    """A refusal carries the class of the library's error, its sentence and its data."""
    async with running_node(empty) as node:
        made = await node.store("create", title="One", body="a")
        await node.store("edit", id="one", old="a", new="b")
        with pytest.raises(RemoteError) as conflict:
            await node.store("update", id="one", changes={"body": "c"}, revision=made["record"]["revision"])
        assert conflict.value.type == "Conflict" and conflict.value.data["revision"]
        assert "-a" in conflict.value.data["diff"] and "+b" in conflict.value.data["diff"]
        for method, arguments, type_ in (
            ("get", {"id": "nothing"}, "NotFound"),
            ("get", {"id": "../../etc/passwd"}, "NotFound"),
            ("create", {"id": "one"}, "Exists"),
            ("create", {"id": "../x"}, "InvalidId"),
            ("create", {"titel": "x"}, "BadRequest"),
            ("update", {"id": "one", "changes": {"clas": "agent"}}, "InvalidValue"),
        ):
            with pytest.raises(RemoteError) as error:
                await node.store(method, **arguments)
            assert error.value.type == type_, (method, error.value)
        with pytest.raises(RemoteError) as forbidden:
            await node.index("apply", upserts=[], removals=["one.md"])
        assert forbidden.value.type == "Forbidden"


async def test_agents_are_the_notes_of_that_class(empty: Path) -> None:
    """`agents()` follows the files: new, changed class, gone."""
    (empty / "agents").mkdir()
    (empty / "agents" / "scout.md").write_text("---\nclass: agent\n---\nYou look.\n")
    async with running_node(empty) as node:
        assert [record["id"] for record in await node.store("agents")] == ["agents/scout"]
        await node.store("create", id="agents/poet", title="Poet", **{"class": "agent"}, body="You write.")
        assert [record["title"] for record in await node.store("agents")] == ["Poet", "agents/scout"]
        await node.store("update", id="agents/poet", changes={"class": "durable"})
        (empty / "agents" / "scout.md").unlink()
        await node.store("sync")
        assert await node.store("agents") == []


async def test_rename_moves_the_note_and_the_links_to_it(foam: Path) -> None:
    """Links by path, by last part and Markdown links follow; the index agrees with a fresh look at the files."""
    async with running_node(foam) as node:
        before = {link["id"] for link in await node.index("backlinks", id="user/features/wikilinks")}
        done = await node.store("rename", old="user/features/wikilinks", new="user/links")
        assert done["indexed"] and not done["failed"] and len(done["rewritten"]) >= len(before)
        assert {link["id"] for link in await node.index("backlinks", id="user/links")} == before
        assert await node.store("verify") == []
        targets = [row["target"] for row in await node.index("unresolved")]
        assert "wikilinks" not in targets and "user/features/wikilinks" not in targets


async def test_a_burst_of_files_does_not_keep_callers_waiting(empty: Path) -> None:
    """While 2,000 files arrive at once, a search answers and a write goes through."""
    async with running_node(empty) as node:
        await node.store("create", title="Anchor", body="holds")
        for number in range(2000):
            (empty / f"n{number}.md").write_text(f"# Note {number}\n\nsome words about thing{number}\n")
        slowest = 0.0
        while (await node.index("stats"))["notes"] < 2001:
            started = time.monotonic()
            assert await node.found("holds") == ["anchor"]
            slowest = max(slowest, time.monotonic() - started)
            await asyncio.sleep(0.01)  # the pace of the questions
        started = time.monotonic()
        await node.store("edit", id="anchor", old="holds", new="held")
        assert time.monotonic() - started < 2
        assert slowest < 1.0


async def test_a_damaged_index_ends_its_process_and_comes_back_whole(foam: Path) -> None:
    """Damage met by a question is refused as such, the process ends with it, and the next life has every note again."""
    async with running_node(foam) as node:
        path = foam / ".egghead" / "index.db"
        await node.index("search", query="seed")
        db = sqlite3.connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
        refused = None
        for query in ("wikilinks", "templates", "daily notes", "gatsby pages", "orphans"):
            try:
                await node.index("search", query=query)
                await node.index("tags")
                await node.index("unresolved")
            except RemoteError as error:
                refused = error.type
                break
        assert refused == "IndexBroken"
        assert node.running["index"].service._failure.done()
        await node.die("store")
        await node.die("index")
        await node.start("index")
        await node.start("store")
        assert (await node.index("stats"))["notes"] == 86
        assert (await node.found("daily notes"))[0] == "user/features/daily-notes"


async def test_an_index_built_while_a_folder_is_closed_has_its_notes(
    foam: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come from the old index, are known to the store, and go when they are gone."""
    async with running_node(foam) as node:
        had = await node.index("list", prefix="user/", limit=None, order="id")
        assert len(had) > 50
        for name in ("store", "index"):
            await node.die(name)
        with contextlib.closing(sqlite3.connect(foam / ".egghead" / "index.db")) as db, db:
            db.execute("UPDATE about SET value = 'of another version' WHERE key = 'schema'")

        def scan(self: Store, under: str = "", faults: Any = None, closed: Any = None) -> Iterator[FileStat]:
            closed += ["user/"]  # as for an ordinary user; we are root, for whom no folder is closed
            return (stat for stat in plain(self, under, faults, closed) if not stat.path.startswith("user/"))

        plain = Store.scan
        with monkeypatch.context() as patched:
            patched.setattr(Store, "scan", scan)
            for name in ("index", "store"):
                await node.start(name)
            stats = await node.index("stats")
            assert "of another version" in stats["rebuilt"] and not stats["building"]
            assert await node.index("list", prefix="user/", limit=None, order="id") == had
            assert (await node.found("daily notes"))[0] == "user/features/daily-notes"
        (foam / "user" / "features" / "daily-notes.md").unlink()
        await node.store("sync")
        left = await node.index("list", prefix="user/", limit=None, order="id")
        assert [row["id"] for row in left] == [row["id"] for row in had if row["id"] != "user/features/daily-notes"]


ODD: tuple[Any, ...] = (
    None, True, -1, 7, 2**63, 1.5, float("nan"), "", "x", "\0", "../x", "\ud800"[:0] + "[[", "a" * 100_000, b"\xff", [], ["x"], [7], [None], [[]], {}, {"a": 1}, {"": {}},
)  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "store": {"id": "a", "changes": {}, "revision": None, "old": "a", "new": "b/c", "text": "t", "version": None, "older_than": 1e9},
    "index": {"query": "a", "ids": ["a"], "target": "a", "last": "a", "id": "a"},
}  # fmt: skip


async def test_no_argument_is_a_failure_inside(empty: Path) -> None:
    """Whatever is passed as one argument of any method is taken, or refused by a name that says whose fault it was."""
    (empty / "a.md").write_text("# A\n\n[[b]]\n")
    fields = ("title", "body", "id", "class", "tags", "links", "meta", "author", "format")
    async with running_node(empty) as node:
        for target, methods in (("store", StoreServer), ("index", IndexServer)):
            for method in sorted(node.running[target].service.peer._server._methods):
                names = [
                    name
                    for name in inspect.signature(getattr(methods, method)).parameters
                    if name not in ("self", "call", "fields", "more")
                ]
                base = {name: GOOD[target][name] for name in names if name in GOOD[target]}
                calls = [{**base, name: odd} for name in (*names, "class", "nosuch") for odd in ODD]
                if method == "create":
                    calls += [{"title": "t", name: odd} for name in fields for odd in ODD]
                if method == "update":
                    calls += [
                        {**base, "changes": {name: odd}} for name in (*fields, "aliases", "nosuch") for odd in ODD
                    ]
                    calls += [{**base, "changes": {"meta": {"key": odd}}} for odd in ODD]
                for arguments in calls:
                    try:
                        await node.user.call(target, method, timeout=20, **arguments)
                    except RemoteError as error:
                        assert error.type != "InternalError", (target, method, arguments, error)
                    (empty / "a.md").write_text("# A\n\n[[b]]\n")
        with pytest.raises(RemoteError, match="search: 'limit' is 'ten': expected `int`, got `str`") as refused:
            await node.index("search", query="a", limit="ten")
        assert refused.value.type == "BadRequest"
        assert await node.found("a")


@pytest.mark.parametrize("target", ["store", "index"])
async def test_a_call_to_a_process_that_stops_may_be_repeated(empty: Path, target: str) -> None:
    """What arrives when the threads are gone and the bus is not yet is refused as Unavailable: nothing was done."""
    (empty / "a.md").write_text("# A\n")
    async with running_node(empty) as node:
        for callback in node.running[target].service._on_stop:
            await callback()
        method, arguments = {"store": ("append", {"id": "a", "text": "x"}), "index": ("search", {"query": "a"})}[target]
        with pytest.raises(RemoteError, match="ask again") as refused:
            await node.user.call(target, method, timeout=20, **arguments)
        assert refused.value.type == "Unavailable" and (empty / "a.md").read_text() == "# A\n"


async def test_a_note_longer_than_a_message_is_searched_to_its_end(empty: Path) -> None:
    """Its rows go to the index in parts, so that what the index has is what it would have made of the file itself."""
    words = " ".join(f"word{number % 300}" for number in range(500_000))
    links = " ".join(f"[[target {number} {'x' * 300}|{'y' * 200}]]" for number in range(6_000))
    (empty / "long.md").write_text(f"# Long\n\n{words}\n\n{links}\n\nlastword\n")
    async with running_node(empty) as node:
        assert await node.found("lastword") == ["long"]
        assert (await node.store("faults"))["behind"] == 0
        assert not (await node.store("get", id="long")).get("cut")
        assert (await node.store("append", id="long", text="behindlast"))["indexed"]
        assert await node.found("behindlast") == ["long"]
    with Notes(empty) as notes:
        assert notes.verify() == []


def _halves(row: list[Any]) -> list[dict[str, Any]]:
    """A row in two parts, as `parts_of` would cut a long one."""
    (part,) = parts_of(Row._make(row))
    middle = len(part["data"]) // 2
    halves = (part["data"][:middle], part["data"][middle:])
    return [{**part, "part": number, "of": 2, "data": data} for number, data in enumerate(halves)]


def test_parts_that_come_out_of_turn_are_refused_and_may_be_told_again() -> None:
    """The same note told twice at once is two, and what never becomes whole is forgotten."""
    made = [
        msgspec.json.decode(msgspec.json.encode(row_of(parse_markdown(f"# {n}\n".encode(), "n.md")))) for n in (1, 2)
    ]
    (first, second), gathered = [_halves(row) for row in made], Gathered()
    assert gathered.whole([first[0], second[0], {"path": "s", "skipped": "why"}]) == [{"path": "s", "skipped": "why"}]
    assert gathered.whole([second[1]]) == [made[1]] and gathered.whole([first[1]]) == [made[0]]
    with pytest.raises(ValueError, match="tell the note again"):
        gathered.whole([first[1]])
    assert gathered.whole([first[0], first[0], first[1]]) == [made[0]]
    assert gathered.whole([{**first[0], "name": str(number)} for number in range(100)]) == []
    with pytest.raises(ValueError, match="tell the note again"):
        gathered.whole([{**first[1], "name": "0"}])


def test_parts_of_large_notes_are_bounded_by_their_bytes() -> None:
    """What waits for its other parts is little, however many notes are told at once; one note may be larger than that."""
    gathered = Gathered(most=1000)
    parts = [{"path": f"{name}.md", "name": name, "of": 3, "data": bytes(300)} for name in "abcdefgh"]
    for number in range(2):
        for part in parts:
            with contextlib.suppress(ValueError):
                gathered.whole([{**part, "part": number}])
            assert gathered.size <= 1000
    (row,) = [msgspec.json.decode(msgspec.json.encode(row_of(parse_markdown(b"x" * 5000, "n.md"))))]
    first, second = _halves(row)
    assert gathered.whole([first]) == [] and gathered.size == len(first["data"]) > 1000
    assert gathered.whole([second]) == [row] and gathered.size == 0


async def test_large_notes_are_told_to_the_index_a_few_at_a_time(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in memory several times over while it is on its way, so that they take the place of many small ones."""
    monkeypatch.setattr(store_process, "SLOT", 50_000)  # for 1 MiB
    word = "quince " * 60_000
    for number in range(8):
        (empty / f"large{number}.md").write_text(f"# Large {number}\n\n{word}")
    for number in range(200):
        (empty / f"small{number}.md").write_text("medlar")
    most = now = 0
    tell = StoreServer._tell_index

    async def counted(self: StoreServer, step: Step, *, more: bool = False) -> bool:
        nonlocal most, now
        large = sum(len(upsert.body) for upsert in step.upserts if isinstance(upsert, Row))
        now += large
        most = max(most, now)
        try:
            return await tell(self, step, more=more)
        finally:
            now -= large

    monkeypatch.setattr(StoreServer, "_tell_index", counted)
    async with running_node(empty) as node:
        assert (await node.index("stats"))["notes"] == 208
        assert len(word) < most < 4 * len(word)
