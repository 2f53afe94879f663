"""Folders that Logseq and Denote made open as they are: what these programs document is read, and changed where it stands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import InvalidId, Notes, Store, Watcher, filenames, formats, frontmatter, properties
from records.markdown import parse_markdown
from tests.records.test_saves import Follower

L = "logseq/docs: pages/Properties.md"
LB = "logseq/docs: pages/Built-in Properties.md"
LF = "logseq/docs: pages/Filename format.md"
LJ = "logseq: the default of :journal/page-title-format"
D = "Denote's manual: The file-naming scheme"
DC = "Denote's manual: denote-file-name-components-order"
SPEC = "the specification of this package"

# (text of a page, title, tags, aliases, where this is said); title "": the id
PAGES: list[tuple[str, str, list[str], list[str], str]] = [
    ("title:: A custom title\n\n- a block\n", "A custom title", [], [], LB + ": overrides the title of a page"),
    ("tags:: motor, steering wheel\n- a\n", "", ["motor", "steering wheel"], [], L + ": comma separation"),
    ("tags:: steering wheel\n", "", ["steering wheel"], [], L + ": no comma, one page"),
    ("tags:: [[Page A]], [[Page B]]\n", "", ["Page A", "Page B"], [], L),
    ("tags:: [[february 21, 2017]], b\n", "", ["february 21, 2017", "b"], [], L + ": a page name may hold a comma"),
    ("tags:: #triples #[[text editor]]\n", "", ["triples", "text editor"], [], L + ": links and tags"),
    ("alias:: synonym, another one\ntags:: x", "", ["x"], ["synonym", "another one"], LB),
    ("TITLE:: Shouted\nTags:: a\n", "Shouted", ["a"], [], L + ": names in any case"),
    ("type:: [[Feature]]\nplatform:: [[All Platforms]]\ntitle:: Third\n- x\n", "Third", [], [], L),
    ('title:: "[[Logseq]] quoted"\n', "[[Logseq]] quoted", [], [], L + ": quotes"),
    ("title::\ntags::   \n- x\n", "", [], [], L + ": no value, no property"),
    ("- title:: of a block\n", "", [], [], L + ": block properties"),
    ("text first\ntitle:: of a paragraph\n", "", [], [], L + ": page properties are in the first block"),
    ("- block\n  tags:: of the block\n", "", [], [], L),
    ("title:: First\ntitle:: Second\n", "First", [], [], SPEC),
    ("```\ntitle:: code\n```\n", "", [], [], SPEC),
    ("title:: From the page\n# A heading\n", "From the page", [], [], SPEC + ": the page's own word goes first"),
    ("---\ntitle: From the front\nalias: one\n---\ntitle:: Below\nalias:: two\ntags:: t\n", "From the front", ["t"], ["one"], SPEC),
    ("id:: 60a78c12-4e12-4d81-a33f-9f63695aaf32\nclass:: agent\n- x\n", "", [], [], LB + ": id is the block's; a class in the text is none"),
    ("std::vector is fast\n", "", [], [], "C++ is not Logseq"),
    ("https://x.org::8080 is an address\n", "", [], [], "nor is an address"),
    ("1st:: begins with a figure\ntitle:: no\n", "", [], [], L + ": names begin with no figure"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "title", "tags", "aliases", "source"), PAGES, ids=[page[0][:30] for page in PAGES])
def test_the_properties_of_a_page(text: str, title: str, tags: list[str], aliases: list[str], source: str) -> None:
    """As Logseq documents them: only at the very top, in any case, commas and references part the items."""
    record = parse_markdown(text.encode(), "pages/n.md")
    assert (record.title, list(record.tags), list(record.aliases)) == (title or "pages/n", tags, aliases), source
    assert record.id == "pages/n" and record.class_ == "durable" and record.error is None
    assert text.endswith(record.body)  # the lines stay in the text


# (file as it is, what is set, file as it is then)
CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("title:: Old\ntags:: a\n\n- x\n", {"title": "New"}, "title:: New\ntags:: a\n\n- x\n"),
    ("Title::  Old\r\n- x\r\n", {"title": "New  one"}, "Title:: New one\r\n- x\r\n"),
    ("tags:: [[Page A]], #b, c\n- x\n", {"tags": ["c", "Page A", "d", "e f"]}, "tags:: c, [[Page A]], d, e f\n- x\n"),
    ("tags:: a\n- x\n", {"tags": ["a", "b, c"]}, "tags:: a, [[b, c]]\n- x\n"),
    ("tags:: a\n- x\n", {"tags": ["a\nclass:: agent"]}, "tags:: a class:: agent\n- x\n"),
    ("tags:: a\ntitle:: T", {"tags": []}, "title:: T"),
    ("tags:: a\ntags:: b\n- x\n", {"tags": None}, "- x\n"),
    ("title:: T", {"tags": ["a"]}, "title:: T\ntags:: a"),
    ("type:: book\n- x\n", {"title": "T", "aliases": ["U"]}, "type:: book\ntitle:: T\nalias:: U\n- x\n"),
    ("alias:: a, b\n- x\n", {"aliases": ["b", "c"]}, "alias:: b, c\n- x\n"),
    ("type:: book\n\n# Head\n", {"title": "New"}, "type:: book\n\n# New\n"),
    ("title:: Old\n\n# Head\n", {"title": "New"}, "title:: New\n\n# Head\n"),
    ("---\ntitle: Old\n---\ntitle:: Page\n", {"title": "New"}, "---\ntitle: New\n---\ntitle:: Page\n"),
    ("- x\n", {"tags": ["a"]}, "---\ntags: [a]\n---\n\n- x\n"),
]


@pytest.mark.parametrize(("old", "changes", "new"), CHANGES, ids=[change[0][:30] for change in CHANGES])
def test_a_field_of_a_page_is_changed_where_it_stands(
    tmp_path: Path, old: str, changes: dict[str, Any], new: str
) -> None:
    """Only the line of that property differs; the items that stay keep their spelling, and line endings stay."""
    (tmp_path / "n.md").write_bytes(old.encode())
    record = Store(tmp_path).update("n", changes)
    assert (tmp_path / "n.md").read_bytes().decode() == new
    for field, value in changes.items():
        if value and field == "title":
            assert record.title == " ".join(value.split())


FIELD = st.sampled_from(["title", "tags", "aliases"])
WORD = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(text=st.text(max_size=80), field=FIELD, words=st.lists(WORD, max_size=3))
def test_no_page_breaks_the_reader_and_only_its_top_is_changed(text: str, field: str, words: list[str]) -> None:
    """Whatever the text is, it is read; a change leaves all that follows the properties as it was."""
    properties.read(text)
    page = f"type:: x\n- {text}"
    assert properties.has(page)
    changed = properties.change(page, field, " ".join(words) if field == "title" else words)
    assert changed is None or changed.endswith(f"- {text}")


@pytest.mark.parametrize(
    "text",
    [
        "a:: x" + " " * 3_000_000 + "y\n",
        "tags:: b\n" * 300_000,
        "tags:: " + "[[" * 1_000_000,
        "tags:: " + "#a " * 300_000,
    ],
    ids=["one long line", "many lines", "open brackets", "many tags"],
)
def test_a_page_made_to_be_slow_is_read_at_once(text: str) -> None:
    """Megabytes of properties cost no more than a page with many: what begins too late or is too long is text."""
    began = time.process_time()
    properties.read(text)
    assert time.process_time() - began < 1


@given(
    page=st.sampled_from(["type:: x\n- y\n", "tags:: a, [[b]]\ntitle:: t\nalias:: c\n"]),
    field=FIELD,
    words=st.lists(WORD, max_size=3),
)
def test_what_is_set_on_a_page_is_read_back(page: str, field: str, words: list[str]) -> None:
    """Whatever the words are: in the page's own line, or in frontmatter where a line cannot say it."""
    words = [
        " ".join(word.lstrip("#").split()) for word in words if word.strip("# \u00a0") and word.lstrip("#").split()
    ]
    value: Any = " ".join(words) if field == "title" else words
    parts = formats.change("markdown", frontmatter.split(page.encode()), {field: value})
    record = parse_markdown(parts.encode(), "n.md")
    assert record.error is None
    if field == "title":
        assert record.title == (value or "n")
    else:
        found = record.tags if field == "tags" else record.aliases
        assert list(dict.fromkeys(found)) == list(dict.fromkeys(words))


