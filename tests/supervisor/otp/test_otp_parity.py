"""Our policy on the real `supervisor` of Erlang/OTP: the same lines in the same order, random and by system."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from supervisor.simulate import simulate
from supervisor.treefile import parse_tree
from tests.supervisor.otp.families import families, tree, worker
from tests.supervisor.otp.parity import ESCRIPT, Scenario, compare, otp, supervisors, verdicts
from tests.supervisor.otp.scenarios import scenario
from tests.supervisor.otp.shrink import files, shrink, size

COUNT = int(os.environ.get("EGGHEAD_OTP_SCENARIOS", "200"))
STRIDE = 499  # a prime: a few hundred of all families, others of each than a round number would take
ROOT = Path(__file__).parents[3]

needs_otp = pytest.mark.skipif(ESCRIPT is None, reason="needs escript (Debian: erlang-base)")


def check(scenarios: list[Scenario], what: str) -> None:
    """Fails with the smallest scenario on which the two differ."""
    seen = verdicts(scenarios)
    if "different" in seen:
        found = shrink(scenarios[seen.index("different")], lambda some: [v == "different" for v in verdicts(some)])
        pytest.fail(f"{what}\n{files(found)}")
    assert seen.count("equal") > 0.95 * len(scenarios)


@needs_otp
@pytest.mark.timeout(600)
def test_random() -> None:
    """Real OTP does the same as `simulate` on random trees and events (EGGHEAD_OTP_SCENARIOS sets how many)."""
    seed = Random().randrange(10**9)
    random = Random(seed)
    check([scenario(random) for _ in range(COUNT)], f"seed {seed}")


@needs_otp
@pytest.mark.timeout(600)
def test_families() -> None:
    """Real OTP does the same on a sample of the scenarios made by system; `scripts/otp_parity --exhaustive` runs all."""
    first = Random().randrange(STRIDE)
    check([each for _, each in itertools.islice(families(), first, None, STRIDE)], f"from {first}")


@needs_otp
def test_a_difference_is_seen() -> None:
    """A line more, less, elsewhere or of another supervisor is a difference; stops of a pool in another order are not."""
    pool = {"id": "pool", "strategy": "dynamic", "template": {"start": "m:f"}}
    calls = [{"at": 1, "call": "start_child", "supervisor": "demo/pool", "id": id} for id in "xy"]
    ends = {"at": 2, "call": "terminate_child", "supervisor": "demo", "id": "pool"}
    each = Scenario(tree("one_for_one", worker("a"), pool), [*calls, ends])
    (theirs,) = otp([each])
    assert compare(each, list(theirs)) == "equal"
    assert next(line for line in theirs if "stops" in line)["paths"] == ["demo/pool/x", "demo/pool/y"]
    for spoiled in (theirs[1:], [*theirs[1:2], theirs[0], *theirs[2:]], [{"at": 0, "start": "demo/b"}, *theirs[1:]]):
        assert compare(each, list(spoiled)) == "different"


def test_generators_make_good_scenarios() -> None:
    """Every scenario is a tree and events that `simulate` takes, up to four levels deep, and most do something."""
    random = Random(7)
    made = [scenario(random) for _ in range(150)] + [each for _, each in itertools.islice(families(), 0, None, 997)]
    traces = [[*simulate(parse_tree(json.dumps(each.tree), unique_names=False), each.events)] for each in made]
    assert max(path.count("/") for each in made for path, _ in supervisors(each.tree)) == 3
    assert sum(len(trace) > 4 for trace in traces) > 0.8 * len(traces)
    words = {key for trace in traces for line in trace for key in line} - {"at"}
    assert words == {"start", "start_failed", "stop", "supervisor_exit", "result", "which_children"}
    results = {line["result"] for trace in traces for line in trace if "result" in line}
    assert len(results) == 7, "every answer that a call can have"


def test_shrinking() -> None:
    """A scenario is made small while what is wrong with it stays, and is printed as two files."""
    crash = {"at": 1, "exit": ["demo/a", "demo/s/x"], "reason": "crash"}
    below = {**tree("rest_for_one", worker("x"), worker("y", restart="transient")), "id": "s"}
    found = Scenario(tree("one_for_all", worker("a", shutdown=5), below, intensity=3), [crash] * 5)

    def differing(some: list[Scenario]) -> list[bool]:
        return [
            any("demo/a" in event["exit"] for event in each.events) and len(each.tree["children"]) > 0 for each in some
        ]

    small = shrink(found, differing)
    assert size(small) < size(found)
    assert small.events == [{"at": 1, "exit": ["demo/a"], "reason": "crash"}]
    assert small.tree["children"] in ([{"id": "a", "start": "m:f"}], [{"id": "s", "start": "m:f"}])
    printed = files(small).partition("--- events.json\n")
    assert json.loads(printed[0].removeprefix("--- tree.yaml\n")) == small.tree
    assert json.loads(printed[2]) == small.events


def test_command_without_erlang(tmp_path: Path) -> None:
    """Without escript the command says which package brings it, and exits 2."""
    command = [sys.executable, "-m", "tests.supervisor.otp", "--count", "1"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "apt-get install erlang-base" in done.stderr


@needs_otp
def test_command() -> None:
    """The command prints its seed, what came out and how fast, and exits 0."""
    command = [sys.executable, "-m", "tests.supervisor.otp", "--count", "20", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 5, 20 scenarios\n20 in ") and " 0 different" in done.stdout
