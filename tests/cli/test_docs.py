"""The generated page of the command line is the one the program would write today."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    """docs/cli.md equals what scripts/docs.py makes; run it after changing a command."""
    assert subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, timeout=30).returncode == 0
