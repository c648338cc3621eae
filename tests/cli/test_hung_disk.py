"""Commands on a disk that does not answer. A FUSE file system without a server blocks its readers in the kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.cli.hung_disk import call_within, exit_when_hung
from tests.cli.terminals import INTERRUPT, run_in_terminal
from tests.hosts import CHECKOUT, Host

HUNG = """
import ctypes, os, pathlib, sys, threading, time
from comfywatchman.cli.hung_disk import exit_when_hung

mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)

def announce():
    asleep = 0
    while asleep < 5:
        state = pathlib.Path(f"/proc/self/task/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.02)
    print("ready", flush=True)

libc.pthread_mutex_lock(mutex)
with exit_when_hung(lambda: pathlib.Path(sys.argv[1]).write_text("recorded"), grace_seconds=0.1):
    threading.Thread(target=announce, daemon=True).start()
    # Like a read from a disk that hangs: no signal makes it return.
    libc.pthread_mutex_lock(mutex)
"""


def test_call_returns_or_raises_as_the_function_does() -> None:
    assert call_within(60, lambda: 3, what="It") == 3
    with pytest.raises(ZeroDivisionError):
        call_within(60, lambda: 1 / 0, what="It")


def test_call_that_hangs_is_a_failure() -> None:
    hang = threading.Event()
    with pytest.raises(Failure, match="could not be read within") as caught:
        call_within(0.05, hang.wait, what="The report")
    hang.set()
    assert caught.value.code == "file-unreadable"


def test_block_that_ends_leaves_signals_as_they_were() -> None:
    with exit_when_hung(lambda: None):
        pass
    earlier = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(earlier)
    assert earlier == -1


def test_interrupt_of_a_program_that_answers_is_raised() -> None:
    recorded: list[int] = []
    with pytest.raises(KeyboardInterrupt), exit_when_hung(lambda: recorded.append(1), grace_seconds=100):
        signal.raise_signal(signal.SIGINT)
    assert recorded == []


def test_other_thread_than_the_main_one_is_left_alone() -> None:
    results = []

    def enter() -> None:
        with exit_when_hung(lambda: None):
            results.append(1)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert results == [1]


@pytest.mark.slow
def test_interrupt_ends_a_program_on_a_hung_disk(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    child = subprocess.Popen(
        [sys.executable, "-c", HUNG, str(trace)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    assert trace.read_text() == "recorded"
    assert "does not answer" in errors


@pytest.mark.slow
def test_status_ends_on_a_hung_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path)
    host.cycle()
    hang = threading.Event()
    monkeypatch.setattr("comfywatchman.cli.status.READ_SECONDS", 0.05)
    monkeypatch.setattr("comfywatchman.cli.status.read_own_report", lambda *_args, **_options: hang.wait())
    result = host.invoke("status")
    hang.set()
    assert isinstance(result.exception, Failure)
    assert "could not be read within" in result.exception.message


@contextlib.contextmanager
def hung_mount(folder: Path) -> Iterator[None]:
    """Mount a file system over a folder whose requests nobody answers; who reads there sleeps without signals."""
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        pytest.skip("there is no FUSE here")
    options = f"fd={descriptor},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    mount = subprocess.run(
        ["mount", "-i", "-t", "fuse", "-o", options, "hung", folder], pass_fds=[descriptor], check=False
    )
    try:
        if mount.returncode:
            pytest.skip("file systems cannot be mounted here")
        yield
    finally:
        # Without its server the file system fails every request, so that nothing stays blocked.
        os.close(descriptor)
        if not mount.returncode:
            subprocess.run(["umount", "-l", folder], check=True)


def has_blocked_thread(pid: int) -> bool:
    """Return whether a thread of a process sleeps in the kernel without reacting to signals."""
    states = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return "D" in states


def wait_until_blocked(process: subprocess.Popen[bytes]) -> None:
    """Wait until a thread stays blocked: any disk blocks for moments."""
    deadline, blocked = time.monotonic() + 120, 0
    while blocked < 40:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        blocked = blocked + 1 if has_blocked_thread(process.pid) else 0
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["models", "custom_nodes", "workflows", "state", "output"])
def test_interrupt_ends_a_cycle_on_a_hung_disk(tmp_path: Path, place: str) -> None:
    host = Host(tmp_path)
    host.write("a.json")
    host.cycle()
    folders = {
        "models": host.comfyui / "models" / "checkpoints",
        "custom_nodes": host.comfyui / "custom_nodes",
        "workflows": host.workflows,
        "state": host.layout.home.state,
        "output": host.layout.home.output,
    }
    with hung_mount(folders[place]), host.started("--run-cycle") as process:
        wait_until_blocked(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    if place not in {"state", "output"}:
        assert host.history()[-1].result in {"failed", "killed"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["state", "output"])
def test_status_ends_on_a_disk_that_hangs(tmp_path: Path, place: str) -> None:
    host = Host(tmp_path)
    host.cycle()
    folder = host.layout.home.state if place == "state" else host.layout.home.output
    with hung_mount(folder):
        result = host.program("status")
    assert result.returncode != 0
    assert b"could not be read within" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "keys", "status", "message"),
    [
        ("state", [], 1, "could not be read within"),
        ("output", [], 1, "could not be read within"),
        ("output", [("\x1b[?1049h", INTERRUPT)], 130, "A disk does not answer"),
    ],
    ids=["state", "output", "output-interrupt"],
)
def test_live_view_ends_on_a_disk_that_hangs(
    tmp_path: Path, place: str, keys: list[tuple[str, str]], status: int, message: str
) -> None:
    host = Host(tmp_path)
    host.cycle()
    folder = host.layout.home.state if place == "state" else host.layout.home.output
    with hung_mount(folder):
        session = run_in_terminal(
            ["--home", str(host.home), "status", "--watch"],
            keys,
            folder=host.folder,
            variables=host.environment(),
            columns=200,
            repeats_interrupt=False,
        )
    assert session.status == status, session.text
    assert message in session.text
    # The terminal is as it was before the message.
    end = session.received.rfind("\x1b[?1049h")
    assert end == -1 or end < session.received.rfind("\x1b[?1049l") < session.received.rfind(message)
    assert session.received.rfind("\x1b[?25h") >= session.received.rfind("\x1b[?25l")
