"""Links between notes: which note a target means, who links to whom. Reads the index; resolution happens when asked,
so that a note which appears, or takes an alias, needs no other row to change.
"""

from __future__ import annotations

import json
import posixpath
import sqlite3
from collections.abc import Iterable
from typing import Any

from records import filenames
from records.ids import EXTENSIONS, folder_named, id_of, key_of
from records.index_sql import BY_ALIAS, BY_FOLDER, BY_ID, BY_LAST, BY_PATH, BY_TITLE, SUMMARY
from records.markdown import clean, listed

# Files of other kinds that Obsidian takes into a vault.
ATTACHMENTS = tuple(
    "." + kind
    for kind in [
        "avif",
        "bmp",
        "gif",
        "jpeg",
        "jpg",
        "png",
        "svg",
        "webp",
        "flac",
        "m4a",
        "mp3",
        "ogg",
        "wav",
        "webm",
        "3gp",
        "mkv",
        "mov",
        "mp4",
        "ogv",
        "pdf",
        "canvas",
        "base",
        "csv",
        "txt",
        "zip",
        "html",
        "docx",
        "xlsx",
    ]
)
MAX_NODES = 5000


def name_keys(path: str, stem: str, wanted: str, title: str, aliases: Iterable[str]) -> list[tuple[str, int]]:
    """Every key a link may use for a note, with the rank at which it is looked up."""
    keys = [(key_of(wanted), BY_ID)]
    if wanted != stem:
        keys.append((key_of(stem), BY_PATH))
    keys.append((key_of(stem.rpartition("/")[2]), BY_LAST))
    folder = folder_named(stem)
    if folder:
        keys.append((key_of(folder), BY_FOLDER))
        keys.append((key_of(folder.rpartition("/")[2]), BY_FOLDER))
    keys += [(key_of(alias), BY_ALIAS) for alias in (*aliases, *filenames.names(stem))]
    keys.append((key_of(title), BY_TITLE))
    return keys


def candidates(db: sqlite3.Connection, target: str, folder: str | None = None) -> list[tuple[int, str]]:
    """(note, id) of the notes a target may mean: one when it resolves, none or several when it does not.

    `folder`: of the note that links, for targets such as `../x`; without it they mean nothing.
    """
    name = clean(target)
    if name.startswith(("/", "./", "../")):
        return _by_path(db, name, folder)
    key = key_of(name)
    if not key:
        return []
    rows = db.execute(
        "SELECT k.rank, n.note, n.id, n.path FROM names k JOIN notes n USING(note) WHERE k.key = ? ORDER BY k.rank, n.path",
        (key,),
    ).fetchall()
    exact = [(note, id_) for rank, note, id_, _ in rows if rank in (BY_ID, BY_PATH) and id_ == name]
    if len(exact) == 1:
        return exact
    if "/" in key:
        last = key.rpartition("/")[2]
        below = db.execute(
            "SELECT ?, n.note, n.id, n.stem FROM names k JOIN notes n USING(note) WHERE k.key = ? AND k.rank = ?",
            (BY_LAST, last, BY_LAST),
        )
        rows += [row for row in below if key_of(row[3]).endswith("/" + key)]
        rows.sort(key=lambda row: (row[0], row[3]))
    for group in ((BY_ID, BY_PATH), (BY_LAST,), (BY_FOLDER,), (BY_ALIAS,), (BY_TITLE,)):
        found = {note: id_ for rank, note, id_, _ in rows if rank in group}
        # The file of this very name that cannot be read is meant, not another note of this title.
        if group == (BY_LAST,) and unread(db, name) is not None:
            return []
        if found:
            return sorted(found.items(), key=lambda item: item[1])
    return []


def unread(db: sqlite3.Connection, target: str, *, anywhere: bool = False) -> tuple[str, str] | None:
    """(id, reason) of the file of exactly this path that cannot be read, or is no text; `anywhere`: or the one whose path ends
    so. None: there is none."""
    name = clean(target).lstrip("/")
    spelled = [name + suffix for suffix in EXTENSIONS]
    rows = db.execute(
        f"SELECT path, error FROM skipped WHERE path IN ({', '.join('?' * len(spelled))})", spelled
    ).fetchall()
    if not rows and anywhere and name:
        rows = [
            row
            for row in db.execute("SELECT path, error FROM skipped")
            if row[0].endswith(tuple("/" + s for s in spelled))
        ]
    return (id_of(rows[0][0]), rows[0][1]) if len(rows) == 1 else None


