"""The grammar of grants: what a person writes in a record, as frozen values and back as one line.

Three spellings of the same grant: a string (`records.read`), a single-key map (`{records.read: {paths: [a/**]}}`), and
the compact line (`records.read{paths=[a/**]}`), which is also the canonical form that is shown, compared and stored.
Deciding what a grant allows is `match`'s business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from egghead.capabilities.catalog import CLASSES, VERBS, hint
from egghead.capabilities.patterns import is_command, parse_host

Scope = tuple[tuple[str, tuple[str, ...]], ...]

_BARE = re.compile(r'[^,\[\]{}="\s](?:[^,\[\]{}="]*[^,\[\]{}="\s])?')
_EXAMPLES = {"hosts": "hosts=[api.example.org]", "in": "in=[~/project]"}

ACCESS = {
    "r": ("records.read",),
    "w": ("records.create", "records.update"),
    "rw": ("records.read", "records.create", "records.update"),
}
"""What the shorthand `access` stands for. Deleting is never part of a shorthand."""


class GrantError(ValueError):
    """A grant that cannot be read: names the part, shows the value, says what to write."""


@dataclass(frozen=True)
class Grant:
    """One verb with its scope. No scope is everything (internal families) or nothing (external ones).

    `anything` is the explicit `"*"`, the only way to say "any" in an external family.
    """

    verb: str
    scope: Scope = ()
    anything: bool = False

    @property
    def scopes(self) -> dict[str, tuple[str, ...]]:
        return dict(self.scope)

    @property
    def bare(self) -> bool:
        return not self.scope and not self.anything

    def __str__(self) -> str:
        if self.anything:
            return f"{self.verb}{{*}}"
        if not self.scope:
            return self.verb
        parts = ",".join(f"{key}=[{','.join(_quote(value) for value in values)}]" for key, values in self.scope)
        return f"{self.verb}{{{parts}}}"


def grant(verb: str, anything: bool = False, **scope: Iterable[str]) -> Grant:
    """A grant from code. `in` is a keyword, so it is written `in_`. Raises GrantError as the parser does."""
    return _checked(verb, {key.rstrip("_"): list(values) for key, values in scope.items()}, anything)


def _quote(value: str) -> str:
    return value if _BARE.fullmatch(value) and value != "*" else json.dumps(value, ensure_ascii=False)


def _checked(verb: str, scope: Mapping[str, list[str]], anything: bool) -> Grant:
    known = VERBS.get(verb)
    if known is None:
        raise GrantError(f"unknown capability {verb!r}{hint(verb, VERBS)}")
    for key, values in scope.items():
        if key not in known.scopes:
            raise GrantError(f"{verb}: unknown scope {key!r}{hint(key, known.scopes)}")
        for value in values:
            _check_value(verb, key, value)
    ordered = tuple((key, tuple(dict.fromkeys(scope[key]))) for key in known.scopes if key in scope)
    return Grant(verb, ordered, anything)


def _check_value(verb: str, key: str, value: str) -> None:
    if not value or any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise GrantError(f"{verb}: {key} has {value!r}, which is empty or has control characters")
    if key == "classes" and value not in CLASSES:
        raise GrantError(f"{verb}: unknown class {value!r}{hint(value, CLASSES)}")
    if key == "hosts":
        try:
            parse_host(value)
        except ValueError as error:
            raise GrantError(f"{verb}: {error}") from None
    if key == "patterns" and not is_command(value):
        raise GrantError(f"{verb}: {value!r} is no command pattern; write git:*, git status or git log *")


def parse_grant(value: Any) -> Grant:
    """One entry of `capabilities`. Raises GrantError."""
    if isinstance(value, str):
        return _Compact(value).grant()
    if isinstance(value, Mapping):
        if len(value) != 1:
            raise GrantError(f"a grant with a scope is a map with one key, not {len(value)}: {dict(value)!r}")
        (verb, scope), *_ = value.items()
        return _mapped(str(verb), scope)
    raise GrantError(f"a grant is a string or a map with one key, not {value!r}; write for example records.read")


def _mapped(verb: str, scope: Any) -> Grant:
    if scope is None:
        return _checked(verb, {}, False)
    if scope == "*":
        return _checked(verb, {}, True)
    if not isinstance(scope, Mapping):
        example = _example(verb)
        raise GrantError(f'{verb}: a scope is a map of lists or "*", not {scope!r}; write for example {example}')
    lists: dict[str, list[str]] = {}
    for key, values in scope.items():
        wanted = [values] if isinstance(values, str) else values
        if not isinstance(wanted, list | tuple) or not all(isinstance(entry, str) for entry in wanted):
            raise GrantError(f"{verb}: {key} is a list of strings, not {values!r}")
        lists[str(key)] = list(wanted)
    return _checked(verb, lists, False)


def _example(verb: str) -> str:
    scopes = VERBS[verb].scopes if verb in VERBS else ("paths",)
    return f"{verb}{{{_EXAMPLES.get(scopes[0], scopes[-1] + '=[projects/**]')}}}"


class _Compact:
    """A reader of one compact line, left to right."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.at = 0

    def grant(self) -> Grant:
        verb, brace, _ = self.text.partition("{")
        verb = verb.strip()
        if not brace:
            return _checked(verb, {}, False)
        self.at = self.text.index("{") + 1
        self._space()
        if self.text[self.at :].replace(" ", "") == "*}":
            return _checked(verb, {}, True)
        scope: dict[str, list[str]] = {}
        while True:
            key = self._bare("a scope key")
            self._expect("=")
            scope.setdefault(key, []).extend(self._values())
            if self._take("}"):
                break
            self._expect(",")
        if self.text[self.at :].strip():
            raise self._error("nothing after the closing brace")
        return _checked(verb, scope, False)

    def _values(self) -> list[str]:
        if not self._take("["):
            return [self._value()]
        values: list[str] = []
        while not self._take("]"):
            if values:
                self._expect(",")
            values.append(self._value())
        return values

    def _value(self) -> str:
        self._space()
        if not self.text.startswith('"', self.at):
            return self._bare("a value")
        try:
            value, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
        except ValueError:
            raise self._error("a closing quote") from None
        return str(value)

    def _bare(self, wanted: str) -> str:
        self._space()
        found = _BARE.match(self.text, self.at)
        if found is None:
            raise self._error(wanted)
        self.at = found.end()
        return found.group()

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _take(self, character: str) -> bool:
        self._space()
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def _expect(self, character: str) -> None:
        if not self._take(character):
            raise self._error(repr(character))

    def _error(self, wanted: str) -> GrantError:
        return GrantError(
            f"{self.text!r}: expected {wanted} at column {self.at + 1}; a grant looks like records.read{{paths=[a/**]}}"
        )


