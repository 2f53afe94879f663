"""Entries of `llm` put into configuration files and taken out of them, byte by byte, and the files under bad conditions."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from egghead.config_edit import change, with_provider, without_provider
from egghead.errors import ConfigError

NEW = {"provider": "anthropic", "api_key": "sk-1"}

FILES = {
    "empty": "",
    "comment": "# mine\n",
    "no end of line": "theme: dark",
    "without llm": "# top\ntheme: dark   # as it should be\nuser:\n  name: Ada\n",
    "llm first": "llm:\n- provider: ollama\n  models: [a, b]  # two\n# about the theme\ntheme: dark\n",
    "indented": "llm:\n    - provider: openai\n      api_key: sk-old # work\n\n    # the other\n    - provider: ollama\n\nuser: {name: Ada}\n",
    "null": "llm:\ntheme: dark\n",
    "null with a comment": "llm: # none yet\ntheme: dark\n",
    "tilde": "theme: dark\nllm: ~ # none\n",
    "empty list": "llm: []\n",
    "flow": "llm: [{provider: ollama}, {provider: openai, api_key: x}] # both\n",
    "json": '{\n  "theme": "dark",\n  "llm": [\n    {"provider": "ollama"}\n  ]\n}\n',
    "json without llm": '{"theme": "dark"}',
    "empty json": "{}\n",
    "windows": "theme: dark\r\nllm:\r\n  - provider: ollama\r\nuser:\r\n  name: Ada\r\n",
    "block scalar": "llm:\n  - provider: openai\n    api_key: |-\n      sk-old\ntheme: dark\n",
    "dash alone": "llm:\n  - # first\n    provider: ollama\n    models:\n      - a\n      - b\ntheme: dark\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_an_entry_is_added_and_every_other_byte_stays(text: str) -> None:
    """What was there is there, in its order; the new text means the old and one entry more; taking it out is possible."""
    before = yaml.safe_load(text) or {}
    new = with_provider(text, NEW)
    assert yaml.safe_load(new) == {**before, "llm": [*(before.get("llm") or []), NEW]}
    rest = iter(new)
    kept = text.replace("~ ", "")
    assert all(character in rest for character in kept), new  # the old text is a subsequence of the new
    gone = without_provider(new, "anthropic")
    assert (yaml.safe_load(gone).get("llm") or []) == (before.get("llm") or [])
    assert "sk-1" not in gone and comments(gone) == comments(text)


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize("name", ["indented", "flow", "block scalar"])
def test_a_key_is_replaced_where_it_stands(name: str) -> None:
    """The entry of that name gets the key; comments, order and the other entries stay."""
    text = FILES[name]
    new = with_provider(text, {"provider": "openai", "api_key": "sk: new #1"})
    entries = yaml.safe_load(new)["llm"]
    assert [e for e in entries if e["provider"] == "openai"] == [{"provider": "openai", "api_key": "sk: new #1"}]
    assert len(entries) == len(yaml.safe_load(text)["llm"]) and "sk-old" not in new
    assert comments(new.replace("new #1", "")) == comments(text)
    assert yaml.safe_load(new).keys() == yaml.safe_load(text).keys()


def test_a_key_is_put_into_an_entry_that_has_none() -> None:
    """Also one whose key is there and empty."""
    for text in ("llm:\n  - provider: openai\n    name: w\n", "llm:\n  - provider: openai\n    name: w\n    api_key:\n",
                 "llm: [{provider: openai, name: w}]"):  # fmt: skip
        new = with_provider(text, {"provider": "openai", "name": "w", "api_key": "k"})
        assert yaml.safe_load(new)["llm"] == [{"provider": "openai", "name": "w", "api_key": "k"}]


@pytest.mark.parametrize(
    "text",
    ["llm: 3\n", "- a\n", "llm: [\n", "a: &x [{provider: openai}]\nllm: *x\n", "theme: dark\n...\n"],
)
def test_what_cannot_be_edited_is_refused(text: str) -> None:
    """Not a list, not YAML, an alias, an ended document: a sentence, and no text."""
    with pytest.raises(ConfigError):
        with_provider(text, NEW)


def test_an_unknown_name_is_none_to_remove() -> None:
    """The caller is told by a KeyError."""
    with pytest.raises(KeyError):
        without_provider(FILES["flow"], "nobody")


names = st.sampled_from(["openai", "ollama", "anthropic", "groq", "mine"])
entries = st.lists(
    st.builds(
        lambda name, models, key: {"provider": name, **({"models": models} if models else {}), **key},
        names,
        st.lists(st.text("abc-", min_size=1), max_size=2),
        st.sampled_from([{}, {"api_key": "k1"}]),
    ),
    max_size=4,
    unique_by=lambda entry: entry["provider"],
)


@given(entries, names, st.booleans(), st.integers(0, 8))
def test_any_dumped_file_can_be_edited(given_: list[Any], name: str, flow: bool, indent: int) -> None:
    """Whatever style YAML was dumped in, adding and removing mean what they say."""
    data = {"theme": "x", "llm": given_, "user": {"name": "Ada"}}
    text = yaml.safe_dump(data, default_flow_style=flow, indent=indent or None, sort_keys=False)
    new = with_provider(text, {"provider": name, "api_key": "k2"})
    [one] = [entry for entry in yaml.safe_load(new)["llm"] if entry["provider"] == name]
    assert one["api_key"] == "k2"
    gone = yaml.safe_load(without_provider(new, name))
    assert gone["llm"] == [entry for entry in given_ if entry["provider"] != name]


def test_the_file_is_replaced_and_read_by_nobody_else(tmp_path: Path) -> None:
    """0600 when it is made; an open one is closed, and that is told; without a secret the mode stays."""
    path = tmp_path / "new" / "config.yml"
    assert not change(path, lambda text: text + "a: 1\n")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert not change(path, lambda text: text + "b: 2\n", secret=False) and path.stat().st_mode & 0o777 == 0o644
    assert change(path, lambda text: text + "c: 3\n") and path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "a: 1\nb: 2\nc: 3\n" and list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file behind it is changed, as with dotfiles that are kept elsewhere."""
    real = tmp_path / "dotfiles" / "egghead.yml"
    real.parent.mkdir()
    real.write_text("theme: dark\n")
    link = tmp_path / "config.yml"
    link.symlink_to(real)
    change(link, lambda text: with_provider(text, NEW))
    assert link.is_symlink() and "sk-1" in real.read_text()


