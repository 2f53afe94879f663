"""Names as people write them: scripts, signs around them, words that look like broadcasts, and texts that nobody wrote."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable

import pytest

from egghead.rooms.addressing import MOST_MENTIONS, mentions

TITLES = {
    "scout": "Scout",
    "nib": "Nib",
    "people/bob": "Bob",
    "team/bob": "Bobby",
    "zoe": "Zoë",
    "हिन्दी": "Hindi Expert",
    "กานต์": "Kan",
    "資料": "資料係",
    "o-reilly": "O'Reilly",
    "jam-master": "Jam Master",
    "channel-guide": "Guide",
    "pathfinder": "Scout Two",
}


@pytest.mark.parametrize(
    ("text", "agents"),
    [
        ("@" + unicodedata.normalize("NFD", "Zoë") + " hi", ("zoe",)),
        ("＠ｓｃｏｕｔ お願い", ("scout",)),
        ("@हिन्दी क्या है", ("हिन्दी",)),
        ("ถาม@กานต์หน่อย", ("กานต์",)),
        ("教えて@資料係さん", ("資料",)),
        ("@O’Reilly hi", ("o-reilly",)),
        ("@agents/scout hi", ("scout",)),
        ("@agents/people/bob hi", ("people/bob",)),
        ("_@scout_ and __@nib__", ("scout", "nib")),
        ("@nib/@scout", ("nib", "scout")),
        ("@nib & @scout, or @nib+@scout", ("nib", "scout")),
        ("Done.@scout", ("scout",)),
        ("medium.com/@scout", ()),
        ("a_@scout", ()),
        ("@nib@scout.social", ()),
        ("look at ` here\n\n@scout and at ` there", ("scout",)),
        ("``a ` b @nib`` @scout `c", ("scout",)),
        ("like this:\n\n    @nib\n\n\t@zoe\n\n@scout what is it", ("scout",)),
        ("go on\n    @scout with this", ("scout",)),
        ("- first\n\n    @scout do it\n\nThen:\n\n    @nib", ("scout",)),
        ("use <code>@nib</code> or <PRE class='x'>\n@zoe\n</pre>, @scout", ("scout",)),
        ("what is <code> for, @scout", ("scout",)),
        ("`<code>` and @scout and `</code>`", ("scout",)),
        ("```ls @nib```\n@scout what does it do?", ("scout",)),
        ("```sh\n@nib\n```\n@scout and\n~~~ `@nib`\n@zoe\n~~~~", ("scout",)),
        ("````\n```\n@nib\n````\n@scout", ("scout",)),
        ("@jam-master hello", ("jam-master",)),
        ("@Jam Master, hello", ("jam-master",)),
        ("@channel-guide hi", ("channel-guide",)),
        ("@scout-two and @Scout_Two", ("pathfinder",)),
    ],
)
def test_a_name_is_found_however_it_is_written(text: str, agents: tuple[str, ...]) -> None:
    """Composed or not, with marks, in full width, in emphasis, beside another mention: the same name."""
    found = mentions(text, TITLES)
    assert found.agents == agents
    assert found.broadcast is None and not found.near


@pytest.mark.parametrize(
    ("text", "broadcast"),
    [
        ("@everyone's turn", "huddle"),
        ("皆@everyone皆", "huddle"),
        ("_@jam_", "jam"),
        ("@jam master, plan for tomorrow", None),
        ("@jam masters", "jam"),
        ("@jam-session", None),
        ("@everyone_else", None),
        ("@everyones", None),
        ("a@jam.org", None),
    ],
)
def test_a_broadcast_is_the_word_and_not_the_beginning_of_a_name(text: str, broadcast: str | None) -> None:
    """`@jam` calls all, `@jam-session` is somebody's name, and so is a title that begins with the word."""
    assert mentions(text, TITLES).broadcast == broadcast


PASTED: dict[str, Callable[[int], str]] = {
    "a long word": lambda n: "a" * n,
    "base64": lambda n: "QUJD" * (n // 4),
    "dots": lambda n: "@a" + ".a" * (n // 2),
    "scripts in turn": lambda n: "@" + "aか" * (n // 2),
    "tags that nothing closes": lambda n: "</x> @" + "<code>" * (n // 6),
    "tags without an end": lambda n: "</x> @" + "<code" * (n // 5),
    "indented lines": lambda n: "\n\n    @x" * (n // 8),
    "runs of backticks": lambda n: " ".join("`" * (1 + i % 150) for i in range(n // 75)),
    "one run of backticks": lambda n: "\n" + "`" * n,
    "one run of tildes": lambda n: "\n" + "~" * n + " @agent7",
    "fences of all lengths": lambda n: "\n" + "\n".join("`" * (3 + i % 150) for i in range(n // 75)),
    "unknown names": lambda n: " ".join(f"@zz{i}" for i in range(n // 7)),
    "addresses": lambda n: "a.a@" * (n // 4),
}


@pytest.mark.parametrize("kind", PASTED)
def test_what_was_pasted_takes_time_in_proportion_to_its_length(kind: str) -> None:
    """Eight times the text takes much less than sixty-four times the time, for every reader of the room."""
    titles = {f"agent{i}": f"Agent Number {i}" for i in range(100)}

    def seconds(length: int) -> float:
        text = "@agent7 " + PASTED[kind](length)
        taken = []
        for _ in range(3):
            before = time.process_time()
            assert "agent7" in mentions(text, titles).agents
            taken.append(time.process_time() - before)
        return min(taken)

    assert seconds(160_000) < 24 * max(seconds(20_000), 0.005)


def test_a_text_of_names_names_no_more_than_a_bounded_number() -> None:
    """Behind a most of mentions, what looks like one is text."""
    titles = {f"a{i}": f"A{i}" for i in range(300)}
    assert len(mentions(" ".join(f"@{agent}" for agent in titles), titles).agents) == MOST_MENTIONS
