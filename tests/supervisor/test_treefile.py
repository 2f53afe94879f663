"""The tree file: what is read, and every fault at once with line, column and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import TreeError, load_tree, parse_tree
from supervisor.spec import Backoff, ChildSpec, Files, Park, Profile, SupervisorSpec, Tree
from supervisor.treefile import child_spec
from supervisor.treefile_values import Reader

WHOLE = """\
id: demo
strategy: rest_for_one
intensity: 3
period: 5
auto_shutdown: any_significant
preload: [json, xml.dom]
profiles:
  mind: {filesystem: none, network: none, exec: false}
  store:
    filesystem: {read: [/usr/share], write: ["${records}"]}
    network: host
    exec: true
    sockets: ["${run}/bus"]
children:
  - id: ticker
    start: package.module:function
    args: {every: 1.0, where: "${records}/x", price: "$${5}"}
    restart: transient
    shutdown: brutal_kill
    significant: true
    optional: true
    start_timeout: 2.5
    heartbeat: 4
    max_memory: 300MiB
    backoff: {initial: 0.5, factor: 3, max: 10}
    env: {LEVEL: 3, NAME: x}
    rlimits: {nofile: 1024, core: unlimited, as: 1GiB, cpu: 0}
    confine: mind
    control: [pool]
    observe: true
    allow: {call: {store: [get]}, publish: ["rooms/{id}/"]}
  - id: pool
    strategy: dynamic
    max_children: 1000
    spares: 2
    park: {intensity: 3, period: 60}
    template: {start: package.module:function, shutdown: infinity, confine: {exec: true, fork: true}}
  - id: inner
    strategy: one_for_all
    restart: temporary
    shutdown: 10
    optional: true
    children: [{id: deep, start: "m:f"}]
"""
VARIABLES = {"records": "/home/ada/notes", "run": "/run/x"}


def faults(text: str, variables: dict[str, Any] | None = None) -> list[str]:
    """The faults of a text as `line:column: message`."""
    with pytest.raises(TreeError) as caught:
        parse_tree(text, "t.yaml", variables)
    return [str(fault).removeprefix("t.yaml:") for fault in caught.value.faults]


def fault_of(lines: str) -> str:
    """The only fault of a one-worker tree whose worker has these lines too."""
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    (fault,) = faults(f"id: demo\nstrategy: one_for_one\nchildren:\n  - id: a\n    start: m:f\n{body}")
    return fault


# ---- what is read --------------------------------------------------------------------------------------------------


def test_the_whole_format() -> None:
    """Every key of the format is read to its own type, in file order, with variables filled in."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    ticker, pool, inner = tree.root.children
    mind = Profile(None, "none", False, (), "mind")
    assert tree.preload == ("json", "xml.dom")
    assert tree.profiles["mind"] == mind
    assert tree.profiles["store"].filesystem == Files(("/usr/share",), ("/home/ada/notes",))
    assert tree.profiles["store"].sockets == ("/run/x/bus",)
    assert isinstance(ticker, ChildSpec)
    assert ticker.args == {"every": 1.0, "where": "/home/ada/notes/x", "price": "${5}"}
    assert (ticker.restart, ticker.shutdown, ticker.significant, ticker.optional) == (
        *("transient", "brutal_kill"),
        *(True, True),
    )
    assert (ticker.start_timeout, ticker.heartbeat, ticker.max_memory) == (2.5, 4.0, 300 * 2**20)
    assert ticker.backoff == Backoff(0.5, 3, 10)
    assert ticker.env == {"LEVEL": "3", "NAME": "x"}
    assert ticker.rlimits == {"nofile": 1024, "core": -1, "as": 2**30, "cpu": 0}
    assert (ticker.confine, ticker.control, ticker.observe) == (mind, ("pool",), True)
    assert ticker.allow == {"call": {"store": ["get"]}, "publish": ["rooms/{id}/"]}
    assert isinstance(pool, SupervisorSpec) and pool.template is not None
    assert (pool.max_children, pool.spares, pool.park) == (1000, 2, Park(3, 60))
    assert (pool.template.shutdown, pool.template.confine) == ("infinity", Profile(exec=True, fork=True))
    assert isinstance(inner, SupervisorSpec)
    assert (inner.restart, inner.shutdown, inner.optional) == ("temporary", 10.0, True)


def test_defaults_are_otps() -> None:
    """What is not said is as in OTP: permanent, intensity 1 in 5 s, 5 s to stop, supervisors without limit."""
    tree = parse_tree("{id: d, strategy: one_for_one, children: [{id: a, start: 'm:f'}]}")
    (child,) = tree.root.children
    assert (tree.root.intensity, tree.root.period, tree.root.shutdown) == (1, 5, "infinity")
    assert (child.restart, child.shutdown) == ("permanent", 5.0)


