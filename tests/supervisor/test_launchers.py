"""What every launcher has to do: the zygote of this machine, and the fake that other tests stand on."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor import policy
from supervisor.jail import linux
from supervisor.launcher import Broken, Ended, Forked, Handle, LaunchEvent, MakeLauncher, Order, Refused, Serving
from supervisor.root import Root
from supervisor.spec import Files, Profile, Tree
from supervisor.treefile import parse_tree
from supervisor.zygote.launcher import ZygoteLauncher
from tests.supervisor.fake_launcher import FakeLauncher
from tests.supervisor.harness import MISBEHAVING, PROGRAMS

LIMIT = 20.0  # seconds
launchers = pytest.mark.parametrize("make", [ZygoteLauncher, FakeLauncher], ids=["zygote", "fake"])


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The programs can be imported, and afterwards this process is what it was."""
    monkeypatch.syspath_prepend(str(MISBEHAVING.parent))
    monkeypatch.syspath_prepend(str(PROGRAMS))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    yield
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def tree_of(*starts: str, preload: tuple[str, ...] = ()) -> Tree:
    children = [{"id": f"c{number}", "start": start} for number, start in enumerate(starts)]
    return parse_tree(
        json.dumps(
            {"id": "t", "strategy": "one_for_one", "intensity": 5, "preload": list(preload), "children": children}
        )
    )


class Bench:
    """A launcher under test and what it has said."""

    def __init__(self, make: MakeLauncher, tree: Tree) -> None:
        self.read, write = os.pipe()
        self.launcher = make(tree, write, 1024)
        os.close(write)
        self.said: list[LaunchEvent] = []
        self.lost = False
        self.ours: dict[int, socket.socket] = {}
        self.outputs: dict[int, int] = {}

    def order(self, number: int, start: str, profile: Profile | None = None, **rest: Any) -> None:
        """Start a child and tell it who it is; the descriptors given to the launcher are closed at once."""
        args = rest.pop("args", {})
        ours, theirs = socket.socketpair()
        output, write = os.pipe()
        boot = {"name": f"n{number}", "incarnation": 1, "supervisor": "t", "args": args, "env": {}}
        ours.sendall(json.dumps({"boot": boot}).encode() + b"\n")
        self.ours[number], self.outputs[number] = ours, output
        self.launcher.start(Order(number, start, profile, {}, theirs.fileno(), write, **rest))
        theirs.close()
        os.close(write)

    def until(self, kind: type[LaunchEvent], number: int | None = None) -> Any:
        """Wait for an event of a kind (about a child) and give it."""
        deadline = time.monotonic() + LIMIT
        while True:
            for event in self.said:
                if isinstance(event, kind) and (number is None or getattr(event, "number", None) == number):
                    return event
            assert not self.lost, f"lost before {kind.__name__} {number}; it said {self.said}"
            assert time.monotonic() < deadline, f"no {kind.__name__} {number}; it said {self.said}"
            self.turn(0.2)

    def turn(self, seconds: float) -> None:
        if self.launcher.wants_write:
            self.launcher.flush()
        if select.select([self.launcher], [], [], seconds)[0]:
            try:
                self.said += self.launcher.events()
            except EOFError:
                self.lost = True

    def ready(self, number: int) -> None:
        """Wait until a child says READY."""
        data = b""
        self.ours[number].settimeout(LIMIT)
        while b'"ready"' not in data:
            part = self.ours[number].recv(4096)
            assert part, f"child {number} ended before READY"
            data += part

    def close(self) -> None:
        self.launcher.close()
        with contextlib.suppress(EOFError, OSError, ValueError):
            self.said += self.launcher.events() if self.launcher.fileno() >= 0 else []
        for event in self.said:
            if isinstance(event, Forked):
                event.handle.close()
        for ours in self.ours.values():
            ours.close()
        for fd in [self.read, *self.outputs.values()]:
            os.close(fd)


@contextlib.contextmanager
def bench(make: MakeLauncher, *starts: str, preload: tuple[str, ...] = ()) -> Iterator[Bench]:
    before = set(os.listdir("/proc/self/fd"))
    made = Bench(make, tree_of(*(starts or ("children:idle",)), preload=preload))
    try:
        yield made
    finally:
        made.close()
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor was left behind"


