"""What calls used: sums, limits, and the files that keep them through kills, full disks and the end of a day."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.client.commands import cost_text
from egghead.llm.errors import LimitReached
from egghead.llm.ledger import Ledger
from egghead.llm.purse import Purse
from egghead.llm.usage import EVERYBODY, Called, Figures, Limits, grouped, money

DAY = datetime(2026, 1, 31, 23, 59, 50, tzinfo=UTC)


class Clock:
    """A wall clock in the test's hand."""

    def __init__(self, now: datetime = DAY) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def call(
    number: int, agent: str = "scout", room: str = "default", cost: float | None = 0.5, at: str = "2026-01-31"
) -> Called:
    return Called(f"c{number}", f"{at}T10:00:00.000Z", agent, room, "p/m", 10, 5, 3, 2, cost)


def total(ledger: Ledger) -> Figures:
    return sum((one for _, sums in ledger.days() for one in sums.values()), Figures())


def test_sums_by_agent_room_model_and_day(tmp_path: Path) -> None:
    """Each call is in exactly one line of each table, and the tables agree."""
    clock = Clock()
    purse = Purse(Ledger(tmp_path, clock))
    for number, (agent, room) in enumerate([("scout", "lab"), ("scout", "default"), ("nib", "lab")]):
        purse.add(call(number, agent, room))
    clock.now = datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)
    purse.add(call(9, "nib", "lab", cost=None, at="2026-02-01"))
    found = {
        by: {row[by]: row for row in purse.usage(by, None, {})["rows"]} for by in ("agent", "room", "model", "day")
    }
    assert found["agent"]["scout"]["tokens"] == 40 and found["agent"]["nib"]["unpriced"] == 1
    assert found["room"]["lab"]["calls"] == 3 and found["model"]["p/m"]["calls"] == 4
    assert list(found["day"]) == ["2026-01-31", "2026-02-01"]
    assert found["day"]["2026-02-01"]["cost"] is None and found["agent"]["nib"]["cost"] == 0.5
    for rows in found.values():
        assert sum(row["tokens"] for row in rows.values()) == 80
    only = purse.usage("agent", "2026-02-01", {"room": "lab"})
    assert [row["agent"] for row in only["rows"]] == ["nib"] and only["total"]["calls"] == only["today"]["calls"] == 1
    with pytest.raises(ValueError, match="agent, room, model, day, not by 'week'"):
        purse.usage("week", None, {})


def test_unknown_money_is_said_to_be_unknown() -> None:
    """No price is not no cost; and small amounts keep their digits."""
    assert cost_text(Figures(calls=2, unpriced=2).to_dict()) == "unknown"
    assert cost_text(Figures(calls=3, unpriced=1, cost=1.234).to_dict()) == "1.23 and 1 call unknown"
    assert cost_text(Figures(calls=1, cost=0.0).to_dict()) == "0.00"
    assert cost_text(Figures().to_dict()) == "0"
    assert [money(amount) for amount in (12.5, 0.1, 0.0123, 0.000123, 0.0000012)] == [
        "12.50",
        "0.10",
        "0.012",
        "0.00012",
        "1.2e-06",
    ]


def test_a_life_after_another_has_the_same_sums(tmp_path: Path) -> None:
    """What was counted is counted after a restart, once: a line that stands twice, a torn one and garbage add nothing."""
    ledger = Ledger(tmp_path, Clock())
    for number in range(3):
        ledger.add(call(number))
    path = tmp_path / "2026-01-31.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[0])
        file.write(b'garbage\n\xff\xfe\n{"id": 3}\n[]\n{"id":"c9","at":"2026-01-31T1')
    again = Ledger(tmp_path, Clock())
    assert total(again).calls == 3
    again.add(call(7))
    assert total(Ledger(tmp_path, Clock())) == total(again) and total(again).calls == 4


def test_a_call_that_nobody_saw_end_counts_as_cut(tmp_path: Path) -> None:
    """Begun and not ended when the process dies: one cut call in the next life. Ended: one call, on the day it ended."""
    clock = Clock()
    ledger = Ledger(tmp_path, clock)
    begun = [Called(f"c{n}", "2026-01-31T23:59:00Z", "scout", "r", "p/m", cut=True) for n in range(3)]
    for one in begun:
        ledger.begin(one)
    assert total(ledger).calls == 0
    ledger.add(call(0))
    found = total(Ledger(tmp_path, clock))
    assert (found.calls, found.cut, found.tokens) == (3, 2, 20)
    clock.now = datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)
    ledger.add(call(1, at="2026-02-01"))
    assert [(day, sums[("scout", "default", "p/m")].calls) for day, sums in ledger.days()] == [
        ("2026-01-31", 1),
        ("2026-02-01", 1),
    ]
    assert total(Ledger(tmp_path, clock)).calls == 2


KILLED = """
import sys
from pathlib import Path
from egghead.llm.ledger import Ledger
from egghead.llm.usage import Called
from datetime import UTC, datetime
ledger = Ledger(Path(sys.argv[1]), lambda: datetime(2026, 1, 31, tzinfo=UTC))
print(ledger.used and sum(f.calls for f in ledger.used.values()) or 0, flush=True)
number = int(sys.argv[2])
while True:
    number += 1
    ledger.add(Called(f"c{number}", "2026-01-31T10:00:00Z", "scout", "r", "p/m", 1))
    print(number, flush=True)
"""


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """SIGKILL at any moment: every call that was reported is counted after it, and none twice."""
    told = 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(told)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) in (told, told + 1)
            for _ in range(200):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
            told = int(rest[-1]) if rest and rest[-1].isdigit() else told
        found = total(Ledger(tmp_path, Clock())).calls
        assert told <= found <= told + 1
        told = found


