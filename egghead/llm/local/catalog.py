"""The models on this machine that agents may name: `local/<name>`, a directory each, with what is known of the file.

    <data>/egghead/models/<name>/model.gguf    a symbolic link to the file, wherever it is
    <data>/egghead/models/<name>/model.json    what the file says, and how it is to be run

The directory is the whole state: a name appears and goes with one rename, so a node that runs sees a model whole or not at
all, and needs no word. Files are never copied and never removed here: weights are large, and a person's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from egghead.llm.errors import RequestRefused, UnknownModel
from egghead.llm.local import gguf

LINK, FACTS = "model.gguf", "model.json"
SOCKET = ".sock"  # llama.cpp takes a host that ends so for a path
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
TAKEN = ("librarian",)
SLOTS = 2  # conversations at once, each with a window of its own
MOST_SLOTS = 16
MOST_WINDOW = 16_384
LEAST_WINDOW = 512
MEMORY = 1 << 30  # bytes for the windows of all slots together, unless a person says otherwise
STALE = 3600.0  # seconds after which what an interrupted `add` left is removed


@dataclass(frozen=True)
class Settings:
    """How a model is run. `window`: tokens of one conversation; `threads`: 0 for one for each processor; `small`: tool calls
    bound by a schema and notes put before the model, as small models need it."""

    window: int
    slots: int = SLOTS
    threads: int = 0
    small: bool = True


@dataclass(frozen=True)
class Shelved:
    """One model of the catalog. `fault`: why it cannot be used, empty when it can; `made`: when it was put there, which
    tells it from another under its name."""

    name: str
    file: str
    settings: Settings
    architecture: str = ""
    context: int | None = None
    size: int = 0
    title: str = ""
    fault: str = ""
    made: int = 0


def window_for(facts: gguf.Facts, slots: int, wanted: int | None = None) -> int:
    """Tokens of one conversation: as many as the file was trained for, as fit in MEMORY, and MOST_WINDOW at most; `wanted`
    instead of the last two. Raises RequestRefused for one that cannot be meant."""
    trained = facts.context or 4096
    if wanted is not None:
        if not LEAST_WINDOW <= wanted <= trained:
            raise RequestRefused(f"a context of {wanted} tokens is not possible: from {LEAST_WINDOW} to {trained}")
        return wanted
    fitting = MEMORY // (slots * facts.cell) if facts.cell else trained
    return max(min(trained, LEAST_WINDOW), min(trained, MOST_WINDOW, fitting // 256 * 256))


def add(
    directory: Path,
    file: Path,
    name: str | None = None,
    *,
    context: int | None = None,
    slots: int = SLOTS,
    threads: int = 0,
    small: bool = True,
) -> Shelved:
    """Put a file into the catalog. Raises RequestRefused (not a model, a name that cannot be or is there), OSError."""
    path = file.expanduser().resolve(strict=True)
    name = name or name_for(path)
    if NAME.fullmatch(name) is None or name in TAKEN:
        raise RequestRefused(
            f"a model cannot be called {name!r}: lower case letters, digits, '.', '_' and '-', 40 at most, and not "
            f"{' or '.join(map(repr, TAKEN))}; give another with --name"
        )
    facts = gguf.read(path)
    settings = Settings(window_for(facts, slots, context), slots, threads, small)
    about = {"file": str(path), "size": facts.size, "title": facts.title, "architecture": facts.architecture}
    data = {**about, "context": facts.context, **asdict(settings)}
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(directory)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=directory))
    try:
        (made / LINK).symlink_to(path)
        with (made / FACTS).open("w", encoding="utf-8") as out:
            out.write(json.dumps(data, indent=1) + "\n")
            out.flush()
            os.fsync(out.fileno())
        made.rename(directory / name)  # refused when there is one: of two at once, one wins
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if (directory / name).exists():
            raise RequestRefused(
                f"there is a model 'local/{name}' already; `egghead llm local remove {name}` first, or give another --name"
            ) from error
        raise
    return _read(directory / name)


def remove(directory: Path, name: str) -> Shelved:
    """Take a model out of the catalog; its file stays. Raises UnknownModel."""
    found = {one.name: one for one in listing(directory)}
    if name not in found:
        known = f"; there is {', '.join(found)}" if found else "; there is none"
        raise UnknownModel(f"there is no model 'local/{name}'{known}")
    gone = Path(tempfile.mkdtemp(prefix=".old-", dir=directory))
    (directory / name).rename(gone / name)
    shutil.rmtree(gone, ignore_errors=True)  # links are removed, not what they lead to
    return found[name]


def listing(directory: Path) -> list[Shelved]:
    """Every model of the catalog, by name; also one that cannot be used, with its fault."""
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []
    return [_read(directory / name) for name in names]


def name_for(path: Path) -> str:
    """A name out of the name of a file: `SmolLM2-135M-Instruct.Q4_1.gguf` is `smollm2-135m-instruct.q4_1`."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.name.lower().removesuffix(".gguf")).strip("-._")[:40]


def _read(place: Path) -> Shelved:
    try:
        data: Any = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if not isinstance(data, Mapping):
            raise ValueError("not a mapping")
        window, slots, threads = (int(data[key]) for key in ("window", "slots", "threads"))
        if not (LEAST_WINDOW <= window < 2**31 and 1 <= slots <= MOST_SLOTS and 0 <= threads <= 1024):
            raise ValueError("a figure that cannot be meant")
        settings = Settings(window, slots, threads, bool(data.get("small", True)))
        file, made = str(data["file"]), place.stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = f"`egghead llm local remove {place.name}` and add it again"
        return Shelved(place.name, "", Settings(LEAST_WINDOW), fault=f"{FACTS} cannot be read ({error!r}); {again}")
    context, size = data.get("context"), data.get("size")
    return Shelved(
        place.name,
        file,
        settings,
        str(data.get("architecture") or ""),
        context if isinstance(context, int) else None,
        size if isinstance(size, int) else 0,
        str(data.get("title") or ""),
        made=made,
    )


def _sweep(directory: Path) -> None:
    """Remove what an `add` or `remove` left that was killed in the middle."""
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):
            if entry.name.startswith((".new-", ".old-")) and time.time() - entry.stat().st_mtime > STALE:
                shutil.rmtree(entry.path)
