"""Locks held, lost and asked for, between real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock, is_held, read_holder
from tests.fakes import FakeClock

HOLD = """
import sys
from pathlib import Path
from comfywatchman.base.clock import SystemClock
from comfywatchman.base.lock import hold_lock
with hold_lock(Path(sys.argv[1]), command="a cycle", clock=SystemClock()):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


@pytest.mark.slow
def test_failure_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cycle.lock"
    with holder(path) as child:
        assert is_held(path)
        with pytest.raises(Failure) as caught, hold_lock(path, command="another", clock=SystemClock()):
            pass
        assert caught.value.code == "lock-held"
        assert f"process {child.pid} (a cycle, since 20" in caught.value.message
        named = read_holder(path)
        assert named is not None
        assert (named.pid, named.boot_id) == (child.pid, SystemClock().boot_id())
        assert named.started_ticks > 0


@pytest.mark.slow
def test_killed_holder_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    with holder(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        assert not is_held(path)
        with hold_lock(path, command="the next", clock=FakeClock()):
            assert is_held(path)
            named = read_holder(path)
            assert named is not None
            assert (named.command, named.since, named.pid) == ("the next", "2026-11-20T14:00:00Z", os.getpid())
    assert not is_held(path)


@pytest.mark.slow
def test_lock_without_holder_names_another_process(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    with holder(path):
        path.write_bytes(b"{torn")
        with (
            pytest.raises(Failure, match="held by another process") as caught,
            hold_lock(path, command="x", clock=FakeClock()),
        ):
            pass
        assert caught.value.hint


def test_missing_lock_is_not_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "absent.lock")
    assert read_holder(tmp_path / "absent.lock") is None


def test_exception_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    with pytest.raises(KeyError), hold_lock(path, command="x", clock=FakeClock()):
        raise KeyError
    assert not is_held(path)


@pytest.mark.slow
def test_is_held_does_not_block_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    path.write_bytes(b"")
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            is_held(path)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(200):
            with hold_lock(path, command="x", clock=FakeClock()):
                pass
    finally:
        stop.set()
        asker.join()


@pytest.mark.slow
def test_is_held_that_hangs_does_not_block_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    path.write_bytes(b"")
    probe = os.open(path, os.O_RDONLY)
    fcntl.flock(probe, fcntl.LOCK_SH)
    ending = threading.Timer(0.5, os.close, [probe])
    ending.start()
    with hold_lock(path, command="x", clock=FakeClock()):
        assert is_held(path)
    ending.join()


def test_unwritable_lock_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "full.lock").symlink_to("/dev/full")
    for path in (tmp_path / "file" / "cycle.lock", tmp_path / "full.lock"):
        with pytest.raises(Failure) as caught, hold_lock(path, command="x", clock=FakeClock()):
            pass
        assert caught.value.code == "state-unwritable"
        assert caught.value.hint


@pytest.mark.slow
def test_waiting_process_gets_the_released_lock(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    with holder(path) as child:
        ending = threading.Timer(0.2, child.kill)
        ending.start()
        with hold_lock(path, command="the next", clock=SystemClock(), patience_seconds=30.0):
            assert child.wait(60) == -signal.SIGKILL
        ending.join()


@pytest.mark.slow
def test_waiting_ends_after_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    patient = hold_lock(path, command="the next", clock=SystemClock(), patience_seconds=0.1)
    with holder(path), pytest.raises(Failure, match="a cycle"), patient:
        pass


def test_inherited_descriptor_keeps_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "cycle.lock"
    with hold_lock(path, command="a change", clock=SystemClock()) as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with child:
        assert is_held(path)
        child.kill()
        child.wait(60)
        assert not is_held(path)
