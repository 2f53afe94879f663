"""What the coordinator decides about turns whose agent is away, dead, parked, leaving or halted, and when it looks again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from egghead.config import Config
from egghead.processes.coordinator import WorldView, policy_of, read_card
from egghead.rooms.activation import Card, Policy
from egghead.rooms.decide import Absent, Decision, Parked, Presence, Present, World, decide
from egghead.rooms.fold import fold
from egghead.rooms.relevance import Corpus
from egghead.rooms.state import RoomState, empty

ADA = {"by": "clients/ada-1", "at": ""}


class Room:
    """A room with one agent, driven by hand."""

    def __init__(self, presence: Presence | None = None, joined: bool = True) -> None:
        self.state: RoomState = empty("lab")
        self.world = World(presence={} if presence is None else {"scout": presence})
        if joined:
            self.put(kind="joined", agent="scout", title="Scout", by="roster")

    def put(self, **entry: Any) -> None:
        """Append."""
        seq = self.state.last + 1
        self.state = fold(self.state, {"seq": seq, "id": f"e{seq}", **ADA, **entry})

    def say(self, text: str = "@scout?") -> None:
        """A message of Ada's."""
        self.put(kind="message", author="ada", text=text)

    def be(self, presence: Presence) -> None:
        """The agent is now so."""
        self.world = replace(self.world, presence={"scout": presence})

    def act(self, now: float = 0.0) -> Decision:
        """Decide and append."""
        decision = decide(self.state, self.world, now)
        for entry in decision.entries:
            self.put(**{**entry, "by": "coordinator"})
        return decision


def kinds(decision: Decision) -> list[str]:
    """What was appended, with outcomes and attempts."""
    return [
        entry["kind"] + (":" + str(entry.get("outcome") or entry.get("attempt")) if "turn" in entry else "")
        for entry in decision.entries
    ]


START = ["round_planned", "turn_started:1"]


def started(presence: Presence = Present(5)) -> Room:  # noqa: B008 (frozen)
    """A room in which scout's turn has begun."""
    room = Room(presence)
    room.say()
    assert kinds(room.act()) == START
    return room


def test_a_turn_waits_for_its_living_agent() -> None:
    """While the agent lives nothing is appended and no time is set."""
    assert started().act(1e9) == Decision()


def test_an_older_life_is_old_news() -> None:
    """Presence that is older than the turn's incarnation changes nothing."""
    room = started()
    room.be(Present(4))
    assert room.act() == Decision()


def test_a_new_life_gets_the_turn_once_more_and_a_third_none() -> None:
    """Attempt 2 is for the new incarnation; when that dies too the turn fails at once."""
    room = started()
    room.be(Present(6))
    again = room.act()
    assert kinds(again) == ["turn_started:2"]
    assert again.entries[0]["incarnation"] == 6
    room.be(Absent(0.0))
    assert room.act() == Decision(wake_at=30.0)
    room.be(Present(6))
    assert room.act() == Decision()  # it was the bus that was away
    room.be(Present(7))
    end = room.act()
    assert kinds(end) == ["turn_ended:failed", "round_ended"]
    assert "twice" in end.entries[0]["reason"]


def test_a_dead_agent_is_waited_for_thirty_seconds() -> None:
    """The turn of an absent agent fails thirty seconds after it went, not before, and the coordinator asks to be woken."""
    room = started()
    room.be(Absent(100.0))
    assert room.act(100.0) == Decision(wake_at=130.0)
    assert room.act(129.9) == Decision(wake_at=130.0)
    assert kinds(room.act(130.0)) == ["turn_ended:failed", "round_ended"]


@pytest.mark.parametrize("presence", [Parked("out of memory"), Present(6), Absent(0.0), Present(5)])
def test_an_answered_turn_is_only_ended(presence: Presence) -> None:
    """Whatever became of the agent after its answer, the turn ends as it said and is never given again."""
    room = started()
    turn = next(iter(room.state.turns))
    room.put(kind="message", turn=turn, author="Scout", text="yes", usage={}, by="agents/scout")
    room.be(presence)
    assert kinds(room.act(1e9)) == ["turn_ended:spoke", "round_ended"]


def test_a_parked_or_removed_agent_fails_with_the_reason() -> None:
    """Parking and removing end the turn at once, and the reason is in the log."""
    room = started()
    room.be(Parked("out of memory"))
    assert "out of memory" in room.act().entries[0]["reason"]
    room = started()
    room.put(kind="left", agent="scout", title="Scout", by="roster")
    assert "no longer in the room" in room.act().entries[0]["reason"]


def test_a_turn_does_not_outlive_a_kick_by_an_invitation() -> None:
    """Kicked and invited back before anybody decided: the turn that was cut ends, because no answer to it will come."""
    room = started()
    room.put(kind="kicked", agent="scout", author="ada", by="clients/ada-1")
    room.put(kind="invited", agent="scout", author="ada", by="clients/ada-1")
    assert kinds(room.act()) == ["turn_ended:failed", "round_ended"]


