"""What nobody asked to change stays, byte for byte: Markdown and org in every clothing, and every sample note."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from records import InvalidValue, Store, formats, frontmatter, org
from records.errors import Unreadable

SPLIT = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
LONG = "word " * 3000

# What an author may have written for a key `k`: whole lines, which belong to that key.
ENTRIES = [
    "k: plain", "k:", "k: ~", "k: 'single # quoted: ''x'''", 'k: "double \\u00e9 \\" quoted"', "k: 12", "k: 0755", "k: 1_000", "k: yes",
    "k: No", "k: 2024-05-06", "k: 2024-13-45", "k: 2024-05-06 10:30:00 +02:00", "k: 12:30", "k: .nan", "k: 1e3", "k: [a, b, 'c d']",
    "k: {x: 1, y: [2]}", "k: 🎉 emoji\u200d", "k: a\tb", "k:\ttab", "k:   spaced   # remark", "k: 'x'   # remark", "k: text#no remark",
    "k:\n  - one\n  - two # note\n  # inside\n  - three", "k:\n- flush\n- left", "k: |\n  block\n    # no comment\n\n  text",
    "k: >-\n  folded\n  text", "k: |+\n  kept\n", "k:\n  inner: 1\n  # note\n  other: [2]", "k: [a,\n  b, # why\n  c]",
    "k: plain on\n  two lines", 'k: "quoted on\n  two lines"', "k: &anchor value", "k: [[link]]", 'k: "[[note|shown]]"', f"k: {LONG}",
    "k: !!str 5", "? k\n: explicit", "'k': quoted key", "k: http://x.org/a?b=c#d", "k: c:\\path", "k: '---'", "k: @", "k: \u00a0nbsp",
]  # fmt: skip
LOADABLE = [entry for entry in ENTRIES if frontmatter.load(entry + "\n")[1] is None]
BETWEEN = ["", "", "", "# a comment", "", "# one\n# two", "\n"]
BODIES = [
    "", "text", "# Head\n\ntext\n", "\n\n\nlate", "a\n---\nb\n---\n", "```\n---\nx: 1\n---\n```\n", "- [ ] todo\n\t- tab\n", "x\u2028y\x0cz\x85w\n",
    "emoji 🎉\n\n> quote\n", "trailing  \nspaces \t\n", "title:: Logseq\nalias:: other, name\n\n- block\n  id:: 64b\n", "\0 nul\n" + "text " * 30,
    "+++\nnot toml\n", "{not json}\n", "---\n", "....\n", LONG,
]  # fmt: skip
NEW = [
    "new", "", "two words", "a: b # c", "007", "yes", "é🎉", "- x", "'q'", '"', "*", "&", "line\nline", "---", 5, True, ["a", "b c"], [], ["x"],
    {"in": 1}, None,
]  # fmt: skip


def test_the_generated_entries_are_yaml() -> None:
    """Nearly all of them: a test of what cannot be read would test nothing."""
    assert set(ENTRIES) - set(LOADABLE) <= {"k: @", "k:\ttab"}


def clothed(text: str, ending: str, draw: st.DrawFn) -> str:
    """The text with line endings of one kind, or of all kinds."""
    if ending.startswith("mixed"):
        kinds = ["\n", "\r\n", "\r"] if ending == "mixed" else ["\n", "\r\n"]
        pieces = text.split("\n")
        return "".join(
            piece + (draw(st.sampled_from(kinds)) if place < len(pieces) - 1 else "")
            for place, piece in enumerate(pieces)
        )
    return text.replace("\n", ending)


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[str], list[list[str]], str, bytes, str]:
    """(keys, the lines of each key and of what stands between, body, byte order mark, encoding)."""
    count = draw(st.integers(0, 4))
    ending = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "mixed"]))
    keys, groups = [], []
    indent = draw(st.sampled_from(["", "", "", "  "]))
    for number in range(count):
        key = draw(st.sampled_from(["tags", "Größe", "x_1", "日本", "title", "beta key"])) + str(number) * (number > 0)
        entry = draw(st.sampled_from(LOADABLE)).replace("&anchor", f"&a{number}")
        entry = re.sub(r"(?m)^(\? |')?k\b", lambda m, key=key: (m.group(1) or "") + key, entry, count=1)
        keys.append(key)
        between = draw(st.sampled_from(BETWEEN))
        groups.append([between + "\n" if between else "", indent + entry.replace("\n", "\n" + indent) + "\n"])
    mark, encoding = draw(
        st.sampled_from(
            [(b"", "utf-8")] * 4 + [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")]
        )
    )
    body = draw(st.sampled_from(BODIES))
    return (
        keys,
        [[clothed(text, ending, draw) for text in group] for group in groups],
        clothed(body, ending, draw),
        mark,
        encoding,
    )


@settings(max_examples=400, deadline=None)
@given(documents(), st.sampled_from(NEW), st.data())
def test_one_key_is_changed_and_nothing_else(document: Any, value: Any, data: st.DataObject) -> None:
    """All bytes before the lines of the key and all bytes after them stay; or the change is refused and nothing is."""
    keys, groups, body, mark, encoding = document
    newline = next((e for e in ("\r\n", "\r", "\n") if any(e in text for group in groups for text in group)), "\n")
    fence = "---" + newline
    raw = mark + (fence + "".join(map("".join, groups)) + fence + body).encode(encoding)
    parts = frontmatter.split(raw)
    assert parts.encode() == raw
    assert parts.block is not None
    key = data.draw(st.sampled_from([*keys, "brand new"]))
    before, fault = frontmatter.load(parts.block)
    assert fault is None, (fault, parts.block)
    try:
        after = formats.change("markdown", parts, {key: value})
    except InvalidValue:
        # Refused rather than wrong. Only shapes that cannot be changed by lines may be.
        assert any("&" in text for group in groups for text in group) or key == "title", (parts.block, key, value)
        return
    new = after.encode()
    number = keys.index(key) if key in keys else len(keys)
    head = mark + (
        fence + "".join(map("".join, groups[:number])) + "".join(groups[number][:1] if key in keys else [])
    ).encode(encoding)
    tail = ("".join(map("".join, groups[number + 1 :])) + fence + body).encode(encoding)
    assert new.startswith(head), (raw, new)
    assert new.endswith(tail), (raw, new)
    read, fault = frontmatter.load(frontmatter.split(new).block or "")
    assert fault is None and {k: v for k, v in read.items() if k != key} == {
        k: v for k, v in before.items() if k != key
    }
    if value is None:
        assert key not in read
    else:
        shown = value if not key.startswith("tags") and not key.startswith("title") else read[key]
        assert read[key] == shown


@settings(max_examples=300, deadline=None)
@given(documents(), st.booleans(), st.integers(0, 6), st.sampled_from(["changed", "", "two\nlines", "🎉"]))
def test_one_line_of_the_body_is_changed_and_nothing_else(document: Any, fenced: bool, at: int, line: str) -> None:
    """Frontmatter keeps its bytes, and each line of the body that stays keeps its bytes with its own ending."""
    _, groups, body, mark, encoding = document
    head = "---\n" + "".join(map("".join, groups)) + "---\n" if fenced else ""
    raw = mark + (head + body).encode(encoding)
    parts = frontmatter.split(raw)
    lines = parts.text.split("\n")
    at = min(at, len(lines) - 1)
    wanted = "\n".join([*lines[:at], line, *lines[at + 1 :]])
    after = frontmatter.split(frontmatter.with_body(parts, wanted).encode())
    if parts.body and wanted and fenced and wanted.strip("\n"):
        assert after.text.strip("\n") == wanted.strip("\n")
    assert after.head.rstrip("\r\n") == parts.head.rstrip("\r\n")
    old, new = SPLIT.findall(parts.body), SPLIT.findall(after.body)
    count = 1 if not parts.body.endswith(("\n", "\r")) else 0  # the line that may gain or lose an ending
    same = min(at, len(old) - count)
    if parts.body and line.strip() and at and after.head == parts.head:
        assert new[:same] == old[:same]
        rest = old[at + 1 :]
        assert rest == [] or new[-len(rest) :] == rest


@example(data=b"}", start=b"{\n")
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"+++\n", b"{\n", b"---\r", b"caf\xe9\n"]),
)
def test_reading_and_writing_is_the_identity(data: bytes, start: bytes) -> None:
    """For any bytes, in both formats: what is no text is refused, what is text comes back as it was."""
    for split in (frontmatter.split, org.split):
        try:
            parts = split(start + data)
        except Unreadable:
            continue
        assert parts.encode() == start + data
        assert frontmatter.with_body(parts, parts.text).encode() == start + data
        assert formats.change("org" if split is org.split else "markdown", parts, {}).encode() == start + data


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("a: &x 1 # one\nb: *x # two\n", {"b": 2}, "a: &x 1 # one\nb: 2 # two\n"),
        ("a: 1\na: 2\n", {"a": 3}, "a: 1\na: 3\n"),
        ("a: 1\nb: 0\na: 2\n", {"a": None}, "b: 0\n"),
        ("  a: 1\n  b: 2\n", {"a": 3, "c": [1]}, "  a: 3\n  b: 2\n  c: [1]\n"),
        ("tags:\n  - a # why\n  # b is gone\n  - b\n  - c # too\n", {"tags": ["a", "c", "d"]}, "tags:\n  - a # why\n  # b is gone\n  - c # too\n  - d\n"),
        ("tags: [a, b] # some\n", {"tags": ["a"]}, "tags: [a] # some\n"),
        ("tags: a b\n", {"tags": ["a"]}, "tags: [a]\n"),
        ("# top\n\nt: x # y\n\n# below\nz: 1\n", {"t": "w"}, "# top\n\nt: w # y\n\n# below\nz: 1\n"),
        ("base: &b {k: 1}\nuse:\n  <<: *b\nn: 1\n", {"n": 2}, "base: &b {k: 1}\nuse:\n  <<: *b\nn: 2\n"),
        ("", {"a": 1}, "a: 1\n"),
        ("# only a comment", {"a": 1}, "# only a comment\na: 1\n"),
        ("zip: 01234\non: yes\nn: 1\n", {"n": 2}, "zip: 01234\non: yes\nn: 2\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_cases_of_one_key(before: str, changes: dict[str, Any], after: str, ending: str) -> None:
    """Comments, doubled keys, aliases, indentation and list items that stay, exactly."""
    raw = f"---\n{before}".removesuffix("\n") + "\n---\nbody\n"
    want = f"---\n{after}".removesuffix("\n") + "\n---\nbody\n"
    parts = frontmatter.split(raw.replace("\n", ending).encode())
    assert frontmatter.with_keys(parts, changes).encode().decode() == want.replace("\n", ending)


def test_names_are_what_was_written() -> None:
    """A title, tag or alias that looks like a number, a truth value or a date is text; dates that cannot be harm nobody."""
    record = formats.parse(
        b"---\ntitle: 007\ntags: [2024, 010, yes, 1.10, 2024-05-06]\naliases: 12:30\ndue: 2024-13-45\n---\n", "a.md"
    )
    assert record.title == "007" and record.tags == ("2024", "010", "yes", "1.10", "2024-05-06")
    assert record.aliases == ("12:30",) and record.meta["due"] == "2024-13-45" and record.error is None


def test_utf_16_is_read_and_kept() -> None:
    """A note saved by an old Windows editor is found, is changed in its own encoding, and says what it is."""
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        raw = mark + "---\r\ntitle: Größe\r\n---\r\ntext\r\n".encode(encoding)
        record = formats.parse(raw, "a.md")
        assert record.title == "Größe" and record.body == "text\n" and "UTF-16" in (record.error or "")
        new = formats.change("markdown", frontmatter.split(raw), {"title": "日本"}).encode()
        assert new == mark + "---\r\ntitle: 日本\r\n---\r\ntext\r\n".encode(encoding)


TOML = '+++\ntitle = "Hugo # 1"  # note\ntags = ["a", "b"]\ndate = 2024-05-06\n[params]\nx = 1\n+++\n\n# Head\n'
JSON = '{\n  "title": "Json",\n  "tags": ["a", "b"]\n}\n\n# Head\n'


@pytest.mark.parametrize(("text", "title", "language"), [(TOML, "Hugo # 1", "TOML"), (JSON, "Json", "JSON")])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_toml_and_json_frontmatter_are_read_and_never_harmed(text: str, title: str, language: str, ending: str) -> None:
    """Hugo's other two kinds: fields are read, the body can be changed, a key cannot, and the sentence says why."""
    raw = text.replace("\n", ending).encode()
    record = formats.parse(raw, "a.md")
    assert (record.title, record.tags, record.body, record.error) == (title, ("a", "b"), "# Head\n", None)
    parts = frontmatter.split(raw)
    assert formats.change("markdown", parts, {"body": "# Other\n"}).encode() == raw.replace(b"# Head", b"# Other")
    for changes in ({"tags": ["c"]}, {"title": "x"}, {"stars": 1}):
        with pytest.raises(InvalidValue, match=f"is {language}"):
            formats.change("markdown", parts, changes)