def _by_path(db: sqlite3.Connection, name: str, folder: str | None) -> list[tuple[int, str]]:
    """What a path means: the note there, or the index of the folder there, and never a note elsewhere of that name."""
    if name.startswith("."):
        if folder is None:
            return []
        name = posixpath.normpath(posixpath.join(folder, name))
        if name == ".." or name.startswith("../"):
            return []
    stem = name.lstrip("/")
    exact = db.execute("SELECT note, id FROM notes WHERE stem = ? ORDER BY path", (stem,)).fetchall()
    if len(exact) == 1:
        return exact  # also where another file differs from it in case only
    key = key_of(stem)
    rows = db.execute(
        "SELECT k.rank, n.note, n.id, n.stem FROM names k JOIN notes n USING(note) WHERE k.key = ? AND k.rank IN (?, ?, ?)",
        (key, BY_ID, BY_PATH, BY_FOLDER),
    ).fetchall()
    for group in ((BY_ID, BY_PATH), (BY_FOLDER,)):
        found = {
            note: id_ for rank, note, id_, stem in rows
            if rank in group and (rank != BY_FOLDER or key_of(stem.rpartition("/")[0]) == key)
        }  # fmt: skip
        if found:
            return sorted(found.items(), key=lambda item: item[1])
    return []


def resolve(db: sqlite3.Connection, target: str) -> str | None:
    """The id a target means, or None; also the id that a file would have which cannot be read."""
    found = candidates(db, target)
    if len(found) == 1:
        return found[0][1]
    hidden = unread(db, target, anywhere=True) if not found else None
    return hidden[0] if hidden is not None else None


Cache = dict[tuple[str, str, str], list[str]]


def meant(db: sqlite3.Connection, kind: str, target: str, source: str, cache: Cache) -> list[str]:
    """Ids that a link may mean in the note at path `source`: one when it resolves."""
    relative = kind == "markdown" or target.startswith(".")
    href = f"markdown{source[-4:]}" if kind == "markdown" else ""
    key = (href, target, posixpath.dirname(source) if relative else "")
    if key not in cache:
        if kind == "markdown":
            cache[key] = _href_means(db, target, key[2], loose=not source.endswith(".org"))
        else:
            cache[key] = [id_ for _, id_ in candidates(db, listed(target) if kind == "listed" else target, key[2])]
    return cache[key]


def _href_means(db: sqlite3.Connection, target: str, folder: str, loose: bool) -> list[str]:
    """A path from the note's own folder; else (`loose`), as Obsidian writes Markdown links, one from the top or a unique name."""
    row = db.execute("SELECT id FROM notes WHERE stem = ? ORDER BY path", (target,)).fetchone()
    if row:
        return [row[0]]
    if not loose:
        return []
    found = _by_path(db, "/" + target, None)
    below = target.removeprefix(folder + "/") if folder else target
    if not found and not below.startswith("../") and (not folder or below != target):
        found = _by_path(db, "/" + below, None) or _unique_end(db, below)
    return [id_ for _, id_ in found]


def _unique_end(db: sqlite3.Connection, name: str) -> list[tuple[int, str]]:
    key = key_of(name)
    rows = db.execute(
        "SELECT n.note, n.id, n.stem FROM names k JOIN notes n USING(note) WHERE k.key = ? AND k.rank = ?",
        (key.rpartition("/")[2], BY_LAST),
    )
    found = [(note, id_) for note, id_, stem in rows if ("/" + key_of(stem)).endswith("/" + key)]
    return sorted(found, key=lambda item: item[1])


def _one(found: list[str]) -> str | None:
    return found[0] if len(found) == 1 else None


def links(db: sqlite3.Connection, id_: str, depth: int = 1) -> list[dict[str, Any]]:
    """Links of a note, and of the notes these lead to, down to `depth` (at most 5). Each note is followed once."""
    found: list[dict[str, Any]] = []
    cache: Cache = {}
    level = [id_]
    seen = {id_}
    for step in range(1, max(1, min(depth, 5)) + 1):
        after = []
        for source in level:
            rows = db.execute(
                "SELECT l.target, l.fragment, l.display, l.kind, n.path FROM links l JOIN notes n ON n.note = l.source "
                "WHERE n.id = ? ORDER BY l.place",
                (source,),
            ).fetchall()
            once = set()
            for target, fragment, display, kind, path in rows:
                if not target:
                    continue  # a link within the note
                leads = _one(meant(db, kind, target, path, cache))
                mark = (leads, target.casefold() if leads is None else "", fragment)
                if mark in once:
                    continue
                once.add(mark)
                hidden = unread(db, target, anywhere=True) if leads is None else None
                found.append(
                    {"source": source, "target": target, "id": leads, "fragment": fragment, "display": display,
                     "kind": kind, "depth": step, "unread": hidden[1] if hidden is not None else None}
                )  # fmt: skip
                if leads is not None and leads not in seen:
                    seen.add(leads)
                    after.append(leads)
        level = after
    return found


