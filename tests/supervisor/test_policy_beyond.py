"""What goes past OTP: parking, planned exits, backoff, start timeouts, optional children, kills, a lost launcher."""

from __future__ import annotations

import pytest

from supervisor.policy import (
    EXIT_GAVE_UP,
    EXIT_START,
    EXIT_STOPPED,
    Boot,
    Exited,
    LauncherLost,
    Ready,
    Start,
    Stop,
    StopTree,
    Timer,
    decide,
    view,
)
from supervisor.spec import Backoff, Park, SupervisorSpec
from tests.supervisor.policy_shell import Shell, pool, tree, worker

PARKING = pool(park=Park(intensity=2, period=60), intensity=0)


def parked() -> Shell:
    """`demo/pool/x` has been parked, `demo/pool/y` runs."""
    shell = Shell(tree("one_for_one", PARKING))
    for id in ("x", "y"):
        shell.call("start_child", "pool", id)
    for _ in range(3):
        shell.exit("demo/pool/x")
    return shell


# ---- parking -----------------------------------------------------------------------------------------------------


def test_parked_alone() -> None:
    """A dynamic child past its own budget is parked with its reason; siblings and supervisor do not notice."""
    shell = parked()
    assert shell.children("demo/pool") == {"x": "parked", "y": "running"}
    assert "more than 2 restarts in 60 s; last: told" in shell.notes("demo/pool/x")[-1]
    assert shell.state.supervisors["demo/pool"].restarts == ()


def test_parked_after_failing_starts() -> None:
    """Restarts that fail to start count against the child's own budget too."""
    shell = Shell(tree("one_for_one", PARKING))
    shell.call("start_child", "pool", "x")
    shell.failing["demo/pool/x"] = 9
    assert shell.exit("demo/pool/x") == ["fail demo/pool/x"] * 2
    assert shell.children("demo/pool") == {"x": "parked"}


def test_unpark() -> None:
    """An unparked child is started with a fresh budget."""
    shell = parked()
    assert shell.call("unpark", "pool", "x").code == "ok"
    assert shell.exit("demo/pool/x") == ["start demo/pool/x"]
    assert shell.call("unpark", "pool", "x").code == "running"
    assert shell.call("unpark", "pool", "nobody").code == "not_found"


def test_unpark_fails() -> None:
    """A child that does not start when it is unparked stays parked, and the answer says why."""
    shell = parked()
    shell.failing["demo/pool/x"] = 1
    reply = shell.call("unpark", "pool", "x")
    assert reply is not None and (reply.code, reply.detail) == ("error", "told to fail")
    assert shell.children("demo/pool")["x"] == "parked"


def test_park_on_request() -> None:
    """A running child can be parked; it is stopped and kept. A parked child is forgotten by terminate_child."""
    shell = parked()
    assert shell.call("park", "pool", "y").code == "ok"
    assert shell.done == ["stop demo/pool/y"]
    assert shell.children("demo/pool") == {"x": "parked", "y": "parked"}
    assert shell.call("start_child", "pool", "y").code == "already_present"
    assert shell.call("terminate_child", "pool", "y").code == "ok"
    assert shell.children("demo/pool") == {"x": "parked"}
    assert shell.call("park", "demo", "pool").code == "error"


def test_unpark_of_another_state() -> None:
    """Only a parked child is unparked; a static one that is terminated wants restart_child."""
    shell = Shell(tree("one_for_one", worker("a")))
    shell.call("terminate_child", "demo", "a")
    reply = shell.call("unpark", "demo", "a")
    assert reply is not None and reply.code == "error" and "restart_child" in reply.detail


# ---- planned exits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_planned_exits(restart: str) -> None:
    """Planned exits restart at once and are not counted, but the fourth in 60 s is a crash."""
    shell = Shell(tree("one_for_one", worker("a", restart=restart), intensity=0))
    for _ in range(3):
        assert shell.exit("demo/a", reason="normal", planned=True) == ["start demo/a"]
    assert shell.exit("demo/a", reason="normal", planned=True) == [f"exit {EXIT_GAVE_UP}"]


