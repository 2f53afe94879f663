"""Links mean what they mean in Obsidian, Foam and org-roam, and still do after a rename. docs/records.md has this table."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import Notes
from records.errors import RecordError, Unreadable

O = "obsidian-help: Internal links"  # noqa: E741 - sources: github.com/obsidianmd/obsidian-help, en/Linking notes and files/…
OA = "obsidian-help: Aliases"
OE = "obsidian-help: Embed files"
F = "foam: docs/user/features/wikilinks.md"  # also tests/samples/foam/notes/user/features/wikilinks.md
OBS = "getFirstLinkpathDest of Obsidian 1.13.7: as observed in github.com/pvliesdonk/markdown-vault-mcp/pull/1380"
R = "org-roam manual: doc/org-roam.org, The Org-roam Node"
ORG = "Org manual: Hyperlinks"
CM = "CommonMark 0.31: Links"
SPEC = "the specification of this package"

VAULT = {
    "Three laws of motion.md": "# Laws\n\n## Second law\n\ntext ^quote\n",
    "index.md": "root\n",
    "todo.md": "the one at the top\n",
    "office/todo.md": "work\n",
    "projects/house/todo.md": "house\n",
    "projects/index.md": "projects\n",
    "people/README.md": "people\n",
    "people.md": "the file wins over the folder\n",
    "one/twin.md": "1\n",
    "two/twin.md": "2\n",
    "Grüße.md": "composed\n",
    "a (b).md": "brackets\n",
    "named.md": "---\ntitle: A Long Title\naliases: [Nick, Other Name]\n---\n",
    "v1.2.md": "a dot in a name\n",
    "deep/er/note.md": "deep\n",
    "roam/node.org": ':PROPERTIES:\n:ID: 8f3c-1\n:ROAM_ALIASES: "Roam Alias"\n:END:\n#+title: A Node\n\n* Head\n:PROPERTIES:\n:ID: 8f3c-2\n:END:\n',
    "roam/plain.org": "#+title: Plain\n\n* Head\n",
}

# (what is written, in which note, ids it leads to in order (None: nowhere), where this is said)
CASES: list[tuple[str, str, list[str | None], str]] = [
    ("[[Three laws of motion]]", "x.md", ["Three laws of motion"], O),
    ("[x](Three%20laws%20of%20motion.md)", "x.md", ["Three laws of motion"], O),
    ("[x](<Three laws of motion.md>)", "x.md", ["Three laws of motion"], CM),
    ("[x](a%20%28b%29.md) [y](<a (b).md> 'title') [z](office/todo.md \"t\")", "x.md", ["a (b)", "a (b)", "office/todo"], CM),
    ("[x][ref]\n\n[ref]: office/todo.md 'Title'\n", "x.md", ["office/todo"], CM),
    ("[[three LAWS of motion]]", "x.md", ["Three laws of motion"], OBS),
    ("[[Three laws of motion.md]]", "x.md", ["Three laws of motion"], O),
    ("[[Three laws of motion#Second law]]", "x.md", ["Three laws of motion"], O),
    ("[[Three laws of motion#Laws#Second law|shown]]", "x.md", ["Three laws of motion"], O),
    ("[[Three laws of motion#^quote]]", "x.md", ["Three laws of motion"], O),
    ("![[Three laws of motion#^quote|q]]", "x.md", ["Three laws of motion"], OE),
    ("[[Three-laws-of-motion]]", "x.md", [None], F),
    ("[[Three%20laws%20of%20motion]]", "x.md", [None], O),
    ("| a | [[office/todo\\|shown]] |", "x.md", ["office/todo"], "obsidian-help: Advanced formatting syntax, Tables"),
    ("[[#Own heading]]", "x.md", [], O),
    ("![[picture.png|100x145]] ![[doc.pdf#page=3]]", "x.md", [None, None], OE),
    ("[[todo]]", "office/x.md", ["todo"], OBS),
    ("[[office/todo]] [[house/todo]] [[projects/house/todo]]", "x.md", ["office/todo", "projects/house/todo", "projects/house/todo"], F),
    ("[[/office/todo]] [[/projects/house/todo]]", "deep/x.md", ["office/todo", "projects/house/todo"], F),
    ("[[/house/todo]]", "x.md", [None], F),
    ("[[./todo]] [[../todo]] [[../deep/er/note]]", "office/x.md", ["office/todo", "todo", "deep/er/note"], F),
    ("[[./nothing]] [[../../out]]", "office/x.md", [None, None], F),
    ("[[projects]] [[people]] [[people/]] [[/projects]]", "x.md", ["projects/index", "people", "people", "projects/index"], F),
    ("[[index]]", "office/x.md", ["index"], OBS),
    ("[[twin]]", "x.md", [None], SPEC + ": several are none. Obsidian takes the own folder, then the shortest path; Foam the first by path"),
    ("[[two/twin]]", "x.md", ["two/twin"], F),
    ("[[Nick]] [[other name]]", "x.md", ["named", "named"], SPEC + ": Obsidian only offers aliases while typing (" + OA + ")"),
    ("[[A long title]]", "x.md", ["named"], SPEC),
    ("[[Gru\u0308ße]] [[GRÜSSE]]", "x.md", ["Grüße", "Grüße"], "Unicode NFC: macOS takes names apart"),
    ("[[v1.2]]", "x.md", ["v1.2"], O),
    ("[x](todo.md) [y](../todo.md) [z](/office/todo.md)", "office/x.md", ["office/todo", "todo", "office/todo"], CM),
    ("[x](note.md) [y](deep/er/note.md)", "office/x.md", ["deep/er/note", "deep/er/note"], "obsidian-help: Settings, New link format"),
    ("`[[todo]]` ``[[todo]]``\n\n```\n[[todo]]\n```\n\n~~~\n[t](todo.md)\n~~~\n", "x.md", [], O),
    ("<!-- [[todo]] [t](todo.md) -->", "x.md", [], "CommonMark 0.31: HTML blocks"),
    ("- ```\n  [[note]]\n  ```\n\n[[todo]]", "x.md", ["todo"], CM + ", 5.2: a fence in a list item ends in it"),
    ("1. do\n\n    ```sh\n    [[note]]\n    ```\n\n    [[todo]]\n", "x.md", ["todo"], CM + ", 5.2"),
    ("- ```\n  [[note]]\n\n[[todo]]\n\n```\n[[note]]\n```\n", "x.md", ["todo"], CM + ", 5.2: the item has ended"),
    ("> ```\n> [[note]]\n> ```\n\n[[todo]]", "x.md", ["todo"], CM + ", 5.1"),
    ("text\n\n    [[note]]\n\n\t[[note]]\n\n[[todo]]", "x.md", ["todo"], CM + ", 4.4: indented code"),
    ("- item\n\n    [[todo]]\n\n[^1]: foot\n\n    [[note]]\n", "x.md", ["todo", "deep/er/note"], CM + ", 5.2: an indent in a list"),
    ("- item\n\n      [[note]]\n\n  [[todo]]\n\n1. one\n\n   - two\n\n         [[note]]\n\n     [[todo]]\n", "x.md", ["todo", "todo"], CM + ", 5.2: code in a list"),
    ("a\n\n    code\n    [[note]]\n\n    [[note]]\n", "x.md", [], CM + ", 4.4: a chunk of several lines"),
    ("- a\n\n\t- b\n\n\t\t- [[todo]]\n\n\t\t  [[todo]]\n\n\t\t\t  [[note]]\nb\n", "x.md", ["todo", "todo"], CM + ", 5.2: tabs"),
    ("- - a\n\n      [[todo]]\nlazy\n\n    [[todo]]\n\n# H\n\n    [[note]]\n", "x.md", ["todo", "todo"], CM + ", 5.2: an item in an item"),
    ("- ```js\n  [[note]]\n  ```\n  [[todo]]\n1. ~~~ x [[note]]\n   [n](note.md)\n   ~~~\n", "x.md", ["todo"], CM + ", 5.2: a fence on the line of the marker"),
    ("-     [[note]]\n-    [[todo]]\n\n1.      [n](note.md)\n\n   [[todo]]\n", "x.md", ["todo", "todo"], CM + ", 5.2: code on the line of the marker"),
    ("- -     [[note]]\n\n-\t\t[[note]]\n- a\n-     [[note]]\n-\n      [[note]]\n\n[[todo]]", "x.md", ["todo"], CM + ", 5.2: the same, deeper, by tabs, behind another item"),
    ("text\n2.      [[todo]]\n-     [[note]]\n", "x.md", ["todo"], CM + ", 5.2: a number does not end a paragraph"),
    ("-\n\n  [[todo]]\n\n-\n\n    [[note]]\n", "x.md", ["todo"], CM + ", 5.2: an item begins with one empty line at most"),
    ("- ```\n [[todo]]\n\n- ~~~\n  [[note]]\n- [[todo]]\n", "x.md", ["todo", "todo"], CM + ", 5.2: the code ends with its item"),
    (">     [[note]]\n> - ~~~\n>   [[note]]\n> [[todo]]\n>\n>\t\t[[note]]\n> -     [[note]]\n", "x.md", ["todo"], CM + ", 5.1: code in a quotation"),
    ("- > ```\n  > [[note]]\n  [[todo]]\n", "x.md", ["todo"], CM + ", 5.1: and in one in a list"),
    ("Head\n-\n    [[note]]\n# Head\n    [[note]]\n* * *\n    [[note]]\ntext\n    [[todo]]\n", "x.md", ["todo"], CM + ", 4.4: code right below a heading"),
    ("[^1]:     [[todo]]\n\n    ```\n    [[note]]\n    ```\n\n        [[note]]\n", "x.md", ["todo"], "obsidian-help: Basic formatting syntax, Footnotes"),
    ("`code` [[todo]]\n\n<!-- c --> [[todo]]", "x.md", ["todo"], CM),
    ("%% [[note]] %% [[todo]]\n\n%%\n[[note]]\n%%\n", "x.md", ["todo"], "obsidian-help: Basic formatting syntax, Comments"),
    ("\\[[note]] \\[n](note.md) \\\\[[todo]]", "x.md", ["todo"], CM + ", 2.4: escapes"),
    ("[two\nlines](todo.md) [![i](a.png)](note.md)", "x.md", ["todo", "deep/er/note"], CM + ", 6.3"),
    ("[x]( todo.md ) [y](to\\do.md) [z](named\\.md) [w](R&amp;D.md)", "x.md", ["todo", None, "named", None], CM + ", 6.3, 2.5"),
    ("[web](https://x.org/todo.md) [mail](mailto:a@b.md) ![image](todo.png)", "x.md", [], CM),
    ("---\nup: '[[todo]]'\nmore:\n  - \"[[office/todo|w]]\"\n---\n", "x.md", ["todo", "office/todo"], "obsidian-help: Properties, Internal links"),
    ("---\nlinks: ['[[todo]]', office/todo]\n---\n", "x.md", ["todo", "office/todo"], SPEC),
    ("[[id:8f3c-1]] [[id:8f3c-1::*Head][shown]]", "x.org", ["8f3c-1", "8f3c-1"], R),
    ("[[id:8f3c-2][a headline]]", "x.org", ["8f3c-1"], R),
    ("[[file:roam/plain.org]] [[file:plain.org::*Head][h]] [[./plain.org]]", "roam/x.org", [None, "roam/plain", "roam/plain"], ORG),
    ("[[roam:A Node]] [[roam:Roam Alias]] [[roam:Nobody]]", "x.org", ["8f3c-1", "8f3c-1", None], R),
    ("=[[todo]]= ~[[todo]]~\n#+begin_src org\n[[todo]]\n#+end_src\n", "x.org", [], ORG),
    ("[[https://x.org][web]] [[mailto:a@b.c]] [[*Head]]", "x.org", [], ORG),
]  # fmt: skip


def make(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notes above, opened once; each case adds its own note and takes it away."""
    root = tmp_path_factory.mktemp("vault")
    make(root, VAULT)
    with Notes(root) as notes:
        yield notes


