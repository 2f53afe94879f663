"""Small scenarios made by system instead of by chance: every tree and every event list of a few shapes.

Each family is a generator of its own style, so that what one does not think of another may. Together they are what
`scripts/otp_parity --exhaustive` runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, chain, combinations, product
from typing import Any

from tests.supervisor.otp.parity import Events, Scenario, Tree, leaves, supervisors

STATIC = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")
REASONS = ("normal", "shutdown", "crash")
Event = dict[str, Any]


def families() -> Iterator[tuple[str, Scenario]]:
    """Every scenario with the name of its family."""
    for family in (
        *(
            flat_single,
            flat_pairs,
            nested,
            nested_pairs,
            windows,
            failing_restarts,
            failing_boots,
            dead_together,
            dead_and_failing,
        ),
        *(holds, overtaking, shutting_down, escalations, pools, call_matrix, started_specs, shutdowns),
    ):
        for shape, events in family():
            times = accumulate((event["at"] for event in events), max)
            yield (
                family.__name__,
                Scenario(shape, [{**event, "at": at} for event, at in zip(events, times, strict=True)]),
            )


def worker(id: str, **keys: Any) -> Tree:
    return {"id": id, "start": "m:f", **keys}


def tree(strategy: str, *children: Tree, **keys: Any) -> Tree:
    return {"id": "demo", "strategy": strategy, "children": list(children), **keys}


def inner(id: str, strategy: str, *children: Tree, **keys: Any) -> Tree:
    return {**tree(strategy, *children, **keys), "id": id}


def pool(**keys: Any) -> Tree:
    """A dynamic supervisor; keys of its template with a leading `t_`."""
    own = {key: value for key, value in keys.items() if not key.startswith("t_")}
    template = {key[2:]: value for key, value in keys.items() if key.startswith("t_")}
    return {"id": "pool", "strategy": "dynamic", **own, "template": {"start": "m:f", **template}}


def dies(paths: str | list[str], reason: str = "crash", at: int = 1) -> Event:
    return {"at": at, "exit": paths, "reason": reason}


def fails(path: str, times: int = 1, at: int = 1) -> Event:
    return {"at": at, "fail_next_start": path, "times": times}


def call(method: str, id: str, supervisor: str = "demo", at: int = 1, **keys: Any) -> Event:
    return {"at": at, "call": method, "supervisor": supervisor, "id": id, **keys}


def timed(events: list[Event] | tuple[Event, ...]) -> Events:
    """The events at 1, 2, 3 …, but for those that prepare: they come with the next one."""
    at, result = 1, []
    for event in events:
        result.append({**event, "at": at})
        at += not {"fail_next_start", "hold_next_start", "hold_next_stop"} & set(event)
    return result


# ---- all trees of one level, all events ----------------------------------------------------------------------------


def _flat_trees(sizes: tuple[int, ...], intensities: tuple[int, ...]) -> Iterator[Tree]:
    for strategy, size, intensity in product(STATIC, sizes, intensities):
        for kinds in product(RESTARTS, repeat=size):
            children = (worker(id, restart=kind) for id, kind in zip("abc", kinds, strict=False))
            yield tree(strategy, *children, intensity=intensity)


def _alphabet(shape: Tree) -> list[Event]:
    """Everything that can happen to any child of a tree, and to a child that is not there."""
    paths = list(leaves(shape))
    events = [dies(path, reason) for path in paths for reason in REASONS]
    events += [dies(list(pair)) for pair in combinations(paths, 2)]
    events += [fails(path) for path in paths]
    for owner, spec in supervisors(shape):
        ids = [child["id"] for child in spec.get("children", [])]
        methods = ("terminate_child", "restart_child", "delete_child", "start_child")
        events += [call(method, id, owner) for method in methods for id in (*ids, "new")]
    return events


def flat_single() -> Iterator[Scenario]:
    """Up to three workers, each event alone."""
    for shape in _flat_trees((0, 1, 2, 3), (0, 1)):
        for event in _alphabet(shape):
            yield Scenario(shape, timed([event]))


def flat_pairs() -> Iterator[Scenario]:
    """Up to two workers, every pair of events; three workers, every pair of which the second shows something new."""
    for shape in _flat_trees((1, 2), (1,)):
        for pair in product(_alphabet(shape), repeat=2):
            yield Scenario(shape, timed(pair))
    for shape in _flat_trees((3,), (2,)):
        preparing = [
            event for event in _alphabet(shape) if "fail_next_start" in event or event.get("call") == "terminate_child"
        ]
        for first, second in product(preparing, _alphabet(shape)):
            yield Scenario(shape, timed([first, second]))


# ---- two levels ------------------------------------------------------------------------------------------------------


def _nested_trees() -> Iterator[Tree]:
    """Every strategy above every strategy, the inner supervisor of every restart type first, in the middle or last."""
    for outer, below, kind, place, kinds in product(STATIC, STATIC, RESTARTS, (0, 1, 2), product(RESTARTS, repeat=2)):
        s = inner("s", below, worker("x", restart=kinds[0]), worker("y", restart=kinds[1]), restart=kind, intensity=1)
        children = [worker("a"), worker("b", restart="transient")]
        children.insert(place, s)
        yield tree(outer, *children, intensity=2)


def nested() -> Iterator[Scenario]:
    """Every event on every tree of two levels."""
    for shape in _nested_trees():
        for event in _alphabet(shape):
            yield Scenario(shape, timed([event]))


def nested_pairs() -> Iterator[Scenario]:
    """Every 23rd pair of events on every tree of two levels: a prime, so that it falls on another one each time."""
    position = 0
    for shape in _nested_trees():
        for pair in product(_alphabet(shape), repeat=2):
            position += 1
            if position % 23 == 0:
                yield Scenario(shape, timed(pair))


# ---- one question each -------------------------------------------------------------------------------------------


def windows() -> Iterator[Scenario]:
    """Crashes at every pattern of distances around the period."""
    for intensity, period in product(range(4), range(1, 4)):
        for gaps in product((0, 1, period - 1, period, period + 1), repeat=3):
            at, events = 1, [dies("demo/a", at=1)]
            for gap in gaps:
                at += gap
                events.append(dies("demo/a", at=at))
            yield Scenario(tree("one_for_one", worker("a"), worker("b"), intensity=intensity, period=period), events)


def failing_restarts() -> Iterator[Scenario]:
    """A child dies; it or a sibling fails to start again and again, within the intensity and beyond."""
    for strategy, kinds, dead, intensity in product(STATIC, product(RESTARTS, repeat=2), "abc", (0, 1, 3, 5)):
        shape = tree(strategy, worker("a"), *(worker(id, restart=kind) for id, kind in zip("bc", kinds, strict=True)))
        for failing, times in product(("a", "b", "c", "bc"), (1, 2, 4, 9)):
            events = [fails(f"demo/{id}", times) for id in failing]
            yield Scenario({**shape, "intensity": intensity}, [*events, dies(f"demo/{dead}"), dies("demo/a", at=2)])


def failing_boots() -> Iterator[Scenario]:
    """A start that fails at each place of a tree, at boot and when its supervisor is started again."""
    for outer, below, kind in product(STATIC, STATIC, RESTARTS):
        deep = inner("t", below, worker("p"), worker("q"), intensity=0)
        shape = tree(
            outer,
            worker("a"),
            inner("s", below, worker("x"), deep, worker("y"), restart=kind, intensity=0),
            worker("b"),
        )
        shape["intensity"] = 4
        for path, times in product(leaves(shape), (1, 2, 5)):
            yield Scenario(shape, [fails(path, times, at=-1)])
            yield Scenario(shape, [fails(path, times), dies("demo/s/x"), dies("demo/a", at=2)])
            yield Scenario(shape, [fails(path, times), dies("demo/s/t/p")])


def dead_together() -> Iterator[Scenario]:
    """Every set of children dead at once, in one supervisor and across two levels, in both orders."""
    for outer, below, intensity, place in product(STATIC, STATIC, (0, 1, 3), (0, 1, 2)):
        children = [worker("a"), worker("b")]
        children.insert(place, inner("s", below, worker("x"), worker("y"), intensity=intensity))
        shape = tree(outer, *children, intensity=3)
        paths = list(leaves(shape))
        for several in chain.from_iterable(combinations(paths, size) for size in (2, 3, 4)):
            yield Scenario(shape, [dies(list(several))])
            yield Scenario(shape, [dies(list(reversed(several)))])


def dead_and_failing() -> Iterator[Scenario]:
    """Several dead at once, for every reason, while one of them or another does not start again."""
    for strategy, kinds, reason in product(STATIC, product(RESTARTS, repeat=3), REASONS):
        shape = tree(strategy, *(worker(id, restart=kind) for id, kind in zip("abc", kinds, strict=True)), intensity=3)
        for pair, failing, times in product(("ab", "ac", "bc", "cb"), "abc", (1, 2)):
            calls = [] if times == 1 else [call("terminate_child", pair[1])]
            yield Scenario(
                shape, [fails(f"demo/{failing}", times), dies([f"demo/{id}" for id in pair], reason), *calls]
            )


def holds() -> Iterator[Scenario]:
    """A start or stop is held in a restart; something happens meanwhile; it is released."""
    for strategy, kinds, held, what in product(STATIC, product(RESTARTS, repeat=2), "abc", ("start", "stop")):
        shape = tree(
            strategy,
            worker("a"),
            *(worker(id, restart=kind) for id, kind in zip("bc", kinds, strict=True)),
            intensity=4,
        )
        for meanwhile in _alphabet(shape):
            events = [{f"hold_next_{what}": f"demo/{held}"}, dies("demo/a"), meanwhile, {"release": f"demo/{held}"}]
            yield Scenario(shape, timed([*events, dies("demo/a"), {"release": f"demo/{held}"}]))
        for last in (None, {"release": f"demo/{held}"}):  # at boot, and never released
            events = [
                {"at": -1, f"hold_next_{what}": f"demo/{held}"},
                dies(f"demo/{held}"),
                call("terminate_child", "b"),
            ]
            yield Scenario(shape, events + ([{"at": 1, **last}] if last else []))


def overtaking() -> Iterator[Scenario]:
    """A call reaches a supervisor whose child fails to start again and again, or that is being stopped meanwhile."""
    methods = ("terminate_child", "restart_child", "delete_child", "which_children", "start_child")
    for outer, below, fail_times, method in product(STATIC, STATIC, (1, 3, 30), methods):
        s = inner("s", below, worker("x"), worker("y"), intensity=20)
        shape = tree(outer, worker("a"), s, intensity=3)
        for id in ("x", "y"):
            hold = [
                {"at": 1, "hold_next_start": "demo/s/y"},
                dies("demo/s/y"),
                fails("demo/s/x", fail_times),
                dies("demo/s/x"),
            ]
            for calls in ([call(method, id, "demo/s")], [call(method, id, "demo/s"), call("terminate_child", "s")]):
                yield Scenario(shape, [*hold, *calls, {"at": 2, "release": "demo/s/y"}])


def shutting_down() -> Iterator[Scenario]:
    """auto_shutdown: significant children end one after the other, for every reason, nested and not."""
    for auto, kinds, flags in product(
        ("any_significant", "all_significant"), product(RESTARTS[1:], repeat=2), product((False, True), repeat=2)
    ):
        children = [
            worker(id, restart=kind, significant=flag) for id, kind, flag in zip("xy", kinds, flags, strict=True)
        ]
        for outer, strategy, kind in product(STATIC, STATIC, RESTARTS):
            s = inner("s", strategy, *children, worker("z"), auto_shutdown=auto, restart=kind, intensity=2)
            shape = tree(outer, worker("a"), s, worker("b"), intensity=2)
            for first, second in product(REASONS, repeat=2):
                yield Scenario(shape, timed([dies("demo/s/x", first), dies("demo/s/y", second)]))
            yield Scenario(shape, timed([call("terminate_child", "x", "demo/s"), dies("demo/s/y", "normal")]))
            yield Scenario(shape, timed([fails("demo/s/x", 2), dies(["demo/s/x", "demo/s/y"])]))
            if kind != "permanent":
                ends = {**shape, "auto_shutdown": auto}
                ends["children"] = [worker("a"), {**s, "significant": True}, worker("b")]
                yield Scenario(ends, timed([dies("demo/s/x", "normal"), dies("demo/s/y", "normal")]))


def escalations() -> Iterator[Scenario]:
    """Four levels; each of every intensity; crashes of the deepest until nothing is left."""
    for strategy, kind, intensities in product(STATIC, RESTARTS, product((0, 1, 2), repeat=3)):
        shape = inner("l3", strategy, worker("x"), worker("y"), intensity=intensities[2])
        shape = inner("l2", strategy, worker("m"), shape, intensity=intensities[1])
        shape = tree(
            strategy, worker("a"), inner("l1", strategy, shape, worker("n"), intensity=intensities[0], restart=kind)
        )
        for reason, gap in product(("crash", "normal"), (0, 1)):
            yield Scenario(shape, [dies("demo/l1/l2/l3/x", reason, at=1 + gap * n) for n in range(9)])


def pools() -> Iterator[Scenario]:
    """Dynamic supervisors: every event list of three on three children, restart types, intensities."""
    ids = ("x", "y", "z")
    starts = [call("start_child", id, "demo/pool") for id in ids]
    for kind, intensity, auto in product(RESTARTS, (0, 1, 2), ("never", "any_significant", "all_significant")):
        significant = auto != "never" and kind != "permanent"
        dynamic = pool(t_restart=kind, intensity=intensity, auto_shutdown=auto, t_significant=significant)
        if auto != "never" and not significant:
            continue
        shape = tree("one_for_all", worker("a"), dynamic, intensity=2)
        things = [dies(f"demo/pool/{id}", reason) for id in "xy" for reason in REASONS]
        things += [dies(["demo/pool/x", "demo/pool/z"]), dies("demo/a"), call("terminate_child", "pool")]
        things += [call("restart_child", "pool"), fails("demo/pool/x", 2)]
        methods = ("start_child", "terminate_child", "restart_child", "delete_child", "which_children")
        things += [call(method, "x", "demo/pool") for method in methods]
        for several in product(things, repeat=2):
            yield Scenario(shape, [*starts, *timed(several)])


def call_matrix() -> Iterator[Scenario]:
    """Every call on a child in every state that a call can find it in, and again after that."""
    methods = ("start_child", "terminate_child", "restart_child", "delete_child", "which_children")
    for strategy, kind in product(STATIC, RESTARTS):
        shape = tree(
            strategy,
            worker("a", restart=kind),
            inner("s", strategy, worker("x"), restart=kind),
            worker("h"),
            intensity=9,
        )
        states: dict[str, list[Event]] = {
            "running": [],
            "terminated": [call("terminate_child", "a"), call("terminate_child", "s")],
            "ended": [dies("demo/a", "normal")],
            "deleted": [call("terminate_child", "a"), call("delete_child", "a")],
            "restarting": [{"at": 1, "hold_next_start": "demo/h"}, dies("demo/h"), fails("demo/a", 1), dies("demo/a")],
            "dead": [{"at": 1, "hold_next_start": "demo/h"}, dies("demo/h"), dies("demo/a")],
            "stopping": [{"at": 1, "hold_next_stop": "demo/a"}, call("terminate_child", "a")],
        }
        for events, id, pair in product(states.values(), ("a", "s", "nobody"), product(methods, repeat=2)):
            released = [{"at": 2, "release": path} for path in ("demo/h", "demo/a")]
            yield Scenario(
                shape,
                [
                    *events,
                    *(call(method, id) for method in pair),
                    *released,
                    *(call("which_children", "") for _ in "1"),
                ],
            )


def started_specs() -> Iterator[Scenario]:
    """start_child with every kind of spec, whose start fails or not, and what becomes of it later."""
    specs: list[Tree] = [{}, {"restart": "temporary"}, {"restart": "sometimes"}, {"kind": "x"}, {"significant": True}]
    specs += [{"significant": True, "restart": kind} for kind in RESTARTS]
    specs += [
        {"strategy": strategy, "children": [worker("p"), worker("q", restart="temporary")]} for strategy in STATIC
    ]
    specs += [{"strategy": "one_for_one", "children": []}, {"strategy": "one_for_most", "children": []}]
    specs += [
        {
            "strategy": "one_for_all",
            "children": [inner("deep", "rest_for_one", worker("p"), worker("q"))],
            "intensity": 0,
        }
    ]
    for strategy, auto, spec in product(STATIC, ("never", "any_significant", "all_significant"), specs):
        shape = tree(strategy, worker("a"), auto_shutdown=auto, intensity=3)
        start = call("start_child", "n", spec=spec)
        for failing in ("", "demo/n", "demo/n/p", "demo/n/q", "demo/n/deep/q"):
            first = [fails(failing)] if failing else []
            for later in (
                dies("demo/n", "normal"),
                dies("demo/n/p"),
                dies("demo/a"),
                start,
                call("terminate_child", "n"),
            ):
                yield Scenario(
                    shape, timed([*first, start, later, start, call("restart_child", "n"), dies("demo/n/q")])
                )


def shutdowns() -> Iterator[Scenario]:
    """Every form of shutdown, held and not, of a worker stopped by a call, with its group, with its supervisor."""
    for how, strategy, held in product((0, 5, 0.5, "infinity", "brutal_kill"), STATIC, (False, True)):
        s = inner("s", strategy, worker("x", shutdown=how), worker("y", shutdown=how), shutdown=5)
        shape = tree(strategy, worker("a"), s, {**pool(t_shutdown=how), "shutdown": 1}, intensity=4)
        hold = [{"at": 1, "hold_next_stop": path} for path in ("demo/s/y", "demo/pool/n")] if held else []
        release = [{"at": 3, "release": path} for path in ("demo/s/y", "demo/pool/n")]
        for then in (
            *(call("terminate_child", "y", "demo/s"), call("terminate_child", "s"), dies("demo/s/x"), dies("demo/a")),
            *(call("terminate_child", "n", "demo/pool"), call("terminate_child", "pool")),
        ):
            late = [dies("demo/s/y", at=2), dies("demo/a", at=4)]
            calls = [call("start_child", "n", "demo/pool")]
            yield Scenario(shape, [*calls, *hold, then, *late[:1], *release, *late[1:]])
            if then.get("id") in ("s", "pool"):  # those that end answer nothing any more
                asked = [call(method, "y", f"demo/{then['id']}") for method in ("which_children", "start_child")]
                yield Scenario(shape, [*calls, *hold, then, *asked, *release])