def test_planned_exits_slowly() -> None:
    """Planned exits that are spread over time are never counted."""
    shell = Shell(tree("one_for_one", worker("a"), intensity=0))
    for _ in range(20):
        shell.now += 21
        assert shell.exit("demo/a", planned=True) == ["start demo/a"]


def test_planned_exit_of_a_temporary() -> None:
    """A temporary child is not restarted, planned or not."""
    shell = Shell(tree("one_for_one", worker("a", restart="temporary")))
    assert shell.exit("demo/a", planned=True) == []
    assert shell.children() == {}


# ---- backoff and start timeout -------------------------------------------------------------------------------------


def test_backoff_grows_and_resets() -> None:
    """Crashes in a row wait 1, 2, 4 … seconds, at most `max`; a life as long as `max` ends the row."""
    slow = worker("a", backoff=Backoff(initial=1, factor=2, max=5))
    shell = Shell(tree("one_for_one", slow, intensity=100))
    for seconds in (1, 2, 4, 5, 5):
        assert shell.exit("demo/a") == []
        assert shell.children() == {"a": "restarting"}
        assert shell.pass_time(seconds - 0.1) == []
        assert shell.pass_time(0.1) == ["start demo/a"]
    shell.now += 5
    shell.exit("demo/a")
    assert shell.pass_time(1) == ["start demo/a"]


def test_backoff_counts_each_attempt_once() -> None:
    """A crash is counted when it happens, a failed start when it is tried again; the wait adds nothing."""
    shell = Shell(tree("one_for_one", worker("a", backoff=Backoff(initial=1, factor=1)), intensity=3, period=100))
    shell.failing["demo/a"] = 2
    shell.exit("demo/a")
    assert shell.pass_time(5) == ["fail demo/a", "fail demo/a", "start demo/a"]
    assert len(shell.state.supervisors["demo"].restarts) == 3


def test_backoff_of_a_group() -> None:
    """A group is stopped at once, and started together after the wait; calls are answered meanwhile."""
    shell = Shell(tree("one_for_all", worker("a", backoff=Backoff(initial=2)), worker("b")))
    assert shell.exit("demo/a") == ["stop demo/b"]
    assert shell.call("which_children").value == [["b", "terminated"], ["a", "restarting"]]
    assert shell.pass_time(2) == ["start demo/a", "start demo/b"]


def test_terminate_ends_the_wait() -> None:
    """A child terminated while it waits for its restart is not started when the time comes."""
    shell = Shell(tree("one_for_one", worker("a", backoff=Backoff(initial=1))))
    shell.exit("demo/a")
    assert shell.call("terminate_child", id="a").code == "ok"
    assert shell.timers == {}
    assert shell.pass_time(5) == []


