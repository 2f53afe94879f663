"""What the root does when the machine gives no more: descriptors, processes, disk, shared memory, a reader of its log.

The child that does not fit is refused with the limit and the remedy; whoever runs already does not notice.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from supervisor.writer import Writer
from tests.supervisor.harness import Node, misbehaving, one_for_one, running, wait_until
from tests.supervisor.worlds import World

pytestmark = pytest.mark.kernel


def pooled(ids: list[str], *children: dict[str, Any], **template: Any) -> dict[str, Any]:
    """A tree with a dynamic pool, and a child that fills it."""
    pool = {"id": "pool", "strategy": "dynamic", "intensity": 5000, "template": {"start": "children:idle", **template}}
    starter = {"id": "s", "start": "children:starter", "args": {"ids": ids}, "control": ["pool"]}
    return one_for_one(*children, pool, starter)


def answers(node: Node) -> list[str]:
    return [line for line in node.output.splitlines() if line.startswith("[s] answer ")]


def limits(pid: int, name: str) -> list[str]:
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name))
    return line.removeprefix(name).split()[:2]


def test_a_thousand_children_need_no_higher_limit(directory: Path) -> None:
    """With a soft limit of 1024 descriptors a thousand children run; the root has raised its own, they have not."""
    ids = [f"c{number}" for number in range(1000)]
    with running(pooled(ids), directory, wrap=["prlimit", "--nofile=1024:"]) as node:
        node.ready()
        node.until(lambda: node.output.count("[s] answer ") == 1000, "a thousand answers", 50)
        assert not [line for line in answers(node) if "error" in line]
        node.until(lambda: len(node.workers()) == 1001, "a status that has them")
        assert len(os.listdir(f"/proc/{node.process.pid}/fd")) > 3000
        soft, hard = limits(node.pid("pool/c999"), "Max open files")
        assert soft == "1024" and int(hard) > 3000
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(40) == 0


def test_a_child_without_descriptors_is_refused(directory: Path) -> None:
    """Where the hard limit is too small, the child too many is refused and told why; a place that is freed is used."""
    ids = [f"c{number}" for number in range(60)]
    with running(
        pooled(ids, misbehaving("b", "ready", "obey")), directory, wrap=["prlimit", "--nofile=150:150"]
    ) as node:
        node.ready()
        node.until(lambda: len(answers(node)) == 60, "all answers")
        refused = [line for line in answers(node) if "error" in line]
        assert 10 < len(refused) < 50
        assert all("the limit is 150 (RLIMIT_NOFILE)" in line and "ulimit -Hn" in line for line in refused)
        expected = {"running": 62 - len(refused)}
        node.until(lambda: Counter(w["state"] for w in node.workers().values()) == expected, "a status that has them")
        victim, sibling = node.pid("pool/c0"), node.pid("b")
        os.kill(victim, signal.SIGKILL)
        node.until(lambda: node.workers()["pool/c0"]["restarts"] == 1 and node.pid("pool/c0") != victim, "a restart")
        assert node.pid("b") == sibling
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def test_a_child_beyond_the_number_of_processes_is_refused(directory: Path) -> None:
    """Where the user may have no more processes, the child too many is refused and told why; the others live."""
    somebody = World("somebody", 61000 + os.getpid() % 4000)  # the kernel counts by user
    ids = [f"c{number}" for number in range(12)]
    with running(pooled(ids), directory, somebody, wrap=["prlimit", "--nproc=10:10"]) as node:
        node.ready()
        node.until(lambda: len(answers(node)) == 12, "all answers")
        refused = [line for line in answers(node) if "error" in line]
        assert 4 <= len(refused) <= 8, node.output
        assert all("ulimit -u (RLIMIT_NPROC)" in line and "is 10" in line for line in refused)
        first = node.pid("pool/c0")
        os.kill(first, signal.SIGKILL)
        node.until(lambda: node.workers()["pool/c0"]["restarts"] >= 1 and node.pid("pool/c0") != first, "a restart")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def mounted(script: str) -> list[str]:
    """Run in a mount namespace of its own, after a script."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{script}; exec "$@"', "sh"]


@pytest.mark.parametrize("how", ["full", "missing"])
def test_nothing_needs_dev_shm(how: str, directory: Path) -> None:
    """Heartbeats and everything else work where /dev/shm is full or is not there."""
    script = "mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero > /dev/shm/x"
    if how == "missing":
        script = "mount -t tmpfs none /mnt && mknod -m 666 /mnt/null c 1 3 && mount --move /mnt /dev"
    children = [
        {"id": "a", "start": "children:beats", "heartbeat": 5},
        {"id": "b", "start": "children:idle", "confine": {}},
    ]
    with running(one_for_one(*children), directory, wrap=mounted(script)) as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert {worker["last_exit"]["step"] for worker in node.workers().values()} == {"asked"}