# (name of a file, title, tags, created, names that links use, where this is said); "": nothing is told
NAMES: list[tuple[str, str, tuple[str, ...], str, list[str], str]] = [
    ("20220610T043241--initial-thoughts-on-the-zettelkasten-method__notetaking", "initial thoughts on the zettelkasten method", ("notetaking",), "2022-06-10T04:32:41", ["20220610T043241"], D),
    ("20220610T062201--define-custom-org-hyperlink-type__denote_emacs_package", "define custom org hyperlink type", ("denote", "emacs", "package"), "2022-06-10T06:22:01", ["20220610T062201"], D),
    ("20220621T062327==1a2--introduction-to-denote__denote_emacs", "introduction to denote", ("denote", "emacs"), "2022-06-21T06:23:27", ["20220621T062327"], D),
    ("20240601T193022__only_keywords", "", ("only", "keywords"), "2024-06-01T19:30:22", ["20240601T193022"], D),
    ("20240601T200121", "", (), "2024-06-01T20:01:21", ["20240601T200121"], D),
    ("deep/er/20240101T101010--größe__über", "größe", ("über",), "2024-01-01T10:10:10", ["20240101T101010"], D),
    ("--title-first__kw@@20240101T101010", "title first", ("kw",), "2024-01-01T10:10:10", ["20240101T101010"], DC),
    ("__kw--title@@20240101T101010==sig", "title", ("kw",), "2024-01-01T10:10:10", ["20240101T101010"], DC),
    ("20241301T101010--thirteenth-month", "", (), "", [], SPEC),
    ("20240101T101010-one-dash", "", (), "", [], D),
    ("20240101--no-time__kw", "", (), "", [], D),
    ("pages/Logseq___Features", "Logseq/Features", (), "", ["Logseq/Features"], LF),
    ("pages/New to Logseq%3F", "New to Logseq?", (), "", ["New to Logseq?"], LF),
    ("pages/Article%2FSteps", "Article/Steps", (), "", ["Article/Steps"], LF),
    ("pages/100% sure", "", (), "", [], SPEC),
    ("pages/broken%FF", "", (), "", [], SPEC),
    ("journals/2024_01_01", "", (), "", ["Jan 1st, 2024"], LJ),
    ("journals/2024_12_12", "", (), "", ["Dec 12th, 2024"], LJ),
    ("journals/2024_13_01", "", (), "", [], LJ),
    ("plain", "", (), "", [], SPEC),
]  # fmt: skip


