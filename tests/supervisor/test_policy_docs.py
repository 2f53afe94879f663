"""docs/supervisor.md has every key of the tree file, and its examples run. Its tables are made by scripts/docs.py, which has its own test."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import supervisor
from supervisor.treefile import _ROOT, _SUPERVISOR, _WORKER, load_tree

PAGE = Path(__file__).parents[2] / "docs" / "supervisor.md"
README = Path(supervisor.__file__).with_name("README.md")


@pytest.mark.parametrize("key", sorted({*_ROOT, *_SUPERVISOR, *_WORKER}))
def test_keys(key: str) -> None:
    """Every key of the tree file is on the page."""
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")


EXAMPLES = [
    pytest.param(PAGE, 0, "clock", "ticker: tick", id="manual"),
    pytest.param(PAGE, 1, "shop", "workers/first: done: sweep", id="manual-control"),
    pytest.param(README, 0, "clock", "ticker: tick", id="readme"),
]


@pytest.mark.parametrize(("page", "which", "module", "line"), EXAMPLES)
def test_examples_run(tmp_path: Path, page: Path, which: int, module: str, line: str) -> None:
    """The trees of the manual and of the README run as they are printed, say what their code says, and end with 0."""
    text = page.read_text(encoding="utf-8")
    (tmp_path / "tree.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[which], encoding="utf-8")
    (tmp_path / f"{module}.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[which], encoding="utf-8")
    assert not load_tree(tmp_path / "tree.yaml").warnings
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "run", "tree.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = list(
            itertools.takewhile(lambda one: line not in one, process.stderr)
        )  # ends with the tree at the latest
        process.terminate()
        rest = process.communicate(timeout=30)[1]
    assert process.returncode == 0, [*said, rest]


def test_readme_names() -> None:
    """Every public name that the README lists is there."""
    listed = README.read_text(encoding="utf-8").partition("`supervisor.__all__`:")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", listed)
    assert len(names) > 8 and set(names) <= set(supervisor.__all__)
