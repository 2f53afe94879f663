"""The index's schema, and SQL as text. Nothing here executes.

Tables: `notes` one row a file, `texts` the terms of its names and headings and those of its body by section (for
ranking), its body (for snippets) and the size of that in characters, `fts` contentless full text over the terms of
`records.text`, `names` every key a link may use, `words` the words of names (for typos), `tags`, `links`, `skipped`
files that are no text.
"""

from __future__ import annotations

from records.text import VERSION

SCHEMA_VERSION = f"25/{VERSION}"

# `hashsize`: bytes of new full text that are kept in memory until they are sorted and written. With SQLite's own megabyte a
# first index is written as many small pieces, and merging those costs as much as all the rest of writing.
SCHEMA = """
CREATE TABLE about(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE notes(
    note INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, stem TEXT NOT NULL, wanted TEXT NOT NULL, id TEXT NOT NULL,
    title TEXT NOT NULL, class TEXT NOT NULL, tags TEXT NOT NULL, listed TEXT NOT NULL, aliases TEXT NOT NULL,
    created TEXT NOT NULL, updated TEXT NOT NULL, author TEXT NOT NULL, format TEXT NOT NULL, outline TEXT NOT NULL,
    meta TEXT NOT NULL, inline_tags TEXT NOT NULL, revision TEXT NOT NULL, error TEXT, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL);
CREATE INDEX notes_id ON notes(id);
CREATE INDEX notes_stem ON notes(stem);
CREATE INDEX notes_wanted ON notes(wanted) WHERE wanted <> stem;
CREATE INDEX notes_updated ON notes(updated, id);
CREATE INDEX notes_created ON notes(created, id);
CREATE INDEX notes_class ON notes(class, updated, id) WHERE class <> 'durable';
CREATE TABLE texts(note INTEGER PRIMARY KEY, size INTEGER NOT NULL, heads TEXT NOT NULL, cut TEXT NOT NULL, body TEXT NOT NULL);
CREATE VIRTUAL TABLE fts USING fts5(title, names, headings, tags, body, content='', tokenize='ascii');
INSERT INTO fts(fts, rank) VALUES('hashsize', 16777216);
CREATE VIRTUAL TABLE terms USING fts5vocab(fts, 'row');
CREATE TABLE names(key TEXT NOT NULL, rank INTEGER NOT NULL, note INTEGER NOT NULL,
    PRIMARY KEY(key, rank, note)) WITHOUT ROWID;
CREATE TABLE words(word TEXT NOT NULL, note INTEGER NOT NULL, PRIMARY KEY(word, note)) WITHOUT ROWID;
CREATE TABLE tags(tag TEXT NOT NULL, note INTEGER NOT NULL, spelled TEXT NOT NULL,
    PRIMARY KEY(tag, note)) WITHOUT ROWID;
CREATE TABLE links(source INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL,
    key TEXT NOT NULL, last TEXT NOT NULL, fragment TEXT NOT NULL, display TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY(source, place)) WITHOUT ROWID;
CREATE INDEX links_key ON links(key);
CREATE INDEX links_last ON links(last) WHERE last <> key;
CREATE TABLE skipped(path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    error TEXT NOT NULL) WITHOUT ROWID;
"""

# What a link's key may be, best first.
BY_ID, BY_PATH, BY_FOLDER, BY_LAST, BY_ALIAS, BY_TITLE = range(6)

COLUMNS = (
    "note", "path", "stem", "wanted", "id", "title", "class", "tags", "listed", "aliases", "created", "updated",
    "author", "format", "outline", "meta", "inline_tags", "revision", "error", "size", "mtime_ns", "inode",
)  # fmt: skip
SUMMARY = "n.id, n.title, n.class, n.tags, n.created, n.updated"

