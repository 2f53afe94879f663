"""The configuration file: its keys, their types, and how a fault in it is told. Reads one file; starts nothing.

Every key is optional; unknown keys are refused with the nearest known one, line and column (spec "node", Config).
pydantic is imported here and only here, and this module only when a configuration is really read.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from egghead import paths
from egghead.errors import ConfigError
from egghead.llm.limits import Limits as TryLimits
from egghead.llm.surroundings import shown

ENV = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET = frozenset(("api_key", "token", "password", "env", "headers"))  # keys whose values are shown to nobody
ROOM_NAME = r"^[A-Za-z0-9_-]{1,64}$"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class User(Section):
    name: str | None = None


class ProviderLimits(Section):
    """How a provider is tried; the keys mean what `egghead.llm.limits` says."""

    retries: int = Field(default=TryLimits.retries, ge=0, le=20)
    backoff: float = Field(default=TryLimits.backoff, ge=0, le=60)
    longest_pause: float = Field(default=TryLimits.longest_pause, ge=0, le=3600)
    connect_timeout: float = Field(default=TryLimits.connect_timeout, gt=0, le=3600)
    first_byte_timeout: float = Field(default=TryLimits.first_byte_timeout, gt=0, le=3600)
    idle_timeout: float = Field(default=TryLimits.idle_timeout, gt=0, le=3600)
    concurrent: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    waiting: int = Field(default=TryLimits.waiting, ge=1, le=100_000)
    waiting_each: int = Field(default=TryLimits.waiting_each, ge=1, le=100_000)


class Provider(Section):
    provider: str
    name: str | None = None
    api_key: str | None = Field(default=None, repr=False)
    base_url: str | None = None
    models: list[str] = []
    api: Literal["chat", "responses"] | None = None
    limits: ProviderLimits = ProviderLimits()


class Web(Section):
    port: int = Field(default=4000, ge=0, le=65535)
    host: str | None = None
    bind: str = "127.0.0.1"
    token: str | None = Field(default=None, repr=False)


class Irc(Section):
    port: int = Field(default=6667, ge=0, le=65535)
    bind: str = "127.0.0.1"
    hostname: str | None = None
    password: str | None = Field(default=None, repr=False)


class Server(Section):
    host: str | None = None
    port: int = Field(default=9100, ge=0, le=65535)
    bind: str | None = None


class Limits(Section):
    cost_per_day: float | None = Field(default=None, ge=0)
    tokens_per_day: int | None = Field(default=None, ge=0)


class McpServer(Section):
    name: str
    transport: Literal["stdio", "http"] = "stdio"
    command: str | list[str] | None = None
    url: str | None = None
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    requires: list[str] = []


class Config(Section):
    """One node's configuration. Paths are absolute after `load`."""

    records_dir: str | None = None
    skills_dir: str | None = None
    sandbox: str | None = None
    llm: list[Provider] = []
    default_model: str | None = None
    default_room: str = Field(default="default", pattern=ROOM_NAME)
    default_format: Literal["md", "org"] = "md"
    open_speakers: int = Field(default=3, ge=1, le=21)
    budget: int | None = Field(default=None, ge=1, le=10_000)
    user: User = User()
    theme: str = "terminal-dark"
    watch: Literal["auto", "inotify", "watchfiles", "poll"] = "auto"
    web: Web = Web()
    irc: Irc = Irc()
    server: Server = Server()
    confinement: Literal["full", "strong", "none"] | None = None
    review_grants: Literal["announce", "hold"] = "announce"
    limits: Limits = Limits()
    mcp_servers: list[McpServer] = []
    tree: str | None = None

    def redacted(self) -> dict[str, Any]:
        """As a dict that may be shown and handed to any process: no key, token or password in it."""
        data = self.model_dump(mode="json")
        for provider in data["llm"]:
            provider["api_key"] = "********" if provider["api_key"] else None
            provider["base_url"] = shown(provider["base_url"])
        for section, key in (("web", "token"), ("irc", "password")):
            data[section][key] = "********" if data[section][key] else None
        for server in data["mcp_servers"]:
            server["env"] = dict.fromkeys(server["env"], "********")
            server["headers"] = dict.fromkeys(server["headers"], "********")
        return data


def load(given: str | None = None) -> tuple[Config, Path]:
    """The configuration and the file it came from (which need not exist unless `given`). Raises ConfigError."""
    text, path = read(given)
    return (Config() if text is None else parse(text, str(path))), path


def read(given: str | None = None) -> tuple[str | None, Path]:
    """The text of the configuration file (None: there is none, nor was one named) and its path. Raises ConfigError."""
    path = paths.config_file(given)
    try:
        # Bytes as they are: what is compared or written again must not have lost its line ends.
        return path.read_bytes().decode("utf-8"), path
    except FileNotFoundError:
        if given or os.environ.get("EGGHEAD_CONFIG"):
            raise ConfigError(f"no configuration file at {str(path)!r}") from None
        return None, path
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error}") from error


def parse(text: str, name: str = "config.yml", environ: Mapping[str, str] = os.environ) -> Config:
    """Parses the YAML `text`; `{env:NAME}` is looked up in `environ`. Raises ConfigError with one line
    `name:line:column: fault` for each fault."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{place}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if data is None:
        return Config()
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:1:1: the configuration must be a mapping of keys, not {type(data).__name__}")
    faults: list[str] = []
    data = _expand(data, node, name, faults, environ)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        faults += [_fault(dict(e), node, name) for e in error.errors()]
        config = Config()
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def _expand(value: Any, node: Any, name: str, faults: list[str], environ: Mapping[str, str]) -> Any:
    """`{env:NAME}` in every string, replaced; a variable that is not set is a fault where it stands."""
    if isinstance(value, str):
        for variable in ENV.findall(value):
            if variable not in environ:
                place = f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}" if node else name
                faults.append(f"{place}: the environment variable {variable!r} is not set")
        return ENV.sub(lambda m: environ.get(m[1], ""), value)
    if isinstance(value, list):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [None] * len(value)
        return [_expand(v, n, name, faults, environ) for v, n in zip(value, nodes, strict=False)]
    if isinstance(value, dict):
        nodes = {k.value: v for k, v in node.value} if isinstance(node, yaml.MappingNode) else {}
        return {k: _expand(v, nodes.get(k), name, faults, environ) for k, v in value.items()}
    return value


def _fault(error: dict[str, Any], node: Any, name: str) -> str:
    loc = error["loc"]
    mark = _mark(node, loc, key=error["type"] == "extra_forbidden")
    place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), list(_keys(loc[:-1])), n=1, cutoff=0.4)
        return f"{place}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{place}: {key!r}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {_given(error['input'], loc)}"


def _given(value: Any, loc: tuple[Any, ...]) -> str:
    """The faulty value, but never one that may have a secret in it: this sentence goes to terminals and logs."""
    if isinstance(value, dict | list):
        return {dict: "a mapping", list: "a list"}[type(value)]
    return f"{type(value).__name__}" if SECRET.intersection(loc) else repr(value)


def _keys(loc: tuple[Any, ...]) -> Iterator[str]:
    """The known keys of the mapping at `loc`."""
    model: Any = Config
    for part in loc:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
            model = next((a for a in getattr(model, "__args__", ()) if isinstance(a, type)), model)
    yield from model.model_fields


def _mark(node: Any, loc: tuple[Any, ...], key: bool) -> Any:
    mark = node.start_mark if node else None
    for depth, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return mark
            mark = found[0 if key and depth == len(loc) - 1 else 1].start_mark
            node = found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            mark = node.start_mark
    return mark