def gone(handle: Handle, seconds: float = LIMIT) -> bool:
    return bool(select.select([handle], [], [], seconds)[0])


@launchers
def test_it_serves_first(make: MakeLauncher) -> None:
    """The first word of a launcher whose application can be loaded is Serving, and it is not held for hung."""
    with bench(make) as b:
        serving = b.until(Serving)
        assert b.said[0] is serving and b.launcher.serving
        assert b.launcher.hung(time.monotonic(), 0.0) == ""


@launchers
def test_a_life(make: MakeLauncher) -> None:
    """A child is forked, lives while its channel does, and is reported as ended, after it was reported as forked."""
    with bench(make) as b:
        b.until(Serving)
        b.order(1, "children:idle")
        handle = b.until(Forked, 1).handle
        b.ready(1)
        assert not gone(handle, 0)
        b.ours[1].shutdown(socket.SHUT_RDWR)
        ended = b.until(Ended, 1)
        assert (ended.status, ended.left) == (0, 0) and gone(handle)
        handle.signal(signal.SIGKILL)  # to nobody
        about = [type(event) for event in b.said if getattr(event, "number", None) == 1]
        assert about == [Forked, Ended]


@launchers
def test_a_signal_ends_a_child(make: MakeLauncher) -> None:
    """The signal that ended a child is in its status; the others go on."""
    with bench(make) as b:
        b.until(Serving)
        for number in (1, 2):
            b.order(number, "children:idle")
            b.ready(number)
        b.until(Forked, 1).handle.signal(signal.SIGKILL)
        assert b.until(Ended, 1).status & 0x7F == signal.SIGKILL
        assert not gone(b.until(Forked, 2).handle, 0)


@launchers
def test_an_exception_is_exit_code_1(make: MakeLauncher) -> None:
    """A child that raises has exit code 1 and its traceback in its output."""
    with bench(make) as b:
        b.until(Serving)
        b.order(1, "misbehaving:child", args={"steps": [["crash", "no such luck"]]})
        assert b.until(Ended, 1).status >> 8 == 1
        assert b"no such luck" in os.read(b.outputs[1], 65536)


@launchers
def test_an_order_that_cannot_be_carried_out(make: MakeLauncher, tmp_path: Path) -> None:
    """A profile with a directory that is not there is refused with its name; the next order is carried out."""
    missing = str(tmp_path / "nowhere")
    with bench(make) as b:
        b.until(Serving)
        b.order(1, "children:idle", Profile(filesystem=Files((missing,), ())))
        b.order(2, "children:idle")
        assert missing in b.until(Refused, 1).reason
        b.ready(2)
        with contextlib.suppress(ConnectionResetError):
            assert b.ours[1].recv(10) == b"", "the end given to the launcher is closed"


@launchers
def test_many_at_once(make: MakeLauncher) -> None:
    """Forty orders in one go: each is forked once and ended once, whoever it is."""
    numbers = range(1, 41)
    with bench(make) as b:
        b.until(Serving)
        for number in numbers:
            b.order(number, "children:idle")
        for number in numbers:
            b.ready(number)
        for number in numbers:
            b.until(Forked, number).handle.signal(signal.SIGKILL)
        for number in numbers:
            b.until(Ended, number)
        for kind in (Forked, Ended):
            assert sorted(e.number for e in b.said if isinstance(e, kind)) == list(numbers)


@launchers
def test_beats_are_seen(make: MakeLauncher) -> None:
    """A child beats into the page that it was given, and the pages beside it stay as they are."""
    page = os.sysconf("SC_PAGE_SIZE")
    file = os.memfd_create("beats")
    os.ftruncate(file, 3 * page)
    try:
        with bench(make) as b:
            b.until(Serving)
            b.order(1, "children:idle", beats=(file, 1))
            b.ready(1)
            beats = [struct.unpack("Q", os.pread(file, 8, number * page))[0] for number in range(3)]
            assert beats[0] == beats[2] == 0 and abs(beats[1] / 1e9 - time.monotonic()) < LIMIT
    finally:
        os.close(file)


