"""A configured key reaches the process `llm`, and is in no other place that a user or an agent can look at."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.node import Home, memory_has, serving

KEY = "sk-7d1b4c0a9f6e42f08b35"


def test_a_key_is_known_to_llm_alone(home: Home, foam: Path) -> None:
    """The key is in the memory of `llm`; not in that of an agent, a room or the tools, not in a log or `config view`."""
    config = home.path / "config.yml"
    # With a key and no default_model the agents would ask that provider.
    config.write_text("default_model: local/librarian\nllm: [{provider: openai, api_key: '{env:MY_KEY}'}]\n")
    home.env |= {"MY_KEY": KEY, "EGGHEAD_CONFIG": str(config)}
    with serving(home, foam) as node:
        processes = {name: p["pid"] for name, p in node.processes().items()}
        assert memory_has(processes["llm"], KEY.encode())
        for name, pid in processes.items():
            if name != "llm":
                assert not memory_has(pid, KEY.encode()), name
                assert KEY not in Path(f"/proc/{pid}/environ").read_text(), name
        assert KEY not in home.ok("config", "view") and KEY not in home.ok("config", "view", "--json")
        assert KEY not in home.ok("logs", "-n", "1000") and KEY not in node.stderr()
        home.ok("chat", "default", "What is a placeholder?")
    assert KEY not in "".join(p.read_text() for p in (foam / ".egghead" / "rooms").iterdir())
