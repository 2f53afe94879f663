"""What supervision costs, side by side in one run: ours, a raw fork loop (the floor), the standard forkserver, others.

`scripts/bench supervisor [--quick | --smoke] [--nice N] [--json]`. The measured programs are in `measured/`; they take turns (A-B-A-B), so that the
noise of the machine hits all of them; figures are medians unless they say otherwise. A row's ratio is to the floor of
the same run, and its goals are those that we promise for ours.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "measured")]

import others
from contender import Contender, closing, floor, forkserver, nothing_left, supervised
from stand import cpu, rss

RATIO = 1.5  # of the floor, at most
IDLE_CPU = 0.5  # percent of one core, at most
FASTER = 40.0  # than supervisord as it comes, at least
BEAT = 10.0  # seconds, the heartbeat of the children that have one
TOGETHER = 200  # trees of at most this many children run beside one another; larger ones follow one another
ENOUGH = 45.0  # seconds for the largest trees, after which they get no second turn

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is measured. `kills`: restarts a contender; `turns`: how many times each has its turn."""

    few: int = 20
    few_kills: int = 150
    many: int = 100
    many_kills: int = 100
    turns: int = 25
    starts: int = 3
    most: int = 1000
    most_kills: int = 100
    most_starts: int = 2
    idle: float = 10.0
    messages: int = 1000
    burst: int = 100
    bursts: int = 5
    other_kills: int = 5
    others_few: int = 20
    others_many: int = 100  # 0: not measured
    download: bool = True  # what is not on this machine


FULL = Plan()
QUICK = Plan(
    few_kills=30,
    many_kills=20,
    turns=10,
    starts=1,
    most=150,
    most_kills=10,
    most_starts=1,
    idle=3.0,
    bursts=1,
    other_kills=1,
    others_few=5,
    others_many=0,
)
SMOKE = Plan(2, 2, 3, 2, 1, 1, 4, 1, 1, 0.1, 10, 2, 1, 1, 2, 0, False)


def run() -> Iterator[Row]:
    """Every row: {name, measure, who, children, value, unit, floor, ratio, goals}; see `_row`."""
    parser = argparse.ArgumentParser(prog="scripts/bench supervisor", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="plan", action="store_const", const=QUICK, help="under 40 s, rougher")
    size.add_argument("--smoke", dest="plan", action="store_const", const=SMOKE, help="a few children: does it run?")
    parser.add_argument(
        "--nice", type=int, help="run all that is measured with this niceness; -20 on a busy machine, as root"
    )
    given = parser.parse_args(sys.argv[1:])
    plan = given.plan or FULL
    if given.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, given.nice)
    kept: list[bool] = []
    with nothing_left():
        yield _load("at the start")
        for phase in (_few, _many, _most, _others):
            for row in phase(plan):
                kept += row.get("goals", {}).values()
                yield row
        yield _load("at the end")
    yield {"name": "goals kept", "value": f"{sum(kept)} of {len(kept)}", "unit": ""}


# ---- rows --------------------------------------------------------------------------------------------------------


def _row(
    measure: str,
    who: str,
    value: float,
    unit: str,
    least: float | None = None,
    standard: float | None = None,
    children: int = 0,
) -> Row:
    """One figure. `least`: the floor's, `standard`: the forkserver's; both make goals for what is ours."""
    ratio = value / least if least else None
    goals = {}
    if who.startswith("ours") and ratio is not None:
        goals[f"{RATIO}x floor"] = ratio <= RATIO
    if who.startswith("ours") and standard is not None:
        goals["ahead of forkserver"] = value < standard
    return {
        "name": f"{measure} | {who}",
        "measure": measure,
        "who": who,
        "children": children,
        "value": round(value, 3),
        "unit": unit,
        "floor": least and round(least, 3),
        "ratio": ratio and round(ratio, 2),
        "goals": goals,
    }


def _side_by_side(
    measure: str, values: dict[str, float], unit: str, children: int = 0, least: str = "floor"
) -> Iterator[Row]:
    """A row for each who; the floor and the forkserver of the same measure are what the others are held against."""
    for who, value in values.items():
        yield _row(measure, who, value, unit, values.get(least), values.get("forkserver"), children)


