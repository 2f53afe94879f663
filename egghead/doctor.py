"""What `egghead doctor` checks. Each check reads and tells; none changes anything, so it is safe on a live node."""

from __future__ import annotations

import difflib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from egghead import node, paths
from egghead.config import Config
from egghead.llm.errors import LlmError
from egghead.llm.local.shelf import Local
from egghead.llm.registry import ADAPTERS, DEFAULT_MODEL, Registry

LOW_SPACE = 200 * 1024 * 1024  # bytes; below this a log or an index may soon fail to grow


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is ok, warn or fail; `fix` is what to do, empty when all is well."""

    check: str
    state: str
    why: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Patient:
    """What is examined: the configuration that was read, and the records directory it leads to (None: none).

    `watching`: what the running node's store says of how it finds changes; None: no node runs, or it does not answer.
    `providers`: likewise what its gateway says of providers and their keys.
    """

    config: Config
    config_path: Path
    records: Path | None
    records_fault: str = ""
    watching: Mapping[str, Any] | None = None
    providers: Mapping[str, Any] | None = None


def examine(patient: Patient) -> Iterator[Finding]:
    for check in CHECKS:
        yield from check(patient)


def _config(p: Patient) -> Iterator[Finding]:
    if not p.config_path.exists():
        yield Finding("config", "ok", f"{p.config_path} is not there: all defaults")
        return
    mode = p.config_path.stat().st_mode & 0o777
    if mode & 0o077 and p.config.llm:
        yield Finding("config", "warn", f"{p.config_path} holds keys and others can read it (mode {mode:o})",
                      f"chmod 600 {p.config_path}")  # fmt: skip
    else:
        yield Finding("config", "ok", str(p.config_path))


def _records(p: Patient) -> Iterator[Finding]:
    if p.records is None:
        yield Finding(
            "records", "fail", p.records_fault, "put that right, or name another folder: --records DIR, or records_dir"
        )
        return
    refusal = _unwritable(p.records)
    if refusal is not None:
        fix = f"check the owner and mode of {p.records}"
        if refusal.errno == errno.EROFS:
            fix = "see why its disk is read-only (dmesg), and mount it for writing again"
        yield Finding("records", "fail", f"{p.records} cannot be written: {refusal.strerror}", fix)
        return
    free = shutil.disk_usage(p.records).free
    if free < LOW_SPACE:
        yield Finding("records", "warn", f"{p.records}: only {free >> 20} MiB free", "make room on that disk")
    else:
        yield Finding("records", "ok", f"{p.records}, {free >> 30} GiB free")


def _unwritable(folder: Path) -> OSError | None:
    """Why no file can be made in a folder, tried with one that has no name. A disk that the kernel has made read-only after
    a fault says to `access` that it can be written."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return error
    return None  # it can, or its disk has no files without a name


def _watching(p: Patient) -> Iterator[Finding]:
    folders = sum(1 for _ in _folders(p.records)) if p.records else 0
    limit = _watch_limit()
    more = f"{folders} folders; " + (f"inotify allows {limit} watches" if limit else "this system has no inotify")
    if p.watching is not None:
        live = watched(p.watching)
        yield replace(live, why=f"{live.why}; {more}")
    elif limit and folders <= limit * 0.8:
        yield Finding("watching", "ok", more)
    elif not limit:
        yield Finding("watching", "ok", f"{more}, so events come from the library watchfiles")
    if limit and folders > limit * 0.8:
        yield Finding("watching", "warn", f"{folders} folders, and inotify allows {limit} watches",
                      f"sysctl fs.inotify.max_user_watches={max(524288, folders * 2)}")  # fmt: skip


def _watch_limit() -> int | None:
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return None


def watched(watching: Mapping[str, Any]) -> Finding:
    """What a store says of how it finds changes, as a finding."""
    told = f"changes are found {watching['text']}"
    if watching["by"] not in ("polling", "nothing"):
        return Finding("watching", "ok", told)
    fix = "unset watch in the configuration" if watching["why"] == "asked for" else ""
    if "max_user_watches" in watching["why"]:
        fix = "sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024; the node notices by itself"
    return Finding("watching", "warn", told, fix)


def _folders(root: Path) -> Iterator[str]:
    for directory, names, _ in os.walk(root):
        names[:] = [n for n in names if not n.startswith(".")]
        yield directory


