"""The lock of a switch, between real processes: dead owners, old ones, comfygit's files, and many at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import LockHolder
from comfywatchman.base.process import read_process_identity
from comfywatchman.supervisor.lock import (
    acquire_switch_lock,
    hold_switch_lock,
    is_switch_locked,
    read_switch_lock_owner,
    release_switch_lock,
)
from tests.children import in_child
from tests.supervisor.workspace_builders import StateFileBuilder

HOLD = """
import sys
from pathlib import Path
from comfywatchman.supervisor.lock import acquire_switch_lock
assert acquire_switch_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

COMPETE = """
import os, sys, time
from pathlib import Path
from comfywatchman.supervisor.lock import acquire_switch_lock, release_switch_lock
metadata, mark = Path(sys.argv[1]), Path(sys.argv[1]) / "inside"
taken = 0
until = time.monotonic() + 90
while taken < 4 and time.monotonic() < until:
    if not acquire_switch_lock(metadata):
        time.sleep(0.002)
        continue
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    assert (metadata / ".switch.lock").is_file()
    mark.unlink()
    assert release_switch_lock(metadata)
    taken += 1
print(taken)
"""


@contextlib.contextmanager
def owner(metadata: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, metadata], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def holder_of(child: subprocess.Popen[bytes]) -> dict[str, object]:
    boot_id = SystemClock().boot_id()
    identity = read_process_identity(child.pid, boot_id=boot_id)
    assert identity is not None
    holder = LockHolder(child.pid, identity.started_ticks, boot_id, "a switch", "2026-11-20T14:00:00Z")
    return dict(msgspec.to_builtins(holder))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def test_acquire_switch_lock(metadata: Path) -> None:
    assert acquire_switch_lock(metadata)
    assert (metadata / ".switch.lock").is_file()
    named = read_switch_lock_owner(metadata)
    assert named is not None
    identity = read_process_identity(os.getpid(), boot_id=SystemClock().boot_id())
    assert identity is not None
    # Readers without the flock, such as the panel, go by it.
    assert (named.pid, named.started_ticks, named.boot_id) == (os.getpid(), identity.started_ticks, identity.boot_id)
    assert release_switch_lock(metadata)