@pytest.mark.parametrize(("text", "path", "ids", "source"), CASES, ids=[case[0][:40] for case in CASES])
def test_what_a_link_means(vault: Notes, text: str, path: str, ids: list[str | None], source: str) -> None:
    """As the source says."""
    file = vault.store.root / path
    file.write_text(text)
    try:
        vault.sync()
        found = [link["id"] for link in vault.index.links(path.rpartition(".")[0])]
        wanted = list(dict.fromkeys(ids)) if len(found) != len(ids) else ids  # the same link twice is told once
        assert found == wanted, source
        for id_ in {id_ for id_ in ids if id_ is not None}:
            assert path.rpartition(".")[0] in {link["id"] for link in vault.index.backlinks(id_)}, source
        unresolved = {row["target"] for row in vault.index.unresolved() if row["source"] == path.rpartition(".")[0]}
        assert bool(unresolved) == (None in ids and "png" not in text)
    finally:
        file.unlink()
        vault.sync()


def test_a_link_that_a_new_note_makes_ambiguous_is_unresolved_at_once(tmp_path: Path) -> None:
    """A second note of the name, made or moved there by another program, takes the link from the first; both are named as
    candidates, the index is the one that would be built now, and without the second the link is as it was."""
    make(tmp_path, {"x.md": "[[name]] [n](one/name.md)\n", "one/name.md": "1\n", "two/other.md": "2\n"})

    def told(notes: Notes) -> tuple[Any, Any, Any]:
        assert notes.verify() == []
        links = [(link["target"], link["id"]) for link in notes.index.links("x")]
        lost = [(row["source"], row["target"], row["candidates"]) for row in notes.index.unresolved()]
        return links, lost, [(link["id"], link["kind"]) for link in notes.index.backlinks("one/name")]

    before = ([("name", "one/name")], [], [("x", "wiki"), ("x", "markdown")])
    after = (
        [("name", None), ("one/name", "one/name")], [("x", "name", ["one/name", "two/name"])], [("x", "markdown")]
    )  # fmt: skip
    with Notes(tmp_path) as notes:
        assert told(notes) == before
        (tmp_path / "two" / "name.md").write_text("also\n")
        notes.sync()
        assert told(notes) == after
        notes.trash("two/name")
        assert told(notes) == before
        (tmp_path / "two" / "other.md").rename(tmp_path / "two" / "name.md")
        notes.sync()
        assert told(notes) == after
        assert notes.store.get("x").body == "[[name]] [n](one/name.md)\n"
        (tmp_path / "name.md").write_text("the exact id wins over both\n")
        notes.sync()
        assert told(notes)[0] == [("name", "name"), ("one/name", "one/name")]


