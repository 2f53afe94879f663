"""Every way to misbehave (tests/children) meets the root at once, and each has the end that it should have.

One real tree for all: each child below a supervisor of its own, so that none has to wait for another. The children are
started by calls; then those that are to die by themselves have done so, the others are told to stop. Each test looks
at what the status says of one child; the last ones at what is left of all together.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import Node, descriptors, misbehaving, running, strays

pytestmark = pytest.mark.kernel


@dataclass(frozen=True)
class Case:
    """One child and its end. `reason`: a part of the reason of its last exit; `said`: a part of its last words.

    `step`: the step of the stop in which it went; empty: by itself, without being stopped.
    """

    id: str
    steps: tuple[Any, ...]
    reason: str
    step: str = ""
    ready: bool = True
    left: int = 0
    said: str = ""
    state: str = ""
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def child(self) -> dict[str, Any]:
        # A first restart would come after ten minutes: the status keeps the first end.
        backoff = {"initial": 600, "factor": 1, "max": 600}
        optional = not self.ready  # of the tree file then: a failed start is not the end, and is kept in the list
        return misbehaving(self.id, *self.steps, restart="transient", backoff=backoff, optional=optional, **self.keys)


def case(id: str, *steps: Any, reason: str, **keys: Any) -> Case:
    known = {key: keys.pop(key) for key in ("step", "ready", "left", "said", "state") if key in keys}
    return Case(id, steps, reason, keys=keys, **known)


DEEP = '{"ready": {"x": ' + '{"x": ' * 900 + "1" + "}" * 902

# Nobody stops these: they end by themselves, or by what the root finds.
ALONE = [
    # before READY
    case("crash-on-start", "crash", reason="exit code 1", ready=False, said="RuntimeError: no such luck"),
    case("leave-on-start", ["leave", 0], reason="exit code 0", ready=False),
    case("killed-on-start", ["die_of", "SIGKILL"], reason="SIGKILL", ready=False),
    case("never-ready", "sleep", reason="", step="killed", ready=False, start_timeout=0.3),
    case("slow-ready", ["sleep", 0.2], "ready", ["leave", 3], reason="exit code 3", start_timeout=20),
    case("hangs-on-start", "hang_in_c", reason="", step="killed", ready=False, start_timeout=0.3),
    case("daemon-on-start", ["daemonise", "@/early"], "crash", reason="exit code 1", ready=False, left=1),
    case("silent-on-start", "close_everything", "sleep", reason="", step="killed", ready=False, start_timeout=0.3),
    # every kind of exit
    case("crash", "ready", "crash", reason="exit code 1", said="RuntimeError: no such luck"),
    case("leave", "ready", "leave", reason="exit code 0", state="terminated"),
    case("return", "ready", reason="exit code 0", state="terminated"),
    case("leave-3", "ready", ["leave", 3], reason="exit code 3"),
    case("leave-255", "ready", ["leave", -1], reason="exit code 255"),
    case("leave-256", "ready", ["leave", 256], reason="exit code 0", state="terminated"),
    case("leave-text", "ready", ["leave", "gone fishing"], reason="exit code 1", said="gone fishing"),
    case("leave-setup", "ready", ["leave", 71], reason="exit code 71"),
    case("leave-planned", "ready", ["leave", 75], reason="without saying planned_exit"),
    case("leave-shutdown", "ready", ["leave", 76], reason="told to end", state="terminated"),
    case("exit-at-once", "ready", ["exit_at_once", 7], reason="exit code 7"),
    case("raise-at-exit", "raise_at_exit", "ready", reason="exit code 0", said="raised at exit", state="terminated"),
    case("thread", ["thread", 0.3], "ready", reason="exit code 0", state="terminated"),
    case("interrupt", "ready", ["die_of", "SIGINT"], reason="SIGINT"),
    *(
        case(f"dies-of-{name}", "ready", ["die_of", name], reason=name)
        for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL", "SIGABRT", "SIGPIPE", "SIGUSR1", "SIGXCPU", "SIGRTMAX")
    ),
    case("segfault", "ready", "segfault", reason="SIGSEGV", said="in segfault"),
    case("no-core", "ready", "segfault", reason="SIGSEGV", said="Segmentation fault", rlimits={"core": 0}),
    case("cpu-limit", "ready", "spin", reason="SIGKILL", rlimits={"cpu": 1}),
    case("traced", "traced", "ready", ["die_of", "SIGUSR1"], reason="SIGKILL"),
    # what the root kills for, or bears
    case("garbage", "ready", ["send", "this is no message"], "deaf", reason="sent what is no message"),
    case("no-mapping", "ready", ["send", "[1]"], "deaf", reason="sent what is no message"),
    case("deep-garbage", "ready", ["send", "[" * 100000], "deaf", reason="sent what is no message"),
    case("deep-info", "ready", ["send", DEEP], "deaf", reason="sent what is no message"),
    case("long-number", "ready", ["send", '{"x": ' + "9" * 9999 + "}"], "deaf", reason="sent what is no message"),
    case("long-line", "ready", ["send", "x" * 1024, 9000, ""], "deaf", reason="a message of more than"),
    case("ready-often", "ready", ["send", '{"ready": {}}', 300000], ["leave", 3], reason="exit code 3"),
    case("deaf-asker", "ready", ["ask", 200000], "deaf", reason="does not read its control channel"),
    case("eater", "ready", ["eat", 80], "obey", reason="more than max_memory 40 MiB", max_memory="40MiB"),
    case("no-beat", "ready", "sleep", reason="no heartbeat for 0.4 s", said="in sleep", heartbeat=0.4),
    case("no-beat-c", "ready", "hang_in_c", reason="no heartbeat for 0.4 s", said="in hang_in_c", heartbeat=0.4),
    case("no-beat-spin", "ready", "spin", reason="no heartbeat for 0.4 s", said="in spin", heartbeat=0.4),
    case("no-beat-stopped", "ready", "stop_oneself", reason="no heartbeat for 0.4 s", heartbeat=0.4),
    case("no-beat-blocked", "block_signals", "ready", "sleep", reason="no heartbeat for 0.4 s", heartbeat=0.4),
    # what they leave behind
    case("helpers", ["helpers", 3], "ready", ["exit_at_once", 3], reason="exit code 3", left=3),
    case("sessions", ["helpers", 3, True], "ready", ["exit_at_once", 3], reason="exit code 3", left=3),
    case("closed-helpers", ["helpers", 2, True, False], "ready", "crash", reason="exit code 1", left=2),
    case("group", "process_group", "ready", ["die_of", "SIGKILL"], reason="SIGKILL", left=1),
    case("daemon", ["daemonise", "@/late"], "ready", ["exit_at_once", 3], reason="exit code 3", left=1),
    case("moved", "ready", "move_session", reason="exit code 0", left=1, state="terminated"),
    case("fork-bomb", ["fork_bomb", 40], "ready", "crash", reason="exit code 1", left=40),
    case("unknown-namespace", "uts_namespace", ["daemonise", "@/uts"], "ready", "crash", reason="exit code 1"),
]

# These live until they are stopped.
BRUTAL = {"shutdown": "brutal_kill"}
STOPPED = [
    case("obeys", "ready", "obey", reason="exit code 0", step="asked", shutdown=10),
    case("obeys-for-ever", "ready", "obey", reason="exit code 0", step="asked", shutdown="infinity"),
    case("obeys-brutal", "ready", "obey", reason="SIGKILL", step="killed", **BRUTAL),
    case("deaf", "ready", "deaf", reason="SIGTERM", step="terminated"),
    case("deaf-for-ever", "ready", "deaf", reason="SIGTERM", step="terminated", shutdown="infinity"),
    case("listens", ["ignore", "SIGTERM"], "ready", "listen", reason="SIGKILL", step="killed", shutdown=1),
    case("listens-only", "ready", "listen", reason="SIGTERM", step="terminated"),
    case("ignores", ["ignore", "SIGTERM"], "ready", "deaf", reason="SIGKILL", step="killed", shutdown=1),
    case("blocks", "block_signals", "ready", "deaf", reason="SIGKILL", step="killed", shutdown=1),
    case("hangs-in-c", "ready", "hang_in_c", reason="SIGTERM", step="terminated"),
    case("spins", "ready", "spin", reason="SIGTERM", step="terminated", shutdown=1),
    case("spins-in-c", "ready", "spin_in_c", reason="SIGTERM", step="terminated", shutdown=1),
    case("never-handles", "handle_never", "ready", "spin_in_c", reason="SIGKILL", step="killed", shutdown=1),
    case("stopped", "ready", "stop_oneself", "deaf", reason="SIGTERM", step="terminated"),
    case(
        "stopped-deaf",
        ["ignore", "SIGTERM"],
        "ready",
        "stop_oneself",
        "deaf",
        reason="SIGKILL",
        step="killed",
        shutdown=1,
    ),
    case("thread-for-ever", "thread", "ready", "obey", reason="SIGTERM", step="terminated", shutdown=2),
    case("hangs-at-exit", "hang_at_exit", "ready", "obey", reason="SIGTERM", step="terminated", shutdown=2),
    case("closes-all", "ready", "close_everything", "sleep", reason="SIGTERM", step="terminated"),
    case("closes-channel", "ready", "close_channel", "deaf", reason="SIGTERM", step="terminated"),
    case("closes-output", "close_output", "ready", "obey", reason="exit code 0", step="asked"),
    case("zombies", "zombies", "ready", "obey", reason="exit code 0", step="asked"),
    case("leaves-helpers", ["helpers", 3, True], "ready", "obey", reason="exit code 0", step="asked", left=3),
    case("leaves-daemon", ["daemonise", "@/stop"], "ready", "deaf", reason="SIGTERM", step="terminated", left=1),
    case("bomb", ["fork_bomb", 40], "ready", "deaf", reason="SIGTERM", step="terminated", left=40),
    case("traced-deaf", "traced", "ready", "deaf", reason="SIGKILL", step="terminated"),
    case("ready-twice", "ready", ["send", '{"ready": {}}'], "obey", reason="exit code 0", step="asked"),
    case("unknown-words", "ready", ["send", '{"hello": null}', 100], "obey", reason="exit code 0", step="asked"),
    case(
        "odd-request", "ready", ["send", '{"request": 1, "method": [], "params": {}}'], "obey", reason="", step="asked"
    ),
    case(
        "odd-params",
        "ready",
        ["send", '{"request": 1, "method": "park", "params": 7}'],
        "obey",
        reason="",
        step="asked",
    ),
    case("odd-info", ["send", '{"ready": [1, {"x": null}]}'], "obey", reason="exit code 0", step="asked"),
    case("half-a-letter", ["send", '{"ready": {"x": "\\ud800"}}'], "obey", reason="exit code 0", step="asked"),
    case("no-number", ["send", '{"ready": {"x": NaN}}'], "obey", reason="exit code 0", step="asked"),
    case(
        "huge-info", ["send", '{"ready": {"x": "' + "x" * 1000000 + '"}}'], "obey", reason="exit code 0", step="asked"
    ),
    case("half-planned", "ready", ["send", '{"planned_exit": "\\ud800"}'], "obey", reason="", step="asked"),
    case("prints-bytes", "ready", "print_bytes", "obey", reason="exit code 0", step="asked"),
    case("prints-no-newline", "print_without_end", "ready", "obey", reason="exit code 0", step="asked"),
    case("floods", "ready", ["print_without_end", 0, True], reason="SIGTERM", step="terminated", shutdown=1),
    case("renamed", ["rename_oneself", "t: hand"], "ready", "obey", reason="exit code 0", step="asked"),
    case("no-directory", ["lose_directory", "@/gone"], "ready", "obey", reason="exit code 0", step="asked"),
    case("no-descriptors", ["limit", "nofile", 0], "ready", "obey", reason="exit code 0", step="asked"),
    case("no-files", ["limit", "fsize", 0], "ready", "obey", reason="exit code 0", step="asked"),
]
CASES = ALONE + STOPPED


@dataclass(frozen=True)
class Outcome:
    """What was seen of the tree: before any child, and after the last one had ended."""

    workers: dict[str, dict[str, Any]]
    answers: dict[str, dict[str, Any]]
    output: str
    siblings: tuple[dict[str, Any], dict[str, Any]]
    descriptors: tuple[dict[str, Counter[str]], dict[str, Counter[str]]]
    files: tuple[set[str], set[str]]
    strays: tuple[set[int], set[int]]
    zombies: list[int]
    code: int


def zombies(of: set[int]) -> list[int]:
    """Dead processes that one of these has not collected."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) in of:
            found.append(int(name))
    return found


