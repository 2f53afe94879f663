"""The root is told of the configuration what may be shown; the rest goes by it in a sealed envelope and an open file."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from egghead import config, envelope
from egghead.courier import courier
from egghead.errors import ConfigError
from egghead.llm.reading import Reader
from egghead.llm.registry import Registry

# Says what it was given, as `egghead serve` is: its arguments, its environment, its modules, its envelope.
PROGRAM = """
import json, os, sys
from egghead import envelope
did = []
found = envelope.prepare(sys.argv[1], lambda: did.append(os.getpid()))
print(json.dumps({"pid": os.getpid(), "did": did, "argv": sys.argv[1:], "environ": open("/proc/self/environ").read(),
    "data": found.config.data, "names": found.config.names, "heavy": "pydantic" in sys.modules,
    "sealed": envelope.environment(found.fd), "inherited": os.get_inheritable(found.fd)}))
try: os.write(found.fd, b"x")
except OSError as error: print(error.strerror)
"""


def begun(path: Path, tmp_path: Path, environ: Mapping[str, str]) -> tuple[dict[str, Any], str, int]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program), str(path), "more words"],
        env={"PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    first, last = told.splitlines()
    return json.loads(first), last, process.pid


@pytest.mark.parametrize("secrets", [{}, {"GROQ_API_KEY": "k-groq", "MINE": "k-mine"}], ids=["plain", "with keys"])
def test_a_program_that_begins_anew_has_no_secret(tmp_path: Path, secrets: dict[str, str]) -> None:
    """The same process with the same arguments and other variables; all of the environment is in the envelope, sealed."""
    path = tmp_path / "c.yml"
    path.write_text("llm: [{provider: openai, api_key: 'k-file'}, {provider: xai, api_key: '{env:MINE}'}]\n")
    told, sealed, pid = begun(path, tmp_path, {"MINE": "k-mine", "PLAIN": "as it was", **secrets})
    assert told["pid"] == pid and told["argv"] == [str(path), "more words"] and not told["heavy"]
    assert "k-" not in json.dumps([told["environ"], told["data"]]) and "PLAIN=as it was" in told["environ"]
    assert told["names"] == ["MINE"] and told["sealed"].items() >= {"MINE": "k-mine", **secrets}.items()
    assert sealed == "Operation not permitted" and not told["inherited"]


def test_the_time_of_reading_is_used(tmp_path: Path) -> None:
    """What may be done meanwhile is done once, in the program itself, which goes on without beginning anew."""
    path = tmp_path / "c.yml"
    path.write_text("theme: a\n")
    told, _, pid = begun(path, tmp_path, {"PLAIN": "as it was"})
    assert told["did"] == [pid] == [told["pid"]] and told["data"]["theme"] == "a"


def test_a_broken_configuration_is_told_before_anything_runs(tmp_path: Path) -> None:
    """With the place of the fault, and without the value that may be a key."""
    path = tmp_path / "c.yml"
    path.write_text("llm:\n  provider: openai\n  api_key: sk-secret\n")
    with pytest.raises(ConfigError, match=r"c\.yml:.*'llm'.*got a mapping") as told:
        envelope.prepare(str(path))
    assert "sk-secret" not in str(told.value)


def test_what_somebody_else_left_is_no_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of that name with other descriptors is refused, with the remedy."""
    monkeypatch.setenv(envelope.VARIABLE, "0 1")
    with pytest.raises(Exception, match="unset it"):
        envelope.prepare(None)


def shown(text: str, environ: Mapping[str, str]) -> Reader:
    return Reader(config.parse(text, environ=environ).redacted(), envelope.digest(text.encode()), environ)


def test_the_known_file_and_a_changed_one_are_read_alike() -> None:
    """Stars are replaced by what stands in the file; a key says where it is from; what cannot change live is named."""
    environ = {"MINE": "k-mine"}
    text = "theme: a\nllm: [{provider: openai, api_key: ' k1 ', base_url: 'http://u:p@h/v1'}, {provider: xai, api_key: '{env:MINE}'}]\n"
    reader = shown(text, environ)
    assert "p@h" not in json.dumps(reader.shown) and "k1" not in json.dumps(reader.shown)
    changed = text.replace("theme: a", "theme: b")
    for content, restart in ((text, ()), (changed, ("theme",))):
        read = reader.read(content.encode())
        assert read.restart == restart
        rows = Registry.from_config(read.config, environ).providers()
        assert [(r["name"], r["key"], r["base_url"]) for r in rows[1:]] == [
            ("openai", "configuration", "http://h/v1"),
            ("xai", "{env:MINE}", None),
        ]
        keys = [entry["api_key"] for entry in read.config["llm"]]
        assert keys == ["k1", "{env:MINE}"] and read.config["llm"][0]["base_url"] == "http://u:p@h/v1"
    assert reader.read(None).config["llm"] is None


@pytest.mark.parametrize(
    "content", [b"\xff", b"llm: [", b"llm: [{provder: x}]", b"llm: [{provider: x, api_key: '{env:NO}'}]"]
)
def test_a_faulty_file_is_an_error(content: bytes) -> None:
    """Not UTF-8, not YAML, an unknown key, a variable that is not there."""
    with pytest.raises(ConfigError):
        shown("", {}).read(content)


def brought(line: int) -> tuple[dict[str, Any], bytes | None]:
    with socket.socket(fileno=os.dup(line)) as end:
        end.settimeout(10)
        data, files, _, _ = socket.recv_fds(end, 4096, 4)
    try:
        return json.loads(data), os.pread(files[0], 1000, 0) if files else None
    finally:
        for fd in files:
            os.close(fd)


def test_the_courier_brings_what_stands_there_now(tmp_path: Path) -> None:
    """At the start of each life, and whenever another file, a changed one or none is there, also behind a link."""
    real, path = tmp_path / "real.yml", tmp_path / "c.yml"
    path.symlink_to(real)
    with courier(path) as brings:
        line = brings.line()
        assert brought(line) == ({"missing": True}, None)
        real.write_text("a")
        assert brought(line) == ({}, b"a")
        other = tmp_path / "other.yml"
        other.write_text("b")
        other.replace(real)  # as editors do
        assert brought(line) == ({}, b"b")
        line = brings.line()
        assert brought(line) == ({}, b"b")
        real.unlink()
        assert brought(line) == ({"missing": True}, None)


def test_the_courier_is_held_up_by_nothing(tmp_path: Path) -> None:
    """A pipe in the file's place, a reader that reads nothing."""
    path = tmp_path / "c.yml"
    os.mkfifo(path)
    with courier(path) as brings:
        line = brings.line()
        with socket.socket(fileno=os.dup(line)) as end:
            end.settimeout(10)
            data, files, _, _ = socket.recv_fds(end, 4096, 4)
        assert data == b"{}" and len(files) == 1  # the reader finds that it is no file
        os.close(files[0])
        brings.line()
