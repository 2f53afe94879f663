"""The jail's tables and filters without a kernel: the filter is run by a small interpreter of classic BPF."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.jail import bpf, layout, levels, linux, seccomp
from supervisor.jail.levels import Ability
from supervisor.spec import Files, Profile

ALLOW, KILL = "allow", "kill"
DEFAULT = 1
ARCHES = ("x86_64", "aarch64")


def verdict(program: bpf.Program, arch: str, nr: int, *args: int, pid: int = 4711, beats: int = 0) -> str | int:
    """What the filter says about a call: `allow`, `kill`, or the errno."""
    data = struct.pack("=iIQ6Q", nr & 0xFFFFFFFF if nr < 1 << 31 else nr - (1 << 32), seccomp.AUDIT_ARCH[arch], 0,
                       *(list(args) + [0] * (6 - len(args))))  # fmt: skip
    code = program.bytes_for(pid, beats)
    value, at = 0, 0
    for _ in range(5000):
        operation, yes, no, k = struct.unpack_from("HBBI", code, 8 * at)
        at += 1
        if operation == bpf.LD_ABS:
            value = struct.unpack_from("I", data, k)[0]
        elif operation == bpf.JA:
            at += k
        elif operation == bpf.RET:
            if k == seccomp.ALLOW:
                return ALLOW
            return KILL if k == seccomp.KILL else k & 0xFFFF
        else:
            true = {
                bpf.JEQ: value == k,
                bpf.JGE: value >= k,
                bpf.JGT: value > k,
                bpf.JSET: bool(value & k),
            }[operation]
            at += yes if true else no
    raise AssertionError("the filter does not end")


rules = st.builds(
    seccomp.Rules,
    exec=st.booleans(),
    network=st.booleans(),
    unix=st.booleans(),
    metadata=st.booleans(),
    signals=st.booleans(),
    fork=st.booleans(),
)


@given(
    rules, st.sampled_from(ARCHES), st.integers(0, (1 << 32) - 1), st.lists(st.integers(0, (1 << 64) - 1), max_size=6)
)
def test_the_filter_always_decides(given_rules: seccomp.Rules, arch: str, nr: int, args: list[int]) -> None:
    """For every rule set, call and argument the filter ends with a verdict, and never allows a call it does not know."""
    said = verdict(seccomp.build(given_rules, arch), arch, nr, *args)
    if nr > linux.NEWEST_SYSCALL:
        assert said in (1, 38)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", sorted(set(seccomp.ALWAYS)))
def test_what_is_always_refused(name: str, arch: str) -> None:
    """Calls on the list are refused under every profile, on every architecture that has them."""
    nr = linux.number(name, arch)
    if nr is not None:
        widest = seccomp.Rules(exec=True, network=True, unix=True, metadata=True, signals=True, fork=True)
        assert verdict(seccomp.build(widest, arch), arch, nr) == 1


@pytest.mark.parametrize("arch", ARCHES)
def test_families_of_sockets(arch: str) -> None:
    """Unix sockets and IP are allowed as the profile says; of netlink only the routing kind, with the network."""
    nr = linux.number("socket", arch) or 0
    plain = seccomp.build(seccomp.Rules(), arch)
    host = seccomp.build(seccomp.Rules(network=True), arch)
    deaf = seccomp.build(seccomp.Rules(unix=False), arch)
    assert [verdict(plain, arch, nr, family) for family in (1, 2, 10, 16, 17, 38, 40)] == [ALLOW] + [97] * 6
    assert [verdict(host, arch, nr, family) for family in (1, 2, 10)] == [ALLOW] * 3
    assert verdict(host, arch, nr, 16, 3, 0) == ALLOW and verdict(host, arch, nr, 16, 3, 9) == 97
    assert verdict(deaf, arch, nr, 1) == 1
    assert verdict(deaf, arch, linux.number("socketpair", arch) or 0, 1) == ALLOW


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("fork", [False, True], ids=["threads", "fork"])
def test_clone_as_the_profile_says(arch: str, fork: bool) -> None:
    """clone makes threads, processes where it may fork, and nothing with a namespace flag; clone3 does not exist."""
    program = seccomp.build(seccomp.Rules(fork=fork), arch)
    nr = linux.number("clone", arch) or 0
    assert verdict(program, arch, nr, 0x3D0F00) == ALLOW  # a thread, as glibc makes one
    processes = [17, 0x01200011, 0x4111, 0]  # SIGCHLD, fork as glibc makes it, vfork, without a signal
    assert [verdict(program, arch, nr, flags) for flags in processes] == [ALLOW if fork else 1] * 4
    for name in seccomp.FORK:
        if linux.number(name, arch) is not None:
            assert verdict(program, arch, linux.number(name, arch) or 0) == (ALLOW if fork else 1)
    namespaces = (linux.CLONE_NEWUSER, linux.CLONE_NEWNS, linux.CLONE_NEWNET, linux.CLONE_NEWPID, linux.CLONE_NEWCGROUP)
    for flag in (*namespaces, linux.CLONE_PARENT):
        assert verdict(program, arch, nr, flag | 17) == 1
        assert verdict(program, arch, nr, flag | linux.CLONE_THREAD) == 1
    assert verdict(program, arch, linux.number("clone3", arch) or 0) == 38


@pytest.mark.parametrize("arch", ARCHES)
def test_signals_reach_oneself_only(arch: str) -> None:
    """Without Landlock's scope a process may signal itself and its own group, and nobody else."""
    program = seccomp.build(seccomp.Rules(), arch)
    kill, tgkill, prlimit = (linux.number(name, arch) or 0 for name in ("kill", "tgkill", "prlimit64"))
    assert [verdict(program, arch, kill, pid) for pid in (4711, 0, 1, 4712, (1 << 64) - 1)] == [ALLOW, ALLOW, 1, 1, 1]
    assert [verdict(program, arch, tgkill, pid) for pid in (4711, 1)] == [ALLOW, 1]
    assert [verdict(program, arch, prlimit, pid) for pid in (4711, 0, 1)] == [ALLOW, ALLOW, 1]
    scoped = seccomp.build(seccomp.Rules(signals=True), arch)
    assert [verdict(scoped, arch, kill, pid) for pid in (1, (1 << 64) - 1)] == [ALLOW, 1]