def parse_grants(value: Any) -> tuple[tuple[Grant, ...], list[str]]:
    """All of `capabilities`: what could be read, and what is wrong with the rest. Never raises.

    A grant that cannot be read grants nothing: authority is only what is written without a doubt.
    """
    if value is None:
        return (), []
    entries: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    grants: dict[Grant, None] = {}
    problems: list[str] = []
    for entry in entries:
        pieces = [{key: scope} for key, scope in entry.items()] if _many(entry) else [entry]
        for piece in pieces:
            try:
                grants[parse_grant(piece)] = None
            except GrantError as error:
                problems.append(str(error))
    return tuple(grants), problems


def _many(entry: Any) -> bool:
    return isinstance(entry, Mapping) and len(entry) > 1


def expand(
    capabilities: Any = None, access: Any = None, sandbox: Any = None, *, written: bool | None = None
) -> tuple[tuple[Grant, ...], list[str]]:
    """The effective grants of a record's authority keys, shorthands written out, and the problems found.

    `written`: whether the key `capabilities` stands in the record; an empty value there means none, an absent key
    without `access` means `records.read`.
    """
    if written is None:
        written = capabilities is not None
    grants, faults = parse_grants(capabilities)
    problems = [f"capabilities: {fault}" for fault in faults]
    found = dict.fromkeys(grants)
    if access is not None:
        verbs = ACCESS.get(access) if isinstance(access, str) else None
        if verbs is None:
            problems.append(f"access is r, w or rw, not {access!r}; it grants nothing")
        else:
            found.update((Grant(verb), None) for verb in verbs)
    if isinstance(sandbox, str) and sandbox.strip():
        root = (("in", (sandbox.strip(),)),)
        found.update((Grant(verb, root), None) for verb in ("fs.read", "fs.write", "proc.exec"))
    elif sandbox is not None:
        problems.append(f"sandbox is a folder, not {sandbox!r}; it grants nothing")
    if not written and access is None:
        found[Grant("records.read")] = None
    return tuple(found), problems
