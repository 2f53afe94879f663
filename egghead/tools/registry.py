"""A tool is a typed async function; its schema, its checks and its place on the menu are made from the signature.

    @tool("Read one note.", verbs=("records.read",), read_only=True)
    async def get_record(work: Work, id: Annotated[str, says("the note's id")]) -> Plan: ...

The function does not act: it looks at what is there and returns a Plan, the requests that must pass and what to do when
they have. So the gate stands in one place, and no tool can forget it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import msgspec

from egghead.capabilities.denials import Denial
from egghead.capabilities.match import Authority, Request, allows
from egghead.llm.shapes import NO_OBJECT, TOO_LONG
from egghead.tools.ports import Ask
from egghead.tools.results import Output


@dataclass(frozen=True)
class Work:
    """Who calls, what it holds at this moment, and the way to the notes."""

    authority: Authority
    ask: Ask

    @property
    def agent(self) -> str:
        return self.authority.agent

    def may(self, request: Request) -> bool:
        """For leaving out what the caller may not see; whether the call passes at all is not decided with this."""
        return allows(self.authority, request)


@dataclass(frozen=True)
class Plan:
    """What a call comes down to. `denial`: a rule beyond grants already refuses it."""

    requests: tuple[Request, ...]
    execute: Callable[[], Awaitable[Output]]
    denial: Denial | None = None


class BadArguments(ValueError):
    """Arguments that do not fit; the text tells the model what to write instead."""


@dataclass(frozen=True)
class Tool:
    """One tool. Offered when any of `verbs` could pass."""

    name: str
    description: str
    verbs: tuple[str, ...]
    read_only: bool
    plan: Callable[..., Awaitable[Plan]]
    arguments: type[msgspec.Struct]
    schema: Mapping[str, Any] = field(compare=False)

    def parse(self, data: Any) -> dict[str, Any]:
        """Checked arguments by parameter name. Raises BadArguments."""
        if data is None:
            data = {}
        if not isinstance(data, Mapping):
            raise BadArguments(f"{self.name}: the input is an object, not {type(data).__name__}")
        if data.keys() == {TOO_LONG}:
            raise BadArguments(f"{self.name}: {data[TOO_LONG]}")
        if data.keys() == {NO_OBJECT}:
            raise BadArguments(
                f"{self.name}: the arguments are no JSON object: {data[NO_OBJECT]!r:.200}; write the call again"
            )
        known = list(self.schema["properties"])
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                tail = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise BadArguments(f"{self.name}: unknown argument {key!r}; {tail}")
        # A model often writes null for "not given".
        given = {key: value for key, value in data.items() if value is not None}
        try:
            parsed = msgspec.convert(given, self.arguments, strict=False)
        except msgspec.ValidationError as error:
            raise BadArguments(f"{self.name}: {error}") from None
        return {name: getattr(parsed, name) for name in parsed.__struct_fields__}

    def to_dict(self) -> dict[str, Any]:
        """As the menu gives it."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": dict(self.schema),
            "read_only": self.read_only,
        }


def says(description: str, **limits: Any) -> msgspec.Meta:
    """What an argument means, for its schema; `limits` as msgspec.Meta takes them (ge, le, max_length)."""
    return msgspec.Meta(description=description, **limits)


def _struct(function: Callable[..., Any]) -> type[msgspec.Struct]:
    """A struct with a field for each parameter after the first. `class_` is spelled `class`: a keyword in Python."""
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    renames: dict[str, str] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.name.endswith("_"):
            renames[parameter.name] = parameter.name.rstrip("_")
        kind = hints[parameter.name]
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, kind))
        else:
            fields.append((parameter.name, kind, parameter.default))
    return msgspec.defstruct(function.__name__, fields, rename=renames, forbid_unknown_fields=True, kw_only=True)


def _schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of the arguments, without references: not every provider follows them."""
    (_,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    found = dict(components[struct.__name__])
    properties = {key: _plain(value) for key, value in found.get("properties", {}).items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(found.get("required", [])),
        "additionalProperties": False,
    }


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`anyOf [x, null]` as x: an optional argument is left out, not null."""
    kept = {
        key: value for key, value in schema.items() if key not in ("anyOf", "default") or (key == "default" and value)
    }
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        return {**choices[0], **kept}
    return {**kept, "anyOf": choices} if choices else kept


def tool(
    description: str, *, verbs: tuple[str, ...], read_only: bool = False
) -> Callable[[Callable[..., Awaitable[Plan]]], Tool]:
    """Make a Tool of a typed async function."""

    def decorate(function: Callable[..., Awaitable[Plan]]) -> Tool:
        struct = _struct(function)
        return Tool(function.__name__, description, verbs, read_only, function, struct, _schema(struct))

    return decorate