def test_start_timeout() -> None:
    """A child that is not ready in time is killed, and that is a failed start."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b", start_timeout=3)), slow=("demo/b",))
    assert shell.pass_time(2.9) == []
    assert shell.pass_time(0.1) == ["kill demo/b", "stop demo/a", f"exit {EXIT_START}"]
    assert "not ready within 3 s" in shell.state.reason


def test_ready_too_late() -> None:
    """A READY that comes after its time is over does not save the start; the killed child has failed to start."""
    shell = Shell(tree("one_for_one", worker("a", start_timeout=1)), slow=("demo/a",))
    life = shell.starting["demo/a"]
    (timer,) = shell.timers
    shell.state, actions = decide(shell.state, Timer(timer), 1.0)
    assert [type(action) for action in actions] == [Stop]
    assert shell.send(Ready("demo/a", life)) == []
    assert shell.send(Exited("demo/a", life, "crash")) == [f"exit {EXIT_START}"]


def test_ready_disarms_the_timeout() -> None:
    """A timer that comes after READY, or for an earlier life, changes nothing."""
    shell = Shell(tree("one_for_one", worker("a")), slow=("demo/a",))
    (timer,) = shell.timers
    shell.ready("demo/a")
    assert shell.timers == {}
    before = shell.state
    shell.send(Timer(timer))
    assert shell.state == before


# ---- optional children ---------------------------------------------------------------------------------------------


def test_optional_at_boot() -> None:
    """An optional child that does not start is reported and left out; the others start."""
    shell = Shell(tree("one_for_one", worker("a", optional=True), worker("b")), boot=False)
    shell.failing["demo/a"] = 1
    assert shell.send(Boot()) == ["fail demo/a", "start demo/b"]
    assert shell.children() == {"a": "terminated", "b": "running"}
    assert shell.call("restart_child", id="a").code == "ok"


def test_optional_temporary() -> None:
    """An optional temporary child that does not start is forgotten: nothing would ever start it."""
    shell = Shell(tree("one_for_one", worker("a", optional=True, restart="temporary"), worker("b")), boot=False)
    shell.failing["demo/a"] = 1
    shell.send(Boot())
    assert shell.children() == {"b": "running"}


def test_optional_supervisor_at_boot() -> None:
    """An optional supervisor whose boot fails is left out as a whole."""
    edge = SupervisorSpec("edge", children=(worker("web"), worker("irc")), optional=True)
    shell = Shell(tree("one_for_one", edge, worker("b")), boot=False)
    shell.failing["demo/edge/irc"] = 1
    assert shell.send(Boot()) == ["start demo/edge/web", "fail demo/edge/irc", "stop demo/edge/web", "start demo/b"]


def test_optional_in_a_restart() -> None:
    """An optional child that crashes and then does not start is left out instead of being tried to death."""
    shell = Shell(tree("one_for_one", worker("a", optional=True), worker("b")))
    shell.failing["demo/a"] = 1
    assert shell.exit("demo/a") == ["fail demo/a"]
    assert shell.children() == {"a": "terminated", "b": "running"}


# ---- dynamic supervisors do not block ------------------------------------------------------------------------------


def test_dynamic_starts_in_parallel() -> None:
    """Children of a dynamic supervisor start side by side; calls on one wait only for itself."""
    shell = Shell(tree("one_for_one", pool()), slow=("demo/pool/x", "demo/pool/y"))
    assert shell.ask("start_child", "pool", "x") is None
    assert shell.ask("start_child", "pool", "y") is None
    assert shell.ask("terminate_child", "pool", "x") is None
    which = shell.call("which_children", "pool")
    assert which is not None and which.value == [["y", "starting"], ["x", "starting"]]
    shell.ready("demo/pool/y")
    assert shell.answer(2) is not None and shell.answer(1) is None
    assert shell.ready("demo/pool/x") == ["stop demo/pool/x"]
    assert [shell.answered(number).code for number in (1, 3)] == ["ok", "ok"]


def test_dynamic_stop_in_parallel() -> None:
    """A dynamic supervisor that ends stops all its children at the same time, starting ones too."""
    shell = Shell(tree("one_for_one", pool()), slow=("demo/pool/z",))
    for id in ("x", "y", "z"):
        shell.ask("start_child", "pool", id)
    shell.stubborn = {"demo/pool/x", "demo/pool/y"}
    done = shell.send(StopTree())
    assert sorted(done) == ["stop demo/pool/x", "stop demo/pool/y", "stop demo/pool/z"]
    reply = shell.answered(3)
    assert reply is not None and reply.unserved
    shell.stopped("demo/pool/y")
    assert shell.stopped("demo/pool/x") == [f"exit {EXIT_STOPPED}"]


def test_ids_with_slashes() -> None:
    """Ids of dynamic children may contain `/`; reports still find their way."""
    shell = Shell(tree("one_for_one", pool()))
    shell.call("start_child", "pool", "people/bob")
    assert shell.exit("demo/pool/people/bob") == ["start demo/pool/people/bob"]
    names = [action.name for action in shell.seen if isinstance(action, Start)]
    assert names == ["pool/people/bob"] * 2


# ---- stopping in a hurry -------------------------------------------------------------------------------------------


def test_stop_during_boot() -> None:
    """A stop does not wait for a start under way: that child is stopped, then those before it."""
    inner = SupervisorSpec("s", children=(worker("x"), worker("y")))
    shell = Shell(tree("one_for_one", worker("a"), inner, worker("z")), slow=("demo/s/y",))
    assert shell.send(StopTree()) == ["stop demo/s/y", "stop demo/s/x", "stop demo/a", f"exit {EXIT_STOPPED}"]


def test_stop_frees_a_supervisor_held_up_by_a_start() -> None:
    """A nested supervisor that was told to end but waits for a start ends when the tree is stopped."""
    inner = SupervisorSpec("s", children=(worker("x"),))
    shell = Shell(tree("one_for_all", worker("a"), inner, intensity=5))
    shell.slow = {"demo/s/x"}
    shell.exit("demo/s/x")
    assert shell.exit("demo/a") == []  # s has to be stopped first, and is busy
    assert shell.send(StopTree()) == ["stop demo/s/x", f"exit {EXIT_STOPPED}"]


def test_stop_at_once() -> None:
    """The second signal kills everything that is left, in the middle of a graceful stop."""
    inner = SupervisorSpec("s", children=(worker("x"), worker("y")))
    shell = Shell(tree("one_for_one", worker("a"), inner))
    shell.stubborn = {"demo/s/y"}
    assert shell.send(StopTree()) == ["stop demo/s/y"]
    done = shell.send(StopTree(now=True))
    assert sorted(done[:-1]) == ["kill demo/a", "kill demo/s/x", "kill demo/s/y"]
    assert done[-1] == f"exit {EXIT_STOPPED}"


def test_stop_before_boot_and_after_the_end() -> None:
    """A stop before the start leaves at once; after the end nothing happens any more."""
    shell = Shell(tree("one_for_one", worker("a")), boot=False)
    assert shell.send(StopTree()) == [f"exit {EXIT_STOPPED}"]
    assert shell.send(Boot(), StopTree(), LauncherLost()) == []
    assert shell.call("which_children").code == "error"


@pytest.mark.parametrize(("shutdown", "wait"), [(3.0, 3), ("brutal_kill", 0)])
def test_shutdown_of_a_supervisor(shutdown: float | str, wait: int) -> None:
    """A nested supervisor with a deadline has everything below it killed when it is over."""
    inner = SupervisorSpec("s", children=(worker("x"), worker("y")), shutdown=shutdown)
    shell = Shell(tree("one_for_one", inner))
    shell.stubborn = {"demo/s/x", "demo/s/y"}
    shell.ask("terminate_child", id="s")
    if wait:
        assert shell.done == ["stop demo/s/y"]
        shell.done = shell.pass_time(wait)
    assert sorted(shell.done) == ["kill demo/s/x", "kill demo/s/y"]
    assert shell.answered(1).code == "ok"


# ---- a lost launcher -----------------------------------------------------------------------------------------------


def lose(shell: Shell) -> list[str]:
    """The launcher dies, and every process with it."""
    shell.send(LauncherLost("zygote died"))
    done: list[str] = []
    for processes in (shell.alive, shell.starting, shell.stopping):
        for path, life in dict(processes).items():
            del processes[path]
            done += shell.send(Exited(path, life, "crash"))
    return done


def test_launcher_lost() -> None:
    """After the last process of a lost launcher everything is started again in order, as one counted restart."""
    inner = SupervisorSpec("s", children=(worker("x"),))
    shell = Shell(tree("one_for_one", worker("a"), inner, worker("t", restart="temporary"), pool(), intensity=1))
    shell.call("start_child", "pool", "p")
    assert lose(shell) == ["start demo/a", "start demo/s/x"]
    assert shell.children() == {"a": "running", "s": "running", "pool": "running"}
    assert shell.children("demo/pool") == {}
    assert lose(shell) == [f"exit {EXIT_GAVE_UP}"]


def test_launcher_lost_and_a_start_that_fails() -> None:
    """A child that does not come back at once after a lost launcher does not keep those after it from starting."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b"), worker("c"), intensity=3))
    shell.failing["demo/a"] = 1
    assert lose(shell) == ["fail demo/a", "start demo/b", "start demo/c", "start demo/a"]
    assert shell.children() == {"a": "running", "b": "running", "c": "running"}


