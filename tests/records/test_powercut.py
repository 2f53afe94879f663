"""Killed, cut from power, out of space or forbidden at every step of every write: the old notes or the new, nothing between."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.records.disk import powercut
from tests.records.disk.worker import OPERATIONS

HERE = Path(__file__).resolve().parent
KILL, ONCE, ON, FULL = 1, 2, 3, 4  # modes of the shim
Files = dict[str, bytes]


States = dict[tuple[tuple[str, bytes], ...], None]  # in the order of the steps
SOME = 10**6 if os.environ.get("EGGHEAD_POWERCUTS") == "all" else 24  # states and steps of a write that are tried


def thinned(states: States) -> list[tuple[tuple[str, bytes], ...]]:
    every = list(states)
    return every[:: max(1, len(every) // SOME)]


class Worker:
    """The process under the shim, and the folders its cases work in."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.origin = base / "origin"
        shim = base / "shim.so"
        compiler = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-unused-result"]
        subprocess.run([*compiler, "-o", str(shim), str(HERE / "disk" / "shim.c"), "-ldl", "-lpthread"], check=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.records.disk.worker"], cwd=HERE.parents[1], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "LD_PRELOAD": str(shim)},
        )  # fmt: skip
        self._folders = 0
        self._cases: dict[str, Case] = {}
        assert self.job(do="build", root=str(self.origin))["status"] == 0

    def job(self, **job: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def fresh(self) -> Path:
        self._folders += 1
        return self.base / f"case{self._folders}"

    def run(self, op: str, **job: Any) -> tuple[Path, dict[str, Any]]:
        """One write in a copy of the origin."""
        root = self.fresh()
        shutil.copytree(self.origin, root, symlinks=True)
        return root, self.job(do="run", root=str(root), op=op, **job)

    def start(self, root: Path) -> Files:
        """What the next start finds, after all that holds of every start; the folder goes."""
        done = self.job(do="start", root=str(root))
        assert done["status"] == 0, done
        answer = done["answer"]
        files = tidy(answer["files"])
        assert answer["differences"] == [] and answer["rebuilt"] is None
        assert not [path for path in files if "egghead-" in path or path.endswith((".tmp", "/renaming"))]
        visible = {path.rpartition(".")[0] for path in files if not path.startswith(".")}
        assert set(answer["ids"]) == visible
        shutil.rmtree(root)
        return files

    def case(self, op: str) -> Case:
        if op not in self._cases:
            self._cases[op] = Case(self, op)
        return self._cases[op]

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("powercut"))
    yield made
    made.close()


def tidy(files: dict[str, str]) -> Files:
    """Without what differs between two runs of the same write: times in names and in `created`."""
    found = {}
    for path, text in files.items():
        name = re.sub(r"^(\.egghead/history/.*/)\d{8}T[\d.]+Z-", r"\1", path)
        found[name] = re.sub(rb"created: '?[\dTZ:-]+'?", b"created: now", b64decode(text))
    return found


def notes(files: Files) -> Files:
    """Without the kept versions."""
    return {path: data for path, data in files.items() if not path.startswith(".egghead/")}


def kept(files: Files) -> set[bytes]:
    return {data for path, data in files.items() if path.startswith(".egghead/history/")}


