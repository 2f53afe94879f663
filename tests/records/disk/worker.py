"""The process under the shim: one JSON job a line on stdin, each done in a fork of its own, one JSON answer a line.

Jobs: `{"do": "run", "root", "op", "log", "at", "mode", "code"}` does one write to the notes, disturbed at its `at`-th step;
`{"do": "start", "root"}` opens the notes as the next start does and says what is there.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from records import Notes, RecordError

SHIM = ctypes.CDLL(None)


def build(root: Path) -> None:
    """The folder that every case starts from."""
    root.mkdir(parents=True)
    (root / "a.md").write_text("# A\n\nold text\n")
    (root / "folder").mkdir()
    (root / "folder" / "links.md").write_text("See [[a]] and [here](../a.md).\n")
    (root / "also.md").write_text("---\nlinks: [a]\n---\n\nAlso [[a|that]].\n")
    with Notes(root) as notes:
        notes.create(id="gone", body="trashed first")
        notes.trash("gone")
        notes.create(id="gone", body="trashed second")
        notes.create(id="lost/t", body="in the trash")
        notes.trash("lost/t")
        (root / "lost").rmdir()
        notes.create(id="spoiled", body="good")
        notes.update("spoiled", {"body": "bad"})


OPERATIONS: dict[str, Callable[[Notes], Any]] = {
    "create": lambda notes: notes.create(id="new/deep/n", body="brand new " * 20),
    "update": lambda notes: notes.update("a", {"body": "new text " * 20}),
    "edit": lambda notes: notes.edit("a", "old", "other"),
    "trash": lambda notes: notes.trash("folder/links"),
    "trash again": lambda notes: notes.trash("gone"),
    "restore": lambda notes: notes.restore("lost/t"),
    "undo": lambda notes: notes.undo("spoiled"),
    "rename": lambda notes: notes.rename("a", "moved/z"),
    "purge": lambda notes: notes.purge("lost/t"),
}


def run(job: dict[str, Any]) -> dict[str, Any]:
    root = job["root"]
    with Notes(root) as notes:
        if job.get("log"):
            shutil.copytree(root, job["log"] + ".before")
        SHIM.shim_arm(root.encode(), (job.get("log") or "").encode(), job.get("at", 0), job.get("mode", 0),
                      job.get("code", 0))  # fmt: skip
        error = None
        try:
            OPERATIONS[job["op"]](notes)
        except RecordError as refused:
            error = [type(refused).__name__, refused.message]
        except Exception as raised:  # whatever else it is, the test shows it
            error = [type(raised).__name__, f"not a RecordError: {raised!r}"]
        steps = SHIM.shim_count()
        SHIM.shim_arm(b"/nowhere", b"", 0, 0, 0)
        now = snapshot(Path(root))
        again = None
        if error is not None and job.get("again"):
            OPERATIONS[job["op"]](notes)
            again = snapshot(Path(root))
        return {"steps": steps, "error": error, "files": now, "again": again, "indexed": notes.indexed}


def snapshot(root: Path) -> dict[str, str]:
    """Every file a person owns, trash and kept versions too (those without the time in their names) -> its bytes."""
    found: dict[str, str] = {}
    for base, _, names in os.walk(root):
        for name in names:
            full = Path(base, name)
            path = full.relative_to(root).as_posix()
            own = path.startswith(".egghead/") and name.startswith(("index.db", ".gitignore", "write.lock", "pruned"))
            if own:
                continue
            found[path] = base64.b64encode(full.read_bytes()).decode()
    return found


def start(job: dict[str, Any]) -> dict[str, Any]:
    root = Path(job["root"])
    before = time.monotonic()
    with Notes(root) as notes:
        seconds = time.monotonic() - before
        differences = notes.verify()
        listed = sorted(row["id"] for row in notes.index.list(limit=None))
        hits = sorted(hit.id for hit in notes.search("text"))
    return {
        "files": snapshot(root), "differences": differences, "ids": listed, "hits": hits, "seconds": seconds,
        "rebuilt": notes.index.rebuilt,
    }  # fmt: skip


def main() -> None:
    jobs = {"run": run, "start": start, "build": lambda job: build(Path(job["root"]))}
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as answer:
                json.dump(jobs[job["do"]](job), answer)
                answer.flush()
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            text = answer.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "answer": json.loads(text) if text else None}), flush=True)


if __name__ == "__main__":
    main()
