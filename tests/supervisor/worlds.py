"""Who runs a test's root, and what the kernel refuses there: root, an ordinary user, and hardened machines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

NOBODY = 65534


@dataclass(frozen=True)
class World:
    """Who runs the root, and what the kernel refuses there."""

    name: str
    user: int
    refuse: tuple[str, ...] = ()
    level: str = "full"

    @property
    def isolated(self) -> bool:
        """The zygote can be PID 1 of a namespace of its own."""
        return "userns" not in self.refuse


ROOT = World("root", 0)
USER = World("user", NOBODY)
NO_USERNS = World("no-userns", NOBODY, ("userns",), "strong")
NOTHING = World("nothing", NOBODY, ("userns", "landlock"), "none")
NO_LANDLOCK = World("no-landlock", NOBODY, ("landlock",), "strong")
ROOT_NO_USERNS = World("root-no-userns", 0, ("userns",), "strong")
ROOT_NO_LANDLOCK = World("root-no-landlock", 0, ("landlock",), "strong")


def worlds(*chosen: World) -> pytest.MarkDecorator:
    """Parametrize a test by world."""
    return pytest.mark.parametrize("world", chosen, ids=lambda world: world.name)
