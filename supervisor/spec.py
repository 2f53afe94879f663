"""What is to be supervised: frozen child and supervisor specifications, as the tree file says them.

Field names are the keys of the tree file. Reading YAML belongs in `treefile`, deciding in `policy`, running in the
root. Nothing here does I/O or looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "dynamic"]
Restart = Literal["permanent", "transient", "temporary"]
Shutdown = float | Literal["brutal_kill", "infinity"]  # seconds until SIGKILL, or one of the two words
AutoShutdown = Literal["never", "any_significant", "all_significant"]

STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "one_for_all", "rest_for_one", "dynamic")
RESTARTS: tuple[Restart, ...] = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS: tuple[AutoShutdown, ...] = ("never", "any_significant", "all_significant")

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before a restart: `initial * factor ** n`, at most `max`; n counts crashes in a row.

    A crash is "in a row" when the child had been up for less than `max` seconds. `initial` 0 (the default) is OTP's
    behaviour: restart at once.
    """

    initial: float = 0.0
    factor: float = 2.0
    max: float = 30.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait before restart number `attempt` (from 0) of a row."""
        if self.initial <= 0:
            return 0.0
        try:
            return min(self.max, self.initial * self.factor**attempt)
        except OverflowError:
            return self.max


@dataclass(frozen=True, slots=True)
class Park:
    """The budget of one child of a dynamic supervisor: more than `intensity` restarts in `period` seconds parks it."""

    intensity: int = 3
    period: int = 60


@dataclass(frozen=True, slots=True)
class Files:
    """File access of a profile: directories or files that may be read, and those that may also be written."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a confined process may reach. `filesystem` None: no file but the Python installation."""

    filesystem: Files | None = None
    network: Literal["none", "host"] = "none"
    exec: bool = False
    sockets: tuple[str, ...] = ()  # directories whose unix sockets may be connected to
    name: str = ""  # as written in `profiles`, empty for one written in place
    fork: bool = False  # may make processes of its own; `exec` implies it. Threads are always allowed

    @property
    def own(self) -> bool:
        """Whether a path of it has `{id}`: then each child of a template has a jail of its own."""
        files = self.filesystem or Files()
        return any("{id}" in path for path in (*self.sockets, *files.read, *files.write))

    def of(self, id: str) -> Profile:
        """The profile of the child `id`: `{id}` in its paths is that. An id has no `..` parts (`treefile`)."""
        if not self.own:
            return self
        files = self.filesystem
        if files is not None:
            files = Files(_with_id(files.read, id), _with_id(files.write, id))
        return replace(self, filesystem=files, sockets=_with_id(self.sockets, id))


def _with_id(paths: tuple[str, ...], id: str) -> tuple[str, ...]:
    return tuple(path.replace("{id}", id) for path in paths)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One worker process. For the template of a dynamic supervisor `id` is empty and the caller's id takes its place.

    Seconds everywhere; `max_memory` in bytes; `rlimits` maps the name of a resource without `RLIMIT_` in lower case
    to its limit (-1: unlimited).
    """

    id: str
    start: str
    args: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    restart: Restart = "permanent"
    shutdown: Shutdown = 5.0
    significant: bool = False
    optional: bool = False
    start_timeout: float = 30.0
    heartbeat: float | None = None
    max_memory: int | None = None
    backoff: Backoff = Backoff()
    env: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    rlimits: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    confine: Profile | None = None
    control: tuple[str, ...] = ()
    observe: bool = False
    allow: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    def instance(self, id: str, args: Mapping[str, Any]) -> ChildSpec:
        """The spec of a child made from this template: its `id`, also in the paths of its profile, and `args` laid over
        the template's."""
        confine = self.confine.of(id) if self.confine is not None else None
        return replace(self, id=id, args=MappingProxyType({**self.args, **args}), confine=confine)


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """One supervisor. `restart`, `significant` and `shutdown` say how its own parent treats it."""

    id: str
    strategy: Strategy = "one_for_one"
    intensity: int = 1
    period: int = 5
    auto_shutdown: AutoShutdown = "never"
    children: tuple[AnySpec, ...] = ()
    restart: Restart = "permanent"
    shutdown: Shutdown = "infinity"
    significant: bool = False
    optional: bool = False
    template: ChildSpec | None = None  # dynamic only
    max_children: int | None = None  # dynamic only
    spares: int = 0  # dynamic only
    park: Park | None = None  # dynamic only; None: OTP's rule

    @property
    def dynamic(self) -> bool:
        return self.strategy == "dynamic"


AnySpec = ChildSpec | SupervisorSpec


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole tree file: the root supervisor, what the zygote preloads, and the named profiles."""

    root: SupervisorSpec
    preload: tuple[str, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: NOTHING)
    file: str = ""
    unique_names: bool = True  # False: only the ids within one supervisor are unique (simulate)
    warnings: tuple[str, ...] = ()  # legal but probably not meant; `check` prints them

    def supervisors(self) -> Iterator[tuple[str, SupervisorSpec]]:
        """Every supervisor with its tree path, parents before children."""
        for path, spec in walk(self.root):
            if isinstance(spec, SupervisorSpec):
                yield path, spec

    def workers(self) -> Iterator[tuple[str, ChildSpec]]:
        """Every static worker with its tree path, in start order."""
        for path, spec in walk(self.root):
            if isinstance(spec, ChildSpec):
                yield path, spec


def walk(spec: AnySpec, parent: str = "") -> Iterator[tuple[str, AnySpec]]:
    """`spec` and everything below it with tree paths, parents first, in start order."""
    path = f"{parent}/{spec.id}" if parent else spec.id
    yield path, spec
    if isinstance(spec, SupervisorSpec):
        for child in spec.children:
            yield from walk(child, path)


def process_name(supervisor: SupervisorSpec, id: str) -> str:
    """The name of a worker process: its id, or `<supervisor id>/<id>` under a dynamic supervisor."""
    return f"{supervisor.id}/{id}" if supervisor.dynamic else id
