"""The pure policy driven from a list of events instead of processes: what would this tree do?

Deterministic and without a clock: starts are ready and stops complete at once unless an event holds them, and
everything settles before the next event. The format is documented in docs/supervisor.md.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from supervisor import policy
from supervisor.errors import EventsError, TreeError, nearest
from supervisor.policy.view import children_of
from supervisor.spec import NOTHING, AnySpec, ChildSpec, Shutdown, SupervisorSpec, Tree

Line = dict[str, Any]

_REASONS = ("normal", "shutdown", "crash")
_CALLS = ("start_child", "terminate_child", "restart_child", "delete_child", "which_children")
_VERBS: Mapping[str, tuple[str, ...]] = {  # what an event does -> the keys it may have besides
    "exit": ("reason",),
    "fail_next_start": ("times",),
    "hold_next_start": (),
    "hold_next_stop": (),
    "release": (),
    "call": ("supervisor", "id", "spec"),
    "reload": (),
}
_CALL_START = "simulated:child"  # a child that is only simulated need not say what it would run
_WORDS = {"starting": "restarting", "parked": "terminated"}  # shown in OTP's three words


def simulate(tree: Tree, events: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """The lines of a run: each action in order, and at the end `which_children`. Raises EventsError before the first."""
    return lines(Run(tree), check_events(events))


def check_events(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events with their defaults filled in. Raises EventsError for the first that makes no sense."""
    checked = [_check(position, event) for position, event in enumerate(events)]
    for position in range(1, len(checked)):
        if checked[position]["at"] < checked[position - 1]["at"]:
            raise EventsError(f"event {position}: at {checked[position]['at']!r} is before the event above it")
    return checked


