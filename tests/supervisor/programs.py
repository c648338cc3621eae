"""Small programs for tests of supervised processes, and ways to watch them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.process import read_process_identity
from comfywatchman.supervisor.process.child import ProcessRecord, StartCommand, SupervisedProcess
from comfywatchman.supervisor.process.foreign import ForeignProcess

FAMILY = """
import os, signal, subprocess, sys, time
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleeper)
daemon = subprocess.Popen(sleeper, start_new_session=True)
print("pids", os.getpid(), child.pid, daemon.pid, flush=True)
{then}
"""
"""A program with a child, and with one in a session of its own."""

STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def build_start(folder: Path, code: str, *, environment: str = "main", port: int = 0) -> StartCommand:
    """Return the start of a Python program."""
    return StartCommand(environment, (sys.executable, "-c", code), folder, {}, port)


@contextmanager
def supervised(folder: Path, code: str, *, is_kept: bool = False) -> Iterator[SupervisedProcess]:
    """Run a Python program under the guard, and end it afterwards."""
    clock = SystemClock()
    process = SupervisedProcess.start(
        build_start(folder, code),
        folder / "run",
        boot_id=clock.boot_id(),
        now_seconds=clock.boottime(),
        is_kept=is_kept,
    )
    try:
        yield process
    finally:
        end_tree(process.leader)
        process.wait(60)
        process.release()


def open_this_process(folder: Path, clock: Clock, *, port: int = 0) -> ForeignProcess:
    """Return the process of the tests as a ComfyUI that somebody else started; its log is `comfyui.log`."""
    identity = read_process_identity(os.getpid(), boot_id=clock.boot_id())
    assert identity is not None
    record = ProcessRecord(identity, "main", tuple(sys.argv), str(folder), port, clock.boottime())
    return ForeignProcess(record, folder / "comfyui.log")


def end_tree(leader: int) -> None:
    """Kill a process with its descendants, if it is still there."""
    try:
        root = psutil.Process(leader)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float = 60.0) -> bool:
    """Wait until a condition holds; return whether it did."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def read_pids(log: Path) -> list[int]:
    """Return the pids that a family wrote into its log, once they are there."""
    assert wait_until(lambda: log.is_file() and b"\n" in log.read_bytes())
    return [int(word) for word in log.read_text().splitlines()[0].split()[1:]]


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
