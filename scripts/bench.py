"""The frame of the benchmarks: finds `scripts/bench.d/NAME.py`, runs each, prints its rows.

A module there has `run()`, which gives rows: {name, value, unit, floor, ratio, limit, goals}. `floor` is the same work done
by a peer or a bare tool in the same run, `ratio` value / floor. Optional: `limit`, what we promise, and `goals`, what we
promise with whether it was kept: {"1.5x floor": true}.
Absolute figures of a noisy machine mean little; the ratio is the result.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "bench.d"


def main() -> int:
    names = sorted(path.stem for path in HERE.glob("*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    given, rest = parser.parse_known_args()
    unknown = [name for name in given.names if name not in names]
    if unknown:
        parser.error(f"no such benchmark: {unknown[0]!r}; there are {', '.join(names)}")
    failed = 0
    for name in given.names or names:
        sys.argv = [name, *rest]  # a benchmark may take options of its own
        try:
            with contextlib.ExitStack() as stack:
                rows = load(name).run()
                if isinstance(rows, Generator):  # it ends what it started when it is closed, also after ^C
                    stack.callback(rows.close)
                for row in rows:
                    print(json.dumps({"bench": name, **row}) if given.json else line(name, row), flush=True)
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # one broken benchmark must not hide the others
            print(f"{name}: failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def line(bench: str, row: dict[str, Any]) -> str:
    text = f"{bench:<11}{row['name']:<70}{number(row['value']):>10} {row.get('unit') or '':<9}"
    if row.get("floor") is not None:
        text += f" floor {number(row['floor']):>9}"
    if row.get("ratio") is not None:
        text += f"  ratio {row['ratio']:.2f}"
    if row.get("limit") is not None:
        text += f"  limit {row['limit']}"
    for goal, kept in (row.get("goals") or {}).items():
        text += f"  {goal}: {'ok' if kept else 'MISSED'}"
    return text


def number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