@pytest.mark.parametrize(("stem", "title", "tags", "created", "names", "source"), NAMES, ids=[n[0][:40] for n in NAMES])
def test_what_a_file_name_says(
    stem: str, title: str, tags: tuple[str, ...], created: str, names: list[str], source: str
) -> None:
    """Title, tags, time and other names of the note, as the program that gave the name documents it."""
    told = filenames.told(stem)
    assert (told.title, told.tags, told.created, list(filenames.names(stem))) == (title, tags, created, names), source


@pytest.mark.parametrize("suffix", [".md", ".org"])
def test_a_file_name_is_asked_only_where_the_file_is_silent(tmp_path: Path, suffix: str) -> None:
    """Frontmatter and headings go before the name of the file; tags that are given and empty are none."""
    name = f"20240101T101010--title-here__tag1_tag2{suffix}"
    store = Store(tmp_path)
    heads = (
        {"": ("title here", ["tag1", "tag2"]), "---\ntitle: Own\ntags: [mine]\n---\n": ("Own", ["mine"]),
         "# Heading\n": ("Heading", ["tag1", "tag2"]), "---\ntags: []\n---\n": ("title here", [])}
        if suffix == ".md" else
        {"": ("title here", ["tag1", "tag2"]), "#+title: Own\n#+filetags: :mine:\n": ("Own", ["mine"]),
         "* Heading\n": ("Heading", ["tag1", "tag2"])}
    )  # fmt: skip
    for head, (title, tags) in heads.items():
        (tmp_path / name).write_text(head + "text\n")
        record = store.read(name)
        assert (record.title, list(record.tags)) == (title, tags), head
        assert record.created == "2024-01-01T10:10:10" and record.id == name.removesuffix(suffix)


