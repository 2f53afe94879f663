"""Keeps keys out of the root of a node: what it is told of the configuration, and the envelope that it never opens.

The root starts every process, so what it holds could reach any of them, and its environment can be read by whoever runs
as the same user. So `egghead serve` reads the configuration in a child that ends at once, keeps what may be shown, puts
the whole environment into a sealed memory file, and starts itself anew without the variables that hold secrets. The root
hands the closed envelope to the process `llm` and never reads it. Nothing here knows what a key is for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from egghead.errors import ConfigError, EggheadError

VARIABLE = "EGGHEAD_ENVELOPE"  # how the anew started root finds its two files: "ENVIRONMENT CONFIGURATION"
_NAME = "egghead-envelope"
_SECRET = re.compile(r"(?:_API_KEY|_TOKEN|_SECRET|_SECRET_KEY|_PASSWORD|_ACCESS_KEY)\Z")
_SEALS = ("F_SEAL_SEAL", "F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE")


@dataclass(frozen=True)
class Door:
    """The section `server`: where other machines come in."""

    host: str | None
    port: int
    bind: str | None


@dataclass(frozen=True)
class Shown:
    """The configuration as any process may know it: `data` has no key in it. `digest`: SHA-256 of the file that it was
    read from, None: there is none. `names`: environment variables that the file names."""

    data: Mapping[str, Any]
    digest: str | None
    names: tuple[str, ...]
    path: Path

    @property
    def records_dir(self) -> str | None:
        return self._get("records_dir")

    @property
    def tree(self) -> str | None:
        return self._get("tree")

    @property
    def confinement(self) -> str | None:
        return self._get("confinement")

    @property
    def server(self) -> Door:
        return Door(**self.data["server"])

    def _get(self, key: str) -> str | None:
        value: str | None = self.data[key]
        return value


@dataclass(frozen=True)
class Envelope:
    """What is known, and the descriptor of what is not to be known here."""

    config: Shown
    fd: int


def leave_no_core() -> None:
    """From now on neither this process nor any that it starts dumps its memory: what goes wrong in the root, which may be
    handed keys, must not leave them on a disk. For the life of the process; nobody can take it back."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def prepare(given: str | None, meanwhile: Callable[[], object] = lambda: None) -> Envelope:
    """The configuration and the envelope of this start. `given`: the path of --config; `meanwhile` is called while it is
    being read. Does not return when the environment holds secrets: the program begins anew without them, and then it does.
    Raises ConfigError."""
    found = os.environ.pop(VARIABLE, None)
    if found is not None:
        sealed, shown = (_taken(number) for number in found.split(" "))
        envelope = Envelope(_shown(json.loads(contents(shown))), sealed)
        os.close(shown)
        return envelope
    secret = any(map(_SECRET.search, os.environ))  # then what is loaded here would be loaded twice
    read = _read_apart(given, meanwhile if not secret else lambda: None)
    sealed = _file(json.dumps(dict(os.environ)).encode())
    hidden = [name for name in os.environ if name in read["names"] or _SECRET.search(name)]
    if not hidden:
        return Envelope(_shown(read), sealed)
    files = (sealed, _file(json.dumps(read).encode()))
    for fd in files:
        os.set_inheritable(fd, True)
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    environ[VARIABLE] = " ".join(map(str, files))
    sys.stdout.flush()
    sys.stderr.flush()
    return _anew(environ)


def _anew(environ: Mapping[str, str]) -> NoReturn:
    """This program from its beginning, in this process, with another environment."""
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def contents(fd: int) -> bytes:
    """All of a file, from its beginning; others may read the same open file at the same time."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def environment(fd: int) -> dict[str, str]:
    """What is in the envelope. For the process that may know it."""
    found: dict[str, str] = json.loads(contents(fd))
    return found


def _shown(read: Mapping[str, Any]) -> Shown:
    return Shown(read["data"], read["digest"], tuple(read["names"]), Path(read["path"]))


def _taken(number: str) -> int:
    """A descriptor that we left to ourselves. Raises EggheadError for one that is something else."""
    fd = int(number) if number.isdigit() else -1
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        name = ""
    if _NAME not in name:
        raise EggheadError(f"{VARIABLE} is set, but not by Egghead ({number!r}); unset it and start again")
    os.set_inheritable(fd, False)
    return fd


def _file(data: bytes) -> int:
    """A file in memory that nobody can change any more."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        fd, name = tempfile.mkstemp(prefix=_NAME)
        os.unlink(name)
    os.write(fd, data)
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):  # a file that is only unlinked
            seals = 0
            for seal in _SEALS:
                seals |= getattr(fcntl, seal)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _read_apart(given: str | None, meanwhile: Callable[[], object]) -> dict[str, Any]:
    """Read the configuration in a child, so that neither its keys nor the libraries that check it stay here."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _tell(theirs, given)
    os.close(theirs)
    with open(ours, "rb") as told:
        meanwhile()
        answer = told.read()
    _, status = os.waitpid(pid, 0)
    if status != 0 or not answer:
        raise ConfigError(f"the configuration could not be read (its reader ended with {status})")
    read: dict[str, Any] = json.loads(answer)
    if "error" in read:
        raise ConfigError(read["error"])
    return read


def _tell(fd: int, given: str | None) -> None:
    """In the child: what may be shown, or what is wrong; ends the process."""
    code = 1
    try:
        try:
            read = _read(given)
        except EggheadError as error:
            read = {"error": str(error)}
        with open(fd, "wb") as out:
            out.write(json.dumps(read).encode())
        code = 0
    finally:
        os._exit(code)  # nothing of the parent's is flushed or closed twice


def _read(given: str | None) -> dict[str, Any]:
    from egghead import config

    text, path = config.read(given)
    found = config.parse(text, str(path)) if text is not None else config.Config()
    return {
        "data": found.redacted(),
        "digest": digest(text.encode()) if text is not None else None,
        "names": sorted(set(config.ENV.findall(text or ""))),
        "path": str(path),
    }


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
