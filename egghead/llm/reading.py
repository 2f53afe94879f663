"""What the configuration says of models, read by the process that may: the file's bytes → the section with its keys.

Pure but for the parsing. The root has told what it may know (stars for keys) and the digest of the file that it saw: as
long as the file is that one, it is known to be well-formed, and only the keys are taken from it. A changed file is
checked like at any start; then the library that checks is imported, which costs memory that most nodes never need.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egghead.envelope import digest
from egghead.errors import ConfigError

LIVE = ("llm", "default_model")  # keys whose change takes effect in a running node
MAX_FILE = 1024 * 1024  # bytes
_ENV = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_OVERLAID = ("api_key", "base_url")  # what is not shown, or not all of it


@dataclass(frozen=True)
class Read:
    """`config`: the keys LIVE, keys in clear. `restart`: other keys that differ from what the node was started with."""

    config: Mapping[str, Any]
    restart: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """`shown`: the configuration as every process has it; `known`: the digest of the file behind it, None: there was
    none; `path`: its name, for people."""

    shown: Mapping[str, Any]
    known: str | None
    environ: Mapping[str, str]
    path: str = "config.yml"

    def read(self, content: bytes | None) -> Read:
        """The content of the file, None: there is none. Raises ConfigError; no key is in its message."""
        if content is None:
            return self._other({}) if self.known is not None else Read(self._live(self.shown))
        if digest(content) == self.known:
            return Read(self._live(self.shown) | {"llm": self._opened(self.shown.get("llm") or (), content)})
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.path} is not UTF-8: {error.reason} at byte {error.start}") from None
        from egghead import config  # late: see above

        shown = config.parse(text, self.path, self.environ).redacted()
        return self._other({**shown, "llm": self._opened(shown["llm"], content)})

    def _live(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        return {key: whole.get(key) for key in LIVE}

    def _other(self, now: Mapping[str, Any]) -> Read:
        changed = tuple(key for key, value in self.shown.items() if key not in LIVE and now and now.get(key) != value)
        return Read(self._live(now), changed)

    def _opened(self, shown: Sequence[Mapping[str, Any]], content: bytes) -> list[dict[str, Any]]:
        """The entries that were shown, with what is starred in them as the file has it; `{env:…}` stays in a key."""
        entries = [dict(entry) for entry in shown]
        if not any(entry.get(key) for entry in entries for key in _OVERLAID):
            return entries
        import yaml  # late: most nodes have no key in the file

        for entry, given in zip(entries, yaml.safe_load(content)["llm"], strict=True):
            if isinstance(key := given.get("api_key"), str):
                entry["api_key"] = key.strip()
            if isinstance(url := given.get("base_url"), str):
                entry["base_url"] = _ENV.sub(lambda found: self.environ.get(found[1], ""), url).strip()
        return entries