def test_variables_keep_their_type() -> None:
    """A text that is one variable becomes its value, whatever type it has."""
    tree = parse_tree(
        "{id: d, strategy: one_for_one, intensity: '${n}', children: [{id: a, start: 'm:f', args: {x: '${o}'}}]}",
        variables={"n": 7, "o": {"k": [1, None]}},
    )
    assert tree.root.intensity == 7
    assert tree.root.children[0].args == {"x": {"k": [1, None]}}


def test_anchors_and_merge_keys() -> None:
    """YAML anchors and merge keys work, and a key written out wins over a merged one."""
    tree = parse_tree(
        "id: d\nstrategy: one_for_one\nchildren:\n  - &a {id: a, start: 'm:f', shutdown: 1}\n  - {<<: *a, id: b}\n"
    )
    assert [(child.id, child.shutdown) for child in tree.root.children] == [("a", 1.0), ("b", 1.0)]


def test_walks() -> None:
    """A tree lists its supervisors and workers by path."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    assert [path for path, _ in tree.supervisors()] == ["demo", "demo/pool", "demo/inner"]
    assert [path for path, _ in tree.workers()] == ["demo/ticker", "demo/inner/deep"]


def test_warnings() -> None:
    """A supervisor that is not permanent, and auto_shutdown without a significant child, are warned about."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    assert [warning.partition(":")[0] for warning in tree.warnings] == ["demo/inner"]
    tree = parse_tree("{id: d, strategy: one_for_one, auto_shutdown: any_significant, children: []}")
    assert "no child is significant" in tree.warnings[0]
    tree = parse_tree("{id: d, strategy: one_for_one, restart: permanent, children: []}")
    assert "restart has no effect at the root" in tree.warnings[0]


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_all_faults_at_once() -> None:
    """Every fault of a file is reported, in file order, with line and column."""
    text = (
        "id: demo\nstratgy: one_for_one\nperiod: 0.5\nchildren:\n  - id: a\n    start: foo\n    restrat: x\n"
        "    confine: mnd\n  - {id: a, start: 'm:f'}\n  - {}\n  - 7\n"
    )
    places = [fault.split(": ")[0] for fault in faults(text)]
    assert places == ["1:1", "2:1", "3:9", "6:12", "7:5", "8:14", "9:10", "10:5", "10:5", "11:5"]


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        ("restrat: permanent", "6:5", "unknown key 'restrat' in a child of 'demo'; did you mean 'restart'?"),
        ("restart: permanant", "6:14", "'permanant' is not one of permanent, transient, temporary; did you mean"),
        ("shutdown: brutalkill", "6:15", "did you mean 'brutal_kill'?"),
        ("shutdown: -1", "6:15", "expected seconds (at least 0), or brutal_kill, or infinity; got -1"),
        ("shutdown: .nan", "6:15", "expected seconds"),
        ("start_timeout: 0", "6:20", "more than 0"),
        ("heartbeat: yes", "6:16", "expected seconds (more than 0); got True"),
        ("max_memory: lots", "6:17", "as in 300MiB or 1GiB; got 'lots'"),
        ("backoff: {intial: 1}", "6:15", "did you mean 'initial'?"),
        ("backoff: {factor: 0.5}", "6:23", "factor: expected a number of at least 1, got 0.5"),
        ("env: {A: true}", "6:14", "expected text, got True; put it in quotes"),
        ("env: {'A=B': x}", "6:11", "'A=B' is no name of a variable; it must not be empty or contain '='"),
        ("env: {'': x}", "6:11", "'' is no name of a variable"),
        ('env: {A: "x\\0y"}', "6:14", "remove the zero byte"),
        ("rlimits: {nofiles: 1}", "6:15", "unknown key 'nofiles'; did you mean 'nofile'?"),
        ("rlimits: {nofile: many}", "6:23", "expected a whole number, a size as 300MiB, or unlimited; got 'many'"),
        ("observe: 1", "6:14", "expected true or false, got 1"),
        ("control: [demon]", "6:15", "no supervisor of this tree; did you mean 'demo'?"),
        ("control: demo", "6:14", "expected a list, not 'demo'"),
        ("confine: {filesystem: {raed: []}}", "6:28", "did you mean 'read'?"),
        ("confine: {network: hots}", "6:24", "did you mean 'host'?"),
        ("confine: {frok: true}", "6:15", "unknown key 'frok' in a profile; did you mean 'fork'?"),
        ("confine: {fork: 1}", "6:21", "expected true or false, got 1"),
        ("confine: {exec: true, fork: false}", "6:14", "a program is started in a new process; leave fork out"),
        ("confine: nobody", "6:14", "unknown profile 'nobody' (known: the root supervisor names none)"),
        ("args: [1]", "6:11", "expected a mapping, not a list"),
        ("significant: true", "6:5", "auto_shutdown of 'demo' is 'never'"),
        ("spares: 3", "6:5", "that is a key of a supervisor"),
        ("children: []", "6:5", "that is a key of a supervisor"),
        ("profiles: {}", "6:5", "profiles belong to the root supervisor"),
        ("start: g:h", "6:5", "the key 'start' is there twice"),
        ("args: {a: '${home}'}", "6:15", "unknown variable ${home} (known: none are given)"),
        ("? [a]\n: 1", "6:7", "a key must be text, not a list"),
    ],
)
def test_fault_in_a_worker(lines: str, place: str, words: str) -> None:
    """A fault in a worker is placed at the key or the value it is about, and says what would be right."""
    fault = fault_of(lines)
    assert fault.startswith(f"{place}: ")
    assert words in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{id: a b, strategy: one_for_one}", "'a b' is not possible; an id is made of letters"),
        ("{id: no, strategy: one_for_one}", "expected text, got False; put it in quotes"),
        (
            "{id: d, strategy: one_for_one, start: 'm:f'}",
            "unknown key 'start' in the root supervisor; that is a key of",
        ),
        ("{id: d, strategy: one_for_al}", "did you mean 'one_for_all'?"),
        ("{id: d, strategy: one_for_one, intensity: -1}", "at least 0, got -1"),
        ("{id: d, strategy: one_for_one, period: 0}", "at least 1, got 0"),
        ("{id: d, strategy: one_for_one, template: {start: 'm:f'}}", "template is only for strategy: dynamic"),
        ("{id: d, strategy: one_for_one, spares: 1}", "spares is only for strategy: dynamic"),
        ("{id: d, strategy: dynamic}", "'d' is dynamic and has no template"),
        ("{id: d, strategy: dynamic, children: [{id: a, start: 'm:f'}], template: {start: 'm:f'}}", "not children"),
        ("{id: d, strategy: dynamic, template: {start: 'm:f', id: x}}", "whoever starts a child gives it"),
        ("{id: d, strategy: dynamic, template: {start: 'm:f', strategy: dynamic}}", "a template is a worker"),
        (
            "{id: d, strategy: dynamic, spares: 1, template: {start: 'm:f', confine: {sockets: ['/x/{id}']}}}",
            "set spares: 0",
        ),
        ("{id: d, strategy: one_for_one, children: {}}", "expected a list of children, not a mapping"),
        ("{id: d, strategy: one_for_one, children: [{id: a}]}", "neither 'start' (a worker) nor 'strategy'"),
        ("{id: d, strategy: one_for_one, children: [{id: d, strategy: one_for_all}]}", "'d' is there twice (first on"),
        ("[]", "expected a mapping, not a list"),
        ("", "the tree file is empty"),
        ("id: [", "not YAML"),
        ("\x00", "not YAML"),
        ("id: d\nstrategy: one_for_one\nchildren: &a\n  - {id: x, strategy: one_for_one, children: *a}", "without end"),
        ("id: d\nstrategy: one_for_one\nchildren: [{id: x, start: 'm:f', args: &a {b: *a}}]", "contains itself"),
        ("id: d\nstrategy: one_for_one\n<<: 7", "merge key"),
    ],
)
def test_fault_in_a_tree(text: str, words: str) -> None:
    """A fault in a supervisor or in the file as a whole says what would be right."""
    assert any(words in fault for fault in faults(text)), faults(text)