def backlinks(db: sqlite3.Connection, id_: str, own: bool = False) -> list[dict[str, Any]]:
    """Links of other notes that mean this one, by source id; with `own` also those in the note itself."""
    row = db.execute("SELECT note, path, stem, wanted, title, aliases FROM notes WHERE id = ?", (id_,)).fetchone()
    if row is None:
        return []
    note, path, stem, wanted, title, aliases = row
    names = name_keys(path, stem, wanted, title, json.loads(aliases))
    keyed = sorted({key for key, _ in names} | {key_of(stem)})
    lasts = sorted({key.rpartition("/")[2] for key, rank in names if rank in (BY_LAST, BY_FOLDER)})
    rows = db.execute(
        f"SELECT DISTINCT n.id, n.title, n.path, l.target, l.fragment, l.display, l.kind FROM links l "
        f"JOIN notes n ON n.note = l.source WHERE (l.key IN ({', '.join('?' * len(keyed + lasts))}) "
        f"OR l.last <> l.key AND l.last IN ({', '.join('?' * len(lasts))})) AND l.source <> ? ORDER BY n.id, l.place",
        (*keyed, *lasts, *lasts, -1 if own else note),
    ).fetchall()
    cache: Cache = {}
    keys = ("id", "title", "path", "target", "fragment", "display", "kind")
    return [
        dict(zip(keys, row, strict=True))
        for row in rows
        if row[3] and _one(meant(db, row[6], row[3], row[2], cache)) == id_
    ]


def unresolved(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Links that mean no note or several, by source; `candidates` are the ids of the several, `unread` why the one
    file of that name is not read. Images and the like are no notes: a link to one is not unresolved."""
    cache: Cache = {}
    found = []
    once = set()
    rows = db.execute(
        "SELECT n.id, n.path, l.target, l.kind FROM links l JOIN notes n ON n.note = l.source WHERE l.target <> '' "
        "ORDER BY n.id, l.place"
    ).fetchall()
    for source, path, target, kind in rows:
        several = meant(db, kind, target, path, cache)
        if len(several) == 1 or (source, target.casefold()) in once:
            continue
        if not several and target.casefold().endswith(ATTACHMENTS):
            continue
        once.add((source, target.casefold()))
        hidden = unread(db, target, anywhere=True) if not several else None
        found.append(
            {"source": source, "target": target, "candidates": several, "unread": hidden[1] if hidden else None}
        )
    return found


def orphans(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Summary rows of notes without any resolved link from or to another note."""
    joined: set[str] = set()
    for source, target in _edges(db):
        if source != target:
            joined.update((source, target))
    rows = db.execute(f"SELECT {SUMMARY} FROM notes n ORDER BY n.id").fetchall()
    return [row for row in rows if row[0] not in joined]


def _edges(db: sqlite3.Connection) -> set[tuple[str, str]]:
    cache: Cache = {}
    rows = db.execute("SELECT n.id, n.path, l.target, l.kind FROM links l JOIN notes n ON n.note = l.source").fetchall()
    found = set()
    for source, path, target, kind in rows:
        leads = _one(meant(db, kind, target, path, cache)) if target else None
        if leads is not None:
            found.add((source, leads))
    return found


def graph(db: sqlite3.Connection, around: str | None, depth: int) -> dict[str, Any]:
    """Nodes and edges; around a note, links in both directions count. At most MAX_NODES nodes."""
    edges = _edges(db)
    if around is not None:
        near: dict[str, set[str]] = {}
        for source, target in edges:
            near.setdefault(source, set()).add(target)
            near.setdefault(target, set()).add(source)
        kept = level = {around}
        for _ in range(max(0, min(depth, 10))):
            level = {other for id_ in level for other in near.get(id_, ())} - kept
            kept = kept | level
        edges = {edge for edge in edges if edge[0] in kept and edge[1] in kept}
    rows = db.execute("SELECT id, title, class FROM notes ORDER BY id").fetchall()
    nodes = [{"id": id_, "title": title, "class": kind} for id_, title, kind in rows if around is None or id_ in kept][
        :MAX_NODES
    ]
    shown = {node["id"] for node in nodes}
    return {"nodes": nodes, "edges": [list(edge) for edge in sorted(edges) if edge[0] in shown and edge[1] in shown]}