def lines(run: Run, events: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Drive a run through a checked list of events."""
    for event in (event for event in events if event["at"] < 0):
        run.apply(event)
    run.feed(policy.Boot())
    yield from run.settle()
    for event in (event for event in events if event["at"] >= 0):
        yield from run.pass_time(event["at"])
        run.apply(event)
        yield from run.settle()
    yield {"which_children": run.which_children()}


class Run:
    """The world of a simulation: which processes there are, and what is to happen to the next start or stop."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.state: policy.State = policy.new(tree)
        self.now = 0
        self.queue: deque[tuple[policy.Event, ...]] = deque()  # what is in one tuple happens at the same instant
        self.running: dict[str, int] = {}  # path -> incarnation
        self.held_starts: dict[str, int] = {}
        self.held_stops: dict[str, int] = {}
        self.fail: Counter[str] = Counter()
        self.hold_start: Counter[str] = Counter()
        self.hold_stop: Counter[str] = Counter()
        self.timers: dict[str, float] = {}
        self.called: dict[int, str] = {}  # number of a request -> path of the supervisor
        self.concurrent = False  # two supervisors had something to do at the same time: OTP's order is not defined
        self.beside = (
            False  # a dynamic supervisor went on, or ended, beside a held child, where OTP's would have waited
        )

    # ---- events ------------------------------------------------------------------------------------------------

    def feed(self, *events: policy.Event) -> None:
        self.queue.append(events)

    def apply(self, event: Mapping[str, Any]) -> None:
        if "exit" in event:
            self.exit(event["exit"], event["reason"])
        elif "fail_next_start" in event:
            self.fail[event["fail_next_start"]] += event["times"]
        elif "hold_next_start" in event:
            self.hold_start[event["hold_next_start"]] += 1
        elif "hold_next_stop" in event:
            self.hold_stop[event["hold_next_stop"]] += 1
        elif "release" in event:
            self.release(event["release"])
        elif "reload" in event:
            self.feed(policy.Reload(event["reload"]))
        else:
            self.call(event)

    def exit(self, paths: Sequence[str], reason: policy.ExitReason) -> None:
        """All of them are dead before any supervisor acts on the first."""
        dead = [(path, self.running.pop(path)) for path in dict.fromkeys(paths) if path in self.running]
        for path, _ in dead:
            self.held_stops.pop(path, None)
        if dead:
            self.feed(*(policy.Exited(path, incarnation, reason) for path, incarnation in dead))

    def release(self, path: str) -> None:
        if path in self.held_starts:
            self.running[path] = self.held_starts.pop(path)
            self.feed(policy.Ready(path, self.running[path]))
        elif path in self.held_stops:
            self.running.pop(path, None)
            self.feed(policy.Stopped(path, self.held_stops.pop(path)))

    def call(self, event: Mapping[str, Any]) -> None:
        supervisor = self.state.supervisors.get(event["supervisor"])
        if supervisor is None:
            return
        number = len(self.called)
        self.called[number] = event["supervisor"]
        id, args, spec = event["id"], NOTHING, None
        if event["call"] == "start_child":
            wanted = {"id": id, **event["spec"]}
            if supervisor.spec.dynamic:  # a spec made for any supervisor will do; a template says all the rest
                wanted = {"id": id, **{key: wanted[key] for key in ("id", "args") if key in wanted}}
            spec = self.spec(supervisor.spec, wanted)
            id = spec.id if spec is not None else ""  # without one the call is refused, in its turn
            if supervisor.spec.dynamic and isinstance(spec, ChildSpec):
                args, spec = spec.args, None
        self.feed(policy.Request(number, event["call"], event["supervisor"], id, spec, args))

    def spec(self, supervisor: SupervisorSpec, wanted: Mapping[str, Any]) -> AnySpec | None:
        """The spec asked for; None when it is not a possible one."""
        from supervisor.treefile import child_spec

        try:
            return child_spec(supervisor, wanted if supervisor.dynamic else _startable(wanted), self.tree)
        except (TreeError, RecursionError):
            return None

    # ---- the world ---------------------------------------------------------------------------------------------

    def pass_time(self, at: int) -> Iterator[Line]:
        """Let the timers of restarts held back (backoff) come, each at its time."""
        while due := [(when, id) for id, when in self.timers.items() if when <= at]:
            when, id = min(due)
            del self.timers[id]
            self.now = max(self.now, int(when))
            self.feed(policy.Timer(id))
            yield from self.settle(when)
        self.now = at

    def settle(self, now: float | None = None) -> Iterator[Line]:
        while self.queue:
            self.notice(event for events in self.queue for event in events)
            self.state, actions = policy.decide_all(self.state, self.queue.popleft(), self.now if now is None else now)
            self.concurrent = self.concurrent or len({*map(self.author, actions)} - {""}) > 1
            for action in actions:
                line = self.perform(action)
                if line is not None:
                    yield {"at": self.now, **line}

    def notice(self, events: Iterable[policy.Event]) -> None:
        """Remember whether OTP would do the same in the same order, for those who compare."""
        owners = set()
        for event in events:
            owner, id = _about(event)
            owners.add(owner)
            supervisor = self.state.supervisors.get(owner)
            if supervisor is not None and supervisor.spec.dynamic and {*supervisor.jobs} - {id, ""}:
                self.beside = True
        self.concurrent = self.concurrent or len(owners) > 1

    def author(self, action: policy.Action) -> str:
        """The supervisor that an action comes from, when it shows in the lines."""
        match action:
            case policy.Start(path) | policy.Stop(path):
                return path.rpartition("/")[0]
            case policy.Reply(number):
                return self.called[number]
            case _:
                return ""

    def perform(self, action: policy.Action) -> Line | None:
        match action:
            case policy.Start(path, _, incarnation):
                return self.start(path, incarnation)
            case policy.Stop(path, _, incarnation):
                return self.stop(path, incarnation, action.how)
            case policy.Reply(_, code, unserved=False):
                return {"result": code}
            case policy.Reloaded(ok=False):
                return {"result": "error"}
            case policy.SupervisorExit(path):
                return {"supervisor_exit": path}
            case policy.ArmTimer(id, at):
                target = self.state.timers.get(id)  # none: it is cancelled further on
                if target is not None and target.purpose in ("retry", "again"):  # what is held waits for its release
                    self.timers[id] = at
            case policy.CancelTimer(id):
                self.timers.pop(id, None)
            case _:
                pass
        return None

    def start(self, path: str, incarnation: int) -> Line:
        if self.fail[path] > 0:
            self.fail[path] -= 1
            self.feed(policy.StartFailed(path, incarnation, "as told by the event list"))
            return {"start_failed": path}
        if self.hold_start[path] > 0:
            self.hold_start[path] -= 1
            self.held_starts[path] = incarnation
        else:
            self.running[path] = incarnation
            self.feed(policy.Ready(path, incarnation))
        return {"start": path}

    def stop(self, path: str, incarnation: int, how: Shutdown) -> Line | None:
        if path in self.held_starts:
            del self.held_starts[path]
            self.beside = True  # only a dynamic supervisor that ends does not wait for a start
        elif path not in self.running:
            return None  # it died before its supervisor came to stop it; its end is reported already
        if self.hold_stop[path] > 0 and how != "brutal_kill":  # nothing holds up a SIGKILL
            self.hold_stop[path] -= 1
            self.held_stops[path] = incarnation
        else:
            self.running.pop(path, None)
            self.feed(policy.Stopped(path, incarnation))
        return {"stop": path}

    def which_children(self) -> dict[str, list[list[str]]]:
        return {
            path: [[id, _WORDS.get(word, word)] for id, word in children_of(supervisor)]
            for path, supervisor in sorted(self.state.supervisors.items())
            if supervisor.started
        }


def _startable(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A spec of a call, with something to start for every worker that names nothing."""
    spec = dict(wanted)
    if isinstance(spec.get("template"), Mapping):
        spec["template"] = {"start": _CALL_START, **spec["template"]}
    if isinstance(spec.get("children"), list):
        spec["children"] = [_startable(each) if isinstance(each, Mapping) else each for each in spec["children"]]
    if not {"start", "strategy", "children", "template"} & set(spec):
        spec["start"] = _CALL_START
    return spec


def _about(event: policy.Event) -> tuple[str, str]:
    """The supervisor that an event of a simulation goes to, and the child that it is about (none: a call)."""
    match event:
        case policy.Request():
            return event.supervisor, ""
        case policy.Ready(path) | policy.StartFailed(path) | policy.Exited(path) | policy.Stopped(path):
            owner, _, id = path.rpartition("/")
            return owner, id
        case _:
            return "", ""


# ---- checking the list ---------------------------------------------------------------------------------------------


def _check(position: int, event: object) -> dict[str, Any]:
    """One event with its defaults filled in, or an EventsError that says what is wrong with it."""
    if not isinstance(event, Mapping):
        raise EventsError(f"event {position}: expected an object, got {event!r}")
    event = {key: value for key, value in event.items() if value is not None}  # null: not given
    verbs = [verb for verb in _VERBS if verb in event]
    if len(verbs) != 1:
        near = "" if verbs else "".join(filter(None, [nearest(key, _VERBS) for key in event if key != "at"][:1]))
        raise EventsError(f"event {position}: needs exactly one of {', '.join(_VERBS)}{near}; got {dict(event)!r}")
    verb = verbs[0]
    allowed = ("at", verb, *_VERBS[verb])
    for key in event:
        if key not in allowed:
            raise EventsError(f"event {position}: unknown key {key!r} beside {verb!r}{nearest(key, allowed)}")
    at = event.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float) or at != at // 1 or at < -1:
        raise EventsError(f"event {position}: at must be whole seconds (or -1: before the start), got {at!r}")
    checked = {"reason": "crash", "times": 1, "id": "", "spec": {}, "supervisor": "", **event, "at": int(at)}
    if verb == "exit":
        checked["exit"] = [event["exit"]] if isinstance(event["exit"], str) else event["exit"]
        if not isinstance(checked["exit"], list | tuple) or not all(isinstance(path, str) for path in checked["exit"]):
            raise EventsError(f"event {position}: exit takes a path or a list of paths, got {event['exit']!r}")
    elif verb == "reload":
        checked["reload"] = _tree(position, event["reload"])
    elif not isinstance(event[verb], str):
        raise EventsError(f"event {position}: {verb} takes text, got {event[verb]!r}")
    _one_of(position, "reason", checked["reason"], _REASONS)
    if verb == "call":
        _one_of(position, "call", checked["call"], _CALLS)
        if not isinstance(event.get("supervisor"), str):
            raise EventsError(
                f"event {position}: a call needs the path of a supervisor, got {event.get('supervisor')!r}"
            )
    if not isinstance(checked["spec"], Mapping) or not isinstance(checked["id"], str):
        raise EventsError(f"event {position}: id must be text and spec an object, got {dict(event)!r}")
    if isinstance(checked["times"], bool) or not isinstance(checked["times"], int) or checked["times"] < 0:
        raise EventsError(f"event {position}: times must be a whole number, got {checked['times']!r}")
    return checked


def _tree(position: int, given: object) -> Tree:
    """The tree of a reload, written as a tree file is."""
    from supervisor.treefile import parse_tree

    if not isinstance(given, Mapping):
        raise EventsError(f"event {position}: reload takes a tree as in a tree file, got {given!r}")
    try:
        return parse_tree(json.dumps(given, ensure_ascii=False), f"event {position}: reload", unique_names=False)
    except TreeError as error:
        raise EventsError(str(error)) from None


def _one_of(position: int, key: str, word: object, known: Sequence[str]) -> None:
    if word not in known:
        raise EventsError(f"event {position}: {key} {word!r} is not one of {', '.join(known)}{nearest(word, known)}")