def test_a_big_file_that_is_all_wrong() -> None:
    """The time to collect faults grows with their number, not with its square: 50,000 take no minutes."""
    reader = Reader(None, "big.yaml", None)
    for number in [*range(50_000), *range(50_000)]:
        reader.fault(None, f"fault {number}")
    assert len(reader.faults) == 50_000


def test_significant_permanent_refused() -> None:
    """A significant child that is permanent is refused, as OTP does."""
    (fault,) = faults(
        "{id: d, strategy: one_for_one, auto_shutdown: any_significant,"
        " children: [{id: a, start: 'm:f', significant: true}]}"
    )
    assert "significant and permanent" in fault


def test_names_unique_in_the_tree() -> None:
    """Names of processes are unique in a tree; for a simulation it is enough within a supervisor."""
    text = (
        "{id: d, strategy: one_for_one, children: [{id: a, start: 'm:f'},"
        " {id: s, strategy: one_for_one, children: [{id: a, start: 'm:f'}]}]}"
    )
    assert "'a' is there twice" in faults(text)[0]
    parse_tree(text, unique_names=False)
    with pytest.raises(TreeError, match="two children with the id 'a'"):
        parse_tree(
            "{id: d, strategy: one_for_one, children: [{id: a, start: 'm:f'}, {id: a, start: 'm:f'}]}",
            unique_names=False,
        )