class Case:
    """One write done undisturbed: the notes before and after it, and what it replaces."""

    def __init__(self, worker: Worker, op: str) -> None:
        self.log = worker.base / f"{op}.log"
        self.root, done = worker.run(op, log=str(self.log))
        assert done["answer"]["error"] is None, done
        self.steps: int = done["answer"]["steps"]
        self.before_root = Path(f"{self.log}.before")
        untouched = worker.fresh()
        shutil.copytree(worker.origin, untouched)
        self.before = worker.start(untouched)
        whole = worker.fresh()
        shutil.copytree(self.root, whole)
        self.after = worker.start(whole)
        remaining = set(notes(self.after).values())
        self.replaced = set(notes(self.before).values()) - remaining if op != "purge" else set()
        # An older namesake in the trash gets its time into its name first; that alone is a whole state too.
        self.between = {
            path: data for path, data in self.after.items() if path in self.before or ".trash/gone." in path
        }
        if op == "trash again":
            self.between |= {path: data for path, data in self.before.items() if path == "gone.md"}
            self.between.pop(".trash/gone.md")

    def some(self) -> list[int]:
        """All steps on the files; of the many that follow in the index, a few."""
        own = next(
            (place for place, step in enumerate(powercut.read_log(self.log, self.root)) if "index.db" in step[1]),
            self.steps,
        )
        steps = [step for step in range(1, self.steps + 1) if step <= own + 2 or step % 12 == 0]
        return steps[:: -(-len(steps) // SOME)]

    def check(self, op: str, files: Files) -> None:
        """The notes are those of before or those of after, and what is no more is kept."""
        allowed = [notes(self.before), notes(self.after)] + ([notes(self.between)] if op == "trash again" else [])
        assert notes(files) in allowed
        assert notes(files) == notes(self.before) or self.replaced <= kept(files)


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_power_cut_at_any_step_leaves_the_old_or_the_new(worker: Worker, op: str) -> None:
    """Of every legal loss of unsynced bytes and names, the next start makes the notes of before or of after; done is done."""
    case = worker.case(op)
    disk = powercut.Disk.of(case.before_root)
    states: States = {}
    for step in powercut.read_log(case.log, case.root):
        states.update((tuple(sorted(state.items())), None) for state in disk.states())
        disk.do(*step)
    last: States = {tuple(sorted(state.items())): None for state in disk.states()}
    assert len(states) > 5 or op == "purge"
    for state in thinned(states) + thinned(last):
        root = worker.fresh()
        powercut.write_tree(dict(state), root)
        files = worker.start(root)
        case.check(op, files)
        if state in last and op != "purge":  # what was purged may come back once; nobody lost anything by that
            assert notes(files) == notes(case.after)


@pytest.mark.parametrize("op", OPERATIONS)
def test_killed_at_any_step_leaves_the_old_or_the_new(worker: Worker, op: str) -> None:
    """kill -9 before every call that changes the disk, those of SQLite too."""
    case = worker.case(op)
    for step in case.some():
        root, done = worker.run(op, at=step, mode=KILL)
        assert done["status"] == -9, f"step {step} of {case.steps}"
        case.check(op, worker.start(root))


@pytest.mark.parametrize(
    ("mode", "code"), [(FULL, errno.ENOSPC), (ON, errno.EACCES), (ONCE, errno.EIO)],
    ids=["disk full", "permission lost", "one bad call"],
)  # fmt: skip
@pytest.mark.parametrize("op", OPERATIONS)
def test_a_disk_that_refuses_at_any_step_loses_nothing(worker: Worker, op: str, mode: int, code: int) -> None:
    """A write is refused with a sentence and nothing has changed, or it stands; once the disk is well, it can be repeated."""
    case = worker.case(op)
    refused = 0
    for step in case.some():
        root, done = worker.run(op, at=step, mode=mode, code=code, again=True)
        assert done["status"] == 0, f"step {step}: {done}"
        answer = done["answer"]
        now = tidy(answer["files"])
        if answer["error"] is None:
            files = worker.start(root)
            if op != "rename":
                assert notes(files) == notes(case.after), f"step {step}"
            else:
                _moved_whole(case, files)
            continue
        refused += 1
        kind, message = answer["error"]
        assert kind == "ReadOnly", f"step {step}: {message}"
        assert os.strerror(code) in message
        unfinished = {path: data for path, data in notes(now).items() if "/.egghead-" not in f"/{path}"}
        assert unfinished in (notes(case.before), notes(case.between)), f"step {step}"
        assert notes(worker.start(root)) == notes(case.after), f"step {step}: not as it should be when repeated"
    assert refused or op == "purge"  # a full disk lets go of what it has


def _moved_whole(case: Case, files: Files) -> None:
    """A rename that could not rewrite every link has moved the note, and every file is the old or the new one."""
    assert notes(files).keys() == notes(case.after).keys()
    for path, data in notes(files).items():
        assert data in (case.before.get(path), case.after[path])
