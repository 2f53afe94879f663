"""A whole node in a network without a way out, whose name server answers, knows nothing, or hangs. Prints what came of it.

To be run as `tests/llm/apart.py` is, by root: `unshare --net --mount python -m tests.e2e.apart`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from egghead.client.chat import post
from tests.e2e.cast import Play, cast
from tests.e2e.node import until
from tests.llm.apart import Names, prepare
from tests.llm.double import KEY, Double
from tests.llm.faulty import Again, Faulty, whole

AGENTS = ("known", "six", "unknown", "hanging")


def said(entries: list[dict[str, Any]]) -> str:
    return "".join(e["text"] for e in entries if e.get("turn") and e["kind"] in ("message", "action"))


def halted(play: Play) -> float:
    """Seconds from a halt while the name server hangs to the end of the turn."""

    async def people() -> None:
        async with await play.connect() as client:
            await post(client, "default", "@hanging go", "ada", deadline=20)
            async with asyncio.timeout(20):
                while not any(p["running"] for p in (await client.call("llm", "providers"))["providers"]):
                    pass  # the process is not held up either: it answers this
            await client.call("rooms/default", "append", entries=[{"kind": "halted", "author": "ada"}])

    def ended() -> bool:
        return any(e["kind"] == "turn_ended" and e["agent"] == "hanging" for e in play.log())

    asyncio.run(people())
    begun = time.monotonic()
    until("the turn ended", ended)
    return time.monotonic() - begun


def main() -> None:
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        prepare(base)
        Names({"both.example": ["::1", "127.0.0.1"]})
        with Faulty([whole("openai"), Again()]) as four, Faulty([whole("openai"), Again()], host="::1") as six:
            ports = {
                "known": ("both", four.port),
                "six": ("both", six.port),
                "unknown": ("nowhere", 1),
                "hanging": ("a.hanging", 1),
            }
            entries = [
                {"provider": "openai", "name": n, "api_key": KEY, "base_url": f"http://{h}.example:{p}", "models": ["m"],
                 "limits": {"retries": 0, "connect_timeout": 60}}
                for n, (h, p) in ports.items()
            ]  # fmt: skip
            config = {"default_model": "local/librarian", "llm": entries}
            with Double([]) as double, cast(base, double, {n: f"{n}/m" for n in AGENTS}, config=config) as play:
                found: dict[str, Any] = {n: said(play.say(f"@{n} hello")) for n in ("known", "six", "unknown")}
                found["halt"] = halted(play)
                begun = time.monotonic()
                play.node.stop()
                found["stop"] = time.monotonic() - begun
        print(json.dumps(found))
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
