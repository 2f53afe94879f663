"""docs/supervisor.md has every key of the tree file. Its tables are made by scripts/docs.py, which has its own test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import supervisor
from supervisor.treefile import _ROOT, _SUPERVISOR, _WORKER, parse_tree

PAGE = Path(__file__).parents[2] / "docs" / "supervisor.md"
README = Path(supervisor.__file__).with_name("README.md")


@pytest.mark.parametrize("key", sorted({*_ROOT, *_SUPERVISOR, *_WORKER}))
def test_keys(key: str) -> None:
    """Every key of the tree file is on the page."""
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [PAGE, README], ids=["manual", "readme"])
def test_first_tree(page: Path) -> None:
    """The first tree of the manual and of the README is a good one, and its code is Python that has what it names."""
    text = page.read_text(encoding="utf-8")
    tree = parse_tree(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    code = compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], str(page), "exec")
    assert not tree.warnings
    assert {spec.start.partition(":")[2] for _, spec in tree.workers()} <= {*code.co_names, "web"}


def test_readme_names() -> None:
    """Every public name that the README lists is there."""
    listed = README.read_text(encoding="utf-8").partition("`supervisor.__all__`:")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", listed)
    assert len(names) > 8 and set(names) <= set(supervisor.__all__)
