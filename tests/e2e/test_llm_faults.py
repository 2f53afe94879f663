"""A provider's faults on a real node: the room shows a sentence that a person can act on, the log has the rest, the key is
in neither, a halt ends every state of it, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cast import Play, cast, halted
from tests.e2e.node import memory_has, until
from tests.llm.asking import table
from tests.llm.certs import certificate
from tests.llm.double import KEY, Double
from tests.llm.faults import BY_ID, MIB
from tests.llm.faulty import Again, Deaf, Faulty, head, whole

TABLE = table()
TOLD = [  # faults of `faults.FAULTS` that a room is told of
    "closed",
    "garbage",
    "no first byte",
    "401",
    "404",
    "429, a far date",
    "502",
    "log-in page",
    "redirect",
    "an error without end",
    "an event without end",
    "reset in the middle",
    "silence in the middle",
    "truncated JSON",
    "pings without end",
]
# Where a halt finds a turn. The last is tried anew after a pause that nobody would wait for.
ENDLESS = ["no first byte", "mute", "a head drop by drop", "only pings", "silence in the middle", "TLS", "pause"]
PROMPT = 1500.0  # ms from the halt to the end of the turn, both by the log: 5 to 26 on a machine with much else to do
ECHO = f'{{"error": {{"message": "bad key {KEY}", "type": "invalid_request_error"}}}}'.encode()


def name_of(fault: str) -> str:
    return re.sub(r"\W+", "-", fault).lower()


@dataclass
class Stage:
    play: Play
    servers: dict[str, Faulty]
    proxy: Faulty

    def server(self, agent: str) -> Faulty:
        return self.servers[agent]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One node with an agent for each fault, each with a provider of its own, and `well`, whose provider is well."""
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        with contextlib.ExitStack() as stack:
            wire = {name: ("anthropic", "openai")[n % 2] for n, name in enumerate([*TOLD, *ENDLESS])}
            servers: dict[str, Faulty] = {}
            entries: list[dict[str, Any]] = []

            def provider(name: str, kind: str, server: Faulty, url: str | None = None, **limits: float) -> None:
                servers[name] = server
                limits = {"backoff": 0.01, "retries": 1, **limits}
                address = {"base_url": url or server.url, "api_key": KEY, "models": ["m"], "limits": limits}
                entries.append({"provider": kind, "name": name, **address})

            def started(*answers: Any, **options: Any) -> Faulty:
                return stack.enter_context(Faulty(*answers, **options))

            for fault in TOLD:
                provider(
                    name_of(fault), wire[fault], started(BY_ID[fault].answer(wire[fault])), None, **BY_ID[fault].limits
                )
            for fault in ENDLESS[:-2]:
                provider(f"halt-{name_of(fault)}", wire[fault], started(BY_ID[fault].answer(wire[fault])))
            tls = started([Deaf()])
            provider("halt-tls", "openai", tls, tls.url.replace("http:", "https:"), connect_timeout=60)
            provider("halt-pause", "openai", started(BY_ID["503"].answer("openai")), backoff=60.0, longest_pause=90.0)
            provider("echo", "openai", started([head("400 Bad", "application/json"), ECHO]))
            provider("well", "openai", started([whole("openai"), Again()]))
            certs = base / "certs"
            own = started([whole("openai", "Over TLS."), Again()], tls=certificate(certs, "IP:127.0.0.1"))
            provider("trusted", "openai", own)
            proxy = started([whole("openai", "By the proxy."), Again()])
            provider("far", "openai", proxy, "http://models.example/v1")
            config = {"default_model": "local/librarian", "llm": entries}
            env = {
                "ALL_PROXY": proxy.url.replace("//", "//ada:hunter2@"),
                "SSL_CERT_FILE": str(certs / "cert.pem"),
            }
            with (
                Double([]) as double,
                cast(base, double, {n: f"{n}/m" for n in servers}, config=config, env=env) as play,
            ):
                play.home.ok("chat", "beside", "/topic elsewhere")
                yield Stage(play, servers, proxy)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("fault", TOLD)
