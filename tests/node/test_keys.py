"""Key files: pairs made on first need, who may connect line by line, which servers are known."""

from __future__ import annotations

import base64
import concurrent.futures
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead import keys
from egghead.errors import EggheadError
from ipc.curve import fingerprint, new_keys, raw, shown, text

A, B, C = (text(bytes([number]) * 32) for number in (1, 2, 3))


def test_a_pair_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    """The first need makes the file with mode 0600; later ones read the same pair."""
    path = tmp_path / "deep" / "client.key"
    pair = keys.own_pair(path)
    assert path.stat().st_mode & 0o777 == 0o600 and keys.own_pair(path) == pair
    assert pair.secret not in repr(pair)
    assert sorted(p.name for p in path.parent.iterdir()) == ["client.key"], "nothing is left beside it"


def test_no_key_is_taken_for_something_else() -> None:
    """As people and files have it a key has no `#`, quote, `$` or space, and does not begin with a dash."""
    for _ in range(300):
        pair = new_keys()
        assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", shown(pair.public)) and raw(shown(pair.secret)) == raw(pair.secret)


def test_two_who_need_a_pair_at_once_get_the_same(tmp_path: Path) -> None:
    """Whoever is later takes what the other one made, never half of it."""
    path = tmp_path / "server.key"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len({pair.public for pair in pool.map(lambda _: keys.own_pair(path), range(16))}) == 1


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o644, "others can read"),
        ("", 0o600, "0 lines"),
        ("garbage\n", 0o600, "no key"),
        (f"{A}\n{B}\n", 0o600, "2 lines"),
    ],
)
def test_a_key_file_that_cannot_be_believed_is_refused(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    """Readable by others, empty, garbage: refused with the remedy, and never with what is in it."""
    path = tmp_path / "server.key"
    keys.own_pair(path)
    if content is not None:
        path.write_text(content)
    path.chmod(mode)
    with pytest.raises(keys.KeyFault, match=said) as caught:
        keys.own_pair(path)
    assert str(path) in str(caught.value) and "garbage" not in str(caught.value)


def test_good_lines_count_and_bad_ones_are_named() -> None:
    """Each fault has its line number and reason; the other lines are taken."""
    spelled = base64.b64encode(raw(B)).decode()
    good, faults = keys.parse_authorized(
        f"# people\n\n{A} full ada\n{spelled}  chat\tbob \nnokey read eve\n{C} all eve\n{C} read a/b\n{C} read ada\n{A} read twice\n{C} read\n{C} read carol extra\n"
    )
    assert [(g.line, g.key, g.rights, g.name) for g in good] == [(3, A, "full", "ada"), (4, B, "chat", "bob")]
    assert [fault.partition(":")[0] for fault in faults] == [f"line {n}" for n in range(5, 12)]
    for fault, word in zip(
        faults, ("'nokey'", "'all'", "'a/b'", "line 3", "line 3", "2 words", "4 words"), strict=True
    ):
        assert word in fault, fault


@given(st.text())
def test_any_text_gives_an_answer(content: str) -> None:
    """Whatever is in the file, it is parsed; what is good is good when it is read again."""
    good, _ = keys.parse_authorized(content)
    assert keys.parse_authorized("\n".join(f"{g.key} {g.rights} {g.name}" for g in good))[1] == []


@given(st.text())
def test_any_server_gives_a_place_or_a_sentence(server: str) -> None:
    """A place that is accepted reads the same when it is written and read again."""
    try:
        place = keys.place(server)
    except EggheadError:
        return
    assert keys.place(str(place)) == place


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("orca", "orca", 9100),
        ("Orca.local:99", "orca.local", 99),
        ("10.0.0.1:9101", "10.0.0.1", 9101),
        ("fe80::1", "fe80::1", 9100),
        ("[fe80::1]:7", "fe80::1", 7),
    ],
)
def test_servers_as_people_write_them(server: str, host: str, port: int) -> None:
    """Host, host and port, and both kinds of addresses."""
    assert keys.place(server) == keys.Place(host, port)


@pytest.mark.parametrize("server", ["", ":9100", "a b", "a:0", "a:70000", "a:x", "http://a", "a@b"])
def test_what_is_no_server_is_said_so(server: str) -> None:
    """A sentence with the value and the forms that are understood."""
    with pytest.raises(EggheadError, match="HOST:PORT"):
        keys.place(server)


