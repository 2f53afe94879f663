"""Names of rooms, of their files, and of who speaks in them.

A room is `[A-Za-z0-9_-]{1,64}`, or `dm/<agent>` for a conversation of one person with one agent. Here is the only
place that maps a room to its file name and back.
"""

from __future__ import annotations

import re

_ROOM = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NO_AGENT = frozenset("*?[]{}#~")  # with spaces and what is not printed: these name no process, so nobody is there
_AWKWARD = re.compile(r'[<>:"|\\`]')
_PASSING = re.compile(r"(\.|~|\.(tmp|swp|swx|bak|part|crdownload))\Z")  # a folder whose notes are not read
_SUFFIX = ".jsonl"
AGENT_PREFIX = "agents/"
DIRECT_PREFIX = "dm/"
LONGEST_AGENT = (
    190  # bytes of UTF-8: with `rooms/dm/` before it a name on the bus, which has at most 200; and a file name
)


class RoomNameError(ValueError):
    """A name that cannot be a room's; the message says why and what can."""


def check_room(room: object) -> str:
    """The room id itself. Raises RoomNameError for anything that is not one."""
    if not isinstance(room, str):
        raise RoomNameError(f"a room name is text, not {room!r}")
    if room.startswith(DIRECT_PREFIX):
        agent = room.removeprefix(DIRECT_PREFIX)
        if len(agent.encode(errors="replace")) <= LONGEST_AGENT and _may_be_agent(agent):
            return room
        raise RoomNameError(f"{room!r} names no agent: write dm/ and the agent's id, as in 'dm/scout'")
    if _ROOM.match(room):
        return room
    raise RoomNameError(f"{room!r} cannot be a room's name: use 1 to 64 letters (a-z), digits, '_' or '-'")


def _may_be_agent(agent: str) -> bool:
    """Whether an agent could have this id: any script, `o'reilly`, but no empty part and none that begins with a dot."""
    return all(part and part[0] not in ".-" for part in agent.split("/")) and not any(
        c in _NO_AGENT or c.isspace() or not (c.isprintable() or c in "\u200c\u200d") for c in agent
    )


def agent_of_room(room: str) -> str | None:
    """The agent of a `dm/` room, else None."""
    return room.removeprefix(DIRECT_PREFIX) if room.startswith(DIRECT_PREFIX) else None


def agent_of(name: str) -> str | None:
    """The agent id of a process name (`agents/people/bob` -> `people/bob`), else None."""
    return name.removeprefix(AGENT_PREFIX) if name.startswith(AGENT_PREFIX) else None


def default_title(agent: str) -> str:
    """What an agent is called before its card says more: the last segment of its id, capitalised."""
    return agent.rsplit("/", 1)[-1].capitalize()


def file_name(room: str) -> str:
    """The file of a room: `default.jsonl`, `dm~people~bob.jsonl`."""
    return check_room(room).replace("/", "~") + _SUFFIX


def room_of_file(name: str) -> str | None:
    """The room of a file name, None when the file is not a room's."""
    if not name.endswith(_SUFFIX):
        return None
    try:
        return check_room(name.removesuffix(_SUFFIX).replace("~", "/"))
    except RoomNameError:
        return None


def deliberation_id(agent: str, room: str, at: str) -> str:
    """The record of one handoff: `deliberations/<agent>/<room>/<UTC time>`, the time as a file may have it in its name.
    `at` is the stamp of the entry that asked, so that whoever writes the record writes the same one."""
    time = re.sub(r"[^0-9TZ]+", "-", at).strip("-") or "0"
    direct = agent_of_room(room)
    return f"{deliberation_folder(agent)}{room if direct is None else DIRECT_PREFIX + _foldered(direct)}/{time}"


def deliberation_folder(agent: str) -> str:
    """Where the records of an agent's handoffs are, with the `/` at its end."""
    return f"deliberations/{_foldered(agent)}/"


def _foldered(agent: str) -> str:
    """An agent's id as folders of notes may be called: a file of somebody else's (`k8s:ops.md`) may have a name that no new
    note gets (`records.ids.check_id`)."""
    parts = (_AWKWARD.sub("-", part) for part in agent.split("/"))
    return "/".join(f"{part}-" if _PASSING.search(part) else part for part in parts)
