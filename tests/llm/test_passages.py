"""What of a note can be quoted: Markdown as people write it, read line by line."""

from __future__ import annotations

import pytest

from egghead.llm.librarian.passages import passages, plain, sentences


def told(body: str) -> list[tuple[str, str]]:
    return [(passage.kind, passage.text) for passage in passages(body)]


def test_paragraphs_lists_steps_tables_and_code_are_told_apart() -> None:
    """Each kind of block gives passages of its kind, without its marks."""
    body = (
        "# Boiler\n\nIt is old. It works.\nStill.\n\n* one\n* two\n  goes on\n\n1. Switch off.\n2) Top up.\n\n"
        "| code | means |\n| --- | --- |\n| E18 | pump |\n\n```sh\nrun it\n```\n- [x] done\n"
    )
    assert told(body) == [
        ("sentence", "It is old."), ("sentence", "It works."), ("sentence", "Still."), ("item", "one"),
        ("item", "two goes on"), ("step", "Switch off."), ("step", "Top up."), ("row", "E18, means: pump"),
        ("code", "run it"), ("item", "done"),
    ]  # fmt: skip


def test_headings_are_a_path() -> None:
    """A passage knows the headings it stands under, from the outermost in; underlined ones too."""
    body = "Title\n=====\n\n## A\n\nx\n\n### B\n\ny\n\n## C\n\nz\n"
    assert [passage.headings for passage in passages(body)] == [("Title", "A"), ("Title", "A", "B"), ("Title", "C")]


def test_org_headlines_are_headings_and_markdown_stars_are_items() -> None:
    """The same star means two things; the rest of the note says which."""
    assert [p.headings for p in passages("#+TITLE: T\n\n* Garden\nWater it.\n** Roses\nCut them.\n")] == [
        ("Garden",),
        ("Garden", "Roses"),
    ]
    assert told("* Garden\n* House\n") == [("item", "Garden"), ("item", "House")]


def test_frontmatter_and_definitions_are_not_quoted() -> None:
    """What is for programs is left out."""
    assert told("---\ntitle: x\ntags: [a]\n---\nText here.\n\n[x]: y.md 'Z'\n\n---\n") == [("sentence", "Text here.")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("see [the docs](https://x.y/z) now", "see the docs now"),
        ("**bold** and *soft* and __both__", "bold and soft and both"),
        ("snake_case_name stays", "snake_case_name stays"),
        ("a [[some/note]] and [[note|other]]", "a note and other"),
        ("![alt](x.png) text <b>bold</b>", "alt text bold"),
        ("`[[x]]` in code", "`[\u2060[x]\u2060]` in code"),
        ("<https://x.y>", "https://x.y"),
        ("==marked== text, a == b, `a==b` or `c==d`", "marked text, a == b, `a==b` or `c==d`"),
    ],
)
def test_marks_are_taken_off(line: str, words: str) -> None:
    """Links give their text, emphasis its words; code stays code, and is no citation."""
    assert plain(line) == words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Use e.g. a knife. Cut it.", 2),
        ("Dr. Smith came on 3. May.", 1),
        ("Version 1.5 is out. Get it.", 2),
        ("これは一つ。これは二つ。", 2),
        ("यह एक है। यह दो है।", 2),
        ("no end", 1),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, count: int) -> None:
    """Abbreviations, initials and numbers do not end a sentence; full stops of other scripts do."""
    assert len(sentences(text)) == count


def test_what_obsidian_does_not_show_is_not_quoted() -> None:
    """Its comments, the names of blocks and the kinds of callouts; a bar in a cell is no border."""
    body = (
        "Costs 12 € ^costs\n%%ask him%% It leaks.\n\n%%\nfor me\n%%\n\n> [!note]- Mind\n> the step\n\n"
        "| who | what |\n|---|---|\n| [[Anna Müller\\|Anna]] | pays |\n\n2^10 is 1024\n"
    )
    assert told(body) == [
        ("sentence", "Costs 12 € It leaks."), ("sentence", "Mind the step"), ("row", "Anna, what: pays"),
        ("sentence", "2^10 is 1024"),
    ]  # fmt: skip


def test_a_body_is_cut_off_somewhere() -> None:
    """A note of megabytes costs no more than its beginning."""
    assert len(passages("Water it. " * 1_000_000)) < 10_000