def test_launcher_lost_during_boot() -> None:
    """A launcher lost in the middle of the boot makes the boot begin again."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b"), intensity=1), slow=("demo/b",))
    assert lose(shell) == ["start demo/a", "start demo/b"]
    shell.ready("demo/b")
    assert shell.children() == {"a": "running", "b": "running"}


def test_launcher_lost_answers_open_calls() -> None:
    """Calls under way when the launcher dies are answered."""
    shell = Shell(tree("one_for_one", pool(), worker("a")), slow=("demo/pool/x",))
    assert shell.ask("start_child", "pool", "x") is None
    lose(shell)
    reply = shell.answered(1)
    assert reply is not None and reply.unserved


def test_launcher_lost_while_giving_up() -> None:
    """A root supervisor that was giving up when the launcher died gives up."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b"), intensity=0))
    shell.stubborn = {"demo/b"}
    assert shell.exit("demo/a") == ["stop demo/b"]
    assert lose(shell) == [f"exit {EXIT_GAVE_UP}"]


def test_launcher_lost_and_timers() -> None:
    """A timer that comes between the launcher's death and the last report changes nothing."""
    shell = Shell(tree("one_for_one", worker("a", backoff=Backoff(initial=1)), worker("b"), intensity=2))
    shell.exit("demo/a")
    shell.send(LauncherLost())
    assert shell.pass_time(2) == []
    assert shell.exit("demo/b") == ["start demo/a", "start demo/b"]


