"""Calls, streams and casts on their way through the bus: who asked whom, and who is told how it ended. Pure.

Law: a call is answered once, by the process it was given to, or failed, never both. Connections and their ends are
decided in `switch`, bytes are counted in `delivery`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from ipc import wire
from ipc.delivery import Delivery
from ipc.limits import Limits
from ipc.seldom import seldom
from ipc.sessions import Flight, Session

log = seldom("ipc.bus")

_FEW = 100  # calls in flight that a caller has for certain, whatever others do


class Flights:
    """Everything in flight between sessions. `names`: who is connected; `stats`: the bus's own figures; `present`: who
    is connected from the network."""

    def __init__(
        self,
        delivery: Delivery,
        names: Mapping[str, Session],
        epoch: int,
        limits: Limits,
        stats: Callable[[], dict[str, Any]],
        present: Callable[[float], list[dict[str, Any]]],
    ) -> None:
        self._delivery = delivery
        self._names = names
        self._limits = limits
        self._stats = stats
        self._present = present
        self._count = 0
        # Numbers of no other bus: a callee that answers late must not answer somebody else's request.
        self._numbers = itertools.count((epoch % 2**42 << 20) + 1)

    def call(self, session: Session, call: wire.Call | wire.Open, payload: Any, now: float) -> None:
        """Give a call to its target, or say why not."""
        refused = self._why_not(session, call, payload, now)
        if refused is not None:
            self._delivery.send(session, wire.Failed(call.id, refused[0], call.target, refused[1], sent=False))
            return
        if call.target == "bus":
            self._own(session, call, now)
            return
        target = self._names[call.target]
        flight = Flight(session, call.id, target, next(self._numbers), type(call) is wire.Open)
        session.calls[call.id] = target.serving[flight.number] = flight
        self._count += 1
        request = wire.Request(
            flight.number, session.name, session.incarnation, call.method, call.timeout_ms,
            *((call.credit, 1) if isinstance(call, wire.Open) else (None, call.attempt)),
        )  # fmt: skip
        self._delivery.send(target, request, payload)

    def _why_not(
        self, session: Session, call: wire.Call | wire.Open, payload: Any, now: float
    ) -> tuple[str, str] | None:
        """Code and text of a refusal; None when the call may go on."""
        target = call.target
        if not self._delivery.admit(session, now):
            return "overloaded", f"{session.name} sends too many messages"
        if not session.rights.may_call(target, call.method):
            return "forbidden", f"{session.name} may not call {target}.{call.method}: `allow` does not name it"
        if call.id in session.calls:
            return "forbidden", f"call id {call.id} is in flight already"
        if len(payload) > self._limits.frame:
            return "too_big", f"{len(payload)} bytes, the limit is {self._limits.frame}"
        if len(session.calls) >= self._limits.calls:
            return "overloaded", f"{session.name} has {len(session.calls)} calls in flight"
        if self._count >= self._limits.flights and len(session.calls) >= _FEW:
            return "overloaded", f"{self._count} calls are in flight, {len(session.calls)} of {session.name}"
        if target == "bus":
            return None
        peer = self._names.get(target)
        if peer is None or peer.doom is not None:
            return "peer_down", "not connected"
        if self._delivery.full(peer):
            return "overloaded", f"{target} does not read: {peer.waiting} bytes wait for it"
        return None

    def cast(self, session: Session, cast: wire.Cast, payload: Any, now: float) -> None:
        """Give a cast to its target, if it is there and reads."""
        if not self._delivery.admit(session, now):
            self._delivery.discarded += 1
            return
        if not session.rights.may_call(cast.target, cast.method) or len(payload) > self._limits.frame:
            log.warning("%s: cast to %s.%s refused", session.name, cast.target, cast.method)
            return
        peer = self._names.get(cast.target)
        if peer is None or self._delivery.full(peer):
            self._delivery.discarded += 1
            return
        self._delivery.send(peer, wire.Told(session.name, session.incarnation, cast.method), payload)

    def answer(self, session: Session, message: wire.Result | wire.Error | wire.End, payload: Any, _now: float) -> None:
        """Give an answer to who asked."""
        flight = session.serving.pop(message.id, None)
        if flight is None:
            self._delivery.discarded += 1  # nobody waits: cancelled, timed out, or the caller is gone
            return
        del flight.caller.calls[flight.id]
        self._count -= 1
        answer: wire.Result | wire.Error | wire.End
        if isinstance(message, wire.Error):
            answer = wire.Error(flight.id, message.type, message.message)
        else:
            answer = type(message)(flight.id)
        self._delivery.send(flight.caller, answer, payload)

    def chunk(self, session: Session, chunk: wire.Chunk, payload: Any, _now: float) -> None:
        """Give one item of a stream to its reader."""
        flight = session.serving.get(chunk.id)
        if flight is None or not flight.stream:
            self._delivery.discarded += 1
            return
        self._delivery.send(flight.caller, wire.Chunk(flight.id), payload)

    def chunks(self, session: Session, chunks: list[tuple[int, bytes]]) -> None:
        """Give items of several streams to their readers."""
        for number, payload in chunks:
            flight = session.serving.get(number)
            if flight is None or not flight.stream:
                self._delivery.discarded += 1
            else:
                self._delivery.send(flight.caller, wire.Chunk(flight.id), payload)

    def credit(self, session: Session, credit: wire.Credit, _payload: Any, _now: float) -> None:
        """The reader of a stream takes more."""
        flight = session.calls.get(credit.id)
        if flight is not None:
            self._delivery.send(flight.target, wire.Credit(flight.number, credit.amount))

    def cancel(self, session: Session, cancel: wire.Cancel, _payload: Any, _now: float) -> None:
        """A caller waits no longer."""
        flight = session.calls.pop(cancel.id, None)
        if flight is not None:
            del flight.target.serving[flight.number]
            self._count -= 1
            self._delivery.send(flight.target, wire.Cancel(flight.number))

    def ended(self, session: Session, reason: str) -> None:
        """A session is over: fail what it was asked, cancel what it asked."""
        own = sum(flight.caller is session for flight in session.serving.values())  # they stand in both
        self._count -= len(session.serving) + len(session.calls) - own
        for flight in session.serving.values():
            if flight.caller is not session:
                del flight.caller.calls[flight.id]
                self._delivery.send(flight.caller, wire.Failed(flight.id, "peer_down", session.name, reason))
        for flight in session.calls.values():
            if flight.target is not session:
                del flight.target.serving[flight.number]
                self._delivery.send(flight.target, wire.Cancel(flight.number))
        session.serving.clear()
        session.calls.clear()

    def __len__(self) -> int:
        return self._count

    def _own(self, session: Session, call: wire.Call | wire.Open, now: float) -> None:
        """The bus itself as a target."""
        if call.method == "ping":
            self._delivery.send(session, wire.Result(call.id), wire.pack(None))
        elif call.method == "stats":
            self._delivery.send(session, wire.Result(call.id), wire.pack(self._stats()))
        elif call.method == "guests":
            self._delivery.send(session, wire.Result(call.id), wire.pack(self._present(now)))
        else:
            text = f"the bus has no method {call.method!r}, only ping, stats and guests"
            self._delivery.send(session, wire.Error(call.id, "NoSuchMethod", text), wire.pack({}))