def test_days_that_are_over_become_sums(tmp_path: Path) -> None:
    """At midnight the lines of the day become one small file; killed in between both are there and nothing counts twice."""
    clock = Clock()
    ledger = Ledger(tmp_path, clock)
    for number in range(5):
        ledger.add(call(number))
    lines = (tmp_path / "2026-01-31.jsonl").read_bytes()
    clock.now = datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC)
    assert ledger.turn() is True and ledger.turn() is False
    assert ledger.used == {} and total(ledger).calls == 5
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["2026-01-31.sums"]
    (tmp_path / "2026-01-31.jsonl").write_bytes(lines)
    assert total(Ledger(tmp_path, clock)).calls == 5
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["2026-01-31.sums"]
    (tmp_path / "2026-01-31.sums").write_bytes(b"[[1")
    (tmp_path / "2026-01-31.jsonl").write_bytes(lines)
    assert total(Ledger(tmp_path, clock)).calls == 5, "sums that cannot be read: the lines are"
    (tmp_path / "2026-01-31.sums").write_bytes(b"{}")
    assert total(Ledger(tmp_path, clock)).calls == 0, "of a day that has nothing else"
    (tmp_path / "2026-01-31.jsonl").write_bytes(lines)
    (tmp_path / "notes.txt").write_text("somebody's own")
    assert total(Ledger(tmp_path, clock)).calls == 5


def test_a_clock_that_is_put_back(tmp_path: Path) -> None:
    """A day may come again: what is counted then is added to its sums, once, whoever dies when."""
    clock = Clock()
    number = 0
    for step in range(6):
        clock.now = datetime(2026, 2, 1 + step % 2, tzinfo=UTC)
        ledger = Ledger(tmp_path, clock)
        for _ in range(2):
            number += 1
            ledger.add(call(number))
        assert total(ledger).calls == number == total(Ledger(tmp_path, clock)).calls
    clock.now = datetime(2026, 3, 1, tzinfo=UTC)
    assert ledger.turn() and total(ledger).calls == number
    assert {path.suffix for path in tmp_path.iterdir()} == {".sums"}


def test_a_full_disk_loses_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk takes nothing, or half a line, limits hold and lines wait; then they are written, once each."""
    ledger = Ledger(tmp_path, Clock())
    ledger.add(call(0))
    write = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def half(fd: int, data: bytes) -> int:
        return write(fd, data[: len(data) // 2])

    for number, broken in enumerate((full, half), 1):
        monkeypatch.setattr(os, "write", broken)  # a disk that is full for one file, and then is not
        ledger.add(call(number))
        assert total(ledger).calls == number + 1
        monkeypatch.setattr(os, "write", write)
        assert total(Ledger(tmp_path, Clock())).calls == 1
    ledger.add(call(3))
    assert total(Ledger(tmp_path, Clock())).calls == 4


def test_a_limit_pauses_the_agent_and_the_next_day_does_not() -> None:
    """Reaching a bound refuses the next call with the remedy; raising it, or midnight, lets the agent go on."""
    clock, told = Clock(), []
    purse = Purse(Ledger(None, clock), None, lambda: told.append(dict(purse.paused)))
    notes = {"scout": {"title": "Scout", "limits": {"cost_per_day": 1.0}}}
    purse.learn(notes)
    for number in range(2):
        purse.check("scout")
        purse.add(call(number))
    with pytest.raises(
        LimitReached, match=r"Scout has used 1\.00 of 1\.00 USD of its day.*until 00:00 UTC.*cost_per_day"
    ):
        purse.check("scout")
    purse.check("nib")
    notes["scout"]["limits"] = {"cost_per_day": 2, "tokens_per_day": 40}
    purse.learn(notes)
    with pytest.raises(LimitReached, match="40 of 40 tokens"):
        purse.check("scout")
    clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    purse.check("scout")
    assert purse.told() == {"day": "2026-02-01", "paused": {}}
    assert [sorted(one) for one in told] == [["scout"], ["scout"], []]


def test_the_configuration_bounds_all_together() -> None:
    """Its limits are for the sum of all agents, and pause all of them."""
    purse = Purse(Ledger(None, Clock()), {"tokens_per_day": 40})
    purse.add(call(1, "scout"))
    purse.check("nib")
    purse.add(call(2, "nib"))
    for agent in ("scout", "nib", "other"):
        with pytest.raises(LimitReached, match=r"40 of 40 tokens that the configuration allows.*restart the node"):
            purse.check(agent)
    assert list(purse.paused) == [EVERYBODY]
    zero = Purse(Ledger(None, Clock()), {"cost_per_day": 0})
    with pytest.raises(LimitReached):
        zero.check("scout")


def test_a_model_without_a_price_counts_in_tokens_only() -> None:
    """A cost that nobody knows does not reach a bound in money; one in tokens it does."""
    purse = Purse(Ledger(None, Clock()), {"cost_per_day": 0.01})
    purse.add(call(1, cost=None))
    purse.check("scout")
    assert Limits.of({"cost_per_day": "much", "tokens_per_day": True}) == Limits()
    assert Limits.of(None) == Limits()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.none() | st.floats(0, 1)), max_size=30))
def test_every_grouping_has_the_same_total(calls: list[tuple[str, str, float | None]]) -> None:
    """By agent, room, model or day: nothing is left out, nothing is counted twice."""
    ledger = Ledger(None, Clock())
    for number, (agent, room, cost) in enumerate(calls):
        ledger.add(call(number, agent, room, cost))
    for by in ("agent", "room", "model", "day"):
        found = sum(grouped(ledger.days(), by, {}).values(), Figures())
        assert (found.calls, found.tokens) == (len(calls), 20 * len(calls))
        assert found.unpriced == sum(cost is None for _, _, cost in calls)
