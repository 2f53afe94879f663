"""Keys on disk: this machine's own pairs, who may connect to its node, and which servers it knows.

Files and their formats only; nothing here opens a socket. Secret keys never leave the file they are in but for the one
process that needs them. Formats: docs/lan.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from egghead import paths
from egghead.errors import EggheadError, ExitCode
from egghead.rights import LEVELS
from ipc.curve import PORT, KeyPair, fingerprint, new_keys, public_of, raw, shown, text
from ipc.errors import LocalProtocolError
from ipc.guests import NAME

HEAD = "# egghead secret key; whoever has this file is you. Not to be copied.\n"


class KeyFault(EggheadError):
    """A key file cannot be used; the message says which, why and what to do."""


def own_pair(path: Path) -> KeyPair:
    """The key pair kept in `path`, made (mode 0600) when it is not there. Raises KeyFault."""
    try:
        try:
            return _read_pair(path)
        except FileNotFoundError:
            _make_pair(path)
            return _read_pair(path)
    except OSError as error:
        raise KeyFault(f"cannot use the key file {str(path)!r}: {error.strerror}") from error


def _read_pair(path: Path) -> KeyPair:
    with path.open(encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.getuid():
            raise KeyFault(f"the key file {str(path)!r} belongs to user {found.st_uid}, not to you: remove it")
        if found.st_mode & 0o077:
            raise KeyFault(
                f"others can read the secret key {str(path)!r} (mode {stat.S_IMODE(found.st_mode):o}): if nobody did, "
                f"chmod 600 {path}; else remove it, and a new one is made"
            )
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    try:
        if len(lines) != 1:
            raise LocalProtocolError(f"it has {len(lines)} lines with keys, not one")
        secret = text(raw(lines[0]))
        return KeyPair(public_of(secret), secret)
    except LocalProtocolError as error:
        raise KeyFault(f"{str(path)!r} is no key file: {_no_secret(error)}; remove it, and a new one is made") from None


def _no_secret(error: LocalProtocolError) -> str:
    said = str(error)
    return said if said.startswith("it has") else "the line in it is no key"


def _make_pair(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written whole beside it and then linked: two who need one at once get the same one, and nobody reads half a key.
    with _beside(path, HEAD + shown(new_keys().secret) + "\n") as temporary, contextlib.suppress(FileExistsError):
        os.link(temporary, path)


@contextlib.contextmanager
def _beside(path: Path, content: str) -> Iterator[str]:
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


# Who may connect


@dataclass(frozen=True)
class Authorized:
    """One line of `authorized_keys`. `key`: Z85 of the public key."""

    line: int
    key: str
    rights: str
    name: str


def parse_authorized(content: str) -> tuple[list[Authorized], list[str]]:
    """The good lines, and for each bad one `line N: why`. A line: key, rights and name, with spaces between; # begins
    a comment. Total: any text gives an answer."""
    good: list[Authorized] = []
    faults: list[str] = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            good.append(_authorized(number, line, good))
        except LocalProtocolError as error:
            faults.append(f"line {number}: {error}")
    return good, faults


def _authorized(number: int, line: str, before: list[Authorized]) -> Authorized:
    words = line.split()
    if len(words) != 3:
        raise LocalProtocolError(f"it has {len(words)} words; expected: KEY {'|'.join(LEVELS)} NAME")
    key, rights, name = text(raw(words[0])), words[1], words[2]
    if rights not in LEVELS:
        raise LocalProtocolError(f"rights {rights[:40]!r} are none of {', '.join(LEVELS)}")
    if not NAME.fullmatch(name):
        raise LocalProtocolError(f"name {name[:40]!r} must have 1 to 32 letters, digits, '.', '_' or '-'")
    for other in before:
        if other.key == key:
            raise LocalProtocolError(f"this key is authorised by line {other.line} already")
        if other.name == name:
            raise LocalProtocolError(f"the name {name!r} is taken by line {other.line}")
    return Authorized(number, key, rights, name)


def read_authorized(path: Path) -> tuple[list[Authorized], list[str]]:
    """As `parse_authorized`, of a file. One that others can write counts for nothing: they could let themselves in."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & 0o022 or found.st_uid != os.getuid():
                mode = stat.S_IMODE(found.st_mode)
                return [], [
                    f"{path}: nobody is let in, because others can write it "
                    f"(owner {found.st_uid}, mode {mode:o}): chmod 600 {path}"
                ]
            return parse_authorized(file.read())
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path}: {error.strerror}"]


