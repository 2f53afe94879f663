"""What every process of the node is born with: a credential for one life, its rights, and the settings it may know.

This is the launch hook that the supervisor calls. It runs in the root, so it keeps to dictionaries: no socket, no
file, no key: those are behind descriptors that it passes on. The only thing that it makes is the directory of a
local model's socket. Who may say what on the bus is in `tree.yaml`; clients' rights are in `rights`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from egghead.lan import Door
from egghead.llm.local import catalog
from egghead.rights import allow
from supervisor import ChildInfo, Handover

# The process that holds keys is the only one that is given what they are in.
KEY_HOLDERS = frozenset({"llm"})
BUS, LAN, NODE = "bus", "lan", "node"
MODELS = "models/"


class Launch:
    """The supervisor's LaunchHook: credentials made here reach the bus before their process is forked."""

    def __init__(
        self,
        bus_directory: str,
        token: str,
        settings: Mapping[str, Any],
        secret: Mapping[str, Any],
        door: Door | None = None,
        authorized: str = "",
        files: Mapping[str, str] | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
        keys: Callable[[], Mapping[str, int]] = dict,
        shelf: tuple[str, str] = ("", ""),
    ) -> None:
        """`door`: to the network, if there is one; `authorized`: the file that says who may come in there. `files`: what
        the process `node` may tell of: {status, log}. `own`: process -> what it alone is told, such as a directory of its own.
        `keys`: the descriptors behind which keys are, for one life of the process that holds them; not read here.
        `shelf`: the directories of local models and of their sockets."""
        self._shelf = shelf
        self._door = door
        self._authorized = authorized
        self._files = dict(files or {})
        self._own = dict(own or {})
        self._keys = keys
        self._bus_directory = bus_directory
        self._token = token
        self._settings = dict(settings)
        self._secret = dict(secret)
        self._registrations: dict[tuple[str, int], dict[str, Any]] = {}

    def launching(self, child: ChildInfo) -> Handover:
        if child.name.startswith(MODELS):
            return Handover(data={"model": self._model(child.id)})
        credential = secrets.token_hex(32)
        registration = {
            "register": child.name,
            "incarnation": child.incarnation,
            "credential": credential,
            "allow": _with_id(child.allow or {}, child.id),
        }
        data: dict[str, Any] = {
            "bus": {"directory": self._bus_directory, "credential": credential},
            "settings": self._settings,
            **self._own.get(child.name, {}),
        }
        if child.name in KEY_HOLDERS:
            data["secret"] = self._secret
        if child.name == LAN and self._door is not None:
            data["lan"] = self._door.beacon()
        if child.name == NODE:
            data["node"] = self._files
        if child.name == BUS:
            files: dict[str, int] = {}
            if self._door is not None:
                files = {"listener": self._door.listener.fileno()}
                data["bus"] |= {"secret_key": self._door.pair.secret, "authorized_keys": self._authorized}
            # A new bus knows nobody: it gets everyone who lives, and its own clients' token.
            data["bus"] |= {
                "registrations": list(self._registrations.values()),
                "token": self._token,
                "client_allow": allow("full"),
            }
            return Handover(data=data, files=files)
        self._registrations[child.name, child.incarnation] = registration
        held = self._keys() if child.name in KEY_HOLDERS else {}
        return Handover(data=data, notices=((BUS, registration),), files=held)

    def _model(self, id: str) -> dict[str, str]:
        """What a local model is told: its file and its socket, and no way to the bus. Raises ValueError for an id that is no
        name of a model."""
        if catalog.NAME.fullmatch(id) is None:
            raise ValueError(f"{id!r} is not the name of a local model")
        models, servers = self._shelf
        # Here, because its jail shows the directory, and neither it nor `llm` may make one.
        os.makedirs(os.path.join(servers, id), 0o700, exist_ok=True)
        return {"file": os.path.join(models, id, catalog.LINK), "socket": os.path.join(servers, id, catalog.SOCKET)}

    def exited(self, child: ChildInfo, reason: str) -> None:
        self._registrations.pop((child.name, child.incarnation), None)


def _with_id(value: Any, child_id: str) -> Any:
    if isinstance(value, str):
        return value.replace("{id}", child_id)
    if isinstance(value, Mapping):
        return {_with_id(k, child_id): _with_id(v, child_id) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_with_id(v, child_id) for v in value]
    return value