def test_adding_and_removing_keep_the_rest_of_the_file(tmp_path: Path) -> None:
    """Comments and other lines stay as they are; the file is 0600; a taken name or key is refused."""
    path = tmp_path / "lan" / "authorized_keys"
    keys.authorize(path, "ada", A, "full")
    path.write_text("# mine\n" + path.read_text() + "broken line")
    keys.authorize(path, "bob", B, "read")
    assert path.read_text() == f"# mine\n{shown(A)} full ada\nbroken line\n{shown(B)} read bob\n"
    assert path.stat().st_mode & 0o777 == 0o600
    for name, key, rights, word in (("ada", C, "full", "taken"), ("eve", A, "full", "already"), ("eve", "x", "full", "no key"), ("e e", C, "full", "words"), ("eve", C, "root", "rights")):  # fmt: skip
        with pytest.raises(keys.KeyFault, match=word):
            keys.authorize(path, name, key, rights)
    keys.revoke(path, "ada")
    assert path.read_text() == f"# mine\nbroken line\n{shown(B)} read bob\n"
    with pytest.raises(keys.KeyFault, match="bob"):
        keys.revoke(path, "ada")


def test_many_who_add_at_once_are_all_there(tmp_path: Path) -> None:
    """Two commands at the same time: neither line is lost."""
    path = tmp_path / "authorized_keys"
    made = [(f"n{number}", new_keys().public) for number in range(12)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: keys.authorize(path, one[0], one[1], "read"), made))
    good, faults = keys.read_authorized(path)
    assert {(g.name, g.key) for g in good} == set(made) and not faults


def test_a_list_that_others_can_write_lets_nobody_in(tmp_path: Path) -> None:
    """They could have let themselves in; the fault says what to do. The same for the known servers."""
    path = tmp_path / "authorized_keys"
    keys.authorize(path, "ada", A, "full")
    path.chmod(0o620)
    good, faults = keys.read_authorized(path)
    assert good == [] and "chmod 600" in faults[0]
    path.chmod(0o644)
    assert len(keys.read_authorized(path)[0]) == 1, "public keys may be read"
    known = tmp_path / "known_servers"
    keys.trust(keys.Place("orca", 9100), A, known)
    known.chmod(0o666)
    with pytest.raises(keys.KeyFault, match="chmod 600"):
        keys.known_server(keys.Place("orca", 9100), known)


def test_a_list_that_is_not_there_or_no_file_lets_nobody_in(tmp_path: Path) -> None:
    """Absence is no fault; a directory in its place is one."""
    assert keys.read_authorized(tmp_path / "none") == ([], [])
    good, faults = keys.read_authorized(tmp_path)
    assert good == [] and len(faults) == 1


def test_servers_are_remembered_replaced_and_forgotten(tmp_path: Path) -> None:
    """One key for each host and port; garbage lines are passed over and kept."""
    path = tmp_path / "known_servers"
    orca, other = keys.Place("orca", 9100), keys.Place("orca", 9101)
    path.write_text("# hand-written\nnonsense\n")
    path.chmod(0o600)
    keys.trust(orca, A, path)
    keys.trust(other, B, path)
    keys.trust(orca, C, path)
    assert keys.known_servers(path) == {"orca:9101": B, "orca:9100": C}
    assert keys.forget(orca, path) and not keys.forget(orca, path)
    assert path.read_text() == f"# hand-written\nnonsense\norca:9101 {shown(B)}\n"
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_uid == os.getuid()


def test_a_fingerprint_is_one_however_it_is_written() -> None:
    """With and without its prefix and padding, or the key itself; another one is not."""
    print_ = fingerprint(A)
    for given_ in (print_, print_.removeprefix("SHA256:"), print_ + "=", A, f" {print_} "):
        assert keys.same_fingerprint(given_, A), given_
    assert not keys.same_fingerprint(fingerprint(B), A) and not keys.same_fingerprint("", A)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_both_spellings(key: bytes) -> None:
    """Z85 and base64 of the same 32 bytes are the same key."""

    assert raw(text(key)) == raw(base64.b64encode(key).decode()) == key