@pytest.mark.parametrize(
    "text", ["+++\nno end\n", "+++\na = \n+++\nbody\n", "{a}\n", '{"a": 1} text\n', "{}x", "{" * 5000, '{"a":' * 5000]
)
def test_what_only_begins_like_frontmatter_is_a_body(text: str) -> None:
    """Or frontmatter with an error; the bytes stay and nothing is raised."""
    record = formats.parse(text.encode(), "a.md")
    assert frontmatter.split(text.encode()).encode() == text.encode()
    assert record.body == text or "not TOML" in (record.error or "")


def test_logseq_properties_stay() -> None:
    """Page and block properties are lines of the body; a new key goes above them and touches none."""
    raw = b"title:: Page\ntags:: a, [[b]]\n\n- block\n  id:: 64b-1\n  collapsed:: true\n"
    assert formats.change("markdown", frontmatter.split(raw), {"stars": 1}).encode() == b"---\nstars: 1\n---\n\n" + raw


def test_a_body_that_looks_like_frontmatter_stays_a_body(tmp_path: Path) -> None:
    """Written through the store it is read back as text, not as keys."""
    store = Store(tmp_path)
    store.prepare()
    (tmp_path / "a.md").write_text("old\n")
    record = store.update("a", {"body": "---\nclass: agent\n---\nx\n"})
    assert record.class_ == "durable" and record.body.strip() == "---\nclass: agent\n---\nx"