@pytest.mark.parametrize("arch", ARCHES)
def test_nothing_of_everybody_by_zero(arch: str) -> None:
    """Priority 0 of a user is that of everything the user runs, and is refused where 0 of a process is itself."""
    program = seccomp.build(seccomp.Rules(), arch)
    for name, process, user in (("setpriority", 0, 2), ("ioprio_set", 1, 3)):
        nr = linux.number(name, arch) or 0
        asked = [verdict(program, arch, nr, *who) for who in ((process, 0), (process, 4711), (process, 1), (user, 0))]
        assert asked == [ALLOW, ALLOW, 1, 1]


@pytest.mark.parametrize("arch", ARCHES)
def test_no_owner_of_signals(arch: str) -> None:
    """Who gets SIGIO for a descriptor cannot be set: with F_SETSIG that is a kill(2) by another name."""
    program = seccomp.build(seccomp.Rules(exec=True, signals=True), arch)
    fcntl, ioctl = linux.number("fcntl", arch) or 0, linux.number("ioctl", arch) or 0
    assert [verdict(program, arch, fcntl, 3, command) for command in (8, 15, 1, 2, 3, 4, 9, 1030)] == [1, 1] + [
        ALLOW
    ] * 6
    assert [verdict(program, arch, ioctl, 3, command) for command in (0x8901, 0x8902, 0x5412, 0x541C)] == [1] * 4
    assert [verdict(program, arch, ioctl, 3, command) for command in (0x5413, 0x541B, 0x5421)] == [ALLOW] * 3