def test_unknown_variable_is_one_fault() -> None:
    """A value that is an unknown variable is reported as that, and not as a value that does not fit as well."""
    (fault,) = faults("{id: d, strategy: one_for_one, intensity: '${n}'}")
    assert "unknown variable ${n}" in fault
    assert len(faults("{id: d, strategy: one_for_one, preload: ['${a}/${b}']}")) == 2


def test_files(tmp_path: Path) -> None:
    """A file that cannot be read is a fault like any other."""
    with pytest.raises(TreeError, match="No such file"):
        load_tree(tmp_path / "tree.yaml")
    (tmp_path / "tree.yaml").write_text(WHOLE, encoding="utf-8")
    assert load_tree(tmp_path / "tree.yaml", VARIABLES).file == str(tmp_path / "tree.yaml")
    with pytest.raises(TreeError, match=r"tree\.yaml:10:\d+: unknown variable \$\{records\}; did you mean 'record'"):
        load_tree(tmp_path / "tree.yaml", {"record": "/x", "run": "/y"})


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*<> \n'\"|#!%$,?0.~", max_size=60) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text is, the answer is a tree or a TreeError with at least one fault."""
    try:
        assert isinstance(parse_tree(text), Tree)
    except TreeError as error:
        assert error.faults


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 12), st.sampled_from(["", " ", "x", ":", "\n", "[", "&a ", "-1"]))
def test_any_damage_is_read_or_refused(start: int, length: int, patch: str) -> None:
    """A good file with a piece replaced is read or refused, never anything else."""
    try:
        parse_tree(WHOLE[:start] + patch + WHOLE[start + length :], variables=VARIABLES)
    except TreeError as error:
        assert all(fault.line >= 1 and fault.column >= 1 for fault in error.faults)


# ---- requests --------------------------------------------------------------------------------------------------------


def test_request_for_a_dynamic_child() -> None:
    """A child of a dynamic supervisor is its id and its args; all else is the template's."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    pool = tree.root.children[1]
    assert isinstance(pool, SupervisorSpec)
    spec = child_spec(pool, {"id": "people/bob", "args": {"a": "${records}"}}, tree)
    assert isinstance(spec, ChildSpec)
    assert (spec.id, spec.args, spec.start) == ("people/bob", {"a": "${records}"}, "package.module:function")
    with pytest.raises(TreeError, match="the template of 'pool' says it"):
        child_spec(pool, {"id": "x", "restart": "temporary"}, tree)
    for id in ("", "/x", "x/", "a//b", "../x", "a\nb", "a#1", 7):
        with pytest.raises(TreeError):
            child_spec(pool, {"id": id}, tree)


def test_request_for_a_static_child() -> None:
    """A child for a static supervisor is read as in the file, with the profiles of the tree."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    spec = child_spec(tree.root, {"id": "x", "start": "m:f", "confine": "mind", "control": ["inner"]}, tree)
    assert isinstance(spec, ChildSpec) and spec.confine == tree.profiles["mind"]
    nested = child_spec(
        tree.root, {"id": "s", "strategy": "one_for_one", "children": [{"id": "x", "start": "m:f"}]}, tree
    )
    assert isinstance(nested, SupervisorSpec) and nested.children[0].id == "x"
    for bad in ({"id": "x"}, {"id": "x", "start": "m:f", "x": 1}, {"start": "m:f"}, {"id": "x", "start": object()}):
        with pytest.raises(TreeError):
            child_spec(tree.root, bad, tree)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["id", "start", "args", "restart", "strategy", "children", "template", "env", "confine", "rlimits"]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(keys | st.text(max_size=4), json_values, max_size=5), st.booleans())
def test_any_request_is_read_or_refused(request: dict[str, Any], dynamic: bool) -> None:
    """Requests come from children that may be broken or hostile: the answer is a spec or a TreeError."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    supervisor = tree.root.children[1] if dynamic else tree.root
    assert isinstance(supervisor, SupervisorSpec)
    try:
        assert child_spec(supervisor, request, tree).id
    except TreeError as error:
        assert error.faults


def test_deep_request_is_refused() -> None:
    """A request nested without reason is refused, not an error of the root."""
    tree = parse_tree(WHOLE, variables=VARIABLES)
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TreeError, match="nested too deeply"):
        child_spec(tree.root, {"id": "x", "start": "m:f", "args": {"a": deep}}, tree)