def test_the_room_is_told_one_sentence(stage: Stage, fault: str) -> None:
    """The turn ends once, with the sentence that the manual promises; words that were heard are there once; the log
    names the agent and the kind; the provider was asked as often as the policy says."""
    agent, row = name_of(fault), BY_ID[fault]
    before = len(stage.server(agent).requests)
    entries = stage.play.say(f"@{agent} hello")
    [end] = [e for e in entries if e["kind"] == "turn_ended"]
    [told] = [e for e in entries if e.get("by") == f"agents/{agent}" and e["kind"] in ("action", "message")]
    if row.heard:
        assert end["outcome"] == "spoke" and told["cut"]
        words, _, sentence = told["text"].partition("\n\n> broke off: ")
        assert words == row.heard.strip()
    else:
        assert end["outcome"] == "failed"
        sentence = told["text"]
    assert TABLE[row.says].fullmatch(sentence), sentence
    assert len(stage.server(agent).requests) - before == min(row.tries, 2)
    log = stage.play.home.ok("logs", "--process", "llm", "-n", "1000")
    assert f"agents/{agent} turn {told['turn']}" in log and f"{row.kind.__name__}: {sentence[:60]}" in log


@pytest.mark.parametrize("state", ENDLESS)
def test_a_halt_ends_every_state(stage: Stage, state: str) -> None:
    """While a provider keeps a turn waiting another agent is answered; a halt then ends the turn at once and closes the
    connection, and what was heard is kept."""
    agent = f"halt-{name_of(state)}"
    server, play = stage.server(agent), stage.play

    def ready() -> None:
        if state == "pause":
            until("it was asked", lambda: server.requests)
        else:
            assert server.reached.wait(20)
        entries = play.say("@well are you?", "beside", timeout=20)
        assert [e["text"] for e in entries if e["kind"] == "message" and e.get("turn")] == ["Whole."]

    took, end = halted(play, agent, ready)
    assert end["outcome"] == "halted" and took < PROMPT
    if state != "pause":
        assert server.left.wait(5)
    assert len(server.requests) == (0 if state in ("mute", "TLS") else 1)
    kept = [e["text"] for e in play.log() if e.get("by") == f"agents/{agent}" and e["kind"] == "message"]
    assert kept == (["Half"] if state == "silence in the middle" else [])


def test_the_ways_that_the_environment_names(stage: Stage) -> None:
    """The proxy is asked for the world and not for this machine; one's own certificate is trusted."""
    for agent, text in (("trusted", "Over TLS."), ("far", "By the proxy."), ("well", "Whole.")):
        entries = stage.play.say(f"@{agent} hello")
        assert [e["text"] for e in entries if e["kind"] == "message" and e.get("turn")] == [text], entries
    assert all(request.startswith(b"POST http://models.example/v1/") for request in stage.proxy.requests)


def test_no_secret_and_no_scar(stage: Stage) -> None:
    """After all that: no key and no password of a proxy in the room or the log, nor in any process but `llm`; which was
    never restarted, holds little memory, and has no call running."""
    for agent in ("echo", "closed", "redirect", "well"):
        stage.play.say(f"@{agent} hello")
    play = stage.play
    rooms = "".join(path.read_text() for path in (play.records / ".egghead" / "rooms").glob("*.jsonl"))
    logs = play.home.ok("logs", "-n", "5000") + play.node.stderr()
    assert "bad key …" in rooms
    for secret in (KEY, "hunter2"):
        assert secret not in rooms and secret not in logs
    processes = play.node.processes()
    for secret in (KEY, "hunter2"):
        holders = {
            name
            for name, process in processes.items()
            if process["pid"] and memory_has(process["pid"], secret.encode())
        }
        assert holders <= {"llm"}
    assert processes["llm"]["restarts"] == 0
    status = Path(f"/proc/{processes['llm']['pid']}/status").read_text()
    most = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    assert most < 160 * MIB
    listed = json.loads(play.home.ok("llm", "list", "--json"))["providers"]
    assert [p["name"] for p in listed if p["running"] or p["waiting"]] == []
    assert KEY not in json.dumps(listed)


@pytest.mark.kernel
def test_names_on_a_node(apart: dict[str, Any]) -> None:
    """In its jail the gateway finds a name's server on either family, and says which name it does not know."""
    assert (apart["known"], apart["six"]) == ("Whole.", "Whole.")
    assert TABLE["no such host"].fullmatch(apart["unknown"])


@pytest.mark.kernel
def test_a_node_whose_name_server_hangs(apart: dict[str, Any]) -> None:
    """A halt ends the turn at once, and the node stops as soon as ever."""
    assert apart["halt"] < 1.5 and apart["stop"] < 8


@pytest.fixture(scope="module")
def apart() -> dict[str, Any]:
    """What came of the node of `tests/e2e/apart.py`."""
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *own, "--net", "--mount", sys.executable, "-m", "tests.e2e.apart"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
