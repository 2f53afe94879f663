"""Which paths a confined Python process sees, and how.

Here belongs the list: the Python installation, the shared libraries it loads, the source trees that were imported,
time zones, and what the profile gives. It only looks at paths; mounting is `namespaces`, refusing is `landlock`.
Nothing of the user's home, of /etc beyond what is named, of /proc or of /sys is on it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from supervisor.spec import Profile

Access = Literal["read", "write", "socket", "device", "exec"]

SYSTEM_PREFIXES = {"/usr", "/usr/local", "/"}
LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/nix/store",
    "/gnu/store",
)
CONSTANTS = (
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/locale",
    "/usr/lib/locale",
    "/etc/mime.types",  # mimetypes fails where it sees the file and may not read it
)
NETWORK = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/etc/host.conf",
)
PROGRAMS = (
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/libexec",
    "/usr/share",
    "/etc/alternatives",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Place:
    """One path of the jail and what may be done there."""

    path: str
    access: Access


def python_places(modules: Iterable[object] | None = None) -> list[str]:
    """The paths a running Python needs: its installation, its site-packages and the source trees it has imported.

    Of a directory on sys.path that is not part of an installation only what was imported is listed, not the
    directory: it may be a checkout with its secrets or somebody's home.
    """
    found: list[str] = []
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)):
        if prefix not in SYSTEM_PREFIXES:
            found.append(prefix)
    found += [
        path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib", "platlib")
    ]
    found += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    found += [path for path in sys.path if path.endswith(".zip")]
    for module in list(sys.modules.values()) if modules is None else modules:
        found += _source_of(module)
    return outermost(path for path in found if path and os.path.exists(path))


def _source_of(module: object) -> list[str]:
    """The top-level package directory, or the file, that a module was loaded from."""
    name = getattr(module, "__name__", None)
    if not isinstance(name, str) or "." in name or name == "__main__":
        return []  # submodules lie below their package; __main__ is the program, not an import
    paths = list(getattr(module, "__path__", None) or [getattr(module, "__file__", None)])
    return [os.path.abspath(path) for path in paths if isinstance(path, str)]


def outermost(paths: Iterable[str]) -> list[str]:
    """The paths without those that lie below another one, in order of first appearance."""
    unique = list(dict.fromkeys(os.path.normpath(path) for path in paths))
    return [path for path in unique if not any(other != path and is_below(path, other) for other in unique)]


def is_below(path: str, directory: str) -> bool:
    """`path` is `directory` or lies in it (by name)."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def places(profile: Profile, python: Iterable[str]) -> list[Place]:
    """Everything the profile's jail shows, outer paths before the paths inside them.

    Raises FileNotFoundError for a path of the profile that is not there; parts of the system that this machine does
    not have are left out.
    """
    system = [*LIBRARIES, *CONSTANTS, *(NETWORK if profile.network == "host" else ())]
    programs = list(PROGRAMS) if profile.exec else []
    chosen: dict[str, Access] = {}
    for path in outermost([*python, *(path for path in system if os.path.exists(path))]):
        chosen[path] = "exec" if profile.exec else "read"
    for path in programs:
        if os.path.exists(path):
            chosen[path] = "exec"
    for path in DEVICES:
        if os.path.exists(path):
            chosen[path] = "device"
    given: list[tuple[str, Access]] = [(path, "socket") for path in profile.sockets]
    if profile.filesystem is not None:
        given += [(path, "read") for path in profile.filesystem.read]
        given += [(path, "write") for path in profile.filesystem.write]  # last: the wider right wins
    for path, access in given:
        if not os.path.isabs(path):
            raise ValueError(f"confine: {path!r} is not an absolute path; write it out, or use a ${{variable}}")
        if not os.path.exists(path):
            raise FileNotFoundError(
                2, f"confine: {access} path does not exist; create it before the child starts", path
            )
        chosen[os.path.normpath(path)] = access
    return [Place(path, access) for path, access in sorted(chosen.items(), key=lambda item: item[0].count("/"))]