def title(pid: int) -> str:
    """What ps shows for a process; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


class Crowd:
    """The tree in which all of them live, and a way to make calls on it."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.directory = directory
        self.fifo = os.open(directory / "calls", os.O_WRONLY)
        self.asked: list[str] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self._taken = 0

    def call(self, method: str, case: Case, **params: Any) -> None:
        self.asked.append(f"{method} {case.id}")
        line = json.dumps({"method": method, "supervisor": f"s-{case.id}", **params}) + "\n"
        data = line.replace("@", str(self.directory / "w")).encode()
        while data:
            data = data[os.write(self.fifo, data) :]
            self.node.read(0)

    def answered(self) -> bool:
        """Everything that was asked has been answered; the answers are in `answers` by request."""
        end = self.node.output.rfind("\n", self._taken) + 1
        for line in self.node.output[self._taken : end].splitlines() if end else ():
            if line.startswith("[hand] answer "):
                answer = json.loads(line[14:])
                self.answers[self.asked[answer["answer"] - 1]] = answer
        self._taken = max(end, self._taken)
        return len(self.answers) == len(self.asked)

    def present(self) -> set[int]:
        """Every process of this tree; but not the one that the zygote has forked ahead, which comes and goes."""
        ahead = {pid for pid in strays(self.directory) if title(pid) in ("t: zygote", "t: waiting")} - {
            self.node.launcher()
        }
        return set(strays(self.directory)) - ahead

    def seen(self) -> tuple[dict[str, Counter[str]], set[str], set[int]]:
        root, zygote = self.node.process.pid, self.node.launcher()
        files = {str(path.relative_to(self.directory)) for path in self.directory.glob("**/*")}
        return (
            {"root": descriptors(root), "zygote": descriptors(zygote)},
            files - {"status.json.new"},
            self.present(),
        )


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="eg-", dir="/tmp") as name:
        directory = Path(name)
        (directory / "w").mkdir()
        os.mkfifo(directory / "calls")
        tree = {
            "id": "t",
            "strategy": "one_for_one",
            "children": [
                {"id": "b", "start": "children:idle"},
                {
                    "id": "hand",
                    "start": "children:commander",
                    "args": {"path": str(directory / "calls")},
                    "control": [f"s-{case.id}" for case in CASES],
                },
                *(_supervisor(case, directory) for case in CASES),
            ],
        }
        with running(tree, directory) as node:
            node.ready()
            yield _play(Crowd(node, directory))


