"""Org notes: read, changed by lines, linked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import InvalidValue, Notes, Store, org

NOTE = b""":PROPERTIES:
:ID:       4f2a
:CLASS:    agent
:Mood:     calm
:ROAM_ALIASES: "Second name" "Third"
:LINKS:    [[id:77]] other
:END:
#+title: The Roof
#+AUTHOR: ada
#+FILETAGS: :house:money:
#+date: [2024-05-06 Mon 10:30]
# a comment
#+STARTUP: overview

Some text with [[walls][the walls]] and [[id:4f2b::*Part][x]] and [[file:../b/c.org::*H]] and [[https://x.org][web]].

* TODO [#A] First *headline*  :tag:
:PROPERTIES:
:ID: inner
:END:
#+BEGIN_SRC python
[[not a link]]
,* not a headline
#+END_SRC
** Second =[[verbatim]]= [[note]]
"""


def test_every_field_is_read() -> None:
    """Keywords and the file's drawer are fields; a headline's drawer, source blocks and verbatim text are body."""
    record = org.parse_org(NOTE, "a/roof.org")
    assert (record.id, record.title, record.class_, record.author, record.format) == (
        "4f2a",
        "The Roof",
        "agent",
        "ada",
        "org",
    )
    assert record.tags == ("house", "money") and record.created == "2024-05-06T10:30"
    assert record.aliases == ("Second name", "Third", "inner")  # the id of a headline: a node of org-roam
    assert record.links == ("77",) and record.meta["mood"] == "calm" and record.meta["startup"] == "overview"
    assert [(h.level, h.text) for h in record.outline] == [(1, "First *headline*"), (2, "Second =verbatim= note")]
    assert [(link.kind, link.target, link.fragment) for link in record.wikilinks] == [
        ("wiki", "walls", ""), ("wiki", "4f2b", "Part"), ("markdown", "b/c", "H"), ("wiki", "note", ""),
    ]  # fmt: skip
    assert record.body.startswith("Some text")


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"#+TITLE: x\n", b":PROPERTIES:\n:A: b\n:END:\n", b":PROPERTIES:\n:open: x\n"]),
)
def test_taking_apart_loses_no_byte(data: bytes, head: bytes) -> None:
    """split then encode is the identity for every org file that is text."""
    from records import Unreadable

    try:
        parts = org.split(head + data)
    except Unreadable:
        return
    assert parts.encode() == head + data


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"title": "New"}, b"#+title: The Roof\n", b"#+title: New\n"),
        ({"tags": ["a", "b_c"]}, b"#+FILETAGS: :house:money:\n", b"#+FILETAGS: :a:b_c:\n"),
        ({"class": "durable"}, b":CLASS:    agent\n", b":CLASS:    durable\n"),
        ({"mood": None}, b":Mood:     calm\n", b""),
        ({"extra": "x"}, b":END:\n#+title", b":EXTRA: x\n:END:\n#+title"),
    ],
)
def test_a_change_touches_its_own_line(changes: dict[str, object], old: bytes, new: bytes) -> None:
    """Every other byte of the file stays, in each line-ending style."""
    assert org.change(org.split(NOTE), changes).encode() == NOTE.replace(old, new, 1)
    crlf = NOTE.replace(b"\n", b"\r\n")
    assert org.change(org.split(crlf), changes).encode() == crlf.replace(
        old.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n"), 1
    )


def test_a_new_org_note_reads_as_it_was_asked(tmp_path: Path) -> None:
    """create, update and edit work on org as on Markdown; what one line cannot hold is refused."""
    store = Store(tmp_path)
    store.prepare()
    made = store.create(title="Sea", body="* Waves\nhigh", tags=["blue"], class_="agent", format="org", meta={"k": "v"})
    assert made.path == "sea.org" and (made.title, made.tags, made.class_, made.meta) == (
        "Sea",
        ("blue",),
        "agent",
        {"k": "v"},
    )
    assert store.update("sea", {"title": "Ocean", "body": "low"}).title == "Ocean"
    assert store.edit("sea", "low", "high").body == "high\n"
    with pytest.raises(InvalidValue, match="one line"):
        store.update("sea", {"meta": {"k": "two\nlines"}})


def test_links_between_org_and_markdown_follow_a_rename(tmp_path: Path) -> None:
    """Org links by name, by file and by id, and Markdown links to an org file, lead to the note after it moved."""
    (tmp_path / "old.org").write_text("* I am\n[[file:a.org][a]]\n")
    (tmp_path / "a.org").write_text("[[old][shown]] [[file:old.org::*I am]] =[[old]]= [[other]]\n")
    (tmp_path / "b.md").write_text("[[old]] [x](old.org)\n")
    with Notes(tmp_path) as notes:
        done = notes.rename("old", "sub/new")
        assert not done["failed"]
        assert (tmp_path / "a.org").read_text() == "[[new][shown]] [[file:sub/new.org::*I am]] =[[old]]= [[other]]\n"
        assert (tmp_path / "b.md").read_text() == "[[new]] [x](sub/new.org)\n"
        assert (tmp_path / "sub" / "new.org").read_text() == "* I am\n[[file:../a.org][a]]\n"
        assert {link["id"] for link in notes.index.backlinks("sub/new")} == {"a", "b"}
        assert notes.verify() == []


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("", "#+CLASS: agent"),
        ("", ":PROPERTIES:\n:A: 1\n:END:"),
        ("#+TITLE: x\n", "#+CAPTION: x"),
        (":PROPERTIES:\n:ID: 1\n:END:\n\n", "\n# remark"),
    ],
)
def test_a_text_that_would_be_read_as_fields_is_refused(tmp_path: Path, head: str, line: str) -> None:
    """Set, edited, appended or new, a text that begins like a head would change fields nobody asked to change."""
    store = Store(tmp_path)
    (tmp_path / "a.org").write_text(head + "text\n")
    (tmp_path / "empty.org").write_text(head)
    for write in (
        lambda: store.update("a", {"body": line + "\ntext\n"}),
        lambda: store.edit("a", "text", line),
        lambda: store.append("empty", line),
        lambda: store.create(id="new", format="org", body=line),
    ):
        with pytest.raises(InvalidValue, match=r"cannot begin with '[#:]"):
            write()
    assert (tmp_path / "a.org").read_text() == head + "text\n" and not (tmp_path / "new.org").exists()
    for text in ("text\n#+CAPTION: x\n", "#+begin_src python\n1\n#+end_src\n", "* H\n# x\n", "\n\ntext\n"):
        assert store.update("a", {"body": text}).body == text.lstrip("\n")


@pytest.mark.parametrize("key", ["end", "PROPERTIES", "a:b", "two words", "", "#x"])
def test_a_key_that_would_break_the_drawer_is_refused(key: str) -> None:
    """`:END:` as a property would end the drawer there, and what follows would be text."""
    with pytest.raises(InvalidValue, match="cannot hold the key"):
        org.change(org.split(b":PROPERTIES:\n:ID: 1\n:END:\n"), {key: "v"})


def test_keys_know_no_case() -> None:
    """A key is found however it is written, and there is one of it afterwards."""
    head = b":PROPERTIES:\n:Custom: v\n:END:\n"
    assert org.change(org.split(head), {"cUSTOM": "w"}).encode() == head.replace(b" v", b" w")
    assert org.change(org.split(head), {"Custom": None}).encode() == b":PROPERTIES:\n:END:\n"


@pytest.mark.parametrize(
    "keys", [{"tags": ["a b"]}, {"tags": ["a:b"]}, {"aliases": ['say "no"']}], ids=["space", "colon", "quote"]
)
def test_names_that_org_cannot_hold_are_refused(keys: dict[str, object]) -> None:
    """Nothing is stored under another name than was given."""
    with pytest.raises(InvalidValue):
        org.change(org.split(b"#+TITLE: x\n"), keys)


def test_names_with_spaces_read_back() -> None:
    """Links with spaces are written as links, aliases as org-roam reads them."""
    parts = org.change(org.split(b"* H"), {"links": ["a b", "c"], "aliases": ["One two"]})
    record = org.parse_org(parts.encode(), "n.org")
    assert (record.links, record.aliases) == (("a b", "c"), ("One two",))
    assert b":ROAM_ALIASES: " in parts.encode()


@pytest.mark.parametrize("title", ["x :tag:", "[#A] x", "TODO x", "[[x][y]]"])
def test_a_title_that_no_headline_can_say_has_a_keyword(title: str) -> None:
    """It reads back as it was set."""
    assert org.parse_org(org.change(org.split(b"* Old\n"), {"title": title}).encode(), "n.org").title == title


@pytest.mark.parametrize(
    ("written", "aliases"),
    [
        ('"Other Name" Short', ("Other Name", "Short")),
        ('one "two three" four', ("one", "two three", "four")),
        ("a b", ("a", "b")),
    ],
)
def test_aliases_with_and_without_quotation_marks(written: str, aliases: tuple[str, ...]) -> None:
    """ROAM_ALIASES is a list of words, of which some are between quotation marks (org-roam manual: Titles and aliases)."""
    assert org.parse_org(f":PROPERTIES:\n:ROAM_ALIASES: {written}\n:END:\n".encode(), "n.org").aliases == aliases


def test_an_indented_keyword_is_one() -> None:
    """Org lets keywords be indented: the title is read there, and changed there."""
    data = b"  #+title: Old\n\t#+filetags: :a:\nbody\n"
    record = org.parse_org(data, "n.org")
    assert (record.title, record.tags) == ("Old", ("a",))
    assert org.change(org.split(data), {"title": "New"}).encode() == data.replace(b"Old", b"New")


def test_fixed_width_lines_and_comments_hold_no_link() -> None:
    """What org shows as it stands, or not at all, leads nowhere; a list or a drawer is neither."""
    body = b"text\n: [[fixed]]\n  : [[too]]\n# [[comment]]\n- [[item]] :: [[term]]\n:note: [[drawer]]\n#+caption: [[caption]]\n"
    assert [link.target for link in org.parse_org(body, "n.org").wikilinks] == ["item", "term", "drawer", "caption"]


@pytest.mark.parametrize(
    ("text", "heads", "targets"),
    [
        ("* ~git rebase~\n** =a= [[b]] :t:\n", ["~git rebase~", "=a= b"], ["b"]),
        ("*=a= is text\n*\t[[b]]\n", [], ["b"]),
        ("[[a][see [1] there]] [[b c][two\nlines]] [[d\ne]]\n", [], ["a", "b c", "d e"]),
        ("[[a][\n\nb]] [[c]]\n", [], ["c"]),
        ("#+begin_src sh\nx\n* H\n[[a]]\n#+begin_src sh\n[[no]]\n#+end_src\n", ["H"], ["a"]),
        ("#+begin_src\n,* no\n#+end_src\n", [], []),
        ('(=[[no]]=) "~[[no]]~" =a=b [[no]] c= x=[[a]]= = [[b]] =\n', [], ["a", "b"]),
        ("so ~goes\non [[no]]~ and ~not\n\nhere [[a]]~\n* =x\n[[b]]=\n- ~x\n- [[c]]~\n", ["=x"], ["a", "b", "c"]),
    ],
)
def test_text_is_read_as_org_itself_reads_it(text: str, heads: list[str], targets: list[str]) -> None:
    """Headlines and links of `org-element-parse-buffer` (Emacs 28, Org 9.5) for the same text."""
    record = org.parse_org(text.encode(), "n.org")
    assert [heading.text for heading in record.outline] == heads
    assert [link.target for link in record.wikilinks] == targets


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* TODO [#A] Old  :work:home:\ntext\n", "* TODO [#A] New  :work:home:\ntext\n"),
        ("** ~old~\n[[x]]", "** New\n[[x]]"),
        ("*   Old\t:a:\r\n", "*   New\t:a:\r\n"),
    ],
)
def test_a_new_title_leaves_state_priority_and_tags_of_its_headline(tmp_path: Path, old: str, new: str) -> None:
    """Only the words of the headline are the title."""
    (tmp_path / "n.org").write_bytes(old.encode())
    store = Store(tmp_path)
    assert store.update("n", {"title": "New"}).title == "New"
    assert (tmp_path / "n.org").read_bytes() == new.encode()


def test_links_that_wrap_or_hold_brackets_follow_a_rename() -> None:
    """What is read as a link is rewritten as one; what is around the target stays."""
    text = "[[old][see [1] there]] [[old][two\nlines]] =[[old]]= [[file:old.org::*H][a [b]\nc]]\n"
    new = "[[new][see [1] there]] [[new][two\nlines]] =[[old]]= [[file:new.org::*H][a [b]\nc]]\n"
    assert org.retarget(text, "n.org", {"old"}, "old.org", "new.org", "new", True) == new


def test_a_moment_that_we_wrote_is_read_whole() -> None:
    """Its seconds and its zone too; a date as org writes it is a day, with an hour if it has one."""
    for written, created in {
        "2026-01-31T08:05:09Z": "2026-01-31T08:05:09Z", "2026-01-31T08:05:09.25+05:30": "2026-01-31T08:05:09.25+05:30",
        "<2026-01-31 Sat 8:05>": "2026-01-31T08:05", "[2026-01-31 Sat]": "2026-01-31",
    }.items():  # fmt: skip
        assert org.parse_org(f"#+DATE: {written}\n\nx".encode(), "n.org").created == created


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        (
            "#+TODO: OPEN(o) WAIT(w@/!) | CLOSED(c)\n* OPEN a\n* WAIT [#B] b\n* CLOSED c\n* TODO d\n",
            ["a", "b", "c", "TODO d"],
        ),
        (
            "text\n* FIXED a\n* BUG b\n\n#+seq_todo: BUG | FIXED\n#+TYP_TODO: Fred Sara | DONE\n* Sara c\n",
            ["a", "b", "c"],
        ),
        ("#+begin_example\n#+TODO: OPEN\n#+end_example\n* OPEN a\n* TODO b\n", ["OPEN a", "b"]),
        ("#+TODO: |\n* TODO a\n", ["a"]),
        ("#+TODO: A+ (x) A\n* A+ a\n* AB b\n", ["a", "AB b"]),
    ],
)
def test_a_file_says_itself_which_words_are_states(text: str, heads: list[str]) -> None:
    """Org manual, "Setting up keywords for individual files": such words take the place of the usual ones, wherever the line
    stands."""
    assert [heading.text for heading in org.parse_org(text.encode(), "n.org").outline] == heads


def test_a_new_title_leaves_the_states_of_the_file() -> None:
    """A state of the file's own stays before the headline that is the title, and one that cannot be told apart is said above."""
    data = b"#+TODO: OPEN | SHUT\n* OPEN Old\n"
    assert org.change(org.split(data), {"title": "New"}).encode() == data.replace(b"Old", b"New")
    assert org.parse_org(org.change(org.split(data), {"title": "SHUT it"}).encode(), "n.org").title == "SHUT it"


def test_fields_below_the_text_count_until_the_head_has_them() -> None:
    """Org finds keywords anywhere; what is set by us is set in the head, and that comes first."""
    data = b"Some text.\n\n#+TITLE: Low\n#+FILETAGS: :a:\n#+filetags: :b:\n#+begin_src org\n#+AUTHOR: nobody\n#+end_src\n* H\n"
    record = org.parse_org(data, "n.org")
    assert (record.title, record.tags, record.author, record.body) == ("Low", ("a", "b"), "", data.decode())
    changed = org.change(org.split(data), {"title": "High", "tags": []}).encode()
    assert changed.endswith(data)
    record = org.parse_org(changed, "n.org")
    assert (record.title, record.tags) == ("High", ())


def test_a_million_states_cost_nothing() -> None:
    """Words of a line that is no list of states are looked for as states, but not all of them."""
    data = ("#+TODO: " + " ".join(f"W{n}" for n in range(100_000)) + "\n" + "* W1 a\n" * 1000).encode()
    assert len(org.parse_org(data, "n.org").outline) == 1000