@pytest.mark.parametrize("arch", ARCHES)
def test_no_set_user_id(arch: str) -> None:
    """No file gets set-user-id or set-group-id, by changing it or by making it; other modes are as ever."""
    program = seccomp.build(seccomp.Rules(exec=True, fork=True), arch)
    for name, index in seccomp.MODES.items():
        nr = linux.number(name, arch)
        if nr is not None:
            asked = [verdict(program, arch, nr, *[0] * index, mode) for mode in (0o755, 0o1777, 0o4755, 0o2755, 0o6000)]
            assert asked == [ALLOW, ALLOW, 1, 1, 1], name
    for name, index in (("open", 1), ("openat", 2)):
        nr = linux.number(name, arch)
        if nr is not None:
            before = [0] * index
            assert verdict(program, arch, nr, *before, 0o101, 0o4755) == 1  # O_CREAT
            assert verdict(program, arch, nr, *before, 0o20200001, 0o4755) == 1  # O_TMPFILE
            assert verdict(program, arch, nr, *before, 0o200000, 0o4755) == ALLOW, "a directory: the mode is not read"
            assert verdict(program, arch, nr, *before, 0o101, 0o644) == ALLOW
    assert verdict(program, arch, linux.number("openat2", arch) or 0) == 38


@pytest.mark.parametrize("arch", ARCHES)
def test_the_heartbeat_stays_one_page(arch: str) -> None:
    """The mapping of the heartbeat cannot be grown or moved, and every other mapping can."""
    program = seccomp.build(seccomp.Rules(exec=True), arch)
    nr, at = linux.number("mremap", arch) or 0, 0x7F12_3456_7000
    assert verdict(program, arch, nr, at, beats=at) == 1
    for other in (at + 4096, at & 0xFFFFFFFF, at | 1 << 63, 0x7F12 << 32):
        assert verdict(program, arch, nr, other, beats=at) == ALLOW


def test_foreign_architectures_are_killed() -> None:
    """A call through another architecture's entry (32 bits, x32) would meet other numbers, and is not let through."""
    program = seccomp.build(seccomp.Rules(), "x86_64")
    assert verdict(program, "aarch64", 0) == KILL
    assert verdict(program, "x86_64", 0x40000000 | 59) == 1


@pytest.mark.parametrize("arch", ARCHES)
def test_open_files_may_be_touched_where_paths_may_not(arch: str) -> None:
    """Where metadata by path is refused, the times of an open file (a null path) may still be set."""
    program = seccomp.build(seccomp.Rules(metadata=False), arch)
    nr = linux.number("utimensat", arch) or 0
    assert verdict(program, arch, nr, 5, 0) == ALLOW
    assert verdict(program, arch, nr, 5, 0x7FFF00001000) == 1
    assert verdict(program, arch, nr, 5, 1 << 32) == 1, "an address whose low half is zero"
    assert verdict(program, arch, linux.number("fchmod", arch) or 0) == ALLOW
    reader = seccomp.build(seccomp.Rules(metadata=False, writes=False), arch)
    assert verdict(reader, arch, linux.number("fchmod", arch) or 0) == 1


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),  # what asm/unistd.h of arm64 includes; is there on x86_64 too
}
SAME_EVERYWHERE = 424  # since Linux 5.1 a new call has the same number on every architecture
GONE = {"_sysctl"}  # removed in Linux 5.5, and from the headers; refused all the same


def known_numbers(arch: str) -> dict[str, int]:
    """The system calls of a kernel header."""
    text = HEADERS[arch].read_text()
    found = dict(re.findall(r"^#define (__NR\w+)\s+(\w+)", text, re.MULTILINE))
    return {
        name.removeprefix("__NR_"): int(found.get(value, value))
        for name, value in found.items()
        if name.startswith("__NR_") and found.get(value, value).isdigit()
    }


@pytest.mark.parametrize("arch", ARCHES)
def test_numbers_are_those_of_the_kernel_headers(arch: str) -> None:
    """Every number of the table is the one in the header, or newer than the header; what is None is not in it."""
    if not HEADERS[arch].exists():
        pytest.skip("no kernel headers (linux-libc-dev)")
    known = known_numbers(arch)
    newest = max(number for name, number in known.items() if name != "syscalls")
    assert len(known) > 300
    for name in linux.SYSCALLS:
        number = linux.number(name, arch)
        if name in known:
            assert number == known[name], name
        elif number is not None and name not in GONE:
            assert number > newest, f"{name}: no such call in the header"


