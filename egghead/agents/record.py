"""An agent record, read: every key of its frontmatter to one frozen spec, and what is wrong with it as sentences.

Loading never fails. A bad value falls back to its default and is reported; authority is the exception that proves it:
what cannot be read grants nothing. Here belongs the meaning of the keys; starting processes is the roster's business.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from egghead.capabilities.grants import Grant, expand
from egghead.capabilities.match import Authority
from egghead.rooms.addressing import BROADCASTS
from egghead.rooms.entries import MAX_NAME
from egghead.rooms.names import LONGEST_AGENT

Record = Mapping[str, Any]

FOLDER = "agents/"
AUTHORITY_KEYS = ("capabilities", "access", "sandbox")

KEYS = (
    "model",
    "provider",
    *AUTHORITY_KEYS,
    "quiet",
    "idle",
    "thinking",
    "temperature",
    "max_tokens",
    "context_threshold",
    "context_window",
    "fallback",
    "disposition",
    "limits",
)

FIELDS = ("title", "tags")  # of every note: the parser takes them, and leaves to us only what does not fit


@dataclass(frozen=True)
class AgentSpec:
    """All that a running agent is made of. Equal specs need no new process.

    `capabilities` are the effective grants in canonical form, shorthands written out. `model` None is the configured
    default. `thinking` is False, True or a token budget.
    """

    id: str
    record: str
    title: str
    model: str | None = None
    capabilities: tuple[str, ...] = ()
    sandbox: str | None = None
    tags: tuple[str, ...] = ()
    quiet: bool = False
    idle: bool = False
    thinking: bool | int = False
    temperature: float | None = None
    max_tokens: int = 4096
    context_threshold: float = 0.70
    context_window: int | None = None
    fallback: tuple[str, ...] = ()
    disposition: str = ""
    cost_per_day: float | None = None
    tokens_per_day: int | None = None
    builtin: bool = False
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the arguments of a process: JSON values only."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AgentSpec:
        """The spec again. Keys of another version are ignored: an old child may outlive an upgrade of the code."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in _FIELDS}
        return cls(**values)


_FIELDS = frozenset(field.name for field in fields(AgentSpec))


def agent_id(record_id: str) -> str:
    """`scout` for `agents/scout`; an agent anywhere else keeps its whole id."""
    return record_id.removeprefix(FOLDER) or record_id


def record_ids(agent: str) -> tuple[str, ...]:
    """Where the record of an agent may be, the one that wins first."""
    return (FOLDER + agent, agent)


def unusable(agent: str) -> str | None:
    """Why an id cannot name a process, or None. Spaces and `~` are not in names on the bus or of files made from them;
    wildcards would be read as patterns by whoever is told the name."""
    bad = sorted({c for c in agent if c in "*?[]{}#~" or not c.isprintable() or c.isspace()})
    if bad:
        better = re.sub(r"-{2,}", "-", "".join("-" if c in bad else c for c in agent)).strip("-")
        remedy = f"rename the record, for example to {better!r}" if better else "rename the record"
        return f"the id {agent!r} has {' '.join(map(repr, bad))}; {remedy}"
    if (size := len(agent.encode(errors="replace"))) > LONGEST_AGENT:
        return f"the id has {size} bytes, at most {LONGEST_AGENT} can name a process and a room; rename the record"
    if any(part in ("", ".", "..") for part in agent.split("/")):
        return f"the id {agent!r} has an empty part; rename the record"
    return None


def _shown(default: Any) -> str:
    """A default as somebody would write it in a note."""
    if default is None:
        return "the default"
    return str(default).lower() if isinstance(default, bool) else repr(default)


