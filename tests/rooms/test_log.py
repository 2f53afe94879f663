"""The file of a room: what a crash, a full disk and a careless hand can do to it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.rooms.log import REMEMBERED, STRIDE, LogBroken, LogBusy, LogError, LogFull, RoomLog, encode

WRITER = """
import sys
from egghead.rooms.log import RoomLog
log = RoomLog(sys.argv[1])
n = log.last
while True:
    batch = [{"seq": n + i, "id": f"e{n + i}", "at": "", "by": "x", "kind": "notice", "text": "y" * 500} for i in (1, 2, 3)]
    log.append([batch])
    n += 3
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""
FULL = """
import resource, sys
from egghead.rooms.log import LogFull, RoomLog
log = RoomLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
n = 0
try:
    while True:
        log.append([[{"seq": n + 1, "id": f"e{n + 1}", "at": "", "by": "x", "kind": "notice", "text": "y" * 300}]])
        n += 1
except LogFull as full:
    assert log.last == n and log.read(0, 100)[-1]["seq"] == n, (log.last, n)
    print(n, full)
"""

# In a mount namespace of its own: the disk of a log is mounted read-only, and for writing again.
READ_ONLY = """
import os, subprocess, sys
from egghead.rooms.log import LogBroken, LogError, LogFull, RoomLog
folder = sys.argv[1]
path = folder + "/r.jsonl"
def mount(*words): subprocess.run(["mount", *words], check=True)
def one(n): return [[{"seq": n, "id": f"e{n}", "at": "", "by": "x", "kind": "notice", "text": ""}]]
mount("-t", "tmpfs", "own", folder)
log = RoomLog(path); log.append(one(1)); log.append(one(2)); log.close()
with open(path, "ab") as file: file.write(b'{"seq": 3, "id": "to')
mount("-o", "remount,ro", folder)
log = RoomLog(path)
print([e["seq"] for e in log.read(0)], log.recovered.cut)
try: log.append(one(3))
except LogFull as refusal: print(refusal)
try: RoomLog(folder + "/new.jsonl")
except LogError as refusal: print(refusal)
mount("-o", "remount,rw", folder)
try: log.append(one(3))
except LogBroken as broken: print(broken)
log.close()
log = RoomLog(path); log.append(one(3))
print([e["seq"] for e in log.read(0)], log.recovered.cut)
"""


def entry(seq: int, text: str = "", **more: Any) -> dict[str, Any]:
    """A stored entry."""
    return {"seq": seq, "id": f"e{seq}", "at": "", "by": "x", "kind": "notice", "text": text, **more}


def fill(path: Path, count: int, size: int = 100) -> None:
    """Write a log of `count` entries without going through RoomLog."""
    with path.open("wb") as file:
        for start in range(1, count + 1, 1000):
            file.write(encode([[entry(n, "y" * size)] for n in range(start, min(start + 1000, count + 1))]))


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    """Entries come back as they were, by seq, also after opening again."""
    log = RoomLog(str(tmp_path / "r.jsonl"))
    batches = [[entry(1, "é\n"), entry(2)], [entry(3, '"}')]]
    log.append(batches)
    assert log.read(0) == [one for batch in batches for one in batch]
    log.close()
    again = RoomLog(str(tmp_path / "r.jsonl"))
    assert (again.last, again.read(1, 1)) == (3, [entry(2)])
    assert again.recovered.cut == 0
    again.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=4), max_size=8), st.data())
def test_cutting_the_file_anywhere_leaves_whole_batches(
    tmp_path_factory: Any, texts: list[list[str]], data: Any
) -> None:
    """Wherever a power cut ends the file, what is read afterwards is a prefix of whole batches, and appending goes on."""
    path = tmp_path_factory.mktemp("log") / "r.jsonl"
    numbers = iter(range(1, 1000))
    batches = [[entry(next(numbers), text) for text in batch] for batch in texts]
    whole = encode(batches)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    log = RoomLog(str(path))
    found = log.read(0, 1000)
    prefixes = [[one for batch in batches[:n] for one in batch] for n in range(len(batches) + 1)]
    assert found in prefixes
    log.append([[entry(log.last + 1, "on")]])
    assert log.read(0, 1000) == [*found, entry(len(found) + 1, "on")]
    log.close()


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_any_garbage_at_the_end_is_cut_off(tmp_path_factory: Any, garbage: bytes) -> None:
    """Bytes that are no entry behind the last entry are removed and counted; the entries before stay."""
    path = tmp_path_factory.mktemp("log") / "r.jsonl"
    good = encode([[entry(1)], [entry(2)]])
    path.write_bytes(good + garbage)
    log = RoomLog(str(path))
    assert log.last == 2
    assert path.read_bytes() == good
    assert log.recovered.cut == len(garbage)
    log.close()


