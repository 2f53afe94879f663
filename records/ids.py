"""Names of notes: id, path and slug, and which of them are allowed. Pure."""

from __future__ import annotations

import os
import re
import unicodedata

from records.errors import InvalidId

EXTENSIONS = (".md", ".org")
FOLDER_NOTES = ("index", "readme")
MAX_ID = 1000  # bytes; Linux refuses longer paths soon after
_SKILL = re.compile(r"(skills/[^/]+)/SKILL\Z")
_COPIES = re.compile(r"(?:^|/)logseq/(?:bak|version-files)(?:/|$)")
_SLUG = re.compile(r"[^\w]+|_+")
# Windows and shells refuse or change these; a folder of notes is often synced to such a machine.
_AWKWARD = set('<>:"|?*\\')


def id_of(path: str) -> str:
    """The id a path gives: without extension; `skills/x/SKILL.md` is `skills/x`."""
    stem = path
    for suffix in EXTENSIONS:
        if path.lower().endswith(suffix):
            stem = path[: -len(suffix)]
            break
    match = _SKILL.match(stem)
    return match.group(1) if match else stem


def key_of(name: str) -> str:
    """What names are compared by: case does not count, nor how an accent is composed (macOS takes file names apart)."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name.casefold())


def folder_named(stem: str) -> str:
    """The folder that a link means by this note, as Foam and Obsidian's folder notes have it: of an `index` or `README` in it.
    Empty for any other note."""
    folder, _, last = stem.rpartition("/")
    return folder if last.casefold() in FOLDER_NOTES else ""


def is_note(path: str) -> bool:
    """Whether a relative path is one of a note: a known extension, no hidden or temporary segment, no copy that Logseq keeps."""
    name = path.rpartition("/")[2]
    if not name.lower().endswith(EXTENSIONS) or ignored(name):
        return False
    return "/." not in path and not path.startswith(".") and not is_copy(path)


def is_copy(path: str) -> bool:
    """Whether a relative path is, or lies in, a folder where Logseq keeps old versions of its pages: with their titles and
    aliases they would make every link ambiguous. It ignores `logseq/bak` and `logseq/version-files` itself."""
    return "logseq/" in path and _COPIES.search(path) is not None


def ignored(name: str) -> bool:
    """Names that editors and sync clients leave behind, and everything hidden."""
    return name.startswith((".", "~$", "#")) or name.endswith(
        ("~", ".tmp", ".swp", ".swx", ".bak", ".part", ".crdownload")
    )


def check_id(id_: str) -> str:
    """The id, if it can be a new file inside the records directory. Raises InvalidId, which says why not."""
    if not isinstance(id_, str) or not id_.strip():
        raise InvalidId(f"an id cannot be {id_!r}; give words joined by '/' such as 'projects/roof'")
    if len(id_.encode("utf-8", "surrogatepass")) > MAX_ID:
        raise InvalidId(f"the id {id_[:40]!r}... has more than {MAX_ID} bytes; shorten it")
    if id_.startswith("/"):
        raise InvalidId(f"the id {id_!r} begins with '/'; ids are relative to the records directory")
    for character in id_:
        if unicodedata.category(character) in ("Cc", "Cs", "Cf") and character not in "\u200c\u200d":
            raise InvalidId(f"the id {id_!r} contains the invisible character {character!r}; remove it")
        if character in _AWKWARD:
            raise InvalidId(f"the id {id_!r} contains {character!r}, which not every disk can store; remove it")
        if character in "[]#`":
            raise InvalidId(f"the id {id_!r} contains {character!r}, which links cannot hold; remove it")
    if is_copy(id_):
        raise InvalidId(f"the id {id_!r} lies where Logseq keeps copies, which are not read as notes; choose another")
    stem, suffix = os.path.splitext(id_)
    if suffix.lower() in (*EXTENSIONS, ".markdown"):
        # The file would be `x.md.md`, and `[[x.md]]` means `x`: no link could hold the name.
        raise InvalidId(f"the id {id_!r} ends as a file does, and ids have no extension; write {stem!r}")
    for segment in id_.split("/"):
        if segment in ("", ".", ".."):
            raise InvalidId(
                f"the id {id_!r} has an empty, '.' or '..' part; ids are plain paths such as 'projects/roof'"
            )
        if ignored(segment):
            raise InvalidId(f"the part {segment!r} of the id {id_!r} names a hidden or temporary file; choose another")
        if segment != segment.strip() or segment.endswith("."):
            raise InvalidId(f"the part {segment!r} of the id {id_!r} begins or ends with a space or dot; remove it")
        if len(segment.encode()) > 240:
            raise InvalidId(f"the part {segment[:40]!r}... of the id is too long for a file name; at most 240 bytes")
    return id_


def slug(title: str, limit: int = 60) -> str:
    """A file name from a title: lower case, words joined by '-', letters of every script kept; may be empty."""
    text = unicodedata.normalize("NFC", title).casefold()
    text = unicodedata.normalize("NFC", _SLUG.sub("-", text)).strip("-")
    while len(text) > limit or len(text.encode()) > 200:
        head, dash, _ = text.rpartition("-")
        text = head if dash else text[: min(limit, len(text) - 1)]
    return text.strip("-")
