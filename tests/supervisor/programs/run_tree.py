"""Run the tree described in a JSON file: `run_tree.py DIRECTORY`. Needs nothing but the standard library.

DIRECTORY/tree.json is a supervisor as in a tree file; status goes to DIRECTORY/status.json, what children print and
what the root logs to stdout.
"""

import json
import logging
import socket
import sys
from pathlib import Path

from supervisor.hook import Handover
from supervisor.root import Root
from supervisor.spec import Backoff, ChildSpec, Files, Park, Profile, SupervisorSpec, Tree


def profile(given):
    if given is None:
        return None
    files = given.get("filesystem")
    if isinstance(files, dict):
        files = Files(tuple(files.get("read", ())), tuple(files.get("write", ())))
    else:
        files = None
    rest = {key: given[key] for key in ("network", "exec", "fork") if key in given}
    return Profile(files, sockets=tuple(given.get("sockets", ())), **rest)


def child(given):
    given = dict(given)
    given["confine"] = profile(given.get("confine"))
    given["control"] = tuple(given.get("control", ()))
    if "backoff" in given:
        given["backoff"] = Backoff(**given["backoff"])
    return ChildSpec(**given)


def supervisor(given):
    given = dict(given)
    given["children"] = tuple(supervisor(c) if "strategy" in c else child(c) for c in given.get("children", ()))
    if "template" in given:
        given["template"] = child({"id": "", **given["template"]})
    if "park" in given:
        given["park"] = Park(**given["park"])
    return SupervisorSpec(**given)


def made(given):
    given = {key: value for key, value in given.items() if key != "options"}
    preload = tuple(given.pop("preload", ()))
    return Tree(supervisor(given), preload=preload)


class Hook:
    """Gives every child a word, and tells the child `board` of each launch before it happens. One may get a door."""

    door = None

    def launching(self, child):
        if child.args.get("refuse"):
            raise ValueError("not today")
        if child.args.get("bytes"):
            return Handover({"word": b"not JSON"})
        if child.args.get("doors"):
            self.door = self.door or socket.create_server(("127.0.0.1", 0))
            print("DOOR", self.door.getsockname()[1], flush=True)
            return Handover(files={f"door-{n}": self.door.fileno() for n in range(child.args["doors"])})
        return Handover({"word": f"for {child.name}"}, [("board", {"launching": child.name, "n": child.incarnation})])

    def exited(self, child, reason):
        print(f"HOOK exited {child.name}: {reason}", flush=True)


def main():
    directory = Path(sys.argv[1])
    given = json.loads((directory / "tree.json").read_text())
    options = given.pop("options", {})
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stdout)
    if options.pop("hook", False):
        options["hook"] = Hook()
    root = Root(
        made(given),
        status_path=directory / options.pop("status", "status.json"),
        on_ready=lambda info: print("READY", json.dumps(info), flush=True),
        on_line=lambda name, line: print(f"[{name}] {line}", flush=True),
        **{"reload": lambda: made(json.loads((directory / "tree.json").read_text())), **options},
    )
    code = root.run()
    print("ENDED", json.dumps({"code": code, "reason": root.reason}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