# In `texts` the terms stand before the body, so that SQLite reads a long body only for those who want it.
INSERT_NOTE = f"INSERT INTO notes({', '.join(COLUMNS)}) VALUES({', '.join('?' * len(COLUMNS))})"
INSERT_FTS = "INSERT INTO fts(rowid, title, names, headings, tags, body) VALUES(?, ?, ?, ?, ?, ?)"
DELETE_FTS = "INSERT INTO fts(fts, rowid, title, names, headings, tags, body) VALUES('delete', ?, ?, ?, ?, ?, ?)"
INSERT_TEXT = "INSERT INTO texts VALUES(?, ?, ?, ?, ?)"
INSERT_TAG = "INSERT OR IGNORE INTO tags VALUES(?, ?, ?)"
INSERT_NAME = "INSERT OR IGNORE INTO names VALUES(?, ?, ?)"
INSERT_WORD = "INSERT INTO words VALUES(?, ?)"
INSERT_LINK = "INSERT INTO links VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)"

# `0` is the character after `/`: everything below the tag lies between the two.
_TAGGED = "SELECT note FROM tags WHERE tag = ? UNION ALL SELECT note FROM tags WHERE tag > ? AND tag < ?"

# The words of names between two, at most a hundred: a step from each to the next, however many notes have it.
NAMED_SO = """
WITH RECURSIVE w(word) AS (
    SELECT min(word) FROM words WHERE word >= ?1
    UNION ALL SELECT (SELECT min(word) FROM words WHERE word > w.word) FROM w WHERE w.word < ?2)
SELECT word FROM w WHERE word < ?2 LIMIT 100"""

MAX_TAGS = 100
ORDERS = {
    "updated": "n.updated DESC, n.id",
    "created": "n.created DESC, n.id",
    "title": "n.title COLLATE NOCASE, n.id",
    "id": "n.id",
}


def filters(
    *, class_: str | None, tags: tuple[str, ...] = (), without_tags: tuple[str, ...] = (), folder: str | None = None,
    prefix: str | None = None, since: str | None = None, since_column: str = "updated",
) -> tuple[str, list[str]]:  # fmt: skip
    """WHERE conditions over `notes AS n` (without WHERE; '1' for none) and their parameters. Of tags the first MAX_TAGS count:
    SQLite refuses an expression of a thousand."""
    where: list[str] = []
    values: list[str] = []
    if class_:
        where.append("n.class = ?")
        values.append(class_)
    for tag in list(dict.fromkeys(tags))[:MAX_TAGS]:
        # A parent tag finds its children: `project` finds `project/roof`.
        where.append(f"n.note IN ({_TAGGED})")
        values += [tag, tag + "/", tag + "0"]
    for tag in list(dict.fromkeys(without_tags))[:MAX_TAGS]:
        where.append(f"n.note NOT IN ({_TAGGED})")
        values += [tag, tag + "/", tag + "0"]
    if folder:
        where.append("n.path GLOB ?")
        values.append(glob(folder.rstrip("/") + "/") + "*")
    if prefix:
        where.append("n.id GLOB ?")
        values.append(glob(prefix) + "*")
    if since:
        where.append(f"n.{'created' if since_column == 'created' else 'updated'} >= ?")
        values.append(since)
    return " AND ".join(where) or "1", values


def glob(text: str) -> str:
    """Text that GLOB takes literally."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def quoted(term: str) -> str:
    """A term as an FTS5 string; nothing in it is syntax."""
    return '"' + term.replace('"', '""') + '"'


def match(groups: list[list[str]], phrases: list[list[str]], without: list[list[str]]) -> str:
    """An FTS5 expression: a term of each group, every phrase, no phrase of `without`. Empty when it can match nothing."""
    if any(not group for group in groups):
        return ""
    parts = ["(" + " OR ".join(quoted(term) for term in group) + ")" for group in groups]
    parts += [quoted(" ".join(phrase)) for phrase in phrases]
    text = " AND ".join(parts)
    if not text:
        return ""
    for phrase in without:
        text = f"({text}) NOT {quoted(' '.join(phrase))}"
    return text