def test_a_pending_turn_waits_for_an_agent_that_restarts() -> None:
    """Who is away for a moment gets its turn when it is back; who stays away fails without a process having taken it."""
    room = Room(Absent(10.0))
    room.say()
    assert kinds(room.act(11.0)) == ["round_planned"]
    assert room.act(12.0).wake_at == 40.0
    room.be(Present(7))
    assert room.act(12.0).entries[0]["incarnation"] == 7
    room = Room(Absent(10.0))
    room.say()
    late = room.act(40.0)
    assert kinds(late) == ["round_planned", "turn_started:1", "turn_ended:failed", "round_ended"]
    assert late.entries[1]["incarnation"] == 0


def test_a_halt_gives_the_agent_a_moment_to_say_what_it_has() -> None:
    """After a halt the turn ends with the agent's cut message, or after the grace, or at once when the agent is gone."""
    room = started()
    room.put(kind="halted")
    room.world = replace(room.world, seen={room.state.last: 50.0})
    assert room.act(50.0).wake_at == 53.0
    assert kinds(room.act(53.0)) == ["turn_ended:halted", "round_ended"]
    room = started()
    room.put(kind="halted")
    room.be(Absent(0.0))
    assert kinds(room.act()) == ["turn_ended:halted", "round_ended"]
    room = started()
    room.put(kind="halted")
    turn = next(iter(room.state.turns))
    room.put(kind="message", turn=turn, author="Scout", text="so f", usage={}, cut=True, by="agents/scout")
    assert kinds(room.act()) == ["turn_ended:halted", "round_ended"]
    room = started()
    room.put(kind="halted")
    turn = next(iter(room.state.turns))
    room.put(kind="action", action="failed", turn=turn, text="stopped", by="agents/scout")
    assert kinds(room.act()) == ["turn_ended:halted", "round_ended"]


def test_a_life_that_hands_off_gets_no_new_turn() -> None:
    """After a handoff the turn waits for the next life; only when the old one stays for thirty seconds it gets it."""
    room = Room(Present(5))
    room.put(kind="handoff", record="deliberations/scout/lab/1", incarnation=5, by="agents/scout")
    room.world = replace(room.world, seen={room.state.last: 20.0})
    room.say()
    assert kinds(room.act(20.0)) == ["round_planned"]
    assert room.act(21.0).wake_at == 50.0
    room.be(Present(6))
    back, given = room.act(21.0).entries
    assert back["kind"] == "handoff_ended" and back["outcome"] == "back" and given["incarnation"] == 6


def test_a_room_that_was_just_opened_waits_for_its_agents() -> None:
    """A first message that is faster than the roster waits half a minute for somebody to join: the roster may be starting, or
    hang. Three seconds when every agent comes by invitation alone."""
    room = Room(Present(5), joined=False)
    room.say("hello")
    room.world = replace(room.world, seen={room.state.last: 7.0})
    assert room.act(7.0) == Decision(wake_at=37.0)
    room.put(kind="joined", agent="scout", title="Scout", by="roster")
    assert kinds(room.act(28.0)) == START
    room = Room(Present(5), joined=False)
    room.say("hello")
    assert kinds(room.act(30.0)) == ["round_planned", "round_ended"]
    for cards, until in (({"scout": False, "judge": True}, 37.0), ({"judge": True}, 10.0)):
        room = Room(Present(5), joined=False)
        room.say("hello")
        known = {agent: Card(agent, agent, idle=idle) for agent, idle in cards.items()}
        room.world = replace(room.world, seen={room.state.last: 7.0}, cards=known)
        assert room.act(7.0) == Decision(wake_at=until)


def test_who_is_parked_is_said_with_the_reason() -> None:
    """When nobody is left to answer because a person has parked them, the round says who and why."""
    room = Room(Present(5))
    room.put(kind="parked", agent="scout", title="Scout", text="too loud", by="roster")
    room.be(Parked("too loud"))
    room.say("hello")
    assert room.act(0.0).entries[0]["reason"] == "nobody is free to answer (not running: scout (parked: too loud))"


def test_the_agent_of_a_direct_room_is_there_from_the_start() -> None:
    """A message in dm/scout is for scout also before the roster has said so."""
    state = fold(empty("dm/scout"), {"seq": 1, "id": "m", "kind": "message", "author": "ada", "text": "hi", **ADA})
    decision = decide(state, World(presence={"scout": Present(5)}), 0.0)
    assert decision.entries[0]["order"] == ["scout"]


