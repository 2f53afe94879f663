"""Coverage-guided fuzzing of what reads bytes from outside, from a corpus of real traffic; `scripts/fuzz` runs longer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ipc import corpus
from tests.ipc.processes import ROOT


@pytest.mark.fuzz
@pytest.mark.skipif(
    sys.version_info >= (3, 14) or sys.platform != "linux",
    reason="atheris has no wheels there; hypothesis runs in test_wire",
)
def test_no_bytes_break_the_codec_the_handshake_the_notices_or_the_bus(tmp_path: Path) -> None:
    """Eight seconds of mutated real traffic raise nothing but protocol errors, and the books of the bus balance."""
    assert corpus.make(tmp_path / "corpus") > 100
    done = subprocess.run(
        [sys.executable, "-m", "tests.ipc.fuzz", str(tmp_path / "corpus"), "-max_total_time=8", "-max_len=4096",
         "-timeout=10", "-rss_limit_mb=1000", f"-artifact_prefix={tmp_path}/", "-print_final_stats=1"],
        cwd=ROOT, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert runs is not None and int(runs[1]) > 1000, done.stderr[-2000:]