def _supervisor(case: Case, directory: Path) -> dict[str, Any]:
    child = json.loads(json.dumps(case.child).replace("@", str(directory / "w")))
    return {
        "id": f"s-{case.id}",
        "strategy": "one_for_one",
        "intensity": 100,
        "children": [] if case.ready else [child],
    }


def _play(crowd: Crowd) -> Outcome:
    node = crowd.node
    node.pid("b"), node.pid("hand")
    before, sibling = crowd.seen(), node.workers()["b"]

    def living(cases: list[Case]) -> list[str]:
        workers = node.workers()
        return [case.id for case in cases if not workers.get(case.id, {}).get("last_exit")]

    # A daemon that makes a namespace of its own may get the number that a dead neighbour had, and be laid to its charge.
    nobodys = [case for case in ALONE if case.id == "unknown-namespace"]
    for cases in ([case for case in ALONE if case not in nobodys], nobodys):
        for case in cases:
            if case.ready:
                crowd.call("start_child", case, spec=case.child)
        node.until(crowd.answered, "all starts", 40)
        node.until(partial(lambda cases: not living(cases), cases), "the ends of those who end by themselves", 40)
    workers = {id: worker for id, worker in node.workers().items() if worker["last_exit"]}
    for case in STOPPED:
        crowd.call("start_child", case, spec=case.child)
    node.until(crowd.answered, "all starts", 40)
    for case in CASES:
        crowd.call("terminate_child", case, id=case.id)
    node.until(crowd.answered, "all stops", 40)
    node.until(lambda: not living(CASES), "all ends in the status")
    nobody = "nobody but root, zygote and the two that behave"
    node.until(lambda: crowd.present() == before[2], nobody, 5)
    workers = {id: worker for id, worker in node.workers().items() if id not in workers} | workers
    after = crowd.seen()
    ours = {node.process.pid, node.launcher()}
    dead = zombies(ours)
    last = node.workers()["b"]
    os.close(crowd.fifo)
    node.process.send_signal(signal.SIGTERM)
    code = node.wait()
    pairs = zip(before, after, strict=True)
    return Outcome(workers, crowd.answers, node.output, (sibling, last), *pairs, dead, code)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_end_of_a_child(case: Case, outcome: Outcome) -> None:
    """It went in the step of the stop, for the reason and with what it left behind as the table says."""
    last = outcome.workers[case.id]["last_exit"]
    assert last is not None
    assert case.reason in last["reason"]
    assert (last["step"], last["ready"], last["left"]) == (case.step, case.ready, case.left), last
    assert case.said in "\n".join(last["stderr"]), last["stderr"]
    if case.state:
        assert outcome.workers[case.id]["state"] == case.state


