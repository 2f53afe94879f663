"""Supervision of OS processes by OTP's rules, from a declarative tree.

Public names are loaded on first use: a child that only needs a `Context` must not pay for the YAML parser.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "ChildInfo": "hook",
    "Handover": "hook",
    "LaunchHook": "hook",
    "Context": "context",
    "Handle": "launcher",
    "Launcher": "launcher",
    "Order": "launcher",
    "Root": "root",
    "AnySpec": "spec",
    "Backoff": "spec",
    "ChildSpec": "spec",
    "Park": "spec",
    "Profile": "spec",
    "SupervisorSpec": "spec",
    "Tree": "spec",
    "Fault": "errors",
    "SupervisorError": "errors",
    "TreeError": "errors",
    "load_again": "treefile",
    "load_tree": "treefile",
    "parse_tree": "treefile",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'supervisor' has no attribute {name!r}")
    return getattr(import_module(f"supervisor.{module}"), name)