# --- org -------------------------------------------------------------------------------------------------------------

HEADS = [
    "", "# -*- mode: org -*-\n", ":PROPERTIES:\n:ID:       4f2a-1\n:Custom:   x y\n:END:\n", ":properties:\n:id: a\n:end:\n",
    "# first\n:PROPERTIES:\n:ID: 1\n:ROAM_ALIASES: \"Two words\" one\n:END:\n",
]  # fmt: skip
KEYWORDS = [
    "#+title: The Roof\n", "#+TITLE:No space\n", "#+Title:\tTab\n", "#+FILETAGS: :a:b:\n", "#+filetags: a b\n", "#+STARTUP: overview\n", "#+AUTHOR:\n",
    "#+date: <2024-05-06 Mon 10:30>\n", "#+PROPERTY: header-args :eval no\n", "# comment\n", "\n", "#+options: toc:nil num:nil\n", "#+ROAM_TAGS: x\n",
]  # fmt: skip
ORG_BODIES = [
    "", "text\n", "* TODO [#A] Head :tag:@home:\n:PROPERTIES:\n:ID: inner\n:END:\n:LOGBOOK:\nCLOCK: [2024-05-06 Mon 10:00]--[2024-05-06 Mon 11:00] =>  1:00\n:END:\n",
    "#+BEGIN_SRC org\n* no headline\n:PROPERTIES:\n#+title: no title\n#+END_SRC\n", "| a | b |\n|---+---|\n| 1 | [[x]] |\n#+TBLFM: $2=$1\n",
    ":DRAWER:\n:PROPERTIES:\n:ID: deep\n:END:\n:END:\n", "* A\n#+title: below\n** B\n   DEADLINE: <2024-05-06 Mon +1w>\n", "no end", "\n\n* late\n", "é🎉\u2028x\x0c\n",
]  # fmt: skip
FIELD_LINES = {
    "title": r"(?i)#\+title:", "tags": r"(?i)#\+(file)?tags:", "author": r"(?i)#\+author:", "id": r"(?i):id:", "custom": r"(?i):custom:",
    "startup": r"(?i)#\+startup:", "fresh": r"(?i):fresh:",
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(HEADS), st.lists(st.sampled_from(KEYWORDS), max_size=5), st.sampled_from(ORG_BODIES),
    st.sampled_from(["\n", "\r\n", "\r", "mixed without CR"]), st.sampled_from(sorted(FIELD_LINES)), st.sampled_from(["new", ["x", "y"], None]), st.data(),
)  # fmt: skip
def test_one_org_key_is_changed_and_nothing_else(
    head: str, keywords: list[str], body: str, ending: str, key: str, value: Any, data: st.DataObject
) -> None:
    """Every line that is not one of the key stays, in order, in any case, order, encoding and line ending."""
    raw = clothed(head + "".join(keywords) + body, ending, data.draw)
    parts = org.split(raw.encode())
    assert parts.encode() == raw.encode()
    if key == "title" and "title" not in parts.head.lower():
        return  # then it lives in the first headline, as in Markdown
    after = org.change(parts, {key: value if key == "tags" or value is None else str(value)}).encode().decode()
    own = re.compile(FIELD_LINES[key])
    split_at = len(parts.head)
    old = [line for line in SPLIT.findall(raw[:split_at]) if not own.match(line)] + SPLIT.findall(raw[split_at:])
    new = SPLIT.findall(after)
    rest = iter(new)
    assert all(line in rest for line in old), (raw, after)  # each line, in order
    # One line; or a drawer for it of three; and an empty line between a new head and the text.
    assert len(new) - len(old) <= 4
    read = org.parse_org(after.encode(), "a.org")
    if value is not None and key not in ("tags", "author", "id", "title"):
        assert read.meta[key] == str(value)
    if raw.startswith("# -*-"):
        assert after.startswith("# -*-"), "the line that tells Emacs what the file is stays the first"