class _Keys:
    """The frontmatter of one record, asked key by key; collects problems."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.meta = meta
        self.problems: list[str] = []

    def get(self, key: str, default: Any, accept: Callable[[Any], Any | None], wanted: str) -> Any:
        """The accepted value, or the default with a problem. `accept` gives None for what it refuses."""
        value = self.meta.get(key)
        if value is None:
            return default
        found = accept(value)
        if found is None:
            self.problems.append(f"{key} is {wanted}, not {value!r}; {_shown(default)} is used")
            return default
        return found

    def misspelt(self) -> None:
        for key in self.meta:
            if key in KEYS or key in FIELDS:
                continue
            near = difflib.get_close_matches(str(key).lower(), (*KEYS, *FIELDS), n=1, cutoff=0.8)
            if near:  # any other key is the author's own and nobody's business
                self.problems.append(f"unknown key {key!r}; did you mean {near[0]!r}?")


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) and value.strip() else None


def _whole(low: int, high: int) -> Callable[[Any], int | None]:
    def accept(value: Any) -> int | None:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return whole if isinstance(whole, int) and not isinstance(whole, bool) and low <= whole <= high else None

    return accept


def _number(low: float, high: float) -> Callable[[Any], float | None]:
    def accept(value: Any) -> float | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number and low <= value <= high else None

    return accept


def _thinking(value: Any) -> bool | int | None:
    if value in ("enabled", True):
        return True
    if value == "disabled" or value is False:
        return False
    return _whole(1, 1_000_000)(value)


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(value.replace(",", " ").split()) or None
    if isinstance(value, list | tuple) and all(isinstance(entry, str) and entry.strip() for entry in value):
        return tuple(entry.strip() for entry in value)
    return None


def _model(keys: _Keys) -> str | None:
    model: str | None = keys.get("model", None, _text, "a name such as anthropic/claude-sonnet-4")
    provider: str | None = keys.get("provider", None, _text, "the name of a provider")
    if provider is not None and keys.meta.get("model") is None:
        keys.problems.append(
            f"provider {provider!r} stands before a model, and there is none; the default model is used"
        )
    if model is None or provider is None or model.startswith(provider + "/"):
        return model
    return f"{provider}/{model}"


LIMITS = {"cost_per_day": "an amount of USD", "tokens_per_day": "a number of tokens"}


def _limits(keys: _Keys) -> dict[str, Any]:
    """What the agent may use in a day; a bound that cannot be read is no bound, and said."""
    written = keys.meta.get("limits")
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        keys.problems.append(f"limits is a map of {' and '.join(LIMITS)}, not {written!r}; no limit is used")
        return {}
    inner = _Keys(written)
    found = {
        "cost_per_day": inner.get("cost_per_day", None, _number(0, 1e9), LIMITS["cost_per_day"]),
        "tokens_per_day": inner.get("tokens_per_day", None, _whole(0, 10**15), LIMITS["tokens_per_day"]),
    }
    for key in written:
        if key not in LIMITS:
            near = difflib.get_close_matches(str(key).lower(), LIMITS, n=1, cutoff=0.5)
            inner.problems.append(
                f"unknown key {key!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(LIMITS)}")
            )
    keys.problems += [f"limits: {problem}" for problem in inner.problems]
    return found


def spend_limits(spec: AgentSpec) -> dict[str, float]:
    """What the agent may use in a day, {} for any amount."""
    return {key: getattr(spec, key) for key in LIMITS if getattr(spec, key) is not None}


def title_of(record: Record, agent: str) -> str:
    """The record's own title, else the last segment of the id with a capital."""
    title = record.get("title")
    if isinstance(title, str) and title.strip() and title != record.get("id"):
        return " ".join(title.split())
    last = agent.rpartition("/")[2]
    return last[:1].upper() + last[1:]


def authority_keys(record: Record) -> dict[str, Any]:
    """The keys that stand in the record and say what it may do. A key that is there and empty is there."""
    meta = record.get("meta") or {}
    return {key: meta[key] for key in AUTHORITY_KEYS if key in meta}


def grants_of(record: Record) -> tuple[tuple[Grant, ...], list[str]]:
    """The effective grants of an agent record and the problems of its authority keys."""
    keys = authority_keys(record)
    return expand(keys.get("capabilities"), keys.get("access"), keys.get("sandbox"), written="capabilities" in keys)


def authority_of(record: Record) -> Authority:
    """What an agent record grants to its agent, right now."""
    meta = record.get("meta") or {}
    return Authority(agent_id(str(record["id"])), grants_of(record)[0], _text(meta.get("sandbox")))


