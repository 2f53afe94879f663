"""The prompt caches of the real APIs, as their references say that they work. Pure but for what they remember.

Anthropic (`Prompt caching`): the prompt is tools, then system, then messages, as blocks. Each `cache_control` writes an entry
for the prefix that ends there, and looks for one of the last 20 blocks before it; a prefix counts from so many tokens on.
Everything must be equal to the letter, but for the marks themselves. OpenAI (`Prompt caching`): no marks, the longest prefix
that was sent before under the same `prompt_cache_key`, from 1024 tokens on, in steps of 128.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.llm.steps import Asked, Tokens

LOOK_BACK = 20  # blocks
LEAST = {"claude-opus-5-5": 4096, "claude-haiku-4-5": 4096}  # tokens; others 1024
STEP = 128


class PrefixCache:
    """What was sent before. `figures` tells how much of a request is read from it, and remembers the request."""

    def __init__(self) -> None:
        self._entries: set[tuple[str, ...]] = set()
        self._sent: dict[str, list[str]] = {}

    def figures(self, asked: Asked) -> Tokens:
        if asked.wire == "anthropic":
            return self._marked(asked)
        return self._automatic(asked)

    def _marked(self, asked: Asked) -> Tokens:
        blocks = _blocks(asked.body)
        keys = [json.dumps(_bare(block), sort_keys=True) for block in blocks]
        head = f"{asked.model} {json.dumps(asked.body.get('thinking'))}"
        least = LEAST.get(asked.model, 1024)
        marks = [number for number, block in enumerate(blocks, start=1) if "cache_control" in block["block"]]
        read = 0
        for mark in marks:
            for end in range(mark, max(0, mark - LOOK_BACK), -1):
                if (head, *keys[:end]) in self._entries:
                    read = max(read, end)
                    break
        counts = [_tokens(key) for key in keys]
        written = [mark for mark in marks if sum(counts[:mark]) >= least]
        self._entries |= {(head, *keys[:mark]) for mark in written}
        last = max([*written, read], default=0)
        return Tokens(sum(counts[last:]), None, sum(counts[:read]), sum(counts[read:last]))

    def _automatic(self, asked: Asked) -> Tokens:
        body = asked.body
        keys = ("tools", "instructions", "systemInstruction", "messages", "input", "contents")
        text = json.dumps([body[key] for key in keys if key in body])
        before = self._sent.setdefault(str(body.get("prompt_cache_key") or ""), [])
        common = max((_common(text, other) for other in before), default=0) // 4
        before.append(text)
        read = common // STEP * STEP if common >= 1024 else 0
        return Tokens(_tokens(text) - read, None, read)


def _blocks(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The prompt in its order; each block with where it stands."""
    system = body.get("system") or []
    found = [{"at": "tools", "block": tool} for tool in body.get("tools") or ()]
    found += [{"at": "system", "block": block} for block in system]
    for message in body["messages"]:
        found += [{"at": message["role"], "block": block} for block in message["content"]]
    return found


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    return {**block, "block": {key: value for key, value in block["block"].items() if key != "cache_control"}}


def _tokens(text: str) -> int:
    return len(text) // 4


def _common(one: str, other: str) -> int:
    at = 0
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
