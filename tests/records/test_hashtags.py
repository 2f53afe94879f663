"""What is a tag in the text of a note, as Obsidian, Foam and org have it. docs/records.md says it in a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import parse_markdown
from records.hashtags import MOST
from records.org import parse_org

O = "obsidian-help: Tags"  # noqa: E741 - github.com/obsidianmd/obsidian-help, en/Editing and formatting/Tags.md
F = "foam: docs/user/features/tags.md"  # also tests/samples/foam/notes/user/features/tags.md


@pytest.mark.parametrize(
    ("text", "tags", "source"),
    [
        ("#one, and #two.", ("one", "two"), O),
        ("#1984 is none, #y1984 is, #2024/01 too", ("y1984", "2024/01"), O),
        ("#camelCase #snake_case #kebab-case #inbox/to-read", ("camelCase", "snake_case", "kebab-case", "inbox/to-read"), O),
        ("This #recipe allows", ("recipe",), F),
        ("#programming/languages/python\n#programming/frameworks/react", ("programming/languages/python", "programming/frameworks/react"), F),
        ("# Title #aside\n\n## Part", ("aside",), O),
        ("x#no (#no) \\#no /#no [a](b#no) http://x/#no &#39; C# is F#", (), O),
        ("#ñandú #übung #標籤，#テスト #тег #😀 #a😀", ("ñandú", "übung", "標籤", "тег", "😀", "a😀"), O),
        ("`#no` and\n\n```\n#no\n```\n\n    #include <stdio.h>\n\n<!-- #no --> %% #no %% #yes", ("yes",), O),
        ("- item\n\n      #include\n- a #yes", ("yes",), "CommonMark 0.31: List items"),
        ("[[note #no]] #yes [[other]] #[[a page]] [[x #open", ("yes", "open"), O),
        ("#same #Same #same #same/", ("same", "Same"), O),
        ("#- #/ #_ ## #", (), O),
        ("#" + "x" * 101, (), "no tag is as long"),
        ("#\u200da\u2014b", ("\u200da",), O),
    ],
)  # fmt: skip
def test_what_is_a_tag(text: str, tags: tuple[str, ...], source: str) -> None:
    """Each case with where its rule is written."""
    assert parse_markdown(text.encode()).inline_tags == tags, source


def test_tags_of_the_field_are_not_told_twice() -> None:
    """What the frontmatter, or a Logseq page's own lines, have as tags stands there."""
    assert parse_markdown(b"---\ntags: a\n---\n#a #b").inline_tags == ("b",)
    assert parse_markdown(b"tags:: #a\n\n#a #b").inline_tags == ("b",)


def test_tags_of_headlines() -> None:
    """Org: those at the end of a headline, not what looks like them in code."""
    text = b"#+FILETAGS: :x:\n* A :x:y:\n** B  :z:\n#+begin_src\n,* C :no:\n#+end_src\n* a :b: c\n"
    assert parse_org(text, "a.org").inline_tags == ("y", "z")


def test_a_note_of_nothing_but_tags_is_bounded() -> None:
    """A million `#` are an attack, not tags."""
    assert len(parse_markdown(" ".join(f"#t{n}" for n in range(100_000)).encode()).inline_tags) == MOST
    assert parse_markdown(b"[[" + b" #x" * 300_000).inline_tags == ("x",)


@given(st.text(alphabet="#a1-_/ [].,\n`é標😀\u200d", max_size=60))
def test_a_tag_stands_in_its_text(text: str) -> None:
    """Whatever is read as a tag is written there behind `#`, and has no white space."""
    for tag in parse_markdown(text.encode()).inline_tags:
        assert f"#{tag}" in text and not any(character.isspace() for character in tag)
