"""`scripts/otp_parity`: runs scenarios through `simulate` and through real OTP, and says whether they did the same."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random

from tests.supervisor.otp.families import families
from tests.supervisor.otp.parity import ESCRIPT, VERDICTS, Scenario, Verdict, otp, ours, verdicts
from tests.supervisor.otp.scenarios import scenario
from tests.supervisor.otp.shrink import files, shrink

_PART = 500


def main() -> int:
    options = _options()
    if ESCRIPT is None:
        print("otp_parity: needs escript; apt-get install erlang-base", file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else Random().randrange(10**9)
    if options.exhaustive:
        print(f"exhaustive{f', every {options.stride}th' if options.stride > 1 else ''}")
        chosen: Iterable[tuple[str, Scenario]] = itertools.islice(families(), 0, None, options.stride)
    else:
        print(f"seed {seed}, {options.count} scenarios")
        random = Random(seed)
        chosen = (("random", scenario(random)) for _ in range(options.count))
    return _run(chosen, options.show)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/otp_parity", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="how many random scenarios (default 2000)")
    parser.add_argument("--seed", type=int, help="makes the same random scenarios again")
    parser.add_argument(
        "--exhaustive", action="store_true", help="the families of small scenarios, all of them, instead"
    )
    parser.add_argument("--stride", type=int, default=1, help="with --exhaustive: only every Nth")
    parser.add_argument("--show", choices=VERDICTS, default="different", help="print the smallest with this verdict")
    return parser.parse_args()


def _run(chosen: Iterable[tuple[str, Scenario]], show: Verdict) -> int:
    begun = time.monotonic()
    totals: dict[str, Counter[Verdict]] = {}
    seen: list[Scenario] = []
    for part in _parts(chosen):
        for (family, each), verdict in zip(part, verdicts([each for _, each in part]), strict=True):
            totals.setdefault(family, Counter())[verdict] += 1
            if verdict == show:
                seen.append(each)
        if len(seen) > 20 and show == "different":
            break  # one would do
    took = time.monotonic() - begun
    if len(totals) > 1:
        for family, counts in totals.items():
            print(f"  {family}: {_counted(counts)}")
    total: Counter[Verdict] = sum(totals.values(), Counter())
    print(f"{total.total()} in {took:.1f} s ({total.total() / took:.0f}/s): {_counted(total)}")
    if seen:
        _print(
            shrink(min(seen, key=lambda each: len(json.dumps(each))), lambda some: [v == show for v in verdicts(some)])
        )
    return 1 if total["different"] else 0


def _parts(chosen: Iterable[tuple[str, Scenario]]) -> Iterator[list[tuple[str, Scenario]]]:
    rest = iter(chosen)
    while part := list(itertools.islice(rest, _PART)):
        yield part


def _counted(counts: Counter[Verdict]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word] or word in ("equal", "different"))


def _print(small: Scenario) -> None:
    """The files to run it again with, and both traces side by side."""
    print(files(small))
    mine, theirs = ([json.dumps(line) for line in trace] for trace in (ours(small)[0], otp([small])[0]))
    width = max(map(len, mine), default=0)
    print("--- simulate | OTP")
    for left, right in itertools.zip_longest(mine, theirs, fillvalue=""):
        print(f"{left:{width}} {' ' if left == right else '|'} {right}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader left (head); without this Python complains once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