def authorize(path: Path, name: str, key: str, rights: str) -> None:
    """Adds a line. Raises KeyFault when it would be a bad one."""
    line = f"{key.strip()} {rights} {name}"

    def change(content: str) -> str:
        good, _ = parse_authorized(content)
        try:
            made = _authorized(0, line, good)
        except LocalProtocolError as error:
            raise KeyFault(f"{error} (of {path})" if "line" in str(error) else str(error)) from None
        head = content if not content or content.endswith("\n") else content + "\n"
        return f"{head}{shown(made.key)} {made.rights} {made.name}\n"

    _edit(path, change)


def revoke(path: Path, name: str) -> None:
    """Removes the line of a name. Raises KeyFault (NOT_FOUND) when there is none."""

    def change(content: str) -> str:
        good, _ = parse_authorized(content)
        line = next((entry.line for entry in good if entry.name == name), None)
        if line is None:
            known = ", ".join(entry.name for entry in good) or "nobody is authorised"
            raise KeyFault(f"no client is called {name!r}; known: {known}", ExitCode.NOT_FOUND)
        lines = content.split("\n")
        del lines[line - 1]
        return "\n".join(lines)

    _edit(path, change)


def _edit(path: Path, change: Callable[[str], str]) -> None:
    """Rewrites a small file whole, for us alone, one writer at a time."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)  # two at once: neither line is lost
            content = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            with _beside(path, change(content)) as temporary:
                os.replace(temporary, path)
        finally:
            os.close(directory)
    except OSError as error:
        raise KeyFault(f"cannot write {str(path)!r}: {error.strerror}") from error


# Servers


@dataclass(frozen=True)
class Place:
    """Where a server is: host and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place(server: str) -> Place:
    """`HOST`, `HOST:PORT`, `[V6]:PORT` or `V6`. Raises EggheadError."""
    given = server.strip()
    host, port = given, str(PORT)
    if given.startswith("["):
        host, _, rest = given[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif given.count(":") == 1:
        host, _, port = given.partition(":")
    if not host or any(c.isspace() or c in "/@[]" for c in host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise EggheadError(f"{server!r} is no server: give HOST, HOST:PORT or [ADDRESS]:PORT", ExitCode.USAGE)
    return Place(host.lower(), int(port))


def known_server(where: Place, path: Path | None = None) -> str | None:
    """The key that this machine has for a server. Raises KeyFault for a file that others can write."""
    return _known(path or paths.known_servers()).get(str(where))


def known_servers(path: Path | None = None) -> dict[str, str]:
    """`host:port` -> key, of every server that this machine knows."""
    return _known(path or paths.known_servers())


def _known(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & 0o022 or found.st_uid != os.getuid():
                raise KeyFault(f"others can write {str(path)!r}, so it cannot be believed: chmod 600 {path}")
            return dict(_server_lines(file.read()))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeyFault(f"cannot read {str(path)!r}: {error.strerror}") from error


def _server_lines(content: str) -> Iterator[tuple[str, str]]:
    for line in content.splitlines():
        words = line.split()
        if len(words) == 2 and not line.startswith("#"):
            with contextlib.suppress(LocalProtocolError):
                yield words[0], text(raw(words[1]))


def trust(where: Place, key: str, path: Path | None = None) -> None:
    """Remembers a server's key, in place of another one."""
    kept = shown(key)
    _edit(path or paths.known_servers(), lambda content: _without(content, where) + f"{where} {kept}\n")


def forget(where: Place, path: Path | None = None) -> bool:
    """Forgets a server; False when it was not known."""
    file = path or paths.known_servers()
    if known_server(where, file) is None:
        return False
    _edit(file, lambda content: _without(content, where))
    return True


def _without(content: str, where: Place) -> str:
    lines = [line for line in content.splitlines() if line.split()[:1] != [str(where)]]
    return "".join(f"{line}\n" for line in lines)


def same_fingerprint(given: str, key: str) -> bool:
    """Whether a fingerprint that a person gave (with or without `SHA256:`), or a key, is that of `key`."""
    with contextlib.suppress(LocalProtocolError):
        if raw(given) == raw(key):
            return True
    return given.strip().removeprefix("SHA256:").rstrip("=") == fingerprint(key).removeprefix("SHA256:")