def test_launcher_lost_while_stopping() -> None:
    """A tree that is being stopped does not come back because its launcher dies, nor the other way round."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b")))
    shell.stubborn = {"demo/b"}
    shell.send(StopTree())
    assert lose(shell)[-1] == f"exit {EXIT_STOPPED}"
    shell = Shell(tree("one_for_one", worker("a"), worker("b")))
    shell.send(LauncherLost())
    assert shell.send(StopTree()) == []
    assert lose(shell) == [f"exit {EXIT_STOPPED}"]


# ---- what is shown -------------------------------------------------------------------------------------------------


def test_view() -> None:
    """The view shows every node, restarts over the life of the tree, and why a child is where it is."""
    shell = parked()
    top = view(shell.state)
    (supervisor,) = top.children
    assert supervisor.kind == "supervisor" and supervisor.state == "running"
    x, y = supervisor.children
    assert (x.name, x.state, x.restarts) == ("pool/x", "parked", 2)
    assert "more than 2 restarts" in x.reason and y.state == "running"


def test_view_of_what_is_not_there_yet() -> None:
    """Before and during the boot, children that have not had their turn are waiting; after the end, terminated."""
    inner = SupervisorSpec("s", children=(worker("x"),))
    shell = Shell(tree("one_for_one", worker("a"), inner), boot=False)
    assert view(shell.state).state == "waiting"
    shell.slow = {"demo/a"}
    shell.send(Boot())
    top = view(shell.state)
    assert (top.state, [child.state for child in top.children]) == ("starting", ["starting", "waiting"])
    shell.send(StopTree())
    top = view(shell.state)
    assert (top.state, [child.state for child in top.children]) == ("terminated", ["terminated", "terminated"])


def test_late_reports_are_ignored() -> None:
    """A report about an earlier life, an unknown child or an ended supervisor changes nothing."""
    shell = Shell(tree("one_for_one", worker("a")))
    first = shell.alive["demo/a"]
    shell.exit("demo/a")
    before = shell.state
    shell.send(Exited("demo/a", first, "crash"), Ready("demo/b", 1), Ready("other/x/y", 1), Ready("demo", 1))
    assert shell.state == before


def test_nothing_starts_after_stop() -> None:
    """A supervisor in the middle of a group restart does not go on with it while the tree is being stopped."""
    first = SupervisorSpec("s", "one_for_all", children=(worker("x"), worker("y")))
    second = SupervisorSpec("t", children=(worker("z"),))
    shell = Shell(tree("one_for_one", first, second))
    shell.stubborn = {"demo/s/y", "demo/t/z"}
    assert shell.exit("demo/s/x") == ["stop demo/s/y"]
    assert shell.send(StopTree()) == ["stop demo/t/z"]
    assert shell.stopped("demo/s/y") == []
    assert shell.stopped("demo/t/z") == [f"exit {EXIT_STOPPED}"]