def _notes(p: Patient) -> Iterator[Finding]:
    """Every file is read as the store reads it; agent records also as the roster does."""
    if p.records is None:
        return
    from egghead.agents.record import FOLDER, agent_id, load
    from records import CLASSES, RecordError, Store
    from records.catalog import Catalog, Entry
    from records.rows import beyond

    store, count, registry = Store(p.records), 0, _registry(p)
    catalog = Catalog()
    spelled: dict[str, str] = {}
    unread: list[str] = []
    faults = []
    for stat in store.scan(faults=unread):
        count += 1
        try:
            record = store.read(stat.path)
        except RecordError as error:
            unread.append(str(error))
            continue
        path = p.records / stat.path
        if record.error:
            faults.append(Finding("notes", "warn", f"{path}: {record.error}", _cure(record.error, path)))
        if unseen := beyond(record):
            faults.append(Finding("notes", "warn", f"{path}: {unseen}", "split it into several notes"))
        if "class" in record.meta:
            near = difflib.get_close_matches(str(record.meta["class"]), CLASSES, 1)
            faults.append(
                Finding("notes", "warn", f"{path}: there is no class {record.meta['class']!r}; it is read as {record.class_!r}",
                        f"class: {near[0]}" if near else f"one of: {', '.join(CLASSES)}")
            )  # fmt: skip
        catalog.put(Entry(stat.path, stat.mark, record.id, record.class_))
        other = spelled.setdefault(stat.path.casefold(), stat.path)
        if other != stat.path:
            faults.append(
                Finding("notes", "warn", f"{path} and {other!r} differ in case only: a Mac or Windows keeps one of them",
                        f"egghead records rename {record.id} NEW")
            )  # fmt: skip
        if record.class_ == "agent":
            spec = load(record.to_dict())
            for problem in spec.problems:
                faults.append(Finding("agents", "warn", f"{record.id}: {problem}", f"edit {path}"))
            for key, names in (("model", (spec.model,)), ("fallback", spec.fallback)):
                for missing in _unusable(registry, names, key):
                    faults.append(replace(missing, why=f"{record.id}: {missing.why}"))
    agents: dict[str, str] = {}
    for entry in catalog:
        has = catalog.id_at(entry.path)
        if entry.class_ == "agent" and (other := agents.setdefault(agent_id(has), has)) != has:
            is_it, is_not = sorted((has, other), key=lambda id: not id.startswith(FOLDER))
            faults.append(
                Finding("agents", "warn", f"{is_it!r} and {is_not!r} are both the agent {agent_id(has)!r}; it is the first one",
                        f"egghead records rename {is_not} NEW")
            )  # fmt: skip
        if has != entry.wanted:
            holder = catalog.path_of(entry.wanted)
            faults.append(
                Finding("notes", "warn", f"{p.records / entry.path}: the id {entry.wanted!r} belongs to {holder!r}; this is {has!r}",
                        "give one of them another id")
            )  # fmt: skip
    faults += [Finding("notes", "warn", fault, "check that file") for fault in unread]
    yield from faults
    if not faults:
        yield Finding("notes", "ok", f"{count} notes, all read without fault")


def _cure(error: str, path: Path) -> str:
    if "UTF-16" in error:
        return f"save it as UTF-8: iconv -f utf-16 -t utf-8 {str(path)!r} (into another file, then over it)"
    if "UTF-8" in error:
        return f"save it as UTF-8: iconv -f latin1 -t utf-8 {str(path)!r} (into another file, then over it)"
    if "NUL" in error:
        return f"take the NUL characters out of {path}"
    return f"correct the frontmatter of {path}"


def _index(p: Patient) -> Iterator[Finding]:
    if p.records is None:
        return
    path = p.records / node.OWN_DIR / "index.db"
    if not path.exists():
        yield Finding("index", "ok", "not made yet: the next start of a node makes it")
        return
    import sqlite3

    from records.index_file import bytes_on_disk

    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
        try:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        answer = str(error)
    if answer == "ok":
        yield Finding("index", "ok", f"{bytes_on_disk(path) >> 10} KiB")
    else:
        yield Finding("index", "warn", f"the index is damaged ({answer}); nothing of yours is in it",
                      f"stop the node, rm {path}, start it: it is made again from the notes")  # fmt: skip


def _models(p: Patient) -> Iterator[Finding]:
    """The default model, where keys were found, and how the providers are: as the running node has it, else as a new one would."""
    registry = _registry(p)
    told = p.providers or {"providers": registry.providers(), "default": registry.default, "config": {}}
    if fault := told["config"].get("fault"):
        yield Finding("models", "fail", f"the running node goes on with what it had: {fault}", f"edit {p.config_path}")
    for row in told["providers"]:
        if not row["usable"]:
            yield Finding(
                "models", "warn", f"{row['name']} cannot be used: {row['why']}", f"egghead llm add {row['name']}"
            )
        elif row.get("needs_key"):
            yield Finding("models", "fail", row["error"], f"egghead llm add {row['name']}")
        elif row.get("breaker", "closed") != "closed":
            yield Finding("models", "warn", f"{row['name']} is down: {row['error']}", f"egghead llm test {row['name']}")
    try:
        registry.resolve(told["default"])
    except LlmError as error:
        yield Finding("models", "fail", f"default_model {told['default']!r} cannot be used: {error}",
                      f"correct `llm:` or `default_model:` in the configuration, or set default_model: {DEFAULT_MODEL}")  # fmt: skip
        return
    others = [
        f"{row['name']} (key: {row['key'] or 'none'})"
        for row in told["providers"]
        if row["provider"] != "local" and row["usable"]
    ]
    if not others:
        yield Finding("models", "ok", "no model is configured: the built-in librarian answers from the notes")
    else:
        count = f"{len(others)} provider{'s' * (len(others) != 1)}"
        yield Finding("models", "ok", f"{count}: {', '.join(others)}; agents that name no model use {told['default']}")


