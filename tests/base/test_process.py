"""Children that end, hang, leave others behind, or are not there."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import INHERITED_VARIABLES, read_process_identity, run_with_timeout

CANARY = "canary-7d1f"


def test_result_has_status_and_both_outputs() -> None:
    ended = run_with_timeout(
        [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"],
        timeout_seconds=30,
    )
    assert (ended.status, ended.output, ended.errors) == (3, b"out\n", b"err\n")


def test_killed_child_has_a_negative_status() -> None:
    ended = run_with_timeout(["sh", "-c", "kill -9 $$"], timeout_seconds=30)
    assert ended.status == -9


def test_child_runs_in_its_folder_with_empty_input(tmp_path: Path) -> None:
    ended = run_with_timeout(["sh", "-c", "pwd; cat"], timeout_seconds=30, folder=tmp_path)
    assert ended.output == f"{tmp_path}\n".encode()


def test_child_inherits_passed_descriptors() -> None:
    readable, writable = os.pipe()
    asked = ["sh", "-c", f"test -e /proc/self/fd/{readable}"]
    assert run_with_timeout(asked, timeout_seconds=30, pass_on=[readable]).status == 0
    assert run_with_timeout(asked, timeout_seconds=30).status == 1
    os.close(readable)
    os.close(writable)


@pytest.mark.slow
def test_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 3>{pipe}; echo up >&3; sleep 1000 & sleep 1000"
    for limit_seconds in (0.5, 10.0, 60.0):
        with pytest.raises(Failure) as caught:
            run_with_timeout(["sh", "-c", script], timeout_seconds=limit_seconds)
        assert caught.value.code == "child-timeout"
        assert f"{limit_seconds:g} seconds" in caught.value.message
        # A slow machine may not have started the shell by then.
        started = os.read(reader, 100)
        if started:
            break
    assert started == b"up\n"
    # Both the shell and its child hold the pipe; its end is seen only when neither lives.
    assert select.select([reader], [], [], 60)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_grandchild_that_holds_the_output_does_not_block() -> None:
    script = "import os, time; pid = os.fork(); print(pid, flush=True) if pid else (os.setsid(), time.sleep(600))"
    ended = run_with_timeout([sys.executable, "-c", script], timeout_seconds=100)
    os.kill(int(ended.output), signal.SIGKILL)
    assert ended.status == 0


@pytest.mark.slow
def test_interrupt_ends_the_child(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    caller = """
import sys
from comfywatchman.base.process import run_with_timeout
run_with_timeout(["sh", "-c", f"exec 3>{sys.argv[1]}; echo up >&3; sleep 1000"], timeout_seconds=1000)
"""
    with subprocess.Popen([sys.executable, "-c", caller, str(pipe)], stderr=subprocess.DEVNULL) as child:
        assert select.select([reader], [], [], 60)[0]
        assert os.read(reader, 100) == b"up\n"
        child.send_signal(2)
        child.wait(60)
    assert select.select([reader], [], [], 60)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.slow
def test_interrupt_during_the_start_ends_the_child(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    caller = """
import os, signal, subprocess, sys
from comfywatchman.base.process import run_with_timeout
class Interrupted(subprocess.Popen):
    def _execute_child(self, *arguments):
        super()._execute_child(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
subprocess.Popen = Interrupted
run_with_timeout(["sh", "-c", f"exec 3>{sys.argv[1]}; echo up >&3; sleep 1000"], timeout_seconds=1000)
"""
    ended = subprocess.run([sys.executable, "-c", caller, str(pipe)], stderr=subprocess.PIPE, check=False, timeout=100)
    assert b"KeyboardInterrupt" in ended.stderr
    said = b"?"
    while said:  # nothing once nobody holds the pipe any more, whether or not it was killed before it opened it
        try:
            said = os.read(reader, 100)
        except BlockingIOError:
            assert select.select([reader], [], [], 60)[0]
    os.close(reader)


def test_secrets_do_not_reach_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CIVITAI_API_KEY", "HF_TOKEN", "COMFYWATCHMAN_SECRETS__HF_TOKEN", "ANYTHING_ELSE"):
        monkeypatch.setenv(name, CANARY)

    ended = run_with_timeout(["env"], timeout_seconds=30, extra_environment={"OURS": "given"})

    assert CANARY.encode() not in ended.output
    names = {line.split(b"=")[0].decode() for line in ended.output.splitlines()}
    assert "OURS" in names
    assert "PATH" in names
    assert names - set(INHERITED_VARIABLES) <= {
        "OURS",
        "PWD",
        "SHLVL",
        "_",
        "COVERAGE_PROCESS_START",
        "COVERAGE_PROCESS_CONFIG",
    }


def test_missing_program_is_a_failure() -> None:
    with pytest.raises(Failure) as caught:
        run_with_timeout(["/no/such/program"], timeout_seconds=1)
    assert caught.value.code == "child-failed"
    assert caught.value.message == "program could not be started: No such file or directory."


def test_identity_includes_the_start_of_a_process() -> None:
    mine = read_process_identity(os.getpid(), boot_id="boot")
    assert mine == read_process_identity(os.getpid(), boot_id="boot")
    assert mine is not None
    with subprocess.Popen(["sleep", "1000"]) as child:
        other = read_process_identity(child.pid, boot_id="boot")
        child.kill()
    assert other is not None
    assert other.started_ticks >= mine.started_ticks
    assert read_process_identity(child.pid, boot_id="boot") is None
