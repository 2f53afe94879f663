"""Who watches which processes, and what is told of them: up, down with the best reason, the end of a snapshot. Pure.

A connection that ends is known before its reason is: the news is held for a moment. After a restart of the bus a
snapshot is complete when every process that was known is back or given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ipc import wire
from ipc.delivery import Delivery
from ipc.limits import Limits
from ipc.rights import Pattern
from ipc.sessions import Session, Watch


class Watches:
    """Monitors of all sessions. Times are monotonic seconds. `awaited`: names that are to come back."""

    def __init__(
        self, delivery: Delivery, names: Mapping[str, Session], awaited: Iterable[str], limits: Limits, now: float
    ) -> None:
        self._delivery = delivery
        self._names = names
        self._limits = limits
        self._all: dict[Watch, None] = {}  # in the order in which they began
        self._waiting: dict[Watch, None] = {}  # whose snapshot is not complete
        self._held: dict[str, tuple[float, int, str, bool]] = {}
        self._awaited = set(awaited)
        self._settled_at = now + limits.settle

    def add(self, session: Session, monitor: wire.Monitor, _payload: object, now: float) -> None:
        """Begin a monitor: tell who is up, then the end of the snapshot."""
        if not self._delivery.admit(session, now):
            text = f"{session.name} sends too many messages"
            self._delivery.send(session, wire.Failed(monitor.id, "overloaded", monitor.pattern, text))
            return
        if not session.rights.may_monitor(monitor.pattern):
            text = f"{session.name} may not monitor {monitor.pattern!r}: `allow` does not name it"
            self._delivery.send(session, wire.Failed(monitor.id, "forbidden", monitor.pattern, text))
            return
        if len(session.watches) >= self._limits.subscriptions:
            text = f"{session.name} has {len(session.watches)} monitors"
            self._delivery.send(session, wire.Failed(monitor.id, "overloaded", monitor.pattern, text))
            return
        if monitor.id in session.watches:
            return  # it is being told already
        watch = session.watches[monitor.id] = Watch(session, monitor.id, Pattern(monitor.pattern))
        self._all[watch] = self._waiting[watch] = None
        for name, other in self._names.items():
            if other.announced and watch.pattern.matches(name):
                self._delivery.send(session, wire.Changed(watch.id, name, other.incarnation, True, "", False))
        self._settle(now, [watch])

    def remove(self, session: Session, message: wire.Unmonitor, _payload: object, _now: float) -> None:
        """End a monitor."""
        watch = session.watches.pop(message.id, None)
        if watch is not None:
            del self._all[watch]
            self._waiting.pop(watch, None)

    def up(self, session: Session, now: float) -> None:
        """A session can serve from now on."""
        if session.announced:
            return
        self._tell_held(session.name)
        session.announced = True
        self._tell(session.name, session.incarnation, True, "", False)
        self._back(session.name, now)

    def ended(self, session: Session, reason: str, planned: bool, told: bool, now: float) -> None:
        """A session is over. `told`: the reason is final; otherwise the news waits a moment for a better one."""
        for watch in session.watches.values():
            del self._all[watch]
            self._waiting.pop(watch, None)
        session.watches.clear()
        if session.announced:
            self._held[session.name] = (now + self._limits.hold, session.incarnation, reason, planned)
            if told:
                self._tell_held(session.name)

    def down(self, name: str, incarnation: int, reason: str, planned: bool, now: float) -> None:
        """The supervisor says that a process is dead, and why."""
        held = self._held.get(name)
        if held is not None and held[1] == incarnation:
            self._held[name] = (now, incarnation, reason or held[2], planned)
            self._tell_held(name)
        self._back(name, now)

    def _tell(self, name: str, incarnation: int, up: bool, reason: str, planned: bool) -> None:
        for watch in self._all:
            if watch.pattern.matches(name):
                self._delivery.send(watch.session, wire.Changed(watch.id, name, incarnation, up, reason, planned))

    def _tell_held(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            self._tell(name, held[1], False, held[2], held[3])

    def _back(self, name: str, now: float) -> None:
        """A process is back, or will not come back."""
        if name in self._awaited:
            self._awaited.discard(name)
            self._settle(now, [watch for watch in self._waiting if watch.pattern.matches(name)])

    def _settle(self, now: float, watches: Iterable[Watch]) -> None:
        """Say that snapshots are complete, once every process that was known at the start is back or given up."""
        if self._awaited and now >= self._settled_at:
            self._awaited.clear()
            watches = list(self._waiting)
        for watch in watches:
            if not any(watch.pattern.matches(name) for name in self._awaited):
                self._waiting.pop(watch, None)
                self._delivery.send(watch.session, wire.Snapshot(watch.id))

    def due(self) -> list[float]:
        """When `tick` has something to do."""
        times = [held[0] for held in self._held.values()]
        return [*times, self._settled_at] if self._awaited else times

    def tick(self, now: float) -> None:
        """Tell what was held long enough."""
        for name, held in list(self._held.items()):
            if now >= held[0]:
                self._tell_held(name)
        if self._awaited and now >= self._settled_at:
            self._settle(now, ())
