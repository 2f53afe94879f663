"""Links between notes: which note a target means, who links to whom. Reads the index; resolution happens when asked,
so that a note which appears, or takes an alias, needs no other row to change.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from records.index_sql import BY_ALIAS, BY_FOLDER, BY_ID, BY_LAST, BY_PATH, BY_TITLE, SUMMARY
from records.markdown import clean

FOLDER_NOTES = ("index", "readme")
MAX_NODES = 5000


def name_keys(path: str, stem: str, wanted: str, title: str, aliases: list[str]) -> list[tuple[str, int]]:
    """Every key a link may use for a note, with the rank at which it is looked up."""
    keys = [(wanted.casefold(), BY_ID)]
    if wanted != stem:
        keys.append((stem.casefold(), BY_PATH))
    folder, _, last = stem.rpartition("/")
    keys.append((last.casefold(), BY_LAST))
    if last.casefold() in FOLDER_NOTES and folder:
        # As Foam and Obsidian's folder notes: a link to a folder means its index.
        keys.append((folder.casefold(), BY_FOLDER))
        keys.append((folder.rpartition("/")[2].casefold(), BY_FOLDER))
    keys += [(alias.casefold(), BY_ALIAS) for alias in aliases]
    keys.append((title.casefold(), BY_TITLE))
    return keys


def candidates(db: sqlite3.Connection, target: str) -> list[tuple[int, str]]:
    """(note, id) of the notes a target may mean: one when it resolves, none or several when it does not."""
    name = clean(target)
    key = name.casefold()
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
        rows += [row for row in below if row[3].casefold().endswith("/" + key)]
        rows.sort(key=lambda row: (row[0], row[3]))
    for group in ((BY_ID, BY_PATH), (BY_LAST,), (BY_FOLDER,), (BY_ALIAS,), (BY_TITLE,)):
        found = {note: id_ for rank, note, id_, _ in rows if rank in group}
        if found:
            return sorted(found.items(), key=lambda item: item[1])
    return []


def resolve(db: sqlite3.Connection, target: str) -> str | None:
    """The id a target means, or None."""
    found = candidates(db, target)
    return found[0][1] if len(found) == 1 else None


def _resolve_link(
    db: sqlite3.Connection, kind: str, target: str, cache: dict[tuple[bool, str], str | None]
) -> str | None:
    exact = kind == "markdown"
    key = (exact, target)
    if key not in cache:
        if exact:
            row = db.execute("SELECT id FROM notes WHERE stem = ? ORDER BY path", (target,)).fetchone()
            cache[key] = row[0] if row else None
        else:
            cache[key] = resolve(db, target)
    return cache[key]


def links(db: sqlite3.Connection, id_: str, depth: int = 1) -> list[dict[str, Any]]:
    """Links of a note, and of the notes these lead to, down to `depth` (at most 5). Each note is followed once."""
    found: list[dict[str, Any]] = []
    cache: dict[tuple[bool, str], str | None] = {}
    level = [id_]
    seen = {id_}
    for step in range(1, max(1, min(depth, 5)) + 1):
        after = []
        for source in level:
            rows = db.execute(
                "SELECT l.target, l.fragment, l.display, l.kind FROM links l JOIN notes n ON n.note = l.source "
                "WHERE n.id = ? ORDER BY l.place",
                (source,),
            ).fetchall()
            once = set()
            for target, fragment, display, kind in rows:
                if not target:
                    continue  # a link within the note
                meant = _resolve_link(db, kind, target, cache)
                mark = (meant or target.casefold(), fragment)
                if mark in once:
                    continue
                once.add(mark)
                found.append(
                    {"source": source, "target": target, "id": meant, "fragment": fragment, "display": display,
                     "kind": kind, "depth": step}
                )  # fmt: skip
                if meant is not None and meant not in seen:
                    seen.add(meant)
                    after.append(meant)
        level = after
    return found


def backlinks(db: sqlite3.Connection, id_: str) -> list[dict[str, Any]]:
    """Links of other notes that mean this one, by source id."""
    row = db.execute("SELECT note, path, stem, wanted, title, aliases FROM notes WHERE id = ?", (id_,)).fetchone()
    if row is None:
        return []
    note, path, stem, wanted, title, aliases = row
    names = name_keys(path, stem, wanted, title, json.loads(aliases))
    keyed = sorted({key for key, _ in names} | {stem.casefold()})
    lasts = sorted({key for key, rank in names if rank == BY_LAST})
    rows = db.execute(
        f"SELECT DISTINCT n.id, n.title, n.path, l.target, l.fragment, l.display, l.kind FROM links l "
        f"JOIN notes n ON n.note = l.source WHERE (l.key IN ({', '.join('?' * len(keyed))}) "
        f"OR l.last IN ({', '.join('?' * len(lasts))})) AND l.source <> ? ORDER BY n.id, l.place",
        (*keyed, *lasts, note),
    ).fetchall()
    cache: dict[tuple[bool, str], str | None] = {}
    keys = ("id", "title", "path", "target", "fragment", "display", "kind")
    return [dict(zip(keys, row, strict=True)) for row in rows if _resolve_link(db, row[6], row[3], cache) == id_]


def unresolved(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Links that mean no note or several, by source; `candidates` are the ids of the several."""
    cache: dict[tuple[bool, str], list[str] | None] = {}
    found = []
    once = set()
    rows = db.execute(
        "SELECT n.id, l.target, l.kind FROM links l JOIN notes n ON n.note = l.source WHERE l.target <> '' "
        "ORDER BY n.id, l.place"
    ).fetchall()
    for source, target, kind in rows:
        key = (kind == "markdown", target)
        if key not in cache:
            if kind == "markdown":
                known = db.execute("SELECT 1 FROM notes WHERE stem = ?", (target,)).fetchone()
                cache[key] = None if known else []
            else:
                several = candidates(db, target)
                cache[key] = None if len(several) == 1 else [id_ for _, id_ in several]
        several_ids = cache[key]
        if several_ids is not None and (source, target.casefold()) not in once:
            once.add((source, target.casefold()))
            found.append({"source": source, "target": target, "candidates": several_ids})
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
    cache: dict[tuple[bool, str], str | None] = {}
    rows = db.execute("SELECT n.id, l.target, l.kind FROM links l JOIN notes n ON n.note = l.source").fetchall()
    found = set()
    for source, target, kind in rows:
        meant = _resolve_link(db, kind, target, cache) if target else None
        if meant is not None:
            found.add((source, meant))
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
