"""Tags in the text of a Markdown note: `#tag`, `#nested/tag`. Pure.

As Obsidian has them (help.obsidian.md, Tags): letters of any script, digits, `_`, `-`, `/` and pictures, at least one of
them no digit; at the start of a line or behind white space, as in Foam and Logseq. `#1984` is a number, `# Title` a
heading, `#[[a page]]` a link. What is code or a comment is no tag; the caller blanks it out (`code`).
"""

from __future__ import annotations

import re

MOST = 1000  # of one note
NEAR = 500  # characters before and behind a tag in which a link around it is looked for
LONGEST = 100  # characters; more is no tag but a text without spaces
# Begins with a literal, which `re` looks for by itself. What no tag holds: white space, ASCII but `-`, `/` and `_`, and
# the punctuation of other scripts.
_TAG = re.compile(
    r"#([^\s!-,.:-@\[-^`{-~\xa1-\xbf\u2000-\u200c\u200e-\u206f\u2e00-\u2e7f\u3000-\u303f\uff01-\uff0c\uff0e\uff1a-\uff20]+)"
)


def hashtags(masked: str) -> tuple[str, ...]:
    """The tags of a text whose code is blanked out, each as it is first written, in order, without `#`."""
    found: dict[str, None] = {}
    for match in _TAG.finditer(masked):
        at = match.start()
        if at and not masked[at - 1].isspace():
            continue
        tag = match.group(1).rstrip("/")
        if len(tag) > LONGEST or not _is_name(tag) or _in_link(masked, at):
            continue
        found[tag] = None
        if len(found) == MOST:
            break
    return tuple(found)


def _is_name(tag: str) -> bool:
    """Whether it has more than digits and marks: `#2024/01` counts, `#12` and `#-` do not."""
    return not tag.isdecimal() and any(character.isalnum() or character > "\u2190" for character in tag)


def _in_link(text: str, at: int) -> bool:
    """Whether a wikilink is open here: `[[note #part]]`."""
    opened = text.rfind("[[", max(text.rfind("\n", max(0, at - NEAR), at) + 1, at - NEAR), at)
    return opened >= 0 and text.find("]]", opened, at + NEAR) >= 0 and text.find("]]", opened, at) < 0
