"""Warm spares: children of a dynamic supervisor that are forked and jailed but not yet told who they are.

Here belongs keeping the promised number of them ready. A spare that takes over a name skips fork, jail and reaping;
everything that tells it apart (name, arguments, environment, credentials) reaches it only then, in its first message.
"""

from __future__ import annotations

import logging
import selectors
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.channel import Channel, Output
from supervisor.ends import Ends, NoDescriptors
from supervisor.launcher import Handle, Order
from supervisor.policy import Start
from supervisor.spec import ChildSpec, SupervisorSpec, Tree

if TYPE_CHECKING:
    from supervisor.root import Root

logger = logging.getLogger("supervisor.root")

REFILL_AFTER = 0.05  # seconds: the restart that took a spare comes first
REFILL_AGAIN = 2.0  # seconds after a spare died by itself, so that a broken one is not forked in a circle


@dataclass
class Spare:
    """A process that waits for its first message. `handle` is None until the launcher has made it."""

    number: int
    path: str  # of the supervisor
    channel: Channel
    output: Output
    slot: tuple[int, int] | None
    template: ChildSpec
    handle: Handle | None = None


class Spares:
    """Every spare of one root, by number."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.spares: dict[int, Spare] = {}
        self._wanted = _with_spares(root.tree)
        self._timer: int | None = None

    def take(self, action: Start) -> Spare | None:
        """A spare that can become this child, now the caller's; None when there is none."""
        spec = self._wanted.get(action.supervisor)
        if spec is None:
            return None
        for spare in self.spares.values():
            if spare.path == action.supervisor and spare.handle is not None and _fits(spare.template, action.spec):
                del self.spares[spare.number]
                self.root.selector.unregister(spare.handle)
                self.refill(REFILL_AFTER)
                return spare
        return None

    def refill(self, delay: float = 0.0) -> None:
        """Bring the number of spares up to what the tree file says, after `delay` seconds."""
        if self._wanted and self._timer is None:
            self._timer = self.root.timers.add(time.monotonic() + delay, self._fill)

    def revised(self) -> None:
        """The tree is another one: spares that nobody could become any more go, others are made."""
        self._wanted = _with_spares(self.root.tree)
        kept: dict[str, int] = {}
        for spare in list(self.spares.values()):
            spec = self._wanted.get(spare.path)
            kept[spare.path] = kept.get(spare.path, 0) + 1
            fits = spec is not None and spec.template is not None and _fits(spare.template, spec.template)
            if spec is None or not fits or kept[spare.path] > spec.spares:
                kept[spare.path] -= 1
                del self.spares[spare.number]
                self._close(spare)
        self.refill()

    def forked(self, number: int, handle: Handle) -> bool:
        """The launcher made a child; True when it is one of ours."""
        spare = self.spares.get(number)
        if spare is None:
            return False
        spare.handle = handle
        self.root.selector.register(handle, selectors.EVENT_READ, lambda _: self.ended(number))
        return True

    def ended(self, number: int, reason: str = "") -> None:
        """A spare is gone, or could not be made; another one is made, but not at once."""
        spare = self.spares.pop(number, None)
        if spare is not None:
            lines = spare.output.drain()
            logger.warning("a spare of %s ended: %s", spare.path, reason or " ".join(lines[-1:]) or "no reason given")
            self._close(spare)
            self.refill(REFILL_AGAIN)

    def drop(self) -> None:
        """Give all of them up: the launcher is lost, or the tree has ended."""
        for spare in list(self.spares.values()):
            del self.spares[spare.number]
            self._close(spare)

    def _fill(self) -> None:
        self._timer = None
        launcher = self.root.launching.launcher
        if launcher is None or not launcher.serving:
            return
        for path, spec in self._wanted.items():
            present = sum(spare.path == path for spare in self.spares.values())
            for _ in range(spec.spares - present):
                assert spec.template is not None
                self._make(path, spec.template)

    def _make(self, path: str, template: ChildSpec) -> None:
        launcher = self.root.launching.launcher
        assert launcher is not None
        try:
            ends = Ends(awaited=len(self.spares))
        except NoDescriptors as error:
            logger.warning("no spare for %s: %s", path, error)
            return
        number = self.root.children.next_number()
        slot = self.root.sampler.take_slot() if template.heartbeat is not None else None
        self.spares[number] = Spare(number, path, ends.channel, ends.output, slot, template)
        with ends:
            to = (ends.theirs, ends.write)
            launcher.start(Order(number, template.start, template.confine, template.rlimits, *to, slot))
        self.root.launching.write_interest()

    def _close(self, spare: Spare) -> None:
        spare.channel.close()  # a waiting spare ends when its channel does
        spare.output.close()
        if spare.slot is not None:
            self.root.sampler.give_slot(spare.slot[1])
        if spare.handle is not None:
            if spare.handle.fileno() in self.root.selector.get_map():
                self.root.selector.unregister(spare.handle)
            spare.handle.signal(signal.SIGKILL)
            spare.handle.close()
            spare.handle = None


def _with_spares(tree: Tree) -> dict[str, SupervisorSpec]:
    return {path: spec for path, spec in tree.supervisors() if spec.spares and spec.template}


def _fits(one: ChildSpec, other: ChildSpec) -> bool:
    """Could a process that was forked for one become the other? All else it is told later."""
    beats = (one.heartbeat is None) == (other.heartbeat is None)
    return beats and (one.start, one.confine, one.rlimits) == (other.start, other.confine, other.rlimits)
