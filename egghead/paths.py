"""Where things live on disk: config, state, and the runtime directory of a node. Decides names; opens nothing.

Sources: spec "node" (State, Config); the XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from egghead.errors import NodeError

# sun_path holds 108 bytes with its terminator (man 7 unix).
MAX_SOCKET_PATH = 107
_LONGEST_SOCKET = "/egghead/0123456789ab/bus/bus.sock"


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    # The XDG specification tells to ignore relative paths.
    return Path(value) if value.startswith("/") else Path.home() / fallback


def config_file(given: str | None = None) -> Path:
    """The configuration file: `given`, else $EGGHEAD_CONFIG (a file or a directory), else XDG. It need not exist."""
    for value in (given, os.environ.get("EGGHEAD_CONFIG")):
        if value:
            path = Path(value).expanduser()
            return path / "config.yml" if path.is_dir() else path
    return _xdg("XDG_CONFIG_HOME", ".config") / "egghead" / "config.yml"


def state_dir() -> Path:
    return _xdg("XDG_STATE_HOME", ".local/state") / "egghead"


def models_dir() -> Path:
    """The models on this machine, of all nodes of this user: a directory each, made by `egghead llm local add`."""
    return _xdg("XDG_DATA_HOME", ".local/share") / "egghead" / "models"


def config_dir() -> Path:
    """Where keys are kept: beside the configuration file, where that is a directory of its own or the usual one."""
    given = os.environ.get("EGGHEAD_CONFIG", "")
    if given and Path(given).expanduser().is_dir():
        return Path(given).expanduser().resolve()
    return _xdg("XDG_CONFIG_HOME", ".config") / "egghead"


def server_key() -> Path:
    """The secret key of this user's nodes."""
    return config_dir() / "server.key"


def client_key() -> Path:
    """The secret key with which this user visits other nodes."""
    return config_dir() / "client.key"


def authorized_keys() -> Path:
    """Who may connect from the network. Alone in its directory, which the bus may read."""
    return config_dir() / "lan" / "authorized_keys"


def known_servers() -> Path:
    """The keys of servers that were met."""
    return state_dir() / "known_servers"


def default_records_dir() -> Path:
    return Path.home() / ".egghead"


def runtime_roots() -> list[Path]:
    """Directories that may hold runtime directories of this user's nodes, the preferred first.

    A directory so long that a socket below it could not be bound is left out, so a 200-character home or
    runtime path falls back to the temporary directory and at last to /tmp.
    """
    uid = os.getuid()
    candidates = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.path.isdir(runtime):
        candidates.append(Path(runtime) / "egghead")
    candidates.append(Path(tempfile.gettempdir()) / f"egghead-{uid}")
    fitting = [p for p in candidates if len(os.fsencode(str(p) + _LONGEST_SOCKET)) <= MAX_SOCKET_PATH]
    return fitting or [Path("/tmp") / f"egghead-{uid}"]


@dataclass(frozen=True)
class RuntimeDir:
    """The runtime directory of the node of one records directory: `bus/`, `status/`, `m/` and `scratch/` (shown to
    jails), `token`, `node.json`."""

    root: Path

    @property
    def bus(self) -> Path:
        return self.root / "bus"

    @property
    def token(self) -> Path:
        return self.root / "token"

    @property
    def status(self) -> Path:
        return self.root / "status" / "status.json"

    @property
    def servers(self) -> Path:
        """The sockets of local models, a directory each. A short name: it is part of the path of a socket."""
        return self.root / "m"

    @property
    def scratch(self) -> Path:
        """What the process `index` keeps here when it cannot keep it with the notes; it goes with the node."""
        return self.root / "scratch"

    @property
    def node(self) -> Path:
        return self.root / "node.json"


def runtime_dir(records: Path) -> RuntimeDir:
    """The runtime directory for `records` (an absolute, resolved path). It need not exist."""
    digest = hashlib.sha256(os.fsencode(str(records))).hexdigest()[:12]
    return RuntimeDir(runtime_roots()[0] / digest)


def make_private_dir(path: Path) -> None:
    """Makes `path` with mode 0700, or checks that it is ours and closed to others. Raises NodeError."""
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for step in (path.parent, path):
        try:
            step.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise NodeError(f"cannot make the runtime directory {str(step)!r}: {error.strerror}") from error
        found = step.lstat()
        # In a world-writable temp directory somebody else may have made the name first, or a link of it.
        if not stat.S_ISDIR(found.st_mode):
            raise NodeError(f"{str(step)!r} is in the way: it is not a directory. Remove it or set XDG_RUNTIME_DIR")
        if step == path and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            if found.st_uid != os.getuid():
                raise NodeError(
                    f"the runtime directory {str(step)!r} belongs to user {found.st_uid}, not to you. "
                    "Set XDG_RUNTIME_DIR to a directory of your own"
                )
            step.chmod(0o700)


def log_file(records: Path) -> Path:
    """The log of the node of `records`: state outlives the node, so it is kept by the same hash."""
    return state_dir() / "log" / f"node-{runtime_dir(records).root.name}.log"


def usage_dir(records: Path) -> Path:
    """The account of what the models of the node of `records` used: files of its process `llm`."""
    return state_dir() / "usage" / runtime_dir(records).root.name


def decisions_dir(records: Path) -> Path:
    """What people decided about the agents of `records` besides their notes: files of its process `roster`."""
    return state_dir() / "roster" / runtime_dir(records).root.name
