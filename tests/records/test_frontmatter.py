"""Bytes in, the same bytes out; a change of one key touches the lines of that key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import formats, frontmatter, yaml_block, yaml_lines
from records.errors import InvalidValue, Unreadable
from records.lines import normal

PRINTED = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=200)
KEYS = st.sampled_from(["alpha", "beta key", "Größe", "tags", "x_1", "日本"])
VALUES = st.sampled_from(
    [
        "plain", "two words", "'single # quoted'", '"double: quoted \\u00e9"', "12", "true", "2024-05-06", "~", "",
        "[a, b, 'c d']", "{k: v, n: [1, 2]}", "emoji 🎉 text", "tab\there", "a  # remark", "'x'   # remark",
        "\n  - one\n  - two # note", "\n- flush\n- left", "|\n  block\n  text", ">-\n  folded\n  text",
        "\n  inner: 1\n  other: [2]", "&anchor value",
    ]
)  # fmt: skip
BETWEEN = st.sampled_from(["", "", "", "# a comment\n", "\n", "  # indented comment\n", "# one\n# two\n\n"])


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, list[str]]:
    keys = draw(st.lists(KEYS, unique=True, min_size=1, max_size=5))
    text = draw(BETWEEN)
    for place, key in enumerate(keys):
        value = draw(VALUES).replace("&anchor", f"&anchor{place}")
        text += f"{key}:{'' if value.startswith(chr(10)) or not value else ' '}{value}\n" + draw(BETWEEN)
    return text, keys


NEW_VALUES = st.one_of(
    st.text(max_size=30), st.integers(-5, 10**6), st.booleans(), st.lists(st.text("abc #:-'\"é", max_size=6), max_size=4),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 9), max_size=3), st.none(),
)  # fmt: skip


@given(st.binary(max_size=400))
def test_taking_a_file_apart_loses_no_byte(data: bytes) -> None:
    """split then encode is the identity for every file that is text."""
    try:
        parts = frontmatter.split(data)
    except Unreadable:
        return
    assert parts.encode() == data


@given(blocks(), st.sampled_from(["\n", "\r\n"]), st.booleans(), PRINTED)
def test_frontmatter_in_any_clothes_keeps_its_bytes(
    block: tuple[str, list[str]], newline: str, bom: bool, body: str
) -> None:
    """BOM, CRLF, comments and anchors survive reading and writing unchanged."""
    text = f"---\n{block[0]}---\n{body}".replace("\r", "").replace("\n", newline)
    data = (frontmatter.BOM if bom else b"") + text.encode()
    parts = frontmatter.split(data)
    assert parts.block is not None
    assert parts.encode() == data
    assert frontmatter.with_keys(parts, {}).encode() == data


@settings(max_examples=300)
@given(blocks(), st.data(), st.sampled_from(["\n", "\r\n"]), NEW_VALUES)
def test_changing_one_key_keeps_every_other_line(
    block: tuple[str, list[str]], data: st.DataObject, newline: str, value: Any
) -> None:
    """After a change the file reads as asked, and all lines outside that key are the same bytes in the same order."""
    text, keys = block
    key = data.draw(st.sampled_from([*keys, "brand new"]))
    parts = frontmatter.split(f"---\n{text}---\nbody\n".replace("\n", newline).encode())
    assert parts.block is not None
    before, fault = frontmatter.load(parts.block)
    assert fault is None, (fault, text)
    try:
        after = frontmatter.with_keys(parts, {key: value})
    except InvalidValue:
        return  # refused, nothing touched: such as removing an anchor that is used
    read = frontmatter.load(after.block or "")[0]
    text_of = str(value).lower() if isinstance(value, bool) else str(value)
    wanted = {**before, key: text_of if key == "tags" and isinstance(value, bool | int) else value}
    if value is None:
        del wanted[key]
    assert read == wanted
    assert after.body == parts.body
    start = next((n for n, line in enumerate(text.split("\n")) if line.startswith(f"{key}:")), None)
    old_lines = parts.block.splitlines(keepends=True)
    new_lines = (after.block or "").splitlines(keepends=True)
    head = old_lines if start is None else old_lines[:start]
    assert new_lines[: len(head)] == head
    if start is not None:
        following = [
            n for n, line in enumerate(text.split("\n")) if n > start and any(line.startswith(f"{k}:") for k in keys)
        ]
        tail = old_lines[following[0] :] if following else []
        assert not tail or new_lines[-len(tail) :] == tail


@given(PRINTED, PRINTED, st.booleans())
def test_a_new_body_keeps_head_and_final_newline(old: str, new: str, crlf: bool) -> None:
    """The body becomes what was given; whether the file ends with a line ending does not change; the head stays."""
    text = "---\na: 1 # x\n---\n\n" + old.replace("\r", "")
    parts = frontmatter.split((text.replace("\n", "\r\n") if crlf else text).encode())
    changed = frontmatter.with_body(parts, new)
    assert changed.head == parts.head
    wanted = normal(new)
    if parts.body and wanted:
        assert changed.text.removesuffix("\n") == wanted.removesuffix("\n")
        if changed.text:
            assert changed.body.endswith(("\n", "\r")) == parts.body.endswith(("\n", "\r"))
    if crlf and "\n" in parts.body:
        assert "\n" not in changed.body.replace("\r\n", "")


def test_lines_that_stay_keep_their_own_endings() -> None:
    """In a file of mixed line endings only the changed line takes the file's own."""
    parts = frontmatter.split(b"one\r\ntwo\nthree\r\nfour\r\n")
    assert frontmatter.with_body(parts, "one\ntwo\nTHREE\nfour\n").encode() == b"one\r\ntwo\nTHREE\r\nfour\r\n"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("a: [1", "not YAML in line"),
        ("- a\n- b", "a list, not a mapping"),
        ("just text", "a str, not a mapping"),
        ("a: &a [*a]", "cannot be read"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than"),
        ("x: " + "y" * frontmatter.MAX_BLOCK, "at most"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
        ), "by its aliases"),
        ("n: " + "9" * 5000, "cannot be read"),
        ("a: !!python/object:os.system 1", "not YAML in line"),
    ],
)  # fmt: skip
def test_bad_frontmatter_is_a_sentence_not_an_exception(block: str, why: str) -> None:
    """Broken, hostile or enormous YAML gives an empty mapping and the reason."""
    fields, fault = frontmatter.load(block)
    assert fields == {}
    assert fault is not None and why in fault