def test_a_file_that_cannot_be_read_is_meant_by_its_name(tmp_path: Path) -> None:
    """A link to it leads to no other note of that title and says why it leads nowhere; who names it is told the reason."""
    make(tmp_path, {"x.md": "[[blob]] [[below]] [[nothing]]\n", "other.md": "---\ntitle: Blob\n---\n"})
    (tmp_path / "blob.md").write_bytes(b"\0\1\2")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "below.md").write_bytes(b"\0\1\2")
    with Notes(tmp_path) as notes:
        told = {link["target"]: (link["id"], "is not text" in str(link["unread"])) for link in notes.index.links("x")}
        assert told == {"blob": (None, True), "below": (None, True), "nothing": (None, False)}
        assert [row["target"] for row in notes.index.unresolved() if row["unread"]] == ["blob", "below"]
        for name, id_ in (("blob", "blob"), ("below", "sub/below")):
            assert notes.index.resolve(name) == id_
            with pytest.raises(Unreadable, match="is not text"):
                notes.get(id_)
        (tmp_path / "blob.md").write_text("now it is\n")
        notes.sync()
        assert notes.index.links("x")[0]["id"] == "blob" and notes.verify() == []


def test_the_table_is_in_the_documentation() -> None:
    """Every source that a case names is named in docs/records.md."""
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    for source in {case[3].split(":")[0].split(" (")[0] for case in CASES}:
        assert source in text, source