def _load(when: str) -> Row:
    one, five, _ = os.getloadavg()
    return {"name": f"load average {when}, {os.cpu_count()} cores", "value": f"{one:.2f} {five:.2f}", "unit": ""}


def _times(kind: str, count: int, samples: dict[str, list[float]]) -> Iterator[Row]:
    """p50 and p99 of each contender's restarts."""
    n = len(next(iter(samples.values())))
    half = {who: statistics.median(times) for who, times in samples.items()}
    last = {who: sorted(times)[min(len(times) - 1, int(len(times) * 0.99))] for who, times in samples.items()}
    yield from _side_by_side(f"{kind}, {count} children, p50 of {n}", half, "ms", count)
    yield from _side_by_side(f"{kind}, {count} children, p99 of {n}", last, "ms", count)


# ---- phases ------------------------------------------------------------------------------------------------------


def _restarts(contenders: list[Contender], kills: int, turns: int) -> dict[str, list[float]]:
    """Restarts of all, a few of each at a time."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(turns):
        for contender in contenders:
            samples[contender.name] += contender.ask("kill", times=max(1, kills // turns))["ms"]
    return samples


def _everyone(count: int) -> list[Contender]:
    return [
        floor("floor", count),
        supervised("ours, open", count),
        supervised("ours, confined", count, confined=True),
        forkserver("forkserver", count),
        floor("floor + jail", count, "jailed"),
        supervised("ours, open, spares", count, kind="dynamic", spares=2),
        supervised("ours, confined, spares", count, kind="dynamic", spares=2, confined=True),
    ]


def _few(plan: Plan) -> Iterator[Row]:
    contenders = _everyone(plan.few)
    with closing(contenders):
        yield {"name": "confinement of 'confined'", "value": contenders[2].hello["level"], "unit": ""}
        for contender in contenders:
            contender.ask("start", how="one")
        yield from _times("kill to ready", plan.few, _restarts(contenders, plan.few_kills, plan.turns))


def _starters(count: int) -> list[tuple[str, Callable[[], Contender]]]:
    """(how, contender): those that start one after the other, as OTP does, and those that start side by side."""
    return [
        ("one", lambda: floor("floor", count)),
        ("one", lambda: supervised("ours, open", count)),
        ("one", lambda: supervised("ours, confined", count, confined=True)),
        ("one", lambda: forkserver("forkserver", count)),
        ("all", lambda: floor("floor", count)),
        ("all", lambda: supervised("ours, open", count, kind="dynamic")),
        ("all", lambda: supervised("ours, confined", count, kind="dynamic", confined=True)),
        ("all", lambda: forkserver("forkserver", count)),
    ]


WORDS = {"one": "one after the other", "all": "side by side"}


def _many(plan: Plan) -> Iterator[Row]:
    starters = _starters(plan.many)
    started: dict[str, dict[str, list[float]]] = {"one": {}, "all": {}}
    for turn in range(plan.starts):
        contenders = [make() for _, make in starters]
        with closing(contenders):
            for contender in contenders:
                _ = contender.hello  # all have loaded what they need before anybody is measured
            spent: dict[str, float] = {}
            for (how, _), contender in zip(starters, contenders, strict=True):
                before = sum(cpu(pid) for pid in contender.hello["pids"].values())
                started[how].setdefault(contender.name, []).append(contender.ask("start", how=how)["ms"])
                after = sum(cpu(pid) for pid in contender.hello["pids"].values())
                child = contender.ask("memory", count=20)["child"]
                if how == "one" and child:
                    spent[contender.name] = 1000 * (after - before) / plan.many + child["cpu"]
            if turn < plan.starts - 1:
                continue
            for how, samples in started.items():
                middle = {who: statistics.median(times) for who, times in samples.items()}
                yield from _side_by_side(f"{plan.many} children to all ready, {WORDS[how]}", middle, "ms", plan.many)
            for row in _side_by_side("CPU of all processes for one child to ready", spent, "ms", plan.many):
                yield row | {"goals": {}}  # no promise: it tells what the times are made of, on a busy machine too
            by_way = {
                how: [c for (way, _), c in zip(starters, contenders, strict=True) if way == how] for how in started
            }
            yield from _times("kill to ready", plan.many, _restarts(by_way["one"], plan.many_kills, plan.turns))
            for how, some in by_way.items():
                back: dict[str, list[float]] = {contender.name: [] for contender in some}
                for _ in range(plan.bursts):
                    for contender in some:
                        back[contender.name].append(contender.ask("burst", count=plan.burst, how=how)["ms"])
                middle = {who: statistics.median(times) for who, times in back.items()}
                yield from _side_by_side(
                    f"{plan.burst} killed at once, all back, {WORDS[how]}", middle, "ms", plan.many
                )
            yield from _sizes(plan, by_way["one"])


def _sizes(plan: Plan, contenders: list[Contender]) -> Iterator[Row]:
    """Memory of idle children, and of children that have talked."""
    idle = {contender.name: contender.ask("memory", count=20) for contender in contenders}
    talked = {contender.name: contender.ask("messages", count=5, requests=plan.messages) for contender in contenders}
    for who, size in idle.items():
        if not size["child"]:
            why = "not measured: only root may look into a confined process"
            yield {"name": f"memory and CPU of a child | {who}", "value": why, "unit": ""}
    kinds = {"private": "private memory", "pss": "PSS"}
    for key, word in kinds.items():
        values = {who: sizes["child"][key] for who, sizes in idle.items() if sizes["child"]}
        yield from _side_by_side(f"{word} of an idle child", values, "MiB", plan.many)
    values = {who: sizes["child"]["private"] for who, sizes in talked.items() if sizes["child"]}
    yield from _side_by_side(
        f"private memory after {plan.messages} messages and a gc.collect()", values, "MiB", plan.many
    )


def _most(plan: Plan) -> Iterator[Row]:
    """A thousand children: one program at a time, for the memory's sake."""
    started: dict[str, dict[str, list[float]]] = {"one": {}, "all": {}}
    restarts: dict[str, list[float]] = {}
    sizes: dict[str, Any] = {}
    began = time.monotonic()
    for turn in range(plan.most_starts):
        if turn and time.monotonic() - began > ENOUGH:
            break  # on a machine as busy as that another turn says nothing more
        starters = [(how, make) for how, make in _starters(plan.most) if how == "one" or turn == 0]
        together = len(starters) if plan.most <= TOGETHER else 1
        for at in range(0, len(starters), together):
            some = [(how, make()) for how, make in starters[at : at + together]]
            with closing([contender for _, contender in some]):
                for _, contender in some:
                    _ = contender.hello
                for how, contender in some:
                    started[how].setdefault(contender.name, []).append(contender.ask("start", how=how)["ms"])
                    if how == "one":
                        took = contender.ask("kill", times=max(1, plan.most_kills // plan.most_starts))["ms"]
                        restarts.setdefault(contender.name, []).extend(took)
                        sizes.setdefault(contender.name, contender.ask("memory", count=1))
    yield from _times("kill to ready", plan.most, restarts)
    for how, samples in started.items():
        middle = {who: statistics.median(times) for who, times in samples.items()}
        yield from _side_by_side(f"{plan.most} children to all ready, {WORDS[how]}", middle, "ms", plan.most)
    roots = {who: size["root_rss"] for who, size in sizes.items()}
    yield from (
        _row(f"RSS of the root, {plan.most} children", who, size, "MiB", children=plan.most)
        for who, size in roots.items()
    )
    yield from _idle(plan)


def _idle(plan: Plan) -> Iterator[Row]:
    """CPU of root and zygote while nothing happens."""
    contenders = [
        supervised("ours, no heartbeat", plan.most),
        supervised(f"ours, heartbeat {BEAT:g} s", plan.most, heartbeat=BEAT),
    ]
    with closing(contenders):
        for contender in contenders:
            contender.ask("start", how="one")
        processes = [(c.name, part, pid) for c in contenders for part, pid in c.hello["pids"].items()]
        before = [cpu(pid) for _, _, pid in processes]
        began = time.monotonic()
        time.sleep(plan.idle)  # the measurement: they are left alone
        took = time.monotonic() - began
        for (who, part, pid), earlier in zip(processes, before, strict=True):
            percent = 100 * (cpu(pid) - earlier) / took
            row = _row(f"idle CPU of the {part}, {plan.most} children", who, percent, "%", children=plan.most)
            yield row | {"goals": {f"under {IDLE_CPU} %": percent < IDLE_CPU}}


# ---- other supervisors -------------------------------------------------------------------------------------------


def _others(plan: Plan) -> Iterator[Row]:
    """Those that start a program for each child. Their children are no asyncio processes, which is in their favour."""
    directory = Path(tempfile.mkdtemp(prefix="eb-", dir="/tmp"))  # short: it holds unix sockets
    try:
        made: list[Callable[[Path, int], others.Other]] = [others.ExecLoop]
        try:
            bin = others.environment(download=plan.download)
            made += [_maker("supervisord, as it comes", others.supervisord(bin, fastest=False))]
            made += [_maker("supervisord, fastest", others.supervisord(bin, fastest=True))]
            made += [_maker("circus, as it comes", others.circusd(bin, fastest=False))]
            made += [_maker("circus, fastest", others.circusd(bin, fastest=True))]
        except others.Unavailable as why:
            yield {"name": "supervisord and circus", "value": f"not measured: {why}", "unit": ""}
        try:
            times = others.otp_processes(plan.others_few, 100)
            measure = f"kill to ready, {plan.others_few} children, p50 of {len(times)}"
            yield _row(measure, "OTP, Erlang processes", statistics.median(times), "ms", children=plan.others_few)
            made += [_maker("OTP, a port each", others.otp_ports)]
        except others.Unavailable as why:
            yield {"name": "OTP", "value": f"not measured: {why}", "unit": ""}
        for count, kills, idle in ((plan.others_few, plan.other_kills, 0.0), (plan.others_many, 0, plan.idle)):
            if count:
                (directory / str(count)).mkdir()
                yield from _beside([make(directory / str(count), count) for make in made], count, kills, idle)
    finally:
        shutil.rmtree(directory)


def _maker(name: str, command: others.Command) -> Callable[[Path, int], others.Other]:
    return lambda directory, count: others.Other(name, directory, count, command)


def _beside(some: list[others.Other], count: int, kills: int, idle: float) -> Iterator[Row]:
    """Their rows with that many children, and ours beside them: restarts when `kills`, CPU at rest when `idle` is not 0."""
    ours = "ours, open"
    started: dict[str, float] = {}
    took: dict[str, list[float]] = {}
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        mine = supervised(ours, count, kind="dynamic")
        stack.enter_context(closing([mine]))
        mine.ask("start", how="all")
        started[ours] = (time.perf_counter() - began) * 1000
        running = []
        for other in some:
            stack.callback(other.close)
            try:
                started[other.name] = other.start()
                running.append(other)
            except others.Unavailable as why:
                yield {"name": other.name, "value": f"not measured: {why}", "unit": ""}
        for _ in range(kills):
            took.setdefault(ours, []).extend(mine.ask("kill", times=5)["ms"])
            for other in running:
                took.setdefault(other.name, []).append(other.restart())
        pids = {ours: mine.hello["pids"]["root"], **{other.name: other.pid for other in running}}
        pids.pop("exec loop", None)
        before = {who: cpu(pid) for who, pid in pids.items()}
        time.sleep(idle)  # the measurement: they are left alone
        used = {who: 100 * (cpu(pid) - before[who]) / idle for who, pid in pids.items()} if idle else {}
        sizes = {who: rss(pid) for who, pid in pids.items()}
    if kills:
        middle = {who: statistics.median(times) for who, times in took.items()}
        for who, value in middle.items():
            yield _row(
                f"kill to ready, {count} children, beside others, p50 of {kills}", who, value, "ms", children=count
            )
        slowest = middle.get("supervisord, as it comes")
        if slowest is not None:
            row = _row(
                f"restart, {count} children, times faster than supervisord as it comes",
                ours,
                slowest / middle[ours],
                "x",
            )
            yield row | {"goals": {f"{FASTER:g}x": slowest / middle[ours] >= FASTER}}
    for measure, values, unit in (
        ("to all ready, with its own start", started, "ms"),
        ("idle CPU of the supervisor", used, "%"),
        ("RSS of the supervisor", sizes, "MiB"),
    ):
        for who, value in values.items():
            yield _row(f"{count} children: {measure}", who, value, unit, children=count)


if __name__ == "__main__":
    for row in run():
        print(row)