# --- real notes ------------------------------------------------------------------------------------------------------

SAMPLES = Path(__file__).resolve().parents[1]


def test_every_sample_note_is_saved_as_it_was(tmp_path: Path) -> None:
    """Read, write the same fields and body, and the file is not even touched; change the title, and one line differs."""
    shutil.copytree(SAMPLES / "samples", tmp_path / "n" / "samples")
    shutil.copytree(SAMPLES / "librarian", tmp_path / "n" / "librarian")
    store = Store(tmp_path / "n")
    store.prepare()
    files = list(store.scan())
    assert len(files) > 190
    for stat in files:
        before = (store.root / stat.path).read_bytes()
        record = (
            store.get(stat.path.rpartition(".")[0]) if not stat.path.endswith("SKILL.md") else store.read(stat.path)
        )
        same = store.update(record.id, {"body": record.body, **({"tags": list(record.tags)} if record.tags else {})})
        if (store.root / stat.path).read_bytes() != before:
            # Tags in another spelling (words in a string) become a list: that line, and no other.
            old, new = before.splitlines(), (store.root / stat.path).read_bytes().splitlines()
            assert [line for line in old if line not in new] == [line for line in old if line.startswith(b"tags:")]
        assert same.body == record.body
        middle = (store.root / stat.path).read_bytes().splitlines(keepends=True)
        changed = store.update(record.id, {"title": "Another Title"})
        assert changed.title == "Another Title"
        after = (store.root / stat.path).read_bytes().splitlines(keepends=True)
        if len(after) == len(middle):
            assert sum(one != other for one, other in zip(middle, after, strict=True)) == 1, stat.path
        else:
            assert [line for line in after if line in middle] == middle, stat.path