def test_foam_s_own_notes_have_no_dead_links_but_those_they_explain(foam: Path) -> None:
    """The sample repository says of itself what resolves: what is left are examples of missing notes."""
    with Notes(foam) as notes:
        dead = {row["target"] for row in notes.index.unresolved()}
    assert len(dead) <= 12, dead


# --- rename ----------------------------------------------------------------------------------------------------------

FORMS = [
    "[[{last}]]", "[[{id}]]", "![[{last}#H1#H2|shown text]]", "[[{id}#^block]]", "[[/{id}]]", "[[{dotted}]]", "[x]({href})",
    "[x](<{raw}> 'title')", "[x]({href}?q=1#part \"t\")", "[x][r]\n\n[r]: {href} 'T'\n", "| a | [[{last}\\|b]] |", "[[{last}.md]]", "[[ {last} ]]",
    "[[The Title]]", "[[An Alias|x]]", "[[{upper}]]",
]  # fmt: skip
NOT = [
    "`[[{last}]]`", "```\n[[{id}]]\n[x]({href})\n```", "- ```js\n  [[{id}]]\n  [x]({href})\n  ```", "-     [[{last}]]\n      [x]({href})",
    "<!-- [[{last}]] -->", "[[{last}ish]]", "[[x{last}]]", "[[other]]", "[w](https://x.org/{last}.md)",
    "{last}.md", "[{last}](other.md)", "\\[[{last}", "[[other|{last}]]", "[[other#{last}]]",
]  # fmt: skip
STEMS = ["old", "sub/old", "a b/ö ld", "x/index", "v1.2", "sub/o'd (1)"]
NEWS = ["new", "sub/new", "neu/näme mit (x)", "deep/er/index", "old2", "x y", "it's"]