def load(record: Record, builtin: bool = False) -> AgentSpec:
    """The spec of an agent record (a dict as `store.get` gives it). Never raises on what a file may hold."""
    keys = _Keys(record.get("meta") or {})
    agent = agent_id(str(record["id"]))
    if record.get("error"):
        keys.problems.append(f"the record could not be read whole: {record['error']}")
    if (reason := unusable(agent)) is not None:
        keys.problems.append(reason)
    if agent.casefold() in BROADCASTS:
        keys.problems.append(f"@{agent} is said to everybody, so nobody can mention this agent; rename the record")
    for key, wanted in (("title", "text"), ("tags", "a list of words")):
        if key in keys.meta:  # the parser keeps there what it could not take as the field
            keys.problems.append(f"{key} is {wanted}, not {keys.meta[key]!r}; it is left out")
    title = title_of(record, agent)
    if len(title) > MAX_NAME:  # no room takes a longer name, nor the entry that lets in others with it
        keys.problems.append(f"title is at most {MAX_NAME} characters, not {len(title)}; it is cut")
        title = title[: MAX_NAME - 1] + "…"
    grants, grant_problems = grants_of(record)
    limits = _limits(keys)
    spec = AgentSpec(
        id=agent,
        record=str(record["id"]),
        title=title,
        model=_model(keys),
        capabilities=tuple(str(grant) for grant in grants),
        sandbox=_text(keys.meta.get("sandbox")),
        tags=tuple(str(tag) for tag in record.get("tags") or ()),
        quiet=keys.get("quiet", False, _bool, "true or false"),
        idle=keys.get("idle", False, _bool, "true or false"),
        thinking=keys.get("thinking", False, _thinking, "enabled, disabled or a number of tokens"),
        temperature=keys.get("temperature", None, _number(0, 2), "a number from 0 to 2"),
        max_tokens=keys.get("max_tokens", 4096, _whole(1, 1_000_000), "a whole number from 1"),
        context_threshold=keys.get("context_threshold", 0.70, _number(0.1, 1), "a share from 0.1 to 1"),
        context_window=keys.get("context_window", None, _whole(1_000, 100_000_000), "a number of tokens from 1000"),
        fallback=keys.get("fallback", (), _names, "a model or a list of models"),
        disposition=keys.get("disposition", _body(record), _text, "text"),
        cost_per_day=limits.get("cost_per_day"),
        tokens_per_day=limits.get("tokens_per_day"),
        builtin=builtin,
    )
    keys.misspelt()
    return replace(spec, problems=(*keys.problems, *grant_problems))


def _body(record: Record) -> str:
    return str(record.get("body") or "").strip()


@functools.cache
def builtin_records() -> dict[str, dict[str, Any]]:
    """The agents of the package as records, by agent id, read by the same parser as a user's files."""
    from records import parse_markdown  # late: an agent process never reads a record

    found: dict[str, dict[str, Any]] = {}
    folder = importlib.resources.files("egghead.agents") / "builtin"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".md"):
            record = parse_markdown(file.read_bytes(), path=f"{FOLDER}{file.name}").to_dict()
            found[agent_id(record["id"])] = record
    return found


def builtins() -> dict[str, AgentSpec]:
    """The specs of the built-in agents."""
    return {agent: load(record, builtin=True) for agent, record in builtin_records().items()}


def roll(records: Iterable[Record]) -> dict[str, AgentSpec]:
    """Who should be there: the records of class agent, and each built-in that no record replaces.

    Two records with one agent id: the one in `agents/` wins and says so. An id that cannot name a process is left out
    of nothing: its spec carries the problem and the roster refuses to start it.
    """
    found: dict[str, AgentSpec] = {}
    for record in sorted(records, key=lambda entry: str(entry["id"])):
        if record.get("class", "agent") != "agent":
            continue
        spec = load(record)
        other = found.get(spec.id)
        if other is not None:
            first, second = (spec, other) if spec.record.startswith(FOLDER) else (other, spec)
            clash = f"{second.record!r} is an agent of the same id; rename one of them"
            spec = replace(first, problems=(*first.problems, clash))
        found[spec.id] = spec
    return {**{agent: spec for agent, spec in builtins().items() if agent not in found}, **found}


def difference(old: AgentSpec, new: AgentSpec) -> str:
    """One line for the room: what changed that a reader would notice. Empty when nothing did."""
    parts: list[str] = []
    if old.title != new.title:
        parts.append(f"{old.title} became {new.title}")
    if old.model != new.model:
        parts.append(f"model {old.model or 'default'} → {new.model or 'default'}")
    parts += [f"+{grant}" for grant in new.capabilities if grant not in old.capabilities]
    parts += [f"-{grant}" for grant in old.capabilities if grant not in new.capabilities]
    for key in ("quiet", "idle"):
        if getattr(old, key) != getattr(new, key):
            parts.append(key if getattr(new, key) else f"not {key} any more")
    if old.disposition != new.disposition:
        parts.append("new disposition")
    if not parts and old != new:
        parts.append("settings changed")
    return ", ".join(parts)
