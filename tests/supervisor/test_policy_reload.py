"""What a reload touches, case by case: each change of a spec, each strategy, each state that the tree may be in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from supervisor import policy
from supervisor.policy.changes import BIRTH, same
from supervisor.spec import AnySpec, Backoff, ChildSpec, Park, Profile, SupervisorSpec, Tree
from tests.supervisor.policy_shell import Shell, pool, tree, worker

NEW: dict[str, Any] = {  # another value for every key of a worker
    "start": "module:other",
    "args": {"v": 2},
    "restart": "transient",
    "shutdown": 9.0,
    "optional": True,
    "start_timeout": 9.0,
    "heartbeat": 9.0,
    "max_memory": 9 << 20,
    "backoff": Backoff(initial=1),
    "env": {"V": "2"},
    "rlimits": {"nofile": 99},
    "confine": Profile(),
    "control": ("demo",),
    "observe": True,
    "allow": {"call": "all"},
}
KEPT = ("restart", "shutdown", "optional", "start_timeout", "max_memory", "backoff")  # need no other process


def changed(id: str, **keys: Any) -> ChildSpec:
    """The worker, with other arguments: it needs another process."""
    return worker(id, args={"v": 2}, **keys)


def reload(shell: Shell, wanted: Tree) -> tuple[list[str], str]:
    """What a reload did, and what it said; "" while it is under way."""
    before = len(answers(shell))
    done = shell.send(policy.Reload(wanted))
    said = answers(shell)[before:]
    return [line.replace("demo/", "") for line in done], said[0].text if said else ""


def answers(shell: Shell) -> list[policy.Reloaded]:
    return [action for action in shell.seen if isinstance(action, policy.Reloaded)]


def run(shell: Shell, *children: AnySpec, strategy: str = "one_for_one", **keys: Any) -> list[str]:
    """A reload to a tree of these children; what was done."""
    return reload(shell, tree(strategy, *children, **keys))[0]


def boot(*children: AnySpec, strategy: str = "one_for_one", **keys: Any) -> Shell:
    return Shell(tree(strategy, *children, **{"intensity": 9, **keys}))


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_every_key_has_its_answer() -> None:
    """Every key of a worker either needs another process or does not."""
    assert set(NEW) | {"id", "significant"} == set(ChildSpec.__dataclass_fields__)
    assert set(NEW) - set(KEPT) == {*BIRTH, "heartbeat"}


@pytest.mark.parametrize("key", NEW)
def test_a_changed_key(key: str) -> None:
    """What a process is born with needs another one; all else takes effect at once, and the root is told."""
    shell = boot(worker("a"), worker("b"))
    done = run(shell, replace(worker("a"), **{key: NEW[key]}), worker("b"), intensity=9)
    told = [action for action in shell.seen if isinstance(action, policy.Revised)]
    assert done == ([] if key in KEPT else ["stop a", "start a"])
    assert [action.path for action in told] == (["demo/a"] if key in KEPT else [])
    child = shell.state.supervisors["demo"].children["a"]
    assert getattr(child.spec, key) == NEW[key]


@pytest.mark.parametrize(
    ("old", "new", "restarted"), [(5.0, 9.0, False), (5.0, None, False), (None, 5.0, True)], ids=str
)
def test_a_heartbeat(old: float | None, new: float | None, restarted: bool) -> None:
    """A heartbeat changes in place when the process has a slot to beat on."""
    done = run(boot(worker("a", heartbeat=old)), worker("a", heartbeat=new), intensity=9)
    assert bool(done) is restarted


def test_the_name_of_a_profile_confines_nobody() -> None:
    """A profile that is only called otherwise restarts nobody."""
    shell = boot(worker("a", confine=Profile(name="x")))
    assert run(shell, worker("a", confine=Profile(name="y")), intensity=9) == []
    assert run(shell, worker("a", confine=Profile(network="host", name="y")), intensity=9) == ["stop a", "start a"]


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ("1", 1), ([1], [True]), ({"a": 0}, {"a": False})])
def test_types_are_values(one: Any, other: Any) -> None:
    """1 and true are different arguments, however deep; equal values are no change, not even a NaN."""
    assert not same({"x": one}, {"x": other})
    assert same({"x": [one]}, {"x": (one,)}) and same(float("nan"), float("nan"))


def test_a_stop_takes_the_new_time() -> None:
    """A child that is replaced is stopped with the shutdown time of the new file: it may be what was wrong."""
    shell = boot(worker("a", shutdown="infinity"))
    run(shell, changed("a", shutdown=2.0), intensity=9)
    assert [action.how for action in shell.seen if isinstance(action, policy.Stop)] == [2.0]


# ---- children of a static supervisor ---------------------------------------------------------------------------------


def test_order() -> None:
    """Stops in the reverse of the old order, all of them before the starts in the new order."""
    shell = boot(*map(worker, "abcd"))
    assert run(shell, worker("x"), changed("d"), worker("c"), changed("a"), intensity=9) == [
        *("stop d", "stop b", "stop a", "start x", "start d", "start a"),
    ]
    assert [*shell.children()] == ["x", "d", "c", "a"]


def test_untouched() -> None:
    """A child about which nothing is said keeps its life, its restarts, its row of crashes; also when it moves."""
    shell = boot(worker("a", backoff=Backoff(initial=1)), worker("b"))
    shell.exit("demo/a")
    shell.pass_time(1)
    before = shell.state.supervisors["demo"]
    assert run(shell, worker("b"), worker("a", backoff=Backoff(initial=1)), worker("c"), intensity=9) == ["start c"]
    after = shell.state.supervisors["demo"]
    assert [*after.children] == ["b", "a", "c"]
    assert after.children["a"] == before.children["a"] and after.restarts == before.restarts


@pytest.mark.parametrize(
    ("strategy", "done"),
    [
        ("one_for_one", ["stop b", "start b"]),
        ("rest_for_one", ["stop c", "stop b", "start b", "start c"]),
        ("one_for_all", ["stop c", "stop b", "stop a", "start a", "start b", "start c"]),
    ],
)
def test_dependents(strategy: str, done: list[str]) -> None:
    """What would be restarted with a child after a crash is restarted with it; nothing is counted."""
    shell = boot(*map(worker, "abc"), strategy=strategy, intensity=0)
    assert run(shell, worker("a"), changed("b"), worker("c"), strategy=strategy, intensity=0) == done
    assert shell.state.supervisors["demo"].restarts == ()


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_an_added_child_restarts_nobody(strategy: str) -> None:
    """Nobody has known it before."""
    assert run(boot(*map(worker, "ab"), strategy=strategy), *map(worker, "axb"), strategy=strategy, intensity=9) == [
        "start x"
    ]


def test_a_removed_child_takes_dependents_along() -> None:
    """Under rest_for_one those after a removed child have known it, and are restarted."""
    shell = boot(*map(worker, "abc"), strategy="rest_for_one")
    assert run(shell, *map(worker, "ac"), strategy="rest_for_one", intensity=9) == ["stop c", "stop b", "start c"]


def test_a_temporary_dependent_comes_back() -> None:
    """What a reload itself stopped it starts again, also what would not be restarted after its own end."""
    temporary = worker("t", restart="temporary")
    shell = boot(worker("a"), temporary, strategy="rest_for_one")
    assert run(shell, changed("a"), temporary, strategy="rest_for_one", intensity=9) == [
        *("stop t", "stop a", "start a", "start t"),
    ]


def test_what_is_down_stays_down_unless_it_changed() -> None:
    """Terminated, ended normally, ended for good: none comes back for a reload that says nothing about it."""
    children = [worker("a"), worker("b", restart="transient"), worker("t", restart="temporary"), worker("z")]
    shell = boot(*children)
    shell.call("terminate_child", id="a")
    shell.exit("demo/b", reason="normal")
    shell.exit("demo/t", reason="normal")
    shell.call("terminate_child", id="z")
    shell.call("delete_child", id="z")
    assert run(shell, *children, worker("x"), intensity=9) == ["start x"]
    new = [changed("a"), changed("b", restart="transient"), changed("t", restart="temporary"), changed("z")]
    assert run(shell, *new, worker("x"), intensity=9) == ["start a", "start b", "start t", "start z"]


def test_run_time_additions_survive() -> None:
    """A child added by start_child stays, after those of the file; written into the file as it is, it is adopted."""
    shell = boot(worker("a"), worker("b"))
    shell.call("start_child", spec=worker("added"))
    assert run(shell, worker("b"), worker("c"), intensity=9) == ["stop a", "start c"]
    assert [*shell.children()] == ["b", "c", "added"]
    assert run(shell, worker("added"), worker("b"), worker("c"), intensity=9) == []
    assert run(shell, worker("b"), worker("c"), intensity=9) == ["stop added"]


def test_a_kind_changes() -> None:
    """A worker becomes a supervisor of the same id, that a dynamic one, and that a worker again."""
    inner = SupervisorSpec("s", children=(worker("x"),))
    shell = boot(worker("s"), worker("b"))
    assert run(shell, inner, worker("b"), intensity=9) == ["stop s", "start s/x"]
    assert run(shell, replace(pool(), id="s"), worker("b"), intensity=9) == ["stop s/x"]
    shell.call("start_child", "s", "p")
    assert run(shell, worker("s"), worker("b"), intensity=9) == ["stop s/p", "start s"]
    assert set(shell.state.starts) == {"demo", "demo/s", "demo/b"}


def test_limits_of_a_supervisor() -> None:
    """Strategy, intensity and period take effect at once; fewer restarts allowed means the past ones count."""
    shell = boot(worker("a"), worker("b"), intensity=5, period=10)
    shell.exit("demo/a")
    shell.exit("demo/a")
    done, said = reload(shell, tree("one_for_all", worker("a"), worker("b"), intensity=3, period=10))
    assert (done, said) == ([], "changed without a restart demo")
    assert shell.exit("demo/a") == ["stop demo/b", "start demo/a", "start demo/b"]
    assert shell.exit("demo/a") == ["stop demo/b", "exit 1"]


def test_two_waves_through_the_tree() -> None:
    """All stops of the whole tree come before all starts, in reverse and in order across supervisors."""

    def version(v: int) -> tuple[AnySpec, ...]:
        one = SupervisorSpec("one", children=(worker("a", args={"v": v}), worker("b")))
        two = SupervisorSpec("two", children=(SupervisorSpec("deep", children=(worker("c", args={"v": v}),)),))
        return one, worker("m", args={"v": v}), two, worker("n")

    shell = boot(*version(1))
    assert run(shell, *version(2), intensity=9) == [
        *("stop two/deep/c", "stop m", "stop one/a", "start one/a", "start m", "start two/deep/c"),
    ]


def test_a_worker_moves() -> None:
    """It is stopped in one supervisor before it is started in the other, in either direction."""
    there = (SupervisorSpec("one", children=(worker("m"),)), SupervisorSpec("two"))
    back = (SupervisorSpec("one"), SupervisorSpec("two", children=(worker("m"),)))
    shell = boot(*back)
    assert run(shell, *there, intensity=9) == ["stop two/m", "start one/m"]
    assert run(shell, *back, intensity=9) == ["stop one/m", "start two/m"]


# ---- dynamic supervisors ---------------------------------------------------------------------------------------------


def with_pool(shell: Shell, *ids: str) -> Shell:
    for id in ids:
        shell.call("start_child", "pool", id, args={"own": id})
    return shell


def test_a_template_changes() -> None:
    """Every running child is started anew, side by side, and keeps the arguments that it was started with."""
    shell = with_pool(boot(pool(t_args={"v": 1, "own": "nobody"})), "x", "y")
    assert run(shell, pool(t_args={"v": 2}), intensity=9) == [
        *("stop pool/x", "stop pool/y", "start pool/x", "start pool/y"),
    ]
    children = shell.state.supervisors["demo/pool"].children
    assert [dict(child.spec.args) for child in children.values()] == [{"v": 2, "own": "x"}, {"v": 2, "own": "y"}]
    assert run(shell, pool(t_args={"v": 2}, t_shutdown=9.0, max_children=1), intensity=9) == []


def test_a_template_and_children_that_are_busy() -> None:
    """One that is starting is started anew when it is there; one that dies meanwhile comes back by the new template."""
    shell = with_pool(boot(pool(intensity=5)), "y")
    shell.slow = {"demo/pool/x"}
    shell.ask("start_child", "pool", "x")
    shell.stubborn = {"demo/pool/y"}
    assert run(shell, pool(intensity=5, t_args={"v": 2}), intensity=9) == ["stop pool/y"]
    shell.slow = set()
    assert shell.ready("demo/pool/x") == ["stop demo/pool/x", "start demo/pool/x"]
    assert not answers(shell)
    assert shell.stopped("demo/pool/y") == ["start demo/pool/y"]
    assert answers(shell)[0].text == "restarted demo/pool/y, demo/pool/x"


def test_a_parked_child_stays_parked() -> None:
    """With the new template: it has it when it is unparked."""
    park = Park(intensity=0, period=60)
    shell = with_pool(boot(pool(park=park)), "x")
    shell.exit("demo/pool/x")
    assert run(shell, pool(park=park, t_args={"v": 2}), intensity=9) == []
    shell.call("unpark", "pool", "x")
    assert shell.state.supervisors["demo/pool"].children["x"].spec.args["v"] == 2


def test_a_renewed_child_that_does_not_start() -> None:
    """It is parked with its reason; the next reload tries it again, and so does unpark."""
    shell = with_pool(boot(pool()), "x", "y")
    shell.failing["demo/pool/x"] = 2
    done, said = reload(shell, tree("one_for_one", pool(t_args={"v": 2}), intensity=9))
    assert done == ["stop pool/x", "stop pool/y", "fail pool/x", "start pool/y"]
    assert said.endswith("DID NOT START demo/pool/x: told to fail")
    assert shell.children("demo/pool") == {"x": "parked", "y": "running"}
    for expected in ("fail pool/x", "start pool/x"):
        assert run(shell, pool(t_args={"v": 2}), intensity=9) == [expected]


# ---- starts that fail ------------------------------------------------------------------------------------------------


def test_a_start_that_fails() -> None:
    """It stays down, the rest is started, nothing is tried again and nothing is counted; the next reload tries it."""
    shell = boot(worker("a"), worker("b"), intensity=0)
    shell.failing["demo/a"] = 2
    done, said = reload(shell, tree("one_for_one", changed("a"), worker("b"), worker("c"), intensity=0))
    assert done == ["stop a", "fail a", "start c"]
    assert said == "restarted demo/a; added demo/c; DID NOT START demo/a: told to fail"
    assert not answers(shell)[-1].ok and shell.children()["a"] == "terminated"
    assert shell.pass_time(100) == []
    assert run(shell, changed("a"), worker("b"), worker("c"), intensity=0) == ["fail a"]
    done, said = reload(shell, tree("one_for_one", changed("a"), worker("b"), worker("c"), intensity=0))
    assert done == ["start a"] and answers(shell)[-1].ok


def test_a_supervisor_that_fails_to_start() -> None:
    """A new supervisor one of whose children does not start is left down as a whole; deep down it is tried again."""
    inner = SupervisorSpec("s", children=(SupervisorSpec("deep", children=(worker("x"), worker("y"))),))
    shell = boot(SupervisorSpec("s"))
    shell.failing["demo/s/deep/y"] = 1
    assert run(shell, inner, intensity=9) == ["start s/deep/x", "fail s/deep/y", "stop s/deep/x"]
    assert run(shell, inner, intensity=9) == ["start s/deep/x", "start s/deep/y"]


# ---- the state that the tree is in -------------------------------------------------------------------------------------


def test_before_the_boot() -> None:
    """Nothing has been started: the new tree is what is booted."""
    shell = Shell(tree("one_for_one", worker("a")), boot=False)
    assert reload(shell, tree("one_for_one", worker("b"))) == ([], "nothing had been started yet")
    assert shell.send(policy.Boot()) == ["start demo/b"]


def test_during_the_boot() -> None:
    """The boot goes on; then the newest of the files is taken up. A boot that fails takes the reload along."""
    shell = Shell(tree("one_for_one", worker("a"), worker("b")), slow=("demo/a",))
    assert reload(shell, tree("one_for_one", worker("a"), worker("c"))) == ([], "")
    assert reload(shell, tree("one_for_one", worker("a"), worker("d")))[0] == []
    assert shell.ready("demo/a") == ["start demo/b", "stop demo/b", "start demo/d"]
    assert [answer.ok for answer in answers(shell)] == [False, True]
    shell = Shell(tree("one_for_one", worker("a")), slow=("demo/a",))
    reload(shell, tree("one_for_one", worker("b")))
    shell.send(policy.StartFailed("demo/a", shell.starting["demo/a"], "no"))
    assert [answer.text for answer in answers(shell)] == ["given up: the tree has ended: child 'a' did not start: no"]


def test_during_a_group_restart() -> None:
    """It waits until the supervisor is free, as every message does."""
    shell = boot(worker("a"), worker("b"), strategy="one_for_all")
    shell.stubborn = {"demo/b"}
    assert shell.exit("demo/a") == ["stop demo/b"]
    assert run(shell, worker("a"), changed("b"), strategy="one_for_all", intensity=9) == []
    shell.stubborn = set()
    assert shell.stopped("demo/b") == [
        *("start demo/a", "start demo/b"),  # the restart
        *("stop demo/b", "stop demo/a", "start demo/a", "start demo/b"),  # and the reload
    ]


BACK = Backoff(initial=5, factor=1)


def waiting_group() -> Shell:
    """`b` of a one_for_all group waits for its backoff; `a` and `c` wait with it."""
    shell = boot(worker("a"), worker("b", backoff=BACK), worker("c"), strategy="one_for_all")
    shell.exit("demo/b")
    assert shell.children() == {"a": "terminated", "b": "restarting", "c": "terminated"}
    return shell


def test_a_group_that_waits_goes_on_waiting() -> None:
    """Nothing about the one it waits for: what changed and what is new waits with the group."""
    shell = waiting_group()
    new = changed("a"), worker("b", backoff=BACK), worker("c"), worker("d")
    assert run(shell, *new, strategy="one_for_all", intensity=9) == []
    assert shell.pass_time(5) == [f"start demo/{id}" for id in "abcd"]


@pytest.mark.parametrize("how", ["changed", "removed", "strategy"])
def test_a_group_that_waits_for_nobody_is_started(how: str) -> None:
    """When the one that a group waited for is changed or gone, or the group is none any more, all of it is started."""
    shell = waiting_group()
    b = {"changed": [changed("b", backoff=BACK)], "removed": [], "strategy": [worker("b", backoff=BACK)]}[how]
    strategy = "one_for_one" if how == "strategy" else "one_for_all"
    done = run(shell, worker("a"), *b, worker("c"), strategy=strategy, intensity=9)
    assert done == [f"start {id}" for id in ("ac" if how == "removed" else "abc")]
    assert shell.pass_time(100) == [] and set(shell.children().values()) == {"running"}


def test_a_child_that_waits_for_its_backoff() -> None:
    """Unchanged it waits on; changed it is another program, and starts now, with no crashes in a row."""
    shell = boot(worker("a", backoff=BACK))
    shell.exit("demo/a")
    assert run(shell, worker("a", backoff=BACK), intensity=8) == []
    assert run(shell, changed("a", backoff=BACK), intensity=8) == ["start a"]
    assert not shell.timers.keys() & {"retry"} and shell.state.supervisors["demo"].children["a"].row == 0
    assert shell.pass_time(100) == []


def test_a_child_that_dies_before_its_turn() -> None:
    """A death that was not handled yet is no second start: the reload has brought the child back already."""
    shell = boot(worker("a"), worker("b"))
    shell.stubborn = {"demo/b"}
    assert run(shell, changed("a"), changed("b"), intensity=9) == ["stop b"]
    assert shell.exit("demo/a") == []
    assert shell.stopped("demo/b") == ["start demo/a", "start demo/b"]


def test_a_death_that_was_to_restart_others() -> None:
    """A child that died just before it is replaced still takes its group along."""
    shell = Shell(tree("one_for_all", worker("a"), worker("b"), intensity=9), slow=("demo/x",))
    shell.ask("start_child", spec=worker("x"))
    assert run(shell, changed("a"), worker("b"), strategy="one_for_all", intensity=9) == []
    assert shell.exit("demo/a") == []
    shell.slow = set()
    assert shell.ready("demo/x") == [
        *("stop demo/x", "stop demo/b", "start demo/a", "start demo/b", "start demo/x"),
    ]


def test_a_supervisor_that_ends_meanwhile() -> None:
    """One that gives up while the reload comes to it is restarted by the new file, and the reload goes on."""
    old = SupervisorSpec("s", children=(worker("x"), worker("y")), intensity=0)
    new = SupervisorSpec("s", children=(changed("x"), worker("y")), intensity=0)
    shell = boot(old, worker("b"))
    shell.stubborn = {"demo/s/y"}
    assert shell.exit("demo/s/x") == ["stop demo/s/y"]
    assert run(shell, new, changed("b"), intensity=9) == ["stop b"]
    shell.stubborn = set()
    assert shell.stopped("demo/s/y") == ["start demo/b", "start demo/s/x", "start demo/s/y"]
    assert [child.spec for child in shell.state.supervisors["demo/s"].children.values()] == [*new.children]
    assert answers(shell)[0].ok and shell.children() == {"s": "running", "b": "running"}


def test_a_launcher_lost_before_or_in_the_middle() -> None:
    """Everything is started again, by the new tree; nothing that was to go comes back."""
    for stubborn in ("demo/a", "demo/b"):
        shell = boot(worker("a"), worker("b"), worker("c"))
        shell.stubborn = {stubborn}
        if stubborn == "demo/a":
            run(shell, worker("b"), worker("d"), intensity=9)
        shell.send(policy.LauncherLost("zygote died"))
        if stubborn == "demo/b":
            run(shell, worker("b"), worker("d"), intensity=9)
        gone = {**shell.alive, **shell.stopping}
        shell.alive, shell.stopping = {}, {}
        done = shell.send(*(policy.Exited(path, life, "crash") for path, life in gone.items()))
        assert done == ["start demo/b", "start demo/d"]
        assert [answer.ok for answer in answers(shell)] == [True]


def test_refusals() -> None:
    """Another root, a root of another kind, a tree that stops or has stopped: refused, and nothing is touched."""
    shell = boot(worker("a"))
    assert "is 'demo' and would become 'other'" in reload(shell, Tree(SupervisorSpec("other")))[1]
    assert "between static and dynamic" in reload(shell, Tree(replace(pool(), id="demo")))[1]
    shell.stubborn = {"demo/a"}
    shell.send(policy.StopTree())
    assert reload(shell, tree("one_for_one", worker("b")))[1] == "refused: the tree is stopping"
    shell.stopped("demo/a")
    assert reload(shell, tree("one_for_one", worker("b")))[1] == "refused: the tree has ended"
    assert not any(answer.ok for answer in answers(shell))


def test_a_name_that_was_taken_at_run_time() -> None:
    """A name of the new file that a child added elsewhere has: refused before anything is touched, with the remedy."""
    shell = boot(SupervisorSpec("s"), worker("a"))
    shell.call("start_child", "s", spec=worker("x"))
    done, said = reload(shell, tree("one_for_one", SupervisorSpec("s"), changed("a"), worker("x"), intensity=9))
    assert done == [] and "'demo/x' would have the name of 'demo/s/x', which was added at run time" in said
    inside = SupervisorSpec("s", children=(worker("x"),))
    assert reload(shell, tree("one_for_one", inside, worker("a"), intensity=9)) == ([], "nothing is different")


def test_a_stop_in_the_middle() -> None:
    """A stop gives the reload up, says so once, and starts nothing more."""
    shell = boot(SupervisorSpec("s", children=(worker("x"),)), worker("b"))
    shell.stubborn = {"demo/s/x"}
    run(shell, SupervisorSpec("s", children=(changed("x"),)), changed("b"), intensity=9)
    assert shell.send(policy.StopTree()) == []
    assert shell.stopped("demo/s/x") == ["exit 0"]
    assert [answer.text for answer in answers(shell)] == ["given up: the tree was told to stop"]


def test_a_dynamic_root() -> None:
    """A dynamic root takes up its new template, one reload after the other."""
    shell = Shell(Tree(replace(pool(), id="demo")))
    shell.call("start_child", "demo", "x")
    shell.stubborn = {"demo/x"}
    for v in (1, 2):
        shell.send(policy.Reload(Tree(replace(pool(t_args={"v": v}), id="demo"))))
    shell.stubborn = set()
    assert shell.stopped("demo/x") == ["start demo/x", "stop demo/x", "start demo/x"]
    assert [answer.ok for answer in answers(shell)] == [True, True]