def spelled(form: str, stem: str, source: str) -> str:
    import posixpath
    from urllib.parse import quote

    relative = posixpath.relpath(stem + ".md", posixpath.dirname(source) or ".")
    dotted = posixpath.relpath(stem, posixpath.dirname(source) or ".")
    return form.format(
        last=stem.rpartition("/")[2], id=stem, upper=stem.upper(), raw=relative, href=quote(relative, safe="/.'"),
        dotted=dotted if dotted.startswith("../") else "./" + dotted,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(STEMS), st.sampled_from(NEWS), st.sampled_from(["l.md", "sub/l.md", "q/r/l.md"]),
    st.lists(st.one_of(st.sampled_from(FORMS), st.sampled_from(NOT)), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "---\nup: \"[[{last}]]\" # c\n'k': ['[[{id}|x]]', z]\nlinks: [\"[[{last}]]\", other]\n---\n"]), st.booleans(),
)  # fmt: skip
def test_after_a_rename_every_link_still_leads_there(
    tmp_path_factory: pytest.TempPathFactory,
    old: str,
    new: str,
    source: str,
    forms: list[str],
    newline: str,
    front: str,
    own: bool,
) -> None:
    """What resolved to the note resolves to it, as many times; every other byte of every file is the same."""
    root = tmp_path_factory.mktemp("n")
    text = (spelled(front, old, source) + "\n\n".join(spelled(form, old, source) for form in forms)).replace(
        "\n", newline
    )
    body = "---\ntitle: The Title\naliases: [An Alias]\n---\n" + (f"me: [[{old}#x]]\n" if own else "text\n")
    make(root, {old + ".md": body, source: text, "other.md": "other\n", "far/else.md": "[[other]] [[old2ish]]\n"})
    with Notes(root) as notes:
        before = [(link["id"], link["fragment"], link["display"]) for link in notes.index.backlinks(old, own=True)]
        done = notes.rename(old, new)
        assert not done["failed"]
        after = [(link["id"], link["fragment"], link["display"]) for link in notes.index.backlinks(new, own=True)]
        assert set(after) == {(new if id_ == old else id_, *rest) for id_, *rest in before}
        assert notes.verify() == []
    assert (root / "far/else.md").read_bytes() == b"[[other]] [[old2ish]]\n"
    # Taking the targets out of the links leaves the same text.
    linker = (root / source).read_bytes().decode()
    assert blank(linker) == blank(text), (text, linker)
    for form in forms:
        if form in NOT:
            assert spelled(form, old, source).replace("\n", newline) in linker
    shutil.rmtree(root)


def blank(text: str) -> str:
    """The text without what a rename may change: the target of a link."""
    text = re.sub(r"\[\[[^\[\]|#\\\r\n]*", "[[", text)
    text = re.sub(r"\]\(<[^>]*>", "](<>", text)
    text = re.sub(r"\]\([^<>?#\s)]*(?:%29|\))?", "](", text)
    return re.sub(r"(?m)^\[r\]: \S+", "[r]: ", text)


