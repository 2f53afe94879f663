"""What is generated in docs/ is what the program would write today: the command line, the tables of the supervisor."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    """docs/cli.md and the tables of docs/supervisor.md equal what scripts/docs.py makes; run it after changing either."""
    assert subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, timeout=30).returncode == 0