def test_a_read_only_file_is_left_alone(tmp_path: Path) -> None:
    """Its owner meant it; the sentence says how to change that."""
    path = tmp_path / "config.yml"
    path.write_text("theme: dark\n")
    path.chmod(0o444)
    with pytest.raises(ConfigError, match=r"chmod u\+w"):
        change(path, lambda text: text + "x")
    assert path.read_text() == "theme: dark\n"


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """The write fails, the old file stands, nothing is left beside it."""
    path = tmp_path / "config.yml"
    path.write_text("theme: dark\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(ConfigError, match="was not changed"):
            change(path, lambda text: text + "#" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "theme: dark\n" and list(tmp_path.iterdir()) == [path]


def test_two_changes_at_once_are_both_made(tmp_path: Path) -> None:
    """Each process adds its own entries; none is lost."""
    path = tmp_path / "config.yml"
    code = (
        "import sys; from pathlib import Path; from egghead.config_edit import *\n"
        "for n in range(20): change(Path(sys.argv[1]), lambda t: with_provider(t, {'provider': 'x', 'name': f'{sys.argv[2]}{n}'}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in "ab"]
    assert [process.wait(30) for process in both] == [0, 0]
    found = {entry["name"] for entry in yaml.safe_load(path.read_text())["llm"]}
    assert found == {f"{who}{n}" for who in "ab" for n in range(20)}
    assert os.listdir(tmp_path) == ["config.yml"]
