"""The judged queries: the data is sound, and ours is better on them than plain FTS5, in every group of languages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> Any:
    """`scripts/bench search` as a module."""
    spec = importlib.util.spec_from_file_location("bench_search", ROOT / "scripts" / "bench.d" / "search.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_judgements_name_notes_that_exist(bench: Any, tmp_path: Path) -> None:
    """At least four hundred queries with grades 1 to 3, a third of them held out, in at least 44 languages."""
    for name in (*bench.FOLDERS, *bench.texts()):
        bench.place_notes(name, tmp_path / name)
    judged = bench.judged()
    assert len(judged) >= 400 and len({query["lang"] for query in judged}) >= 44
    assert len({(query["set"], query["q"]) for query in judged}) == len(judged)
    assert sum(query["split"] == "hold" for query in judged) * 3 >= len(judged)
    for query in judged:
        assert set(query) == {"set", "split", "lang", "q", "want"} and 3 in query["want"].values()
        for id_, grade in query["want"].items():
            assert grade in (1, 2, 3) and (tmp_path / query["set"] / f"{id_}.md").is_file(), id_


def test_ndcg_is_one_for_the_best_order_and_falls_with_the_place(bench: Any) -> None:
    """As the definition has it."""
    want = {"a": 3, "b": 1}
    assert bench.ndcg(["a", "b"], want) == pytest.approx(1.0)
    assert bench.ndcg(["x", "a", "b"], want) < bench.ndcg(["a", "x", "b"], want) < 1.0
    assert bench.ndcg([], want) == 0.0 and bench.ndcg([*"0123456789", "a"], want) == 0.0


def test_search_is_better_than_plain_fts5(bench: Any) -> None:
    """By nDCG@10: in each split and collection by a tenth at least, and in no language worse."""
    scores = bench.measure(bench.judged())
    for group, ours in scores.ours.items():
        plain = scores.plain[group]
        assert ours.ndcg >= plain.ndcg, group
        if not group.startswith("language"):
            assert ours.ndcg >= 1.1 * plain.ndcg and ours.first > plain.first, group
