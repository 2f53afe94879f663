"""The configuration: every fault at once, where it stands, with what was meant; nothing secret in what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead import config
from egghead.doctor import Patient, examine
from egghead.errors import ConfigError
from egghead.llm.limits import Limits
from egghead.llm.registry import KNOWN


def test_every_key_is_optional() -> None:
    """An empty file and an empty mapping give the defaults."""
    assert config.parse("") == config.parse("{}\n") == config.Config()


def test_all_faults_are_told_at_once_with_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown keys (with the nearest), wrong types and unset variables, each with line and column."""
    monkeypatch.delenv("NOT_SET", raising=False)
    text = "recordz_dir: x\nopen_speakers: zero\nuser:\n  nam: y\nllm:\n  - provider: x\n    api_key: '{env:NOT_SET}'\n"
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "c.yml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    told = "\n".join(lines)
    for part in (
        "c.yml:1:1:",
        "'records_dir'",
        "c.yml:2:16:",
        "'zero'",
        "c.yml:4:3:",
        "'name'",
        "c.yml:7:14:",
        "NOT_SET",
    ):
        assert part in told, part


def test_limits_of_a_provider() -> None:
    """The keys and defaults are the gateway's own; a misspelt one is told with the nearest."""
    [provider] = config.parse("llm: [{provider: x, limits: {backoff: 0.1}}]").llm
    assert Limits.of(provider.limits.model_dump(), "x") == Limits(backoff=0.1)
    with pytest.raises(ConfigError, match="did you mean 'retries'"):
        config.parse("llm: [{provider: x, limits: {retrys: 1}}]")


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("", "ok", "the built-in librarian answers"),
        ("llm: [{provider: anthropic, api_key: k}]", "ok", "use anthropic/claude-"),
        ("llm: [{provider: ollama, models: [qwen]}]", "ok", "use ollama/qwen"),
        ("default_model: antropic/x", "fail", "did you mean 'anthropic'"),
        ("{default_model: openai/x, llm: [{provider: openai, api_key: 'sk x'}]}", "fail", "write it again"),
    ],
)
def test_doctor_says_which_model_agents_use(
    text: str, state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that the gateway would choose, or its own sentence of why there is none; never a key."""
    for known in KNOWN.values():
        for name in known.keys:
            monkeypatch.delenv(name, raising=False)
    patient = Patient(config.parse(text), tmp_path / "config.yml", None)
    *_, found = [finding for finding in examine(patient) if finding.check == "models"]
    assert found.state == state and words in found.why and "sk x" not in found.why


def test_environment_in_any_string(monkeypatch: pytest.MonkeyPatch) -> None:
    """{env:NAME} is replaced wherever a string stands."""
    monkeypatch.setenv("A_KEY", "s3cret")
    found = config.parse("llm: [{provider: x, api_key: '{env:A_KEY}'}]\nuser: {name: 'me-{env:A_KEY}'}")
    assert found.llm[0].api_key == "s3cret" and found.user.name == "me-s3cret"


def test_what_is_shown_has_no_secret() -> None:
    """Keys, tokens and passwords are stars in `redacted`, and absent from repr."""
    found = config.parse(
        "llm: [{provider: x, api_key: k1}]\nweb: {token: k2}\nirc: {password: k3}\n"
        "mcp_servers: [{name: m, command: c, env: {A: k4}, headers: {B: k5}}]"
    )
    for secret in ("k1", "k2", "k3", "k4", "k5"):
        assert secret not in str(found.redacted())
    for secret in ("k1", "k2", "k3"):
        assert secret not in repr(found)


def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was asked for must exist; the default one need not."""
    monkeypatch.delenv("EGGHEAD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.load()[0] == config.Config()
    with pytest.raises(ConfigError, match="no configuration file"):
        config.load(str(tmp_path / "not-there.yml"))


@given(st.text(max_size=200))
def test_any_text_gives_a_config_or_a_config_error(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        config.parse(text)
    except ConfigError as error:
        assert str(error)
