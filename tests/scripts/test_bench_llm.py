"""The benchmark of the way to a model: that it runs, has its rows, stays on loopback, and leaves nothing. Not how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

from tests.scripts.test_bench import BENCH, MARK, strays

COMMAND = [sys.executable, str(BENCH), "llm", "--smoke", "--json"]


def test_both_wires_stand_beside_httpx_and_nothing_stays() -> None:
    """Each wire has its rows with their floors, all that is sent arrives, each stream has its memory; no process stays."""
    mark = uuid.uuid4().hex
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=os.environ | {MARK: mark}, timeout=50)
    assert done.returncode == 0, done.stderr
    assert strays(mark) == []
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    for wire in ("anthropic", "openai"):
        for percent in ("p50", "p95"):
            assert rows[f"{wire}: first token, {percent}"]["goals"].keys() == {"10 ms more"}
        for streams in ("1 stream", "5 streams"):
            for what in ("token sent to token in hand, p50", "token sent to token in hand, p95", "CPU of a token"):
                row = rows[f"{wire}, {streams}: {what}"]
                assert row["value"] > 0 and row["floor"] > 0 and row["ratio"] == row["value"] / row["floor"]
        storm = f"{wire}, 10 streams of 50 tokens/s"
        assert rows[f"{storm}: delivered"]["value"] > 100
        assert rows[f"{storm}: tokens in one message"]["value"] >= 1
        for process in ("server", "bus", "gateway", "agents"):
            assert rows[f"{storm}: CPU of {process}"]["value"] > 0
    assert rows["turns shown in rooms, 10 of 50 tokens/s: delivered"]["value"] > 100
    for kind in ("private memory", "PSS"):
        open_, none = (
            rows[f"{kind} of the gateway, {when}"]["value"] for when in ("10 streams open", "no stream open")
        )
        assert 0 < none < 500 and 0 < open_ < 500