def test_a_flow_mapping_is_changed_as_a_whole() -> None:
    """`{a: 1}` on one line cannot be changed by lines; the round-trip library does it."""
    parts = frontmatter.split(b"---\n{a: 1, b: two}\n---\nbody\n")
    after = frontmatter.with_keys(parts, {"a": 5})
    assert frontmatter.load(after.block or "")[0] == {"a": 5, "b": "two"}
    assert after.encode().endswith(b"---\nbody\n")


def test_a_key_whose_anchor_is_used_keeps_the_other_s_value() -> None:
    """Changing the key that holds an anchor does not change what the alias meant."""
    parts = frontmatter.split(b"---\na: &x 1\nb: *x\n---\n")
    after = frontmatter.with_keys(parts, {"a": 2})
    assert frontmatter.load(after.block or "")[0] == {"a": 2, "b": 1}


FRAGMENTS = st.sampled_from(
    ["# c", "a", "tags", "Title", "yes", "NULL", "On", "n", ":", ": ", " ", "  ", "- ", "-", "[", "]", ", ", ",", "\n", "\n", "'", '"', "#", " #",
     "0", "007", "12", "1_0", "2024-02-30", "2024-02-29", "é", "日本", "...", "---", "&x", "*x", "!t", "|", ">", "%", "@", "~", "=", "<<",
     ".inf", "1e3", "a: b", "k: [a, b]", "k: [\"a, b\", 'no' , c d]", '["', '", ', "k:\n- a", "- 'on'\n", "k:\n  - b\n", "x: 'it'", 'y: "q # w"', "\t", "\x85", "\u2028", "\ufeff", "{", "}", "?", "? "]
)  # fmt: skip


@settings(max_examples=1500)
@given(st.lists(FRAGMENTS, max_size=9).map("".join))
def test_what_is_read_without_a_yaml_parser_is_what_the_parser_reads(block: str) -> None:
    """Where the quick reader answers at all, libyaml gives the same mapping and no error."""
    easy = yaml_lines.read(block, yaml_block.NAMES)
    if easy is not None:
        assert (easy, None) == yaml_block.parse(block)


@pytest.mark.parametrize(
    "block",
    ["title: Plain words, and more", "tags: [a, b c]  # both\nx: #\n - y # z\n", "tags:\n  - a\n  - b\ncreated: 2024-02-29\n", "n: 12\ntitle: 12\nid: 2024-02-29\nempty:\nlist: []\n",
     'q: "a: b # c"\nr: \'it "is\'\n', "", 'k: ["a, b", \'no\' ,c d]  # e\nl:\n- "yes"\n- \'#\'\n- f\n'],
)  # fmt: skip
def test_usual_frontmatter_needs_no_yaml_parser(block: str) -> None:
    """The forms that nearly all notes have are read by the quick reader, and as libyaml reads them."""
    assert (yaml_lines.read(block, yaml_block.NAMES), None) == yaml_block.parse(block)


