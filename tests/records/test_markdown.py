"""What is read from a Markdown note."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import Notes, Unreadable, parse_markdown
from records.errors import InvalidId
from records.ids import check_id, id_of, is_note, slug
from records.markdown import find_links
from records.relink import relink, retarget

NOTE = """---
id: roof
title:  The   roof
class: agent
tags: [house, "#money"]
links: one two
aliases: [Dach, Top of the house]
created: 2024-05-06
author: ada
rooms: [default]
---

# Roof

See [[walls]], ![[plan#Attic|the plan]] and [the garden](../garden/beds.md#roses).
`[[code]]` and

```
[[fence]]
# not a heading
```

Setext
------

## Costs `per` *tile* #
"""


def test_every_field_is_read() -> None:
    """Frontmatter keys become fields; unknown ones stay in meta; links and headings in code are none."""
    record = parse_markdown(NOTE.encode(), "house/roof.md")
    assert (record.id, record.title, record.class_, record.author) == ("roof", "The roof", "agent", "ada")
    assert record.tags == ("house", "money") and record.links == ("one", "two")
    assert record.created == "2024-05-06" and record.aliases == ("Dach", "Top of the house")
    assert record.meta == {"aliases": ["Dach", "Top of the house"], "rooms": ["default"]}
    assert [(h.level, h.text) for h in record.outline] == [(1, "Roof"), (2, "Setext"), (2, "Costs per tile")]
    assert [(link.kind, link.target, link.fragment, link.display) for link in record.wikilinks] == [
        ("wiki", "walls", "", ""), ("embed", "plan", "Attic", "the plan"),
        ("markdown", "garden/beds", "roses", "the garden"),
    ]  # fmt: skip
    assert record.body.startswith("# Roof")
    assert record.body[record.outline[1].position :].startswith("Setext")


@pytest.mark.parametrize(
    ("text", "path", "id_", "title", "class_"),
    [
        ("text", "a/b.md", "a/b", "a/b", "durable"),
        ("# Head\n", "a.md", "a", "Head", "durable"),
        ("---\ntitle: 7\n---\n# Head", "a.md", "a", "7", "durable"),
        ("---\nclass: agnet\n---\n", "a.md", "a", "a", "durable"),
        ("---\nclass: [x]\nid: ''\n---\n", "a.md", "a", "a", "durable"),
        ("do it", "skills/cook/SKILL.md", "skills/cook", "skills/cook", "skill"),
        ("do it", "skills/cook.md", "skills/cook", "skills/cook", "skill"),
        ("---\nno end", "a.md", "a", "a", "durable"),
        ("---\n: : :\n---\n# T", "a.md", "a", "T", "durable"),
        ("", "empty.md", "empty", "empty", "durable"),
    ],
)
def test_defaults(text: str, path: str, id_: str, title: str, class_: str) -> None:
    """Missing or senseless fields take the documented defaults."""
    record = parse_markdown(text.encode(), path)
    assert (record.id, record.title, record.class_) == (id_, title, class_)


def test_an_unknown_class_is_kept_for_the_doctor() -> None:
    """What a field could not take stays visible in meta."""
    assert parse_markdown(b"---\nclass: agnet\n---\n", "a.md").meta == {"class": "agnet"}


def test_bad_bytes() -> None:
    """Latin-1 is read and flagged, NUL characters are flagged, a program is refused."""
    latin = parse_markdown("caf\xe9 cr\xe8me".encode("latin-1"), "a.md")
    assert latin.body == "café crème" and "Latin-1" in (latin.error or "")
    assert "NUL" in (
        parse_markdown(b"a long text of many words with one \0 in it, that is all there is", "a.md").error or ""
    )
    with pytest.raises(Unreadable, match="not text"):
        parse_markdown(b"\x7fELF\x02\x01\x01" + bytes(100), "a.md")


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        ("a\n--\nb\n--\n", [(2, "a"), (2, "b")]),
        ("a\n-\nb\n=\nc", [(2, "a"), (1, "b")]),
        ("> q\n===\nz\n===\n", []),
        ("- a\n===\nb\n===", []),
        ("> a\nb\n--\n\nc\n--\n", [(2, "c")]),
        ("\n--\nb\n--\n", [(2, "-- b")]),
        ("a `x`\n=== `y`\n", []),
    ],
)
def test_underlined_headings_are_those_of_commonmark(text: str, heads: list[tuple[int, str]]) -> None:
    """As markdown-it has them: an underline of one or two, one heading behind another, text of a quotation or list that goes on."""
    assert [(heading.level, heading.text) for heading in parse_markdown(text.encode(), "n.md").outline] == heads


@settings(max_examples=200)
@given(st.text(alphabet="[]()|#!`~\\\n <>-=ab:.md/\t\"'*_", max_size=300))
def test_any_text_is_read(text: str) -> None:
    """No text raises, positions lie inside it, and links are where it has brackets."""
    record = parse_markdown(text.encode(), "x/y.md")
    for link in record.wikilinks:
        assert 0 <= link.position < max(1, len(record.body))
    for heading in record.outline:
        assert 0 <= heading.position <= len(record.body)


@pytest.mark.parametrize(
    "text",
    ["[[a]]" * 200_000, "[" * 300_000, "`" * 100_000 + " " + "`a" * 50_000, "# " + " " * 200_000 + "x", "<!--" * 50_000,
     "[a](" * 50_000, "#" * 100_000, "```\n" * 50_000, "a\n" + "-" * 200_000 + "x", "---\n" * 50_000, "* " * 100_000,
     "- " * 90 + "x\n" + "\n" * 20_000 + "     [x]", "> " * 200_000 + "     [x]", "- ```\n" * 50_000, " " * 200_000 + "[\n\t[" * 50_000,
     "a <!-- " * 100_000, "<pre>\n" * 100_000, "\\`" * 200_000, "[[a|[b]" * 50_000, "# " + "_a " * 160 + "\n", "**\t" * 100_000, "\\```" * 100_000, "\n===```\"" * 40_000, "> a\n" + "b\n--\n" * 50_000,
     "\n--" * 100_000],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_text_takes_no_hostile_time(text: str) -> None:
    """Patterns that would backtrack without end are read in time linear in their size."""
    record = parse_markdown(text.encode(), "x.md")
    assert len(record.wikilinks) <= 20_000


def test_the_sample_notes_have_no_error(foam: Path) -> None:
    """86 real notes are read, each with a title."""
    records = [parse_markdown(path.read_bytes(), path.name) for path in foam.rglob("*.md")]
    assert len(records) == 86
    assert all(record.title and record.error is None for record in records)


@pytest.mark.parametrize(
    "id_",
    ["", " ", "/abs", "a//b", "../x", "a/../b", ".hidden", "a/.b", "a\nb", "a\0b", "a:b", "x~", "~$x", "a/", "a. ", "x" * 2000,
     "y" * 250, "\ud800", "a\u202eb"],
)  # fmt: skip
def test_ids_that_are_no_file_are_refused(id_: str) -> None:
    """Each id that could escape, hide or not be stored is refused with a sentence."""
    with pytest.raises(InvalidId):
        check_id(id_)


@given(st.text(max_size=120))
def test_a_slug_is_empty_or_an_allowed_id(title: str) -> None:
    """What a title is turned into can be written to disk."""
    name = slug(title)
    if name:
        assert check_id(name) == name and id_of(name + ".md") == name and is_note(name + ".md")


def test_links_follow_a_renamed_note() -> None:
    """Each spelling of a link is rewritten in its own spelling; code, titles and other notes' links stay."""
    text = "[[a/old]] [[old]] ![[old#S|shown]] [[Old Title]] [t](../a/old.md#x) `[[old]]` [[folder/old]] [[other]]\n\n[r]: ../a/old.md\n"
    new = retarget(text, "b/here.md", {"a/old", "old"}, "a/old.md", "c/new.md", "c/new", True)
    assert new == (
        "[[c/new]] [[new]] ![[new#S|shown]] [[Old Title]] [t](../c/new.md#x) `[[old]]` [[folder/old]] [[other]]\n\n[r]: ../c/new.md\n"
    )
    assert "[[c/new]] [[c/new]]" in retarget(
        text, "b/here.md", {"a/old", "old"}, "a/old.md", "c/new.md", "c/new", False
    )


def test_a_moved_note_s_own_links_lead_where_they_led() -> None:
    """Relative Markdown links are counted from the new place."""
    assert relink("[x](beds.md) [y](./sub/z.md#f) [w](http://x.md)", "garden/roses.md", "roses.md") == (
        "[x](garden/beds.md) [y](./garden/sub/z.md#f) [w](http://x.md)"
    )


@pytest.mark.parametrize(
    ("line", "shown"),
    [("snake_case_name", "snake_case_name"), ("_a_b_ and __c__", "a_b and c"), ("2 * 3 * 4", "2 * 3 * 4"), ("un*believ*able", "unbelievable"),
     ("**a *b* c** ***d***", "a b c d"), ("`a*b` `c_d` ``e`f``", "a*b c_d e`f"), (r"1\. \*x\* \_y\_", "1. *x* _y_"),
     ("Use `[[x]]` and [[y|z_q]] [t_u](http://a_b_)", "Use [[x]] and z_q t_u"), ("*open", "*open"), ("C:\\dir", "C:\\dir")],
)  # fmt: skip
def test_a_heading_is_read_as_a_person_reads_it(line: str, shown: str) -> None:
    """Marks of emphasis go where they are such (CommonMark 0.31); in code, in words and behind a backslash they are text."""
    record = parse_markdown(f"# {line}\n".encode())
    assert record.title == record.outline[0].text == shown


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("Use `<!--` to comment. [[a]]\n\n# Head\n", ["a"]),
        ("`a <!-- b` [[a]] `-->`", ["a"]),
        ("an open <!-- is text [[a]]", ["a"]),
        ("<!-- an open one at the start is not\n\n[[a]]", []),
        ("<!-- `x --> [[a]] ` y", ["a"]),
        ("\\`[[a]]\\` \\\\`[[b]]`", ["a"]),
        ("<pre>\n\n[[a]]\n</pre> [[b]]\n[[c]]", ["c"]),
        ("  <SCRIPT type=x>\n'[[a]]'</script>\n[[b]]", ["b"]),
        ("in a line <pre>[[a]]</pre> <prefix>[[b]]", ["a", "b"]),
        ("[x\\]y](a.md) [[b|see [b]]] [[c|1] d]]", ["a", "b"]),
        ("- press ` to quote\n- see [[a]], and ` again\n2. [[b]] `\n> - [[c]] `\n", ["a", "b", "c"]),
        ("| a ` |\n| [[a]] ` |\n", ["a"]),
        ("# The sign ` in [[a]]\nand ` or `[[b]]`", ["a", "b"]),
        ("> so `[[a]]\n> [[b]]` [[c]]", ["c"]),
    ],
)
def test_code_comments_and_raw_html_hold_no_links_and_nothing_else_is_taken_for_them(
    text: str, targets: list[str]
) -> None:
    """Whichever begins first holds the others (CommonMark 0.31, 4.6 and 6.1)."""
    assert [link.target for link in parse_markdown(text.encode()).wikilinks] == targets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\n===\n", [(1, "one two", 0)]), ("`x.py`\n===\n", [(1, "x.py", 0)]), ("Title\n-\n\n- x\n", [(2, "Title", 0)]),
        ("#`include` x\n", []), ("#%%x%% y\n", []), ("- item\ngoes on\n---\n", []), ("> said\non\n---\n", []),
        ("[r]: a.md\nText\n---\n", [(2, "Text", 10)]), ("# H\ntext\n---", [(1, "H", 0), (2, "text", 4)]), ("a ` b\n# c ` d", [(1, "c ` d", 6)]),
        ("~~~\ncode\n~~~\n---\n", []), ("<details>\nx\n---\n", []), ("* * *\nx\n==\n", [(1, "x", 6)]),
    ],
)  # fmt: skip
def test_what_is_a_heading(text: str, shown: list[tuple[int, str, int]]) -> None:
    """As markdown-it-py (CommonMark 0.31, 4.2 and 4.3) reads them, outside of lists and quotations."""
    assert [tuple(heading) for heading in parse_markdown(text.encode()).outline] == shown


