"""Real notes for tests of tools: a Store and an Index in a folder, asked as the processes `store` and `index` are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egghead.row_parts import answer
from egghead.tools.monitor import Monitor, Result
from egghead.tools.ports import Refusal, Unavailable
from records import Notes, RecordError


class RealNotes:
    """`ask` of the tools over real files and a real index. `down`: targets that do not answer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes = Notes(root)
        self.down: set[str] = set()
        self.asked: list[str] = []

    def close(self) -> None:
        self.notes.close()

    def write(self, path: str, text: str) -> None:
        """A file as an editor writes it, in the index at once."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.notes.sync()

    def agent(self, id: str, *grants: str, extra: str = "", body: str = "An agent.") -> None:
        """An agent record with these grants."""
        listed = "".join(f"\n  - '{grant}'" for grant in grants) or " []"
        self.write(f"agents/{id}.md", f"---\nclass: agent\ncapabilities:{listed}\n{extra}---\n{body}\n")

    async def ask(self, target: str, method: str, /, **params: Any) -> Any:
        self.asked.append(f"{target}.{method}")
        if target in self.down:
            raise Unavailable(target, "it is restarting")
        if "class" in params:
            params["class_"] = params.pop("class")
        try:
            if target == "index":
                return self._index(method, params)
            return self._store(method, params)
        except RecordError as error:
            raise Refusal(type(error).__name__, error.message, error.data) from None

    def _index(self, method: str, params: dict[str, Any]) -> Any:
        if "id" in params:
            params["id_"] = params.pop("id")
        found = getattr(self.notes.index, method)(**params)
        return [hit.to_dict() for hit in found] if method == "search" else found

    def _store(self, method: str, params: Mapping[str, Any]) -> Any:
        if method == "get":
            return answer(self.notes.get(params["id"]))
        if method == "create":
            given = {key: value for key, value in params.items() if value is not None}
            return {"record": self.notes.create(**given).to_dict(), "indexed": True}
        if method == "update":
            record = self.notes.update(params["id"], params["changes"], params.get("revision"))
            return {"record": record.to_dict(), "indexed": True}
        if method == "trash":
            return {"record": self.notes.trash(params["id"])["record"].to_dict(), "indexed": True, "broken": []}
        raise AssertionError(f"the tools ask store.{method}, which is not in the contract")


async def run(notes: RealNotes, agent: str, tool: str, **arguments: Any) -> Result:
    """What the tool gives this agent, which has read nothing before."""
    return await Monitor(notes.ask).run(agent, tool, arguments)