@pytest.mark.parametrize(
    "block",
    [
        "a: yes",
        "a: 007",
        "a: b: c",
        "a: b #\u2028c",
        "a: &x y",
        "a: 2024-02-30",
        "- a",
        "a: b\n  c",
        "a: {b: c}",
        'a: ["b" c]',
        'a: ["b": c]',
        "a: [b, no]",
        'a: ["\\\\n"]',
        "a: ['it''s']",
    ],
)
def test_what_yaml_reads_in_its_own_way_is_left_to_the_parser(block: str) -> None:
    """Booleans, octals, odd comments, anchors, impossible dates, nesting and continued lines are not guessed at."""
    assert yaml_lines.read(block) is None


@pytest.mark.parametrize("file", ["---\ntitle: x\n---", "---\r\ntitle: x\r\n...", "---\n---"])
def test_a_body_behind_a_last_fence_without_newline_is_a_body(file: str) -> None:
    """The fence stays a fence: text that is written right behind it would turn the frontmatter into text."""
    parts = frontmatter.with_body(frontmatter.split(file.encode()), "new")
    again = frontmatter.split(parts.encode())
    assert (again.block, again.text) == (frontmatter.split(file.encode()).block, "new")


def test_line_endings_that_meet_stay_two() -> None:
    """A lone CR and a lone LF side by side, each an ending of its own, would read as one."""
    parts = frontmatter.with_body(frontmatter.split(b"a\r===\r\r\nx\n\n"), "b\n\nx\n\n")
    assert frontmatter.split(parts.encode()).text == "b\n\nx\n\n"


def test_a_remark_below_a_list_is_not_part_of_it() -> None:
    """Indented or not, it stays when the list before it is changed; a `#` in a block of text is text."""
    block = "tags:\n  - {a: 1}\n# one\n  # two\nx:\n  - |\n    text\n    # text\n"
    assert yaml_block.changed(block, {"tags": ["b"]}, "\n") == block.replace("  - {a: 1}", "  - b")
    assert yaml_block.changed(block, {"x": None}, "\n") == block[: block.index("x:")]


@pytest.mark.parametrize("title", ["*x*", "`x`", "[[x]]", "x #", "- x", "|"])
@pytest.mark.parametrize("old", [b"# Old\n\ntext\n", b"Old\n===\n\ntext\n"])
def test_a_title_that_no_heading_can_say_has_a_key(old: bytes, title: str) -> None:
    """It reads back as it was set, whatever marks it holds."""
    parts = formats.change("markdown", frontmatter.split(old), {"title": title})
    assert formats.parse(parts.encode(), "n.md").title == title


@pytest.mark.parametrize(
    ("file", "body"),
    [
        (b"b\n", "\ufeff---\nclass: agent\n---\n"),
        (b"b\n", '\ufeff{"class": "agent"}\n'),
        (b"caf\xe9\n", "\u00ef\u00bb\u00bf---\nclass: agent\n---\n\u00e9\n"),
        (b"caf\xe9\n", "\u00ff\u00fe--\n"),
    ],
)
def test_a_body_behind_the_mark_of_an_encoding_is_no_frontmatter(file: bytes, body: str) -> None:
    """A text cannot give its note fields, nor another encoding, by what it begins with."""
    parts = frontmatter.split(file)
    written = frontmatter.split(frontmatter.with_body(parts, body).encode())
    assert written.block is None and written.encoding == parts.encoding
    assert written.text == "\n" + body


def test_a_text_that_would_not_be_read_as_text_is_refused() -> None:
    """Bytes of a program as the body would take the note out of every list; a few stray ones do not."""
    parts = frontmatter.split(b"---\ntitle: T\n---\nb\n")
    with pytest.raises(InvalidValue, match="control characters"):
        frontmatter.with_body(parts, "\0\1\2\3" * 40).encode()
    assert b"a\0b" in frontmatter.with_body(parts, "a\0b\n").encode()


PASTED = [chr(0x85), chr(0x2028), chr(0x2029)]


@pytest.mark.parametrize("end", PASTED, ids=ascii)
def test_what_only_yaml_1_1_ends_lines_at_is_text(end: str) -> None:
    """A separator that came with pasted text parts no line: the field is read with it, as YAML 1.2 and editors have it."""
    block = (
        f"title: Roof{end}top {end}\nplain: [a{end}b, 'c{end}d', \"e{end}f\"]\n'k{end}': |\n  one{end}two\n  three\n"
    )
    assert yaml_block.load(block) == (
        {"title": f"Roof{end}top {end}", "plain": [f"a{end}b", f"c{end}d", f"e{end}f"], f"k{end}": f"one{end}two\nthree\n"},
        None,
    )  # fmt: skip