@launchers
def test_orders_wait_for_a_stalled_launcher(make: MakeLauncher) -> None:
    """Nothing blocks while a launcher takes no orders: they wait, can be withdrawn, and are carried out later."""
    with bench(make) as b:
        b.until(Serving)
        stall(b.launcher, True)
        number = 0
        while not b.launcher.wants_write:
            number += 1
            b.order(number, "children:idle")
            assert number < 2000, "nothing ever waits"
        b.order(number + 1, "children:idle")
        assert b.launcher.withdraw(number + 1), "it has not gone out"
        assert not b.launcher.withdraw(number + 1), "it is not there any more"
        b.order(number + 2, "children:idle")
        stall(b.launcher, False)
        b.until(Forked, number + 2)
        b.ready(number + 2)
        assert not b.launcher.withdraw(1), "it is running"
        assert number + 1 not in {e.number for e in b.said if isinstance(e, Forked)}


def stall(launcher: Any, stalled: bool) -> None:
    """Have a launcher take no orders, or take them again."""
    if isinstance(launcher, FakeLauncher):
        launcher.stalled = stalled
    else:
        os.kill(launcher.pid, signal.SIGSTOP if stalled else signal.SIGCONT)


@launchers
def test_a_killed_launcher_takes_all_along(make: MakeLauncher) -> None:
    """Killed, a launcher is lost, its own end is seen, and every child goes with it."""
    with bench(make) as b:
        serving = b.until(Serving)
        for number in (1, 2, 3):
            b.order(number, "children:idle")
            b.ready(number)
            b.until(Forked, number)
        b.launcher.kill()
        while not b.lost:
            b.turn(LIMIT)
        assert select.select([b.launcher.end], [], [], LIMIT)[0]
        assert serving.isolated and all(gone(b.until(Forked, number).handle) for number in (1, 2, 3))


@launchers
def test_hanging_up_ends_everything(make: MakeLauncher) -> None:
    """A launcher whose root says goodbye ends by itself, with its children."""
    with bench(make) as b:
        b.until(Serving)
        b.order(1, "children:idle")
        b.ready(1)
        handle = b.until(Forked, 1).handle
        b.launcher.hang_up()
        assert select.select([b.launcher.end], [], [], LIMIT)[0] and gone(handle)


@launchers
def test_an_application_that_cannot_be_loaded(make: MakeLauncher, tmp_path: Path) -> None:
    """A module that does not import is said with its traceback, and then the launcher is lost."""
    (tmp_path / "brokenmodule.py").write_text("import nothing_of_that_name\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with bench(make, "brokenmodule:run") as b:
            assert "nothing_of_that_name" in b.until(Broken).text
            while not b.lost:
                b.turn(LIMIT)
    finally:
        sys.path.remove(str(tmp_path))


# ---- a root on a launcher that is none of its own -----------------------------------------------------------------


class Watched(Root):
    """A root that is driven from inside its loop: `script` is run at each change, until it has nothing left."""

    def __init__(self, tree: Tree, steps: list[Any]) -> None:
        super().__init__(tree, launcher=FakeLauncher)
        self.steps = steps

    def settle(self) -> None:
        super().settle()
        while self.steps and self.exit_code is None and self.steps[0](self):
            self.steps.pop(0)
        if not self.steps and self._signals == 0:
            self.stop("the steps are done")


def life(root: Root, path: str) -> tuple[int, bool]:
    """(incarnation, is ready) of a worker."""
    process = root.children.by_path.get(path)
    return (process.action.incarnation, process.ready) if process is not None else (0, False)


def test_a_root_runs_on_any_launcher() -> None:
    """With the fake launcher a tree boots, restarts what was killed, starts anew after a loss, and stops in order."""
    lives: list[int] = []

    def up(root: Root) -> bool:
        incarnation, ready = life(root, "t/c1")
        if not ready or life(root, "t/c0") == (0, False) or incarnation in lives:
            return False
        lives.append(incarnation)
        return True

    def kill(root: Root) -> bool:
        root.children.signal(root.children.by_path["t/c1"], signal.SIGKILL)
        return True

    def lose(root: Root) -> bool:
        launcher = root.launching.launcher
        assert launcher is not None
        launcher.kill()
        return True

    root = Watched(tree_of("children:idle", "children:idle"), [up, kill, up, lose, up])
    assert root.run() == policy.EXIT_STOPPED
    assert lives == sorted(set(lives)) and len(lives) == 3
    ends = [death["step"] for death in root.tally.of("t/c1")]
    assert len(ends) == 3 and ends[-1] == "asked"