def test_a_full_disk_below_the_status(directory: Path) -> None:
    """A status that finds no room is said once and tried again; no half a file is left, and the tree goes on."""
    disk = directory / "disk"
    script = f"mkdir {disk} && mount -t tmpfs -o size=8k none {disk}"
    children = [{"id": f"c{number}", "start": "children:idle"} for number in range(30)]
    tree = one_for_one(*children, options={"status": "disk/s.json"})
    with running(tree, directory, wrap=mounted(script)) as node:
        node.ready()
        node.until(lambda: "cannot be written (No space left on device)" in node.output, "the fault is said")
        seen = Path(f"/proc/{node.process.pid}/root{disk}")
        node.until(lambda: "s.json.new" not in os.listdir(seen), "no half a file")
        subprocess.run(
            ["nsenter", "-t", str(node.process.pid), "-m", "mount", "-o", "remount,size=1m", str(disk)], check=True
        )
        node.until(lambda: "s.json is written again" in node.output, "room is found", 5)
        assert len(json.loads((seen / "s.json").read_text())["tree"]["children"]) == 30
        assert node.output.count("cannot be written") == 1
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def test_a_status_directory_that_comes_and_goes(directory: Path) -> None:
    """Without its directory the status is not written, and the root goes on; when it is back, so is the status."""
    (directory / "d").mkdir()
    with running(one_for_one({"id": "a", "start": "children:idle"}, options={"status": "d/s.json"}), directory) as node:
        node.ready()
        pid = json.loads((directory / "d/s.json").read_text())["tree"]["children"][0]["pid"]
        shutil.rmtree(directory / "d")
        os.kill(pid, signal.SIGKILL)
        node.until(lambda: "cannot be written (No such file or directory)" in node.output, "the fault is said")
        (directory / "d").mkdir()
        status = wait_until(lambda: (directory / "d/s.json").exists() and (directory / "d/s.json").read_text(), "it")
        assert json.loads(status)["tree"]["children"][0]["restarts"] == 1


def test_a_reader_that_does_not_read_stops_nobody(directory: Path) -> None:
    """Where nobody reads what the root says, children are restarted all the same, and the rest is told later."""
    (directory / "talker.py").write_text(TALKER)
    (directory / "tree.yaml").write_text(
        '{id: t, strategy: one_for_one, intensity: 9, children: [{id: a, start: "talker:main"}]}'
    )
    status = directory / "status.json"
    command = [sys.executable, "-m", "supervisor", "run", "tree.yaml", "--status", str(status)]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{directory}"}
    process = subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )

    def child() -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(status.read_text())["tree"]["children"][0]
        except FileNotFoundError:
            return {}
        return found

    try:
        # The child says so when it has printed ten times what a pipe and the root's own bound can hold together.
        wait_until(lambda: child().get("info", {}).get("printed"), "a flood that nobody reads", 30)
        first = child()["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: child()["restarts"] == 1 and child()["state"] == "running", "a restart", 30)
        assert process.stdout is not None
        said = b""
        # The root's own line and the child's come by two threads, of which either may get hold of the pipe first.
        while not (b"lines were dropped here" in said and b"READY t" in said):
            os.kill(child()["pid"] or process.pid, signal.SIGCONT)
            said += os.read(process.stdout.fileno(), 1 << 16)
        assert b"a: x" in said
        process.send_signal(signal.SIGTERM)
        while os.read(process.stdout.fileno(), 1 << 16):
            pass
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


TALKER = """
import signal

def main(context):
    for _ in range(100_000):
        print("x" * 200)
    context.ready(printed=True)
    signal.signal(signal.SIGCONT, lambda *_: print("I am here"))
    while True:
        signal.pause()
"""


def test_lines_that_nobody_reads_are_counted() -> None:
    """A Writer takes any number of lines at once, keeps a mebibyte in order, and says how many it dropped."""
    read, write = os.pipe()
    writer = Writer(write)
    for number in range(20_000):
        writer.write(f"{number:06d} " + "x" * 120)
    data = b""
    while len(data) < 1 << 20:
        data += os.read(read, 1 << 16)
    writer.write("last")
    while not data.endswith(b"last\n"):
        data += os.read(read, 1 << 16)
    writer.close()
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    *kept, said, last = data.decode().splitlines()
    assert [int(line[:6]) for line in kept] == list(range(len(kept)))
    assert said == f"... {20_000 - len(kept)} lines were dropped here: nobody read them" and last == "last"


def test_a_writer_without_a_reader_ends_all_the_same() -> None:
    """Closing does not wait for a reader that never comes, and a pipe that is broken is no error."""
    read, write = os.pipe()
    writer = Writer(write)
    writer.write("x" * (1 << 19))
    began = time.monotonic()
    writer.close(0.1)
    assert time.monotonic() - began < 2
    os.close(read)
    writer.close()
    os.close(write)