@pytest.mark.parametrize("end", PASTED, ids=ascii)
def test_what_only_yaml_1_1_ends_lines_at_is_kept_by_a_change(end: str) -> None:
    """Keys beside such a value are set line by line, and a value with it is written so that it is read back."""
    block = f"title: Roof{end}top  # remark\ntags:\n  - a{end}b\n  - c\nn: 1\n"
    assert yaml_block.changed(block, {"n": 2}, "\n") == block.replace("n: 1", "n: 2")
    assert yaml_block.changed(block, {"tags": [f"a{end}b"]}, "\n") == block.replace("  - c\n", "")
    for value in (f"x{end}y", f"x{end} y\nz", [f"x{end}y"], {"k": f"x{end}y"}):
        changed = yaml_block.changed(block, {"n": value}, "\n")
        assert changed.startswith(block[: block.index("n:")])
        assert yaml_block.load(changed)[0]["n"] == value


def test_a_text_that_has_every_stand_in_is_still_read() -> None:
    """No text makes the reader run out of characters: it then breaks lines as libyaml does."""
    every = "".join(map(chr, range(0xE000, 0xF900)))
    assert yaml_block.load(f'a: "{every}"\nb: "x\u2028y"\n') == ({"a": every, "b": "x\u2028y"}, None)


@pytest.mark.parametrize(
    "block, line",
    [
        ("a: [x\u2028y,\x85z]\n\nc: d: e\n", 4), ("a: 'x\u2029\u2029y'\r\nb: ]\r\n", 3), ("a: 1\nb: x\x0cy\n", 3), ("a: 1\n\nb: ü\x1ey\n", 4),
        ("a: \x00\n", 2),
    ],
)  # fmt: skip
def test_an_error_names_the_line_that_an_editor_shows(block: str, line: int) -> None:
    """Whatever characters stand before the mistake, the line is counted as editors count; a character that YAML refuses has one."""
    fields, fault = yaml_block.load(block)
    assert fields == {}
    assert fault is not None and f"in line {line}:" in fault, fault


@pytest.mark.parametrize(
    ("old", "key", "value", "new"),
    [
        ("a: x", "a", "1234e56", "a: '1234e56'"),
        ("a: x", "a", "089123", "a: '089123'"),
        ("a: x", "a", ["0o17", "1.e3", "v1e3"], "a: ['0o17', '1.e3', v1e3]"),
        ('a: "x"', "a", "08", 'a: "08"'),
        ("title: x", "title", "Café 😀", "title: Café 😀"),
        ("a: 'x'", "a", "😀 it's \\U0001F600", "a: '😀 it''s \\U0001F600'"),
        ("a:\n- x\n- y", "a", ["x", "🙂"], "a:\n- x\n- 🙂"),
        ('"two words": x # why', "two words", "y", '"two words": y # why'),
        ("'k': [a]\nb: 1", "k", {"c": 1}, "'k': {c: 1}\nb: 1"),
        ("'it''s': |\n  x\nb: 1", "it's", "z", "'it''s': z\nb: 1"),
    ],
)
def test_a_value_is_text_for_other_programs_too_and_stays_legible(old: str, key: str, value: object, new: str) -> None:
    """What YAML 1.2 (Obsidian) would take for a number is quoted, an emoji is no escape, and a key keeps its quotes."""
    assert yaml_block.changed(old + "\n", {key: value}, "\n") == new + "\n"


def test_what_only_yaml_1_1_counts_in_sixties_or_eights_is_text() -> None:
    """A time of day, a postal code: as they stand, not 630 and 668. What is a number to everybody stays one."""
    block = "start: 10:30\nran: 1:02:03.5\nzip: 01234\nlow: -0_7\nten: 10\nnone: 0\nhex: 0x1f\nhalf: .5\nmore: 1_000\nbare: !!int 0\n"
    assert yaml_block.load(block) == (
        {"start": "10:30", "ran": "1:02:03.5", "zip": "01234", "low": "-0_7", "ten": 10, "none": 0, "hex": 31, "half": 0.5, "more": 1000, "bare": 0},
        None,
    )  # fmt: skip
    parts = frontmatter.split(b"---\ntitle: a\n---\n")
    for value in ("10:30", "01234"):
        assert frontmatter.fields(frontmatter.with_keys(parts, {"at": value}))[0]["at"] == value