def test_siblings_are_not_disturbed(outcome: Outcome) -> None:
    """A child that behaves lives on beside all of them, under its pid, and the root ends as it is asked to."""
    before, after = outcome.siblings
    assert after["state"] == "running" and after["restarts"] == 0
    assert (after["pid"], after["incarnation"]) == (before["pid"], before["incarnation"])
    assert outcome.code == 0


def test_no_process_is_left(outcome: Outcome) -> None:
    """No daemon, helper or bomb survives its child, and nobody dead is left uncollected."""
    before, after = outcome.strays
    assert before == after
    assert outcome.zombies == []


@pytest.mark.parametrize("who", ["root", "zygote"])
def test_no_descriptor_is_left(who: str, outcome: Outcome) -> None:
    """Root and zygote have the same descriptors open as before, kind by kind."""
    before, after = outcome.descriptors
    assert before[who] == after[who]


def test_no_file_is_left(outcome: Outcome) -> None:
    """Nothing new lies beside the tree but what the children wrote themselves."""
    before, after = outcome.files
    # w/uts: a daemon that has left its namespace is nobody's, and may be killed before it has written
    assert after - before - {"w/uts"} == {"w/late", "w/stop"}


def test_every_call_was_answered(outcome: Outcome) -> None:
    """Each start_child and terminate_child got its answer, and none was refused but for ends that came first."""
    refused = {asked: answer for asked, answer in outcome.answers.items() if "error" in answer}
    assert len(outcome.answers) >= len(CASES)
    assert all(asked.startswith("start_child") for asked in refused), refused