def test_front_matter_of_denote_is_read_in_all_its_forms(tmp_path: Path) -> None:
    """Org, YAML and TOML as its manual shows them (Front matter)."""
    forms = {
        "20220630T160934--a.org": "#+title:      This is a sample note\n#+date:       [2022-06-30 Thu 16:09]\n"
        "#+filetags:   :denote:testing:\n#+identifier: 20220630T160934\n",
        "20220630T160958--a.md": '---\ntitle:      "This is a sample note"\ndate:       2022-06-30T16:09:58+03:00\n'
        'tags:       ["denote", "testing"]\nidentifier: "20220630T160958"\n---\n',
        "20220630T161013--a.md": '+++\ntitle      = "This is a sample note"\ndate       = 2022-06-30T16:10:13+03:00\n'
        'tags       = ["denote", "testing"]\nidentifier = "20220630T161013"\n+++\n',
    }
    store = Store(tmp_path)
    for name, text in forms.items():
        (tmp_path / name).write_text(text + "\n")
        record = store.read(name)
        assert (record.title, record.tags, record.error) == ("This is a sample note", ("denote", "testing"), None)
        assert str(record.meta["identifier"]) == name[:15] and record.created.startswith("2022-06-30T16:")


def test_links_of_denote_and_logseq_lead_to_their_notes_and_follow_a_rename(tmp_path: Path) -> None:
    """`denote:` links by identifier, pages by the name that Logseq shows, journals by their day; a rename keeps those that
    still find the note and rewrites the others. Nothing but that is written."""
    files = {
        "20240101T101010--first__kw.org": "[[denote:20240202T101010][second]]\n",
        "20240202T101010--second.md": "[first](denote:20240101T101010) [[denote:20240101T101010]]\n",
        "pages/Logseq___Features.md": "title-less:: x\n- see [[Jan 2nd, 2024]]\n",
        "pages/custom.md": "title:: My Page\nalias:: Mine\n- [[Logseq/Features]]\n",
        "journals/2024_01_02.md": "- [[My Page]] [[Mine]] [[logseq/features]]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    first, second = "20240101T101010--first__kw", "20240202T101010--second"
    with Notes(tmp_path) as notes:
        assert notes.index.unresolved() == []
        assert {link["id"] for link in notes.index.backlinks(first)} == {second}
        assert {link["id"] for link in notes.index.backlinks(second)} == {first}
        assert {link["id"] for link in notes.index.backlinks("pages/custom")} == {"journals/2024_01_02"}
        assert {(tmp_path / name).read_text() for name in files} == set(files.values())
        notes.rename(first, "20240101T101010--renamed")
        assert (tmp_path / f"{second}.md").read_text() == files[f"{second}.md"], "the identifier finds it as before"
        notes.rename("20240101T101010--renamed", "plain/name")
        assert (tmp_path / f"{second}.md").read_text() == "[first](plain/name.org) [[name]]\n"
        notes.rename(second, "other")
        assert (tmp_path / "plain" / "name.org").read_text() == "[[other][second]]\n"
        notes.rename("pages/Logseq___Features", "pages/What it does")
        assert notes.index.unresolved() == []
        assert (tmp_path / "pages" / "custom.md").read_text().endswith("- [[pages/What it does]]\n")
        assert notes.verify() == []


async def test_the_copies_that_logseq_keeps_are_no_notes(tmp_path: Path) -> None:
    """Old versions of a page have its title and alias; they are neither found by a scan nor by events, and take no link."""
    page = "title:: My Page\nalias:: Mine\n- x\n"
    copies = ["logseq/bak/pages/page/2025-11-14T09_30_12.345Z.Desktop.md", "logseq/version-files/local/pages/page.md"]
    for name in ["pages/page.md", *copies, "logseq/readme.md", "notes/logseq/bake.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(page if "page" in name else "x\n")
    (tmp_path / "x.md").write_text("[[Mine]] [[My Page]]\n")
    with Notes(tmp_path) as notes:
        assert sorted(note["id"] for note in notes.index.list()) == [
            "logseq/readme",
            "notes/logseq/bake",
            "pages/page",
            "x",
        ]
        assert notes.index.unresolved() == []
        assert list(notes.store.scan("logseq/bak")) == list(notes.store.scan(copies[0])) == []
        with pytest.raises(InvalidId, match="Logseq keeps copies"):
            notes.create(id="logseq/bak/new", body="x")
        assert notes.verify() == []
    follower = Follower(tmp_path)
    async with Watcher(tmp_path) as watcher:
        (tmp_path / "logseq" / "bak" / "pages" / "page" / "later.md").write_text(page)
        (tmp_path / "last.md").write_text("x\n")
        await follower.until(watcher, lambda: "last.md" in follower.revisions())
        assert [change.id for change in follower.changes] == ["last"]
