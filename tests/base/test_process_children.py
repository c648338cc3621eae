from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ChildProcess, ProcessIdentity, end_stray_process, read_process_identity
from comfywatchman.base.stop import StopEvent

READY = "import signal, sys, time; {before}; open(sys.argv[1], 'w').close(); time.sleep(600)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def wait_until(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    """Say whether a process has ended; a zombie has."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return True


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "ready"


def test_child_has_a_status_and_output_tails() -> None:
    code = "import sys; print('x' * 9 + 'end'); sys.stderr.write('complaint'); sys.exit(75)"
    with ChildProcess(python(code)) as child:
        assert child.wait(30) == 75
        assert child.wait(30) == 75
        assert child.output_tail(max_bytes=4) == b"end\n"
        assert child.errors_tail() == b"complaint"


def test_large_output_does_not_block_the_child() -> None:
    with ChildProcess(python("print('x' * 3_000_000)")) as child:
        assert child.wait(30) == 0
        assert len(child.output_tail()) == 64 << 10


def test_child_gets_extra_variables_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    code = "import os; print(os.environ.get('HF_TOKEN'), os.environ['GIVEN'], os.getcwd())"
    with ChildProcess(python(code), extra_environment={"GIVEN": "yes"}, folder=tmp_path) as child:
        assert child.wait(30) == 0
        assert child.output_tail().decode().split() == ["None", "yes", str(tmp_path)]


def test_running_child_has_no_status() -> None:
    with ChildProcess(python("import time; time.sleep(600)")) as child:
        assert child.wait(0.01) is None


def test_stop_event_ends_the_wait_but_not_the_child() -> None:
    with ChildProcess(python("import time; time.sleep(600)")) as child, StopEvent() as stop:
        stop.set()
        assert child.wait(60, also=[stop.fileno()]) is None
        assert not gone(child.pid)


def test_child_is_ended_with_the_block() -> None:
    with ChildProcess(python("import time; time.sleep(600)")) as child:
        pass
    assert gone(child.pid)


def test_child_is_ended_by_sigterm(ready: Path) -> None:
    with ChildProcess(python(READY.format(before="pass"), str(ready))) as child:
        wait_until(ready.exists)
        assert child.end(grace_seconds=30) == -signal.SIGTERM


@pytest.mark.slow
def test_child_that_ignores_sigterm_is_killed(ready: Path) -> None:
    with ChildProcess(python(READY.format(before=DEAF), str(ready))) as child:
        wait_until(ready.exists)
        began = time.monotonic()
        assert child.end(grace_seconds=0.2) == -signal.SIGKILL
        assert time.monotonic() - began >= 0.2


def test_rest_of_the_group_ends_with_the_child() -> None:
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid)"
    with ChildProcess(python(code)) as child:
        assert child.wait(30) == 0
        left = int(child.output_tail())
        wait_until(lambda: gone(left))


def test_missing_program_is_a_failure() -> None:
    with pytest.raises(Failure) as raised:
        ChildProcess(["/no/such/program"])
    assert raised.value.code == "child-failed"


def stranger(code: str, ready: Path) -> tuple[subprocess.Popen[bytes], ProcessIdentity]:
    process = subprocess.Popen(python(code, str(ready)))
    wait_until(ready.exists)
    identity = read_process_identity(process.pid, boot_id=SystemClock().boot_id())
    assert identity is not None
    return process, identity


@pytest.mark.parametrize(("before", "status"), [("pass", -signal.SIGTERM), (DEAF, -signal.SIGKILL)])
@pytest.mark.slow
def test_stray_process_is_ended(ready: Path, before: str, status: int) -> None:
    process, identity = stranger(READY.format(before=before), ready)
    assert end_stray_process(identity, grace_seconds=0.2)
    assert process.wait(60) == status


def test_process_with_a_reused_pid_is_left_alone(ready: Path) -> None:
    process, identity = stranger(READY.format(before="pass"), ready)
    try:
        other = ProcessIdentity(identity.boot_id, identity.pid, identity.started_ticks - 1)
        assert not end_stray_process(other, grace_seconds=0.2)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_ended_process_is_reported_as_not_running() -> None:
    process = subprocess.Popen(python("pass"))
    process.wait()
    assert not end_stray_process(ProcessIdentity("boot", process.pid, 1), grace_seconds=0.2)


@pytest.mark.slow
def test_unkillable_child_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in an uninterruptible wait cannot be made here; one that no signal reaches looks the same."""
    with ChildProcess(python("import time; time.sleep(600)")) as child:
        monkeypatch.setattr(os, "killpg", lambda _group, _number: None)
        began = time.monotonic()
        assert child.end(grace_seconds=0.1) is None
        assert time.monotonic() - began < 30
        monkeypatch.undo()


def test_logs_are_private_to_their_owner(tmp_path: Path) -> None:
    logs = tmp_path / "out", tmp_path / "err"
    logs[0].write_text("of an earlier run")
    with ChildProcess(python("import sys; print('said'); sys.stderr.write('bad')"), logs=logs) as child:
        assert child.wait(30) == 0
        assert child.count_output_bytes() == 8
        assert child.output_tail() == b"said\n"
    assert [path.read_text() for path in logs] == ["said\n", "bad"]
    assert {path.stat().st_mode & 0o777 for path in logs} == {0o600}


def test_unwritable_log_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be written") as caught:
        ChildProcess(python("pass"), logs=(tmp_path / "out", tmp_path / "no folder" / "err"))
    assert caught.value.code == "state-unwritable"


@pytest.mark.slow
def test_child_dies_with_its_parent(ready: Path) -> None:
    code = (
        "import sys; from comfywatchman.base.process import ChildProcess\n"
        "child = ChildProcess(sys.argv[1:], dies_with_us=True); print(child.pid, flush=True); child.wait(60)"
    )
    sleeper = python(READY.format(before="pass"), str(ready))
    with subprocess.Popen([sys.executable, "-c", code, *sleeper], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(ready.exists)
        parent.kill()
    wait_until(lambda: gone(pid))


def test_missing_program_that_dies_with_us_ends_with_127(tmp_path: Path) -> None:
    with ChildProcess([str(tmp_path / "nothing")], dies_with_us=True) as child:
        assert child.wait(30) == 127
        assert b"could not be started" in child.errors_tail()
