"""What a GGUF file says of itself, and how one that is none is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.llm.local import gguf
from tests.local.files import PLAIN, head, model


def test_a_file_is_read(tmp_path: Path) -> None:
    """Architecture, context, memory for a token and title come out of the head."""
    facts = gguf.read(model(tmp_path))
    assert (facts.architecture, facts.context, facts.title, facts.template) == ("llama", 8192, "Tiny", True)
    assert facts.cell == 2 * 30 * 3 * (64 + 64)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04", "give a model in the GGUF format"),
        (head(version=9), "GGUF version 9"),
        (head({**PLAIN, "general.architecture": "bert"}), "cannot talk"),
        (head({}), "does not say its architecture"),
        (head({**PLAIN, "split.count": 3}), "llama-gguf-split --merge"),
        (head(offset=1 << 40), "before its last weights; fetch it again"),
        (head()[:300], "was not downloaded whole"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "claims"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    """The refusal names the file, says what is wrong and what to do."""
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(gguf.NotAModel) as refused:
        gguf.read(path)
    assert words in str(refused.value) and str(path) in str(refused.value)


@settings(max_examples=150)
@given(cut=st.integers(0, 600), junk=st.binary(max_size=40), at=st.integers(0, 500))
def test_any_damage_is_read_or_refused(tmp_path_factory: Any, cut: int, junk: bytes, at: int) -> None:
    """Whatever a file holds, it gives facts or NotAModel, in bounded memory."""
    path = tmp_path_factory.mktemp("x") / "f"
    data = head()
    path.write_bytes((data[:at] + junk + data[at + len(junk) :])[: len(data) - cut])
    try:
        assert gguf.read(path).architecture
    except gguf.NotAModel as error:
        assert str(path) in str(error)
