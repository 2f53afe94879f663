"""The node's lock and runtime directory: one owner, named; nothing of anybody else is touched."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from egghead import node, paths
from egghead.errors import ExitCode, NodeError

HOLDER = "import sys; from egghead import node; held = node.claim(__import__('pathlib').Path(sys.argv[1])); print(1, flush=True); sys.stdin.read()"


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=-1, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_second_is_told_the_pid_of_the_first(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """A lock held by another process is refused with its pid; asking about it does not take it."""
    assert node.lock_holder(tmp_path) == holder.pid
    with pytest.raises(NodeError, match=str(holder.pid)) as caught:
        node.claim(tmp_path)
    assert caught.value.exit_code == ExitCode.REFUSED
    holder.communicate(b"")
    assert node.lock_holder(tmp_path) is None
    node.claim(tmp_path).close()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """SIGKILL frees the lock: the kernel drops it, no file decides."""
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert node.lock_holder(tmp_path) is None
    node.claim(tmp_path).close()


def test_what_a_killed_node_said_of_itself_is_not_taken_for_its_successor(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    """The next node holds the lock long before it is ready: until then the file of the one before names nobody."""
    place = paths.RuntimeDir(tmp_path / "run")
    place.node.parent.mkdir()
    for pid, found in ((holder.pid + 1, False), (holder.pid, True)):
        place.node.write_text(json.dumps({"records": str(tmp_path), "pid": pid}))
        assert (node.read_node(place) is not None) is found
    holder.communicate(b"")
    assert node.read_node(place) is None


def test_removing_the_lock_file_does_not_let_a_second_in(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """`rm -r .egghead` under a running node takes the lock file away, not the lock of the folder."""
    shutil.rmtree(tmp_path / ".egghead")
    with pytest.raises(NodeError, match="was removed under it") as caught:
        node.claim(tmp_path)
    assert caught.value.exit_code == ExitCode.REFUSED
    holder.communicate(b"")
    node.claim(tmp_path).close()


def hold(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """A process that has claimed a folder."""
    process = subprocess.Popen([*command, sys.executable, "-c", HOLDER, str(folder)], stdin=-1, stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    return process


def test_a_folder_in_that_of_a_running_node_is_refused(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    """Its notes are the other's too; both folders and the pid are named. A hidden folder has no notes of it."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    with pytest.raises(NodeError, match="which holds the notes of") as caught:
        node.claim(inner)
    assert caught.value.exit_code == ExitCode.REFUSED and not isinstance(caught.value, node.Busy)
    for named in (repr(str(tmp_path)), repr(str(inner)), f"kill {holder.pid}"):
        assert named in str(caught.value)
    (tmp_path / ".hidden" / "notes").mkdir(parents=True)
    node.claim(tmp_path / ".hidden" / "notes").close()
    holder.communicate(b"")
    node.claim(inner).close()


def test_a_folder_around_that_of_a_running_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named where the node has said of itself that it is ready; two folders side by side are each their own."""
    inner, beside = tmp_path / "notes" / "in", tmp_path / "notes" / "beside"
    for folder in (inner, beside, tmp_path / "run"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    holder = hold(inner)
    with pytest.raises(node.Busy, match="another program holds a folder in"):
        node.claim(tmp_path / "notes")
    place = paths.runtime_dir(inner)
    place.node.parent.mkdir(parents=True)
    place.node.write_text(json.dumps({"records": str(inner), "pid": holder.pid}))
    with pytest.raises(NodeError, match="which lies in") as caught:
        node.claim(tmp_path / "notes")
    for named in (repr(str(inner)), repr(str(tmp_path / "notes")), f"kill {holder.pid}"):
        assert named in str(caught.value)
    node.claim(beside).close()
    holder.communicate(b"")
    node.claim(tmp_path / "notes").close()


def test_a_command_on_a_folder_around_is_waited_for(tmp_path: Path) -> None:
    """It is done in a moment: who meets it may try again."""
    (tmp_path / "in").mkdir()
    held = node.claim(tmp_path, command=True)
    with pytest.raises(node.Busy, match=r"which holds the notes of .*; try again when it is done"):
        node.claim(tmp_path / "in", command=True)
    held.close()
    node.claim(tmp_path / "in").close()


def test_a_folder_by_another_name_is_the_same_folder(tmp_path: Path) -> None:
    """A symbolic link, a spelling with `..`, and a bind mount lead to the one lock; a folder in it is found through them too."""
    notes = tmp_path / "notes"
    (notes / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(notes)
    holder = hold(notes)
    for other in (tmp_path / "link", notes / "in" / "..", Path(f"{notes}//.")):
        with pytest.raises(NodeError, match=f"already running on .*pid {holder.pid}"):
            node.claim(other)
    with pytest.raises(NodeError, match="which holds the notes of"):
        node.claim(tmp_path / "link" / "in")
    (tmp_path / "mounted").mkdir()
    script = f'mount --bind {notes} {tmp_path}/mounted && exec {sys.executable} -c "$0" {tmp_path}/mounted'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, HOLDER],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1 and f"already running on '{tmp_path}/mounted' (pid {holder.pid})" in done.stderr
    holder.communicate(b"")


def test_asking_about_a_folder_without_a_lock(tmp_path: Path) -> None:
    """No lock file, no holder."""
    assert node.lock_holder(tmp_path) is None


def test_long_runtime_paths_fall_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime directory whose sockets would not fit is not used."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setenv("TMPDIR", str(long))
    for root in paths.runtime_roots():
        assert len(str(root)) < 60
    assert paths.runtime_roots()


def test_a_link_in_place_of_the_runtime_directory_is_refused(tmp_path: Path) -> None:
    """Somebody's link in a shared temp directory is not followed."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(NodeError, match="is in the way"):
        paths.make_private_dir(tmp_path / "link")


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    """Our own directory with a loose mode is made private before anything is put in it."""
    (tmp_path / "d").mkdir(mode=0o755)
    paths.make_private_dir(tmp_path / "d")
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
