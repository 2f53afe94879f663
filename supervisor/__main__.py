"""`python -m supervisor`: see `supervisor.cli`."""

from __future__ import annotations

import sys

from supervisor.cli import main

if __name__ == "__main__":  # a spawned child imports this module again and must not run it
    sys.exit(main())
