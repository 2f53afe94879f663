"""What callers pass to the methods of a process, checked against the methods' own annotations.

Here: that an argument is of the type that its method declares, so that a wrong one is the caller's error with the name
of the argument, and not a failure somewhere inside. What a value means is checked by who uses it.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ipc import Call, Refused


def checked(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The methods, each refusing with BadRequest what its annotations do not allow. Parameters of type Any take anything."""
    return {name: _checked(name, method) for name, method in methods.items()}


def _checked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    hints = typing.get_type_hints(method)
    named = {
        parameter.name: hints[parameter.name]
        for parameter in list(inspect.signature(method).parameters.values())[1:]
        if parameter.kind is not parameter.VAR_KEYWORD and hints[parameter.name] is not Any
    }

    @functools.wraps(method)
    async def call(call: Call, /, **params: Any) -> Any:
        for key in params.keys() & named.keys():
            params[key] = argument(name, key, params[key], named[key])
        try:
            started = method(call, **params)  # binds the parameters, runs nothing yet
        except TypeError as error:
            raise Refused("BadParameters", str(error)) from None
        return await started

    return call


def argument(method: str, key: str, value: Any, kind: Any) -> Any:
    """The value, if it is of that type. Raises Refused BadRequest."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        raise Refused("BadRequest", f"{method}: {key!r} is {shown}: {_lower(str(error))}") from None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
