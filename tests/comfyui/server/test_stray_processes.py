from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.stray_processes import (
    TRIAL_VARIABLE,
    create_mark,
    end_lock_holders,
    end_marked_processes,
)

SLEEPER = "print('up', flush=True); input()"
WAITER = "import fcntl, sys; lock = open(sys.argv[1]); print('up', flush=True); fcntl.flock(lock, fcntl.LOCK_EX)"


@contextmanager
def running(
    program: str, *arguments: str, mark: str = "", descriptor: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a session of its own, until it has printed a line."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        pass_fds=() if descriptor is None else (descriptor,),
        env={**os.environ, TRIAL_VARIABLE: mark},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_marks_are_unique() -> None:
    assert create_mark() != create_mark()


def test_only_marked_processes_are_ended() -> None:
    mark = create_mark()
    with running(SLEEPER, mark=mark) as marked, running(SLEEPER, mark=create_mark()) as other:
        assert end_marked_processes(mark) == 1
        assert marked.wait(60) != 0
        assert other.poll() is None
    assert end_marked_processes(mark) == 0


@pytest.mark.slow
def test_only_processes_that_inherited_the_lock_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with running(SLEEPER, descriptor=lock.fileno()) as holder, running(WAITER, str(path)) as waiter:
            assert end_lock_holders(path) == 1
            assert holder.wait(60) != 0
            assert waiter.poll() is None