def test_new_numbers_are_the_same_everywhere() -> None:
    """From 424 on both columns agree, no number is there twice, and none is beyond the newest that is let through."""
    for column in (0, 1):
        numbers = [pair[column] for pair in linux.SYSCALLS.values() if pair[column] is not None]
        assert len(set(numbers)) == len(numbers)
        assert max(number or 0 for number in numbers) == linux.NEWEST_SYSCALL
    for name, (x86, arm) in linux.SYSCALLS.items():
        if max(x86 or 0, arm or 0) >= SAME_EVERYWHERE:
            assert x86 == arm, name


def test_outermost_drops_what_lies_below() -> None:
    """Of nested paths the outer one is kept; a common prefix of names is not nesting."""
    assert layout.outermost(["/a/b", "/a", "/ab", "/a/b/c", "/ab/"]) == ["/a", "/ab"]


def test_source_trees_are_not_shown_whole() -> None:
    """Of a directory on sys.path only the imported packages are shown, not what lies beside them."""
    import supervisor

    root = str(Path(supervisor.__file__).parents[1])
    found = layout.python_places([supervisor])
    assert str(Path(supervisor.__file__).parent) in found
    assert root not in found


def test_relative_paths_are_refused(tmp_path: Path) -> None:
    """A relative path in a profile is refused with its remedy: nobody knows what it would be relative to."""
    with pytest.raises(ValueError, match=r"'data' is not an absolute path"):
        layout.places(Profile(filesystem=Files(read=("data",))), [])
    given_twice = Profile(filesystem=Files(read=(str(tmp_path),), write=(str(tmp_path),)))
    assert layout.Place(str(tmp_path), "write") in layout.places(given_twice, [])


@pytest.mark.parametrize(
    ("ability", "level", "words"),
    [
        (Ability("", 7, ""), "full", []),
        (Ability("refused", 7, ""), "strong", ["other unix sockets", "remedy"]),
        (Ability("refused", 4, ""), "strong", ["abstract unix sockets"]),
        (Ability("", 0, ""), "strong", ["lsm=", "given for its sockets"]),
        (Ability("refused", 0, ""), "none", ["whatever this user can"]),
        (Ability("", 7, "refused"), "none", ["seccomp"]),
    ],
)
def test_levels_and_their_words(ability: Ability, level: str, words: list[str]) -> None:
    """What works gives the level, and what does not is said with what stays reachable."""
    assert ability.level == level
    notes = " ".join(ability.notes)
    assert all(word in notes for word in words) and bool(notes) == bool(words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, ["AppArmor", "`userns,`", "userns=0"]),
        ({"user/max_user_namespaces": "0"}, ["sysctl user.max_user_namespaces=15000"]),
        ({"kernel/unprivileged_userns_clone": "0"}, ["sysctl kernel.unprivileged_userns_clone=1"]),
        ({"kernel/apparmor_restrict_unprivileged_userns": "0", "user/max_user_namespaces": "9"}, ["container"]),
    ],
    ids=["ubuntu", "limit", "debian", "container"],
)
def test_the_remedy_fits_the_machine(settings: dict[str, str], words: list[str]) -> None:
    """Why user namespaces are refused is read from the machine's settings, and the remedy names the one to change."""
    remedy = levels.userns_remedy(settings.get)
    assert all(word in remedy for word in words), remedy


@given(st.dictionaries(st.integers(0, 600), st.integers(2, 40), max_size=300), st.integers(0, 600))
def test_the_search_tree_finds_every_body(table: dict[int, int], newest: int) -> None:
    """Whatever the table, each number up to the newest meets its own body, and every other one the default."""
    bodies = {nr: ((bpf.RET, 0, 0, 1 << 16 | errno),) * errno for nr, errno in table.items()}
    program = bpf.program([(bpf.LD_ABS, 0, 0, 0), *bpf.tree(bodies, ((bpf.RET, 0, 0, DEFAULT),), newest)])
    for nr in range(newest + 1):
        assert verdict(program, "x86_64", nr) == table.get(nr, DEFAULT)