def test_damage_in_the_middle_is_kept_beside_the_log(tmp_path: Path) -> None:
    """Entries behind a damaged line are not thrown away: they are put into a file next to the log, and it is said."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(encode([[entry(1)]]) + b"broken\n" + encode([[entry(3)]]))
    log = RoomLog(str(path))
    assert log.last == 1
    assert b'"e3"' in (tmp_path / "r.jsonl.damaged").read_bytes()
    assert "no entry" in log.recovered.why
    log.close()


def test_what_damage_left_is_bounded(tmp_path: Path) -> None:
    """Past 64 MiB of older damage beside a log, only the newest is kept."""
    path = tmp_path / "r.jsonl"
    with (tmp_path / "r.jsonl.damaged").open("wb") as older:
        older.truncate(65 * 2**20)
    path.write_bytes(encode([[entry(1)]]) + b"broken\n" + encode([[entry(3)]]))
    RoomLog(str(path)).close()
    kept = (tmp_path / "r.jsonl.damaged").read_bytes()
    assert len(kept) < 1000 and b'"e3"' in kept


def test_kill_in_mid_append_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A writer killed with SIGKILL again and again leaves every acknowledged entry and only whole batches."""
    path = tmp_path / "r.jsonl"
    acknowledged = 0
    for round_ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(5 + 7 * round_):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
        writer.wait()
        writer.stdout.close()
        log = RoomLog(str(path))
        assert log.last >= acknowledged
        assert log.last % 3 == 0
        assert [one["seq"] for one in log.read(0, 10_000, 1 << 30)] == list(range(1, log.last + 1))
        log.close()


def test_a_full_disk_refuses_and_keeps_the_log_whole(tmp_path: Path) -> None:
    """When the disk takes only half a batch the file is cut back to the last good entry and the append is refused."""
    path = tmp_path / "r.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    count, _, why = done.stdout.partition(" ")
    assert "the disk is full" in why
    assert int(count) > 5
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, int(count) + 1))


@pytest.mark.kernel
def test_a_log_on_a_read_only_disk_is_read_and_later_written(tmp_path: Path) -> None:
    """It opens, gives what is whole, and refuses with what to do; once the disk takes writes its process is to begin anew, and
    what was torn is cut then. A new log is refused with the reason."""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", READ_ONLY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read, refused, new, again, after = done.stdout.splitlines()
    assert read == "[1, 2] 0" and "read-only now; see why (dmesg) and mount it for writing again" in refused
    assert "cannot open the room log" in new and "Read-only" in new
    assert "can be written again" in again and after == "[1, 2, 3] 20"


def test_a_disk_that_turns_read_only_under_an_open_log_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, nothing is cut, the log stays in use, and later it takes the entry."""
    log = RoomLog(str(tmp_path / "r.jsonl"))
    log.append([[entry(1)]])

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as faulty:  # the kernel does this after a fault of the disk itself
        faulty.setattr(os, "write", refuse)
        faulty.setattr(os, "ftruncate", refuse)
        with pytest.raises(LogFull, match="its disk is read-only now"):
            log.append([[entry(2)]])
    assert log.read(0) == [entry(1)]
    log.append([[entry(2)]])
    log.close()


def test_after_a_failed_sync_the_log_says_that_it_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that fails is never tried again: the process is told to end, because nobody knows what is on disk."""
    log = RoomLog(str(tmp_path / "r.jsonl"))

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)  # the kernel fails no sync on demand
    with pytest.raises(LogBroken, match="Input/output error"):
        log.append([[entry(1)]])
    log.close()


