"""The pages that a provider's own web search has used, as one line of Markdown links under the answer. Pure.

What a provider writes into its text itself is not said twice.
"""

from __future__ import annotations

import re
from typing import Any

MOST = 20  # links of one answer

_LINK = re.compile(r"https?://[^\s<>()\[\]\"']+\Z")


class Sources:
    """Pages in the order in which they were cited, each once."""

    def __init__(self) -> None:
        self._pages: dict[str, str] = {}
        self._said: list[str] = []

    def heard(self, text: str) -> None:
        """A piece of the answer."""
        self._said.append(text)

    def add(self, url: Any, title: Any = None) -> None:
        """A page that was cited. What is no plain web address cannot be a link, and is left out."""
        address = str(url or "").replace("(", "%28").replace(")", "%29")
        if _LINK.match(address) and len(self._pages) < MOST:
            name = " ".join(re.sub(r"[\[\]\\`*_<>\x00-\x1f]", " ", str(title or "")).split())[:120]
            self._pages.setdefault(address, name or address)

    def line(self) -> str:
        """The line, beginning with a blank one; "" when all there is stands in the text."""
        if not self._pages:
            return ""
        said = "".join(self._said)
        links = [f"[{name}]({url})" for url, name in self._pages.items() if url not in said]
        return f"\n\nSources: {', '.join(links)}" if links else ""
