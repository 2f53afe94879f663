"""One running node: its lock, its runtime directory, its root supervisor. Makes no decision about notes or rooms.

One node per records directory: the lock is an open-file-description lock on `<records>/.egghead/node.lock`, which the
kernel drops with the process, so a stale lock cannot exist, and which others can ask about without taking it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead import __version__, ground, paths
from egghead.courier import courier
from egghead.envelope import Shown
from egghead.errors import EggheadError, ExitCode, NodeError

if TYPE_CHECKING:
    from egghead.config import Config
    from supervisor import Root

log = logging.getLogger("egghead.node")
OWN_DIR = ".egghead"


@dataclass(frozen=True)
class Settings:
    """What one start of a node was asked for. `records` is absolute and resolved; `envelope` is the descriptor of what
    only the process that holds keys may read."""

    records: Path
    config: Shown
    envelope: int
    tree: Path
    ephemeral: bool = False  # lives as long as the client that started it


def resolve_records(config: Config | Shown, given: str | None) -> Path:
    """The records directory: `given`, else the config's, else ~/.egghead (made when it is not there).

    Raises NodeError when it is missing, not a directory, or cannot be read or written.
    """
    explicit = given or config.records_dir
    path = Path(explicit).expanduser() if explicit else paths.default_records_dir()
    if not explicit:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path = path.resolve(strict=True)
    except FileNotFoundError:
        raise NodeError(
            f"no records directory at {str(path)!r}; make it (mkdir) or give another: --records DIR"
        ) from None
    except (OSError, RuntimeError) as error:
        raise NodeError(f"cannot open the records directory {str(path)!r}: {error}") from error
    if not path.is_dir():
        raise NodeError(f"the records directory {str(path)!r} is a file; give the folder that holds the notes")
    if not os.access(path, os.R_OK | os.X_OK):
        raise NodeError(f"the records directory {str(path)!r} cannot be read by you; check its owner and mode")
    return path


COMMAND = "command"  # stands behind the pid in the lock of a command


@dataclass(frozen=True)
class Claim:
    """A folder of notes that is ours until `close`. `folder`: the lock of the folder itself; -1 where it has none; `above`:
    those of the folders it lies in, which any number of nodes below may share."""

    lock: int
    folder: int
    above: tuple[int, ...] = ()

    def close(self) -> None:
        for fd in (self.lock, self.folder, *self.above):
            if fd >= 0:
                os.close(fd)


class Busy(NodeError):
    """Another command holds the folder: for a moment, while a node holds it as long as it runs."""


def claim(records: Path, *, command: bool = False) -> Claim:
    """Takes the node's lock of `records`; `command`: for one command, not for a node. Raises NodeError with the pid of the
    holder, Busy when that is a command."""
    own = records / OWN_DIR
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        ignore = own / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        (own / "rooms").mkdir(mode=0o700, exist_ok=True)
        fd = os.open(own / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NodeError(
            f"cannot write in {str(own)!r}: {error.strerror}. A node keeps its index and rooms there: "
            "make the directory writable, or copy the notes to one that is"
        ) from error
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):
        holder, _, kind = (os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "unknown").partition(" ")
        os.close(fd)
        if kind == COMMAND or not _lives(holder):  # who has just taken the lock has not yet written whose it is
            raise Busy(
                f"another program (pid {holder}) holds {str(records)!r}; try again when it is done", ExitCode.REFUSED
            ) from None
        raise NodeError(
            f"a node is already running on {str(records)!r} (pid {holder}); use it, or stop it: kill {holder}",
            ExitCode.REFUSED,
        ) from None
    try:
        folder = _lock_folder(records)
    except BlockingIOError:
        os.close(fd)
        raise _taken(records) from None
    claimed = Claim(fd, folder)
    try:
        claimed = Claim(fd, folder, _lock_above(records))
    except NodeError:
        claimed.close()
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()} {COMMAND}\n".encode() if command else f"{os.getpid()}\n".encode(), 0)
    return claimed


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def _lock_folder(records: Path) -> int:
    """A lock on the folder itself: who removes `.egghead` while a node runs removes the other lock with it, and two
    nodes on one folder would write the same notes and logs. Raises BlockingIOError; -1 where folders have no locks."""
    fd = os.open(records, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    except OSError:  # a filesystem without them: the lock file has to do
        os.close(fd)
        return -1
    return fd


def _lock_above(records: Path) -> tuple[int, ...]:
    """A shared lock on each folder whose node would have these notes too, since it looks into every folder but hidden ones:
    it cannot lock its folder for itself then, nor can we start while it has. Raises NodeError with both folders."""
    held: list[int] = []
    inner = records.resolve()
    while not inner.name.startswith(".") and inner.parent != Path(inner.anchor):
        inner = inner.parent
        try:
            fd = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue  # one that we may not read is nobody's folder of notes whom we could meet
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = lock_holder(inner)
            if holder is None:
                continue  # locked by a program that is none of ours, such as one that cleans up /tmp
            for other in held:
                os.close(other)
            raise _nested(records, inner, holder) from None
        except OSError:  # a filesystem without such locks
            os.close(fd)
        else:
            held.append(fd)
    return tuple(held)


def _taken(records: Path) -> NodeError:
    """Why the folder itself cannot be locked although nobody has its lock file."""
    fd = os.open(records, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return NodeError(
            f"a node is already running on {str(records)!r}, although its {OWN_DIR!r} folder was removed under it; "
            "stop that one first (ps shows it as: egghead serve)",
            ExitCode.REFUSED,
        )
    finally:
        os.close(fd)
    # Others may share it: nodes on folders in it.
    inside = records.resolve()
    for found in (path for root in paths.runtime_roots() for path in root.glob("*/node.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            other = Path(json.loads(found.read_text(encoding="utf-8"))["records"])
            if inside in other.parents and (holder := lock_holder(other)) is not None:
                return _nested(records, other, holder)
    return Busy(
        f"another program holds a folder in {str(records)!r}, so that two would write the same notes; try again when it is done, "
        "or stop it if it is a node (ps shows it as: egghead serve)",
        ExitCode.REFUSED,
    )


def _nested(records: Path, other: Path, holder: int) -> NodeError:
    """`other`, whose lock `holder` has, holds the notes of `records`, or `records` those of `other`."""
    where = "lies in" if records.resolve() in other.parents else "holds the notes of"
    if _is_command(other):
        return Busy(
            f"another program (pid {holder}) has {str(other)!r}, which {where} {str(records)!r}; try again when it is done",
            ExitCode.REFUSED,
        )
    return NodeError(
        f"a node is running on {str(other)!r} (pid {holder}), which {where} {str(records)!r}: two would write the same notes. "
        f"Use that one (--records {str(other)!r}), or stop it: kill {holder}",
        ExitCode.REFUSED,
    )


def _is_command(records: Path) -> bool:
    """Whether a command, not a node, was the last to take the lock of a folder."""
    try:
        return (records / OWN_DIR / "node.lock").read_text(encoding="ascii").strip().endswith(" " + COMMAND)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def runtime(records: Path) -> Iterator[tuple[paths.RuntimeDir, str]]:
    """The node's runtime directory, emptied and made anew, and the clients' token; removed again at the end."""
    place = paths.runtime_dir(records)
    paths.make_private_dir(place.root)
    for old in place.root.iterdir():  # left by a node that was killed; the lock says that it is gone
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink()
    place.bus.mkdir(mode=0o700)
    place.status.parent.mkdir(mode=0o700)
    place.servers.mkdir(mode=0o700)
    place.scratch.mkdir(mode=0o700)
    token = secrets.token_hex(32)
    _write_private(place.token, token)
    try:
        yield place, token
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def load() -> None:
    """Import what `serve` will need: as much work as reading the configuration, which another process does at the time."""
    from egghead import lan, launch, nodelog  # noqa: F401 - not at the top, because clients import this module
    from egghead.llm import surroundings  # noqa: F401
    from supervisor import Root, load_tree  # noqa: F401


def serve(settings: Settings, announce: Callable[[dict[str, Any]], None]) -> int:
    """Runs a node in this process until it is told to stop; returns the exit code of the root.

    `announce` is called when the whole tree is ready, with {records, pid, level, level_notes, processes, seconds}: once,
    and once more whenever another folder has taken the place of the records directory and the node stands on that.
    """
    again = False
    while True:
        code, reason = _serve(settings, announce, again)
        if reason != ground.OTHER:
            return code
        again = True
        log.warning("the records directory %s was removed and is there again; starting anew on it", settings.records)


def _claim_again(records: Path) -> Claim:
    """As `claim`, for a node that has just let go of its folder to take the one in its place: a command that came in between
    is waited for, as long as it takes. Raises NodeError."""
    told = False
    while True:
        try:
            return claim(records)
        except Busy as busy:
            if not told:
                log.warning("%s; waiting for it", busy)
                told = True
            time.sleep(0.05)


def _serve(settings: Settings, announce: Callable[[dict[str, Any]], None], again: bool) -> tuple[int, str]:
    from egghead import lan, nodelog
    from egghead.launch import Launch  # here, because clients import this module for `running`
    from egghead.llm.surroundings import Surroundings
    from supervisor import Root, TreeError, load_again, load_tree

    began = time.monotonic()
    lock = _claim_again(settings.records) if again else claim(settings.records)
    try:
        with (
            runtime(settings.records) as (place, token),
            lan.opened(settings.config.server) as door,
            courier(settings.config.path) as brings,
        ):
            log_path = paths.log_file(settings.records)
            variables = {
                "records": str(settings.records),
                "bus": str(place.bus),
                "lan": str(paths.authorized_keys().parent),
                "status": str(place.status.parent),
                "log": str(log_path.parent),
                "usage": str(paths.usage_dir(settings.records)),
                "roster": str(paths.decisions_dir(settings.records)),
                "models": str(paths.models_dir()),
                "servers": str(place.servers),
                "scratch": str(place.scratch),
            }
            for own in (variables["usage"], variables["roster"], variables["models"]):
                Path(own).mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                tree = lan.fit(load_tree(settings.tree, variables), door)
            except TreeError as error:
                raise EggheadError(str(error)) from error
            hook = Launch(
                bus_directory=str(place.bus),
                token=token,
                settings={
                    "records_dir": str(settings.records),
                    "config": dict(settings.config.data),
                    "version": __version__,
                },
                secret={
                    "digest": settings.config.digest,
                    "path": str(settings.config.path),
                    "network": Surroundings.of(os.environ).data(),
                },
                keys=lambda: {"envelope": settings.envelope, "config": brings.line()},
                door=door,
                authorized=str(paths.authorized_keys()),
                files={"status": str(place.status), "log": str(log_path)},
                own={
                    "llm": {
                        "usage": variables["usage"],
                        "models": variables["models"],
                        "servers": variables["servers"],
                    },
                    "roster": {"decisions": variables["roster"]},
                    "index": {"scratch": variables["scratch"]},
                },
                shelf=(variables["models"], variables["servers"]),
            )

            def ready(info: dict[str, Any]) -> None:
                node = {
                    "records": str(settings.records),
                    "pid": os.getpid(),
                    "version": __version__,
                    "started_at": time.time(),
                    "ephemeral": settings.ephemeral,
                    "lan": door.info() if door is not None else None,
                    **info,
                }
                # Clients take this file as the sign that the node can be talked to, so it comes last.
                _write_private(place.node, json.dumps(node))
                announce(node | {"seconds": time.monotonic() - began})

            with nodelog.opened(log_path) as lines:
                root = Root(
                    tree,
                    hook=hook,
                    on_ready=ready,
                    status_path=place.status,
                    least_level=settings.config.confinement or "strong",
                    on_line=lines.of_process,
                    reload=lambda: lan.fit(load_again(settings.tree, variables), door),
                )
                with ground.watched(settings.records, settings.records / OWN_DIR) as other:
                    _leave_when(root, other)
                    code = int(root.run())
                if code != 0:
                    log.error("the node gave up: %s", root.reason)
                return code, root.reason
    finally:
        lock.close()


def _leave_when(root: Root, other: threading.Event) -> None:
    """Stop the tree once `other` is set. Looked at from the loop of the root, which alone may touch it."""

    def look() -> None:
        if other.is_set():
            root.stop(ground.OTHER)
        else:
            root.timers.add(time.monotonic() + ground.LOOK_EVERY, look)

    root.timers.add(time.monotonic() + ground.LOOK_EVERY, look)


def running() -> list[tuple[paths.RuntimeDir, dict[str, Any]]]:
    """The ready nodes of this user on this machine: (runtime directory, contents of node.json). Dead ones are left out."""
    found = []
    for root in paths.runtime_roots():
        with contextlib.suppress(OSError):
            if root.stat().st_uid != os.getuid():
                continue
            for entry in sorted(root.iterdir()):
                place = paths.RuntimeDir(entry)
                node = read_node(place)
                if node is not None:
                    found.append((place, node))
    return found


def read_node(place: paths.RuntimeDir) -> dict[str, Any] | None:
    """The node.json of a live node, or None. Alive means: it holds the lock of its records directory. After a node was
    killed, its file stays until the next one is ready, which holds the lock long before. While the directory is gone, and its
    lock with it, the node goes on and answers: then its process says whether it lives."""
    try:
        node: dict[str, Any] = json.loads(place.node.read_text(encoding="utf-8"))
        records, pid = Path(node["records"]), int(node["pid"])
        holder = lock_holder(records)
        if holder is None and not os.path.lexists(records / OWN_DIR):
            return node if _runs_since(pid, float(node["started_at"])) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return node if holder and pid == holder else None


def unready(records: Path) -> int | None:
    """The pid of a node of this user that holds these notes and has not said that it is ready, or no longer says so."""
    holder = lock_holder(records)
    try:
        if not holder or _is_command(records) or Path(f"/proc/{holder}").stat().st_uid != os.getuid():
            return None
    except OSError:
        return None  # gone, or in another container
    return None if any(info["records"] == str(records) for _, info in running()) else holder


def _runs_since(pid: int, moment: float) -> bool:
    """Whether a process of ours has this number and began before a moment (of the wall clock): else the number went to another."""
    proc = Path(f"/proc/{pid}")
    try:
        ticks = int(proc.joinpath("stat").read_bytes().rpartition(b")")[2].split()[19])  # proc(5): starttime, 22nd
        age = float(Path("/proc/uptime").read_text("ascii").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
        return proc.stat().st_uid == os.getuid() and time.time() - age <= moment
    except (OSError, ValueError, IndexError):
        return False  # gone, or no Linux


def lock_holder(records: Path) -> int | None:
    """The pid that holds the node's lock of `records`, or None when nobody does."""
    try:
        fd = os.open(records / OWN_DIR / "node.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK))
        if _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK:
            return None
        text = os.pread(fd, 64, 0).decode("ascii", "replace").strip().partition(" ")[0]
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)


# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (fcntl(2)).
_FLOCK = struct.Struct("hhqqi4x")


def _flock(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def default_tree() -> Path:
    return Path(__file__).with_name("tree.yaml")


def die_with_parent() -> None:
    """SIGTERM for this process when the one that started it ends, by any means (Linux: PR_SET_PDEATHSIG)."""
    import ctypes
    import signal

    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent or parent == 1:
        raise NodeError("the client that started this node has gone")