def test_org_links_follow_a_rename(tmp_path: Path) -> None:
    """Ids, files with a search, relative paths and roam links, in every block but the verbatim ones."""
    make(tmp_path, {
        "old.org": "text [[old][me]]\n",
        "sub/l.org": "[[old]] [[file:../old.org::*H][x]] [[../old.org]] [[id:old]] [[roam:old]] =[[old]]= [[old2]]\n#+begin_src\n[[old]]\n#+end_src\n",
        "m.md": "[[old|o]] [o](old.org#h)\n",
    })  # fmt: skip
    with Notes(tmp_path) as notes:
        assert not notes.rename("old", "new/er")["failed"]
        assert {link["id"] for link in notes.index.backlinks("new/er", own=True)} == {"new/er", "sub/l", "m"}
        assert not [row for row in notes.index.unresolved() if row["target"] != "old2"]
    assert (tmp_path / "sub/l.org").read_text() == (
        "[[er]] [[file:../new/er.org::*H][x]] [[../new/er.org]] [[id:new/er]] [[roam:new/er]] =[[old]]= [[old2]]\n#+begin_src\n[[old]]\n#+end_src\n"
    )
    assert (tmp_path / "m.md").read_text() == "[[er|o]] [o](new/er.org#h)\n"
    assert (tmp_path / "new/er.org").read_text() == "text [[er][me]]\n"


def test_a_moved_note_s_own_links(tmp_path: Path) -> None:
    """Relative links, with and without brackets, lead where they led; what finds its note by name is not touched."""
    make(tmp_path, {
        "a/l.md": "[[./s]] [[../r]] [x](s.md) [y](../r.md#f) [z](/a/s.md) [n](unique.md) [[unique]] [web](https://x/s.md)\n",
        "a/s.md": "s\n", "r.md": "r\n", "far/unique.md": "u\n",
    })  # fmt: skip
    with Notes(tmp_path) as notes:
        before = [link["id"] for link in notes.index.links("a/l")]
        notes.rename("a/l", "b/c/l")
        assert [link["id"] for link in notes.index.links("b/c/l")] == before
    assert (tmp_path / "b/c/l.md").read_text() == (
        "[[../../a/s]] [[../../r]] [x](../../a/s.md) [y](../../r.md#f) [z](/a/s.md) [n](unique.md) [[unique]] [web](https://x/s.md)\n"
    )


def test_a_claimed_id_is_renamed_in_place(tmp_path: Path) -> None:
    """A note whose id stands in the file keeps its path; links by that id follow, links by the file's name stay."""
    make(tmp_path, {"house/r.md": "---\nid: roof\n---\n", "l.md": "[[roof]] [[r]] [x](house/r.md)\n"})
    with Notes(tmp_path) as notes:
        notes.rename("roof", "top")
        assert (tmp_path / "l.md").read_text() == "[[top]] [[r]] [x](house/r.md)\n"
        assert [link["id"] for link in notes.index.links("l")] == ["top"] or {
            link["id"] for link in notes.index.links("l")
        } == {"top"}


def test_a_name_with_a_bracket_is_refused_and_nothing_moves(tmp_path: Path) -> None:
    """An id that a link cannot hold is no place for a note that has links."""
    make(tmp_path, {"old.md": "x\n", "l.md": "[[old]]\n"})
    with Notes(tmp_path) as notes:
        for name in ("a]b", "a[b", "a#b", "a`b", "a.md", "a/b.ORG", "a.markdown"):
            with pytest.raises(RecordError):
                notes.rename("old", name)
        assert (tmp_path / "l.md").read_text() == "[[old]]\n" and (tmp_path / "old.md").exists()


@pytest.mark.parametrize("new", ["a/bar", "bar", "a/Nick", "a/the title"])
def test_a_rename_takes_no_link_away_from_another_note(tmp_path: Path, new: str) -> None:
    """A link that would mean the renamed note from now on, or two notes, is spelled out; it leads where it led."""
    make(tmp_path, {
        "a/foo.md": "[[bar]]\n", "b/bar.md": "---\naliases: [Nick]\ntitle: The title\n---\nme: [[bar]]\n",
        "l.md": "---\nup: '[[bar]]'\n---\n[[bar]] [[bar#H|x]] [x](bar.md) [[foo]] [[Nick]] [[The title]] `[[bar]]`\n",
    })  # fmt: skip
    with Notes(tmp_path) as notes:
        before = [link["id"] for id_ in ("l", "a/foo", "b/bar") for link in notes.index.links(id_)]
        done = notes.rename("a/foo", new)
        after = [link["id"] for id_ in ("l", new, "b/bar") for link in notes.index.links(id_)]
        assert list(dict.fromkeys(after)) == list(dict.fromkeys(new if id_ == "a/foo" else id_ for id_ in before))
        assert "l.md" in done["rewritten"] and done["failed"] == []
        assert notes.index.unresolved() == [] and notes.verify() == []
        assert (tmp_path / "l.md").read_text().endswith("`[[bar]]`\n")