def test_acquire_switch_lock_already_locked(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch.lock", b"")
    assert not acquire_switch_lock(metadata)
    assert is_switch_locked(metadata)
    assert not release_switch_lock(metadata)
    assert (metadata / ".switch.lock").exists()


def test_acquire_switch_lock_stale(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch.lock", b"", age_seconds=360)
    assert not is_switch_locked(metadata)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_release_switch_lock(metadata: Path) -> None:
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)
    assert not (metadata / ".switch.lock").exists()
    assert release_switch_lock(metadata)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_is_switch_locked(metadata: Path) -> None:
    assert not is_switch_locked(metadata)
    assert acquire_switch_lock(metadata)
    assert is_switch_locked(metadata)
    assert release_switch_lock(metadata)
    assert not is_switch_locked(metadata)


def test_own_lock_is_not_taken_twice(metadata: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(metadata)
    with hold_switch_lock(metadata):
        assert not acquire_switch_lock(metadata)
        assert not acquire_switch_lock(tmp_path / "link")
        with pytest.raises(Failure, match=f"process {os.getpid()}") as caught, hold_switch_lock(metadata):
            pass
        assert caught.value.code == "lock-held"
    assert not is_switch_locked(metadata)


def test_limit_for_foreign_locks_can_be_set(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch.lock", b"", age_seconds=20)
    assert not acquire_switch_lock(metadata, 30)
    assert acquire_switch_lock(metadata, 10)
    assert release_switch_lock(metadata)


def test_foreign_lock_from_the_future_is_stale(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch.lock", b"", age_seconds=-3600)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_lock_of_a_living_owner_is_never_too_old(
    metadata: Path, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    path = foreign.write(".switch.lock", holder_of(stranger), age_seconds=7200)
    assert not acquire_switch_lock(metadata)
    assert not release_switch_lock(metadata)
    assert is_switch_locked(metadata)
    assert path.exists()
    stranger.kill()
    stranger.wait()
    assert not is_switch_locked(metadata)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_lock_of_a_reused_pid_is_stale(
    metadata: Path, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    holder = holder_of(stranger)
    for changed in ({"started_ticks": 1}, {"boot_id": "an-earlier-boot"}):
        foreign.write(".switch.lock", {**holder, **changed})
        assert acquire_switch_lock(metadata)
        assert release_switch_lock(metadata)


@pytest.mark.parametrize("text", [b"%d", b' {"pid": %d}\n', b'{"state": "x", "pid": %d, "host": "h"}'])
def test_foreign_lock_that_names_a_pid_goes_by_it(
    metadata: Path, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes], text: bytes
) -> None:
    foreign.write(".switch.lock", text % stranger.pid)
    assert not acquire_switch_lock(metadata)
    stranger.kill()
    stranger.wait()
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_pid_younger_than_the_lock_file_is_a_stranger(
    metadata: Path, foreign: StateFileBuilder, stranger: subprocess.Popen[bytes]
) -> None:
    foreign.write(".switch.lock", b"%d" % stranger.pid, age_seconds=60)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


@pytest.mark.parametrize("content", [b"{torn", b"[" * 5000, b"\0" * 100, b'{"pid": "x"}', b"9" * 99])
def test_damaged_lock_is_judged_by_its_age(metadata: Path, foreign: StateFileBuilder, content: bytes) -> None:
    foreign.write(".switch.lock", content)
    assert not acquire_switch_lock(metadata)
    foreign.write(".switch.lock", content, age_seconds=301)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_old_pipe_in_place_of_the_lock_is_replaced(metadata: Path) -> None:
    path = metadata / ".switch.lock"
    os.mkfifo(path)
    assert not acquire_switch_lock(metadata)
    os.utime(path, (0, 0))
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_folder_in_place_of_the_lock_is_a_failure(metadata: Path) -> None:
    path = metadata / ".switch.lock"
    path.mkdir()
    os.utime(path, (0, 0))
    with pytest.raises(Failure) as caught:
        acquire_switch_lock(metadata)
    assert caught.value.code == "state-unwritable"
    path.rmdir()
    # The failed attempt kept nothing.
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


def test_damaged_flock_file_does_not_matter(metadata: Path) -> None:
    (metadata / ".switch.flock").write_bytes(b"{torn")
    with hold_switch_lock(metadata):
        assert read_switch_lock_owner(metadata) is not None


def test_unwritable_workspace_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for call in (acquire_switch_lock, release_switch_lock):
        with pytest.raises(Failure) as caught:
            call(tmp_path / "file" / ".metadata")
        assert caught.value.code == "state-unwritable"


def test_unknown_holder_is_another_program(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".switch.lock", b"")
    with pytest.raises(Failure, match="another program holds"), hold_switch_lock(metadata):
        pass


@pytest.mark.slow
def test_lock_of_a_killed_owner_is_free_at_once(metadata: Path) -> None:
    with owner(metadata) as child:
        assert is_switch_locked(metadata)
        assert not acquire_switch_lock(metadata)
        assert not release_switch_lock(metadata)
        # Deleting the visible file does not release it.
        (metadata / ".switch.lock").unlink()
        assert is_switch_locked(metadata)
        assert not acquire_switch_lock(metadata)
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        assert not is_switch_locked(metadata)
        assert acquire_switch_lock(metadata)
        assert release_switch_lock(metadata)


@pytest.mark.slow
def test_owner_killed_while_it_takes_the_lock_leaves_it_free(metadata: Path) -> None:
    for point in ("files.before_rename", "files.after_rename"):
        code = HOLD.replace("sys.stdin.read()", "")
        assert in_child(code, metadata, failpoints=f"{point}=kill").returncode == -signal.SIGKILL
        assert not is_switch_locked(metadata)
    assert acquire_switch_lock(metadata)
    assert release_switch_lock(metadata)


@pytest.mark.slow
def test_eight_processes_take_turns(metadata: Path) -> None:
    command = [sys.executable, "-c", COMPETE, str(metadata)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    results = [(child.communicate(timeout=120)[0], child.returncode) for child in children]
    assert results == [("4\n", 0)] * 8
    assert not is_switch_locked(metadata)