def test_two_processes_never_hold_one_log(tmp_path: Path) -> None:
    """The second one is refused while the first lives, and let in when it has gone."""
    path = str(tmp_path / "r.jsonl")
    first = RoomLog(path)
    with pytest.raises(LogBusy, match=r"r\.jsonl"):
        RoomLog(path)
    first.close()
    RoomLog(path).close()


def test_a_log_that_cannot_be_opened_names_the_file(tmp_path: Path) -> None:
    """A directory in the place of the file is an error with the path in it."""
    (tmp_path / "r.jsonl").mkdir()
    with pytest.raises(LogError, match=r"r\.jsonl.*directory"):
        RoomLog(str(tmp_path / "r.jsonl"))


def test_a_hundred_thousand_entries_open_unread_and_page_in_flat_memory(tmp_path: Path) -> None:
    """100,000 entries open in less than it takes to read each as JSON, pages come by seq, memory stays flat."""
    path = tmp_path / "r.jsonl"
    fill(path, 100_000)
    took, floor = [], []
    for _ in range(3):
        started = time.process_time()
        log = RoomLog(str(path))
        took.append(time.process_time() - started)
        log.close()
        started = time.process_time()
        with open(path, "rb") as file:
            assert sum(1 for line in file if json.loads(line)) == 100_000
        floor.append(time.process_time() - started)
    assert min(took) < min(floor), (took, floor)
    log = RoomLog(str(path))
    tracemalloc.start()
    for seen in range(0, 100_000, 5000):
        assert [one["seq"] for one in log.read(seen, 500)] == list(range(seen + 1, seen + 501))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000
    assert len(log._ids) <= REMEMBERED
    assert len(log._seqs) < 100_000 / STRIDE + 2
    assert [one["seq"] for one in log.read(77_777, 2)] == [77_778, 77_779]
    log.close()


def test_pages_are_bounded_by_bytes_but_never_empty(tmp_path: Path) -> None:
    """A page stops at its byte limit; one entry larger than the limit is still delivered."""
    log = RoomLog(str(tmp_path / "r.jsonl"))
    log.append([[entry(n, "y" * 1000)] for n in range(1, STRIDE + 10)])
    assert 1 <= len(log.read(0, 500, 5000)) <= 5
    assert len(log.read(STRIDE, 500, 10)) == 1
    log.close()


@pytest.mark.parametrize("harm", ["shorter", "longer", "removed", "replaced"])
def test_a_file_that_somebody_else_has_changed_takes_nothing_more(tmp_path: Path, harm: str) -> None:
    """An entry is never put behind half a line or into a file without a name, where it would be lost after its
    acknowledgement; whoever opens the file next goes on."""
    path = tmp_path / "r.jsonl"
    log = RoomLog(str(path))
    log.append([[entry(1)], [entry(2)]])
    if harm == "shorter":
        os.truncate(path, path.stat().st_size - 7)
    elif harm == "longer":
        with path.open("ab") as file:
            file.write(b'{"seq"')
    elif harm == "removed":
        path.unlink()
    else:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        other.replace(path)
    with pytest.raises(LogBroken, match="somebody"):
        log.append([[entry(3)]])
    log.close()
    again = RoomLog(str(path))
    last = again.last
    assert last == {"shorter": 1, "longer": 2, "removed": 0, "replaced": 2}[harm]
    again.append([[entry(last + 1)]])
    again.close()


@pytest.mark.parametrize("harm", [b"\xff\x00{{", b"{}", b""])
def test_reading_what_was_not_written_is_an_end_and_not_a_page(tmp_path: Path, harm: bytes) -> None:
    """A damaged line or a missing tail raises LogBroken instead of a page that readers would ask for for ever."""
    path = tmp_path / "r.jsonl"
    log = RoomLog(str(path))
    log.append([[entry(1)], [entry(2)]])
    second = path.read_bytes().index(b"\n") + 1
    with path.open("r+b") as file:
        file.seek(second)
        if harm:
            file.write(harm + b"\n")
        else:
            file.truncate()
    with pytest.raises(LogBroken, match="somebody else"):
        log.read(0)
    log.close()