def test_a_moved_note_s_links_to_itself_and_out_of_every_folder(tmp_path: Path) -> None:
    """A path to itself goes with the note, and one that leads above the top from its new place is mended too."""
    make(tmp_path, {
        "a/l.md": "[x](l.md#h) [[./l]] [r]\n\n[r]: ../a/l.md\n", "a/only.md": "[x](../r.md)\n", "r.md": "r\n",
        "a/o.org": "[[file:o.org::*H]] [[../r.md]]\n", "a/p.org": "[[file:../r.md]]\n",
    })  # fmt: skip
    with Notes(tmp_path) as notes:
        for old, new in (("a/l", "b/m"), ("a/only", "only"), ("a/o", "b/q"), ("a/p", "p")):
            assert notes.rename(old, new)["failed"] == []
        assert notes.index.unresolved() == [] and notes.verify() == []
    assert (tmp_path / "b/m.md").read_text() == "[x](m.md#h) [[./m]] [r]\n\n[r]: m.md\n"
    assert (tmp_path / "only.md").read_text() == "[x](r.md)\n"
    assert (tmp_path / "b/q.org").read_text() == "[[file:q.org::*H]] [[../r.md]]\n"
    assert (tmp_path / "p.org").read_text() == "[[file:r.md]]\n"


def test_a_path_leads_to_the_note_that_is_named_as_a_folder_is(tmp_path: Path) -> None:
    """`projects.md` beside `projects/`: links from inside the folder, and to it once it is named so, keep its name."""
    make(tmp_path, {
        "projects.md": "p\n", "l.md": "[x](projects.md) [[./projects]]\n", "o.org": "[[file:projects.md]]\n",
        "projects/in.md": "[x](../r.md) [[../r]]\n", "projects/in.org": "[[file:../r.md]]\n", "r.md": "r\n",
    })  # fmt: skip
    with Notes(tmp_path) as notes:
        notes.rename("l", "projects/l")
        notes.rename("o", "projects/o")
        assert (tmp_path / "projects/l.md").read_text() == "[x](../projects.md) [[../projects]]\n"
        assert (tmp_path / "projects/o.org").read_text() == "[[file:../projects.md]]\n"
        notes.rename("projects", "else")
        notes.rename("r", "projects")
        assert (tmp_path / "projects/in.md").read_text() == "[x](../projects.md) [[../projects]]\n"
        assert notes.index.unresolved() == []


def test_a_note_that_becomes_a_folder_s_index_takes_no_link(tmp_path: Path) -> None:
    """`[[a]]` that meant a note by its title is spelled out when `a/index` would be meant from now on."""
    make(tmp_path, {"n.md": "---\ntitle: a\n---\n", "m.md": "m\n", "a/x.md": "x\n", "l.md": "[[a]] [[m]]\n"})
    with Notes(tmp_path) as notes:
        notes.rename("m", "a/index")
        assert (tmp_path / "l.md").read_text() == "[[n]] [[index]]\n"
        assert [link["id"] for link in notes.index.links("l")] == ["n", "a/index"]


def test_names_that_differ_in_case_only_are_two_notes_to_a_link_and_to_a_rename(tmp_path: Path) -> None:
    """A path in its exact case means that file, and a rename touches only the links in the case of its note."""
    make(
        tmp_path,
        {"d/Todo.md": "T\n", "d/todo.md": "t\n", "d/l.md": "[[./Todo]] [[./todo]] [[d/Todo]] [[d/todo]] [[/d/todo]]\n"},
    )
    with Notes(tmp_path) as notes:
        assert notes.index.unresolved() == []
        notes.rename("d/Todo", "d/Later")
    assert (tmp_path / "d/l.md").read_text() == "[[./Later]] [[./todo]] [[d/Later]] [[d/todo]] [[/d/todo]]\n"
