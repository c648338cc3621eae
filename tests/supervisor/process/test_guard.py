from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from comfywatchman.base.process import ChildProcess
from comfywatchman.supervisor.process import guard
from tests.supervisor.programs import is_running

FOREVER = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_process_with_another_start_is_not_killed() -> None:
    with ChildProcess(FOREVER) as stranger:
        started_ticks = guard.read_start_ticks(stranger.pid)
        assert not guard.kill_process(stranger.pid, started_ticks - 1)
        assert is_running(stranger.pid)
        assert guard.kill_process(stranger.pid, started_ticks)
        assert stranger.wait(60) == -9


def test_process_that_is_gone_is_not_signalled() -> None:
    with ChildProcess(["/bin/true"]) as ended:
        ended.wait(60)
        assert not guard.kill_process(ended.pid, 1)
        assert guard.read_start_ticks(ended.pid) == 0


def test_descendants_are_listed_parents_first() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOREVER[2]!r}])"
    with ChildProcess([sys.executable, "-c", code]) as parent:
        deadline = time.monotonic() + 60
        while len(guard.list_descendants(parent.pid)) < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        listed = [pid for pid, _start in guard.list_descendants(os.getpid())]
        children = [pid for pid, _start in guard.list_descendants(parent.pid)]
        assert listed.index(parent.pid) < listed.index(children[0])


def test_guard_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    # -I and -S: neither this package nor any other can be imported.
    argv = [sys.executable, "-I", "-S", guard.__file__, "--lifeline=0", f"--record={tmp_path / 'record'}", "--"]
    reading, writing = os.pipe()
    # The lifeline stays open here: at its end the guard would interrupt the program.
    with os.fdopen(reading), os.fdopen(writing, "w"):
        ended = subprocess.run([*argv, "/bin/true"], stdin=reading, timeout=100, check=False)
    assert ended.returncode == 0
    assert '"status": 0' in (tmp_path / "record").read_text()


RACE = """
import os, runpy, signal, sys
guard = runpy.run_path(sys.argv[1], run_name="guard")
sent = []
guard["Guard"]._handle_signal.__globals__["send_to_group"] = lambda *call: sent.append(call)
reading, writing = os.pipe()
under_test = guard["Guard"](["/bin/true"], lifeline=reading, record=None, is_kept=False)
under_test._main_pid = os.fork()
if not under_test._main_pid:
    os._exit(3)
real = os.waitpid
def waitpid(*arguments):
    result = real(*arguments)
    under_test._handle_signal(signal.SIGINT, None)
    return result
os.waitpid = waitpid
while under_test._status is None:
    under_test._reap()
print(under_test._status, sent)
"""
"""A signal that comes when the program has just been reaped: its id may belong to a stranger by then."""


@pytest.mark.slow
def test_signal_between_reaping_and_its_record_reaches_nobody() -> None:
    argv = [sys.executable, "-c", RACE, guard.__file__]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert ended.stdout == "3 []\n", ended.stderr
