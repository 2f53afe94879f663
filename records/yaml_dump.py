"""A value as the text of YAML, such that other programs read the same: the one place where YAML is made. Where it goes in a
block is the business of `records.yaml_block`."""

from __future__ import annotations

import re
from typing import Any

import yaml

from records.errors import InvalidValue

BREAK = re.compile("[\x85\u2028\u2029]")  # line ends of YAML 1.1 and no others
# Numbers of YAML 1.2 (10.3.2): Obsidian would read `089`, `0o17` and the short hash `12e4567` as such, YAML 1.1 as text.
_NUMBER = re.compile(r"[-+]?(?:0o[0-7]+|0x[0-9a-fA-F]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # known at run time only
    """libyaml's, but for text with a character that YAML 1.1 breaks lines at: written as it is it would be indented behind it."""


class _WideDumper(yaml.SafeDumper):
    """As `_Dumper`, by PyYAML's own emitter: libyaml's writes an emoji, and all else above U+FFFF, as an escape."""


def _text(dumper: Any, value: str) -> Any:
    style = '"' if BREAK.search(value) else "'" if dumper.default_style is None and _NUMBER.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_WideDumper.add_representer(str, _text)


def dump(value: Any, flow: bool | None, style: str | None) -> str:
    """A value as YAML; `flow`, `style` as PyYAML has them. Raises InvalidValue for what YAML has no form for."""
    try:
        text = _dumped(value, _Dumper, flow, style)
        if "\\U000" in text:
            text = _dumped(value, _WideDumper, flow, style)
    except yaml.representer.RepresenterError:
        raise InvalidValue(f"frontmatter cannot hold {value!r}; give text, numbers, lists or mappings") from None
    return text.removesuffix("...\n") if not isinstance(value, dict | list) else text


def _dumped(value: Any, dumper: Any, flow: bool | None, style: str | None) -> str:
    return str(
        yaml.dump(
            value, Dumper=dumper, default_flow_style=flow, default_style=style, allow_unicode=True, width=2**20,
            sort_keys=False,
        )
    )  # fmt: skip