def test_a_title_of_two_underlined_lines_is_changed_as_one(tmp_path: Path) -> None:
    """All lines above the rule are the heading; the rule and the text around it stay."""
    (tmp_path / "a.md").write_text("A long\ntitle\n======\n\ntext\n")
    with Notes(tmp_path) as notes:
        assert notes.get("a").title == "A long title"
        notes.update("a", {"title": "Short"})
    assert (tmp_path / "a.md").read_text() == "Short\n======\n\ntext\n"


def test_fields_that_hold_something_else_are_kept_as_they_are() -> None:
    """Several authors are named in one text; a value that no field can be stays in `meta`, as a key of no field does."""
    record = parse_markdown(
        b"---\nid: [x]\ntitle: [t]\nauthor: {name: A}\ncreated: [1]\nlinks: {a: b}\ntags: {c: d}\n---\n",
        "n.md",
        author="me",
    )
    assert (record.id, record.title, record.author, record.links, record.tags) == ("n", "n", "me", (), ())
    assert set(record.meta) == {"id", "title", "author", "created", "links", "tags"}
    record = parse_markdown(b"---\nauthor: [Ann, Bob B]\n---\n", author="me")
    assert record.author == "Ann, Bob B" and "author" not in record.meta
    assert parse_markdown(b"---\nauthor:\n---\n", author="me").author == "me"


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("$k[[x]]$ over [[a]]", ["a"]), ("$[[e]]\\rho$", []), ("$\\mathbb{Z}[[t]]$ is one", []), ("$$\nR[[x]]\n$$ [[a]]", ["a"]), ("> $$ [[x]] $$", []),
        ("`$` k[[x]] `$`", ["x"]), ("\\$k[[x]]$", ["x"]), ("costs $5 [[a]] and $6 [[b]]", ["a", "b"]), ("[[A]] ($) [[B]] ($)", ["A", "B"]),
        ("- [[P]] $$\n- [[B]] $$$\n- [[S]] $$", ["P", "B", "S"]), ("$$ [[a]]\n\n[[b]] $$", ["a", "b"]), ("$x$[[a]]$y$", ["a"]),
    ],
)  # fmt: skip
def test_a_formula_holds_no_link(text: str, targets: list[str]) -> None:
    """Power series and denotations are no wikilinks, nor rewritten by a rename; prices and ratings hide none."""
    assert [link.target for link in find_links(text)] == targets


def test_the_space_around_a_target_stays() -> None:
    """A rename changes a name and nothing beside it."""
    text = "[[ old ]] [[old | text]] [[ old#h]]"
    assert retarget(text, "n.md", {"old"}, "old.md", "new.md", "new", True) == "[[ new ]] [[new | text]] [[ new#h]]"
    assert relink("[[ ./b | x ]]", "a/n.md", "c/n.md") == "[[ ../a/b | x ]]"