def _registry(p: Patient) -> Registry:
    """The providers of the configuration. What the running node has beyond that, out of its own environment, is added as known."""
    config = p.config.model_dump(mode="json")
    rows = (p.providers or {"providers": ()})["providers"]
    own = {str(entry["name"] or entry["provider"]) for entry in config["llm"]}
    for row in rows:
        if row["usable"] and row["provider"] != "local" and row["name"] not in own:
            config["llm"].append({"provider": row["provider"], "name": row["name"], "api_key": "known-to-the-node"})
    adapters = {**ADAPTERS, "local": lambda entry: Local(paths.models_dir())}
    return Registry.from_config(config, os.environ, adapters=adapters)


def _unusable(registry: Registry, names: Iterable[str | None], key: str) -> Iterator[Finding]:
    """The models that an agent's note names under `key` and nobody offers."""
    for name in filter(None, names):
        try:
            registry.resolve(name)
        except LlmError as error:
            add = error.args[0].partition(": egghead ")[2].partition(",")[0]
            yield Finding("agents", "warn", str(error), f"egghead {add}" if add else f"correct `{key}:` in the note")


def _confinement(p: Patient) -> Iterator[Finding]:
    from supervisor.jail import probe

    found = probe()
    wanted = p.config.confinement or "strong"
    order = ("none", "strong", "full")
    state = "ok" if found.level == "full" else "warn"
    if order.index(found.level) < order.index(wanted):
        yield Finding("confinement", "fail", f"level {found.level}, and the configuration asks for {wanted}: no agent is "
                      f"started. {' '.join(found.notes)}", f"see docs/confinement.md, or set confinement: {found.level}")  # fmt: skip
        return
    yield Finding("confinement", state, f"level {found.level}. {' '.join(found.notes)}".strip(),
                  "" if state == "ok" else "see docs/confinement.md")  # fmt: skip


def _sockets(p: Patient) -> Iterator[Finding]:
    roots = paths.runtime_roots()
    if not roots:
        yield Finding(
            "sockets", "fail", "no directory for sockets with a short enough name", "set XDG_RUNTIME_DIR=/tmp/…"
        )
        return
    running = node.running()
    yield Finding("sockets", "ok", f"{roots[0]}; {len(running)} running node{'s' * (len(running) != 1)}")


def _network(p: Patient) -> Iterator[Finding]:
    """What other machines can reach, and the files that say who they may be."""
    from egghead import keys

    file = paths.authorized_keys()
    good, faults = keys.read_authorized(file)
    for fault in faults:
        yield Finding("network", "warn", f"authorized_keys: {fault}", f"edit {file}")
    for path in (paths.server_key(), paths.client_key()):
        if path.exists():
            try:
                keys.own_pair(path)
            except keys.KeyFault as error:
                yield Finding("network", "fail", str(error), f"chmod 600 {path}, or rm it")
    try:
        keys.known_servers()
    except keys.KeyFault as error:
        yield Finding("network", "warn", str(error), f"chmod 600 {paths.known_servers()}")
    server = p.config.server
    if not server.bind:
        yield Finding("network", "ok", "no port is open to other machines (server.bind is not set)")
    elif not good:
        yield Finding("network", "warn", f"port {server.port} on {server.bind}, and nobody is authorised",
                      "egghead clients add NAME KEY, with the key that `egghead key` prints on the other machine")  # fmt: skip
    else:
        yield Finding("network", "ok", f"port {server.port} on {server.bind} for {', '.join(g.name for g in good)}")


def _clock(p: Patient) -> Iterator[Finding]:
    # Entries carry wall-clock times; a clock before this program was written is surely wrong.
    if time.time() < 1_750_000_000:
        yield Finding("clock", "warn", f"the clock says {time.strftime('%Y-%m-%d')}", "set the clock (timedatectl)")
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _config,
    _records,
    _watching,
    _notes,
    _index,
    _models,
    _confinement,
    _sockets,
    _network,
    _clock,
)