def test_a_jam_is_not_held_up_by_one_who_is_away() -> None:
    """In a jam those who are there start at once; who comes back in time starts then."""
    room = Room(Present(5))
    room.put(kind="joined", agent="bob", title="Bob", by="roster")
    room.world = World(presence={"scout": Present(5), "bob": Absent(0.0)})
    room.say("@jam go")
    decision = room.act(1.0)
    assert [entry["agent"] for entry in decision.entries if entry["kind"] == "turn_started"] == ["scout"]
    room.world = World(presence={"scout": Present(5), "bob": Present(6)})
    assert [entry["agent"] for entry in room.act(2.0).entries] == ["bob"]


def test_a_crowded_jam_is_appended_in_pieces() -> None:
    """A jam of a thousand starts in appends that the room accepts, one after the other, until all are started."""
    room = Room(Present(5))
    names = [f"a{n}" for n in range(400)]
    for name in names:
        room.put(kind="joined", agent=name, title=name, by="roster")
    room.put(kind="budget_set", budget=1000)
    room.world = World(presence={name: Present(1) for name in ("scout", *names)})
    room.say("@jam go")
    for _ in range(20):
        decision = room.act(1.0)
        assert len(decision.entries) <= 256
        if not decision.entries:
            break
    assert len(room.state.turns) == 401


def test_the_coordinators_view_tells_parked_absent_and_present_apart() -> None:
    """A process that is up is present whatever the card says; one that is down and parked is parked with its reason."""
    view = WorldView(Policy(), since=5.0)
    view.agent_changed("scout", 7, True, 6.0)
    view.cards_changed([{"id": "scout", "title": "Scout", "parked": "loops"}, {"id": "bob", "parked": True}, {"no": 1}])
    room = empty("lab")
    assert view.world().of(room, "scout") == Present(7)
    assert isinstance(view.world().of(room, "bob"), Parked)
    assert view.world().of(room, "nobody") == Absent(5.0)
    view.agent_changed("scout", 6, False, 8.0)
    assert view.world().of(room, "scout") == Present(7)
    view.agent_changed("scout", 7, False, 9.0)
    assert view.world().of(room, "scout") == Parked("loops")
    view.cards_changed([{"id": "scout", "title": "Scout"}])
    assert view.world().of(room, "scout") == Absent(9.0)


async def test_the_first_open_message_finds_the_agents_subjects_read() -> None:
    """Once no more cards come, what a thousand agents are about is read in small steps, and a question asked before that
    gets the same answer."""
    view = WorldView(Policy(), since=0.0)
    cards = [
        {"id": f"a{n:04}", "title": f"Agent {n}", "tags": [f"subject{n}"], "disposition": "trees"} for n in range(1000)
    ]
    names = [card["id"] for card in cards]
    view.cards_changed(cards)
    before = Corpus((card["id"], card["title"], tuple(card["tags"]), card["disposition"]) for card in cards).scores(
        "subject500 and trees", names
    )
    preparing = asyncio.create_task(view.prepare())
    try:
        async with asyncio.timeout(20):
            while "_beginnings" not in vars(view.world().corpus):
                await asyncio.sleep(0.01)
    finally:
        preparing.cancel()
    assert view.world().corpus.scores("subject500 and trees", names) == before
    assert max(before, key=lambda name: before[name]) == "a0500"


def test_configuration_and_cards_of_a_wrong_shape_fall_back() -> None:
    """Nonsense in the configuration or in a card never stops the coordinator."""
    assert policy_of({"open_speakers": "many", "budget": True}) == Policy()
    assert policy_of({"open_speakers": 5, "budget": 0}) == Policy(open_speakers=5, budget=0)
    assert policy_of(Config(budget=4).redacted()) == Policy(budget=4)
    assert read_card({"title": "x"}) is None
    card = read_card({"id": "a", "title": None, "tags": "x", "disposition": None})
    assert card is not None
    assert (card.title, card.tags) == ("a", ())


def test_who_has_just_joined_is_on_its_way() -> None:
    """A member whose coming up has not been told yet is waited for, however long the coordinator has been running."""
    room = Room()
    room.world = World(seen={room.state.last: 1000.0}, since=0.0, cards={"nib": Card("nib", "Nib")})
    room.say()
    assert kinds(room.act(1001.0)) == ["round_planned"]
    assert room.act(1001.0).wake_at == 1030.0


def test_an_agent_that_does_not_exist_fails_at_once() -> None:
    """A direct room with an agent that the roster does not have says so instead of waiting for it."""
    state = fold(empty("dm/nobody"), {"seq": 1, "id": "m", "kind": "message", "author": "ada", "text": "hi", **ADA})
    decision = decide(state, World(cards={"scout": Card("scout", "Scout")}), 0.0)
    assert [entry["kind"] for entry in decision.entries] == ["round_planned", "round_ended"]
    named = fold(empty("dm/nobody"), {"seq": 1, "id": "m", "kind": "message", "author": "a", "text": "@nobody", **ADA})
    decision = decide(named, World(cards={"scout": Card("scout", "Scout")}), 0.0)
    assert "no agent 'nobody'" in decision.entries[2]["reason"]
