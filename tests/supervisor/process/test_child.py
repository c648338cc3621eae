from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.process import ChildProcess
from comfywatchman.supervisor.process import guard
from comfywatchman.supervisor.process.child import (
    RECORD_NAME,
    StartCommand,
    StopLimits,
    SupervisedProcess,
    read_process_record,
    rotate_logs,
)
from tests.supervisor.programs import FAMILY, STUBBORN, is_running, read_pids, supervised, wait_until

BOOT = SystemClock().boot_id()
pytestmark = pytest.mark.slow

QUICK = StopLimits(interrupt=0.2, terminate=0.2, kill=60.0)
FOREVER = "import time; print('up', flush=True); time.sleep(600)"
SUPERVISOR = """
import sys, time
from pathlib import Path
from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.process.child import StartCommand, SupervisedProcess
folder, code, keep = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "keep"
clock = SystemClock()
command = StartCommand("main", (sys.executable, "-c", code), folder, {}, 0)
SupervisedProcess.start(command, folder / "run", boot_id=clock.boot_id(), now_seconds=1.0, is_kept=keep)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(42)", 42),
        ("raise SystemExit(43)", 43),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 11)", -11),
        ("import os; os.abort()", -6),
    ],
)
def test_exit_status_passes_through_the_guard(tmp_path: Path, code: str, status: int) -> None:
    with supervised(tmp_path, code) as process:
        assert process.wait(60) == status


def test_program_that_does_not_exist_ends_with_127(tmp_path: Path) -> None:
    command = StartCommand("main", ("/nonexistent/python",), tmp_path, {}, 0)
    process = SupervisedProcess.start(command, tmp_path / "run", boot_id=BOOT, now_seconds=1.0, is_kept=False)
    assert process.wait(60) == 127
    # Whoever looks for the reason looks into ComfyUI's log.
    assert process.log.read_text() == "/nonexistent/python could not be started: No such file or directory.\n"
    process.release()


def test_both_outputs_are_one_log_in_order(tmp_path: Path) -> None:
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr, flush=True); print('c', flush=True)"
    with supervised(tmp_path, code) as process:
        process.wait(60)
        assert process.log.read_text() == "a\nb\nc\n"


def test_descendants_end_with_the_program(tmp_path: Path) -> None:
    with supervised(tmp_path, FAMILY.format(then="sys.exit(5)")) as process:
        assert process.wait(60) == 5
        assert [pid for pid in read_pids(process.log) if is_running(pid)] == []


def test_stop_ends_a_daemon_in_its_own_session(tmp_path: Path) -> None:
    with supervised(tmp_path, FAMILY.format(then="time.sleep(600)")) as process:
        pids = read_pids(process.log)
        assert all(is_running(pid) for pid in pids)
        assert process.stop(StopLimits(interrupt=60.0)) == -signal.SIGINT
        assert [pid for pid in pids if is_running(pid)] == []


def test_program_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, STUBBORN) as process:
        assert wait_until(lambda: process.count_log_bytes() > 0)
        assert process.stop(QUICK) == -signal.SIGKILL


def test_signal_before_the_guard_is_ready_is_passed_on_and_recorded(tmp_path: Path) -> None:
    # Sent at once: the guard's Python is still starting.
    command = StartCommand("main", ("/bin/sleep", "600"), tmp_path, {}, 0)
    for number, limits in (
        (signal.SIGINT, StopLimits(interrupt=60.0)),
        (signal.SIGTERM, StopLimits(interrupt=0.0, terminate=60.0)),
        (signal.SIGABRT, StopLimits(dump=60.0)),
    ):
        folder = tmp_path / number.name
        process = SupervisedProcess.start(command, folder, boot_id=BOOT, now_seconds=1.0, is_kept=False)
        assert process.stop(limits) == -number
        record = json.loads((folder / ".comfyui_guard.json").read_text())
        assert record["status"] == -number
        assert process.main_pid == record["pid"]
        process.release()


def test_start_leaves_the_signals_of_the_supervisor_as_they_were(tmp_path: Path) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    code = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), flush=True)"
    with supervised(tmp_path, code) as process:
        assert process.wait(60) == 0
        assert process.log.read_text() == f"{sorted(blocked)}\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked


def test_dump_shows_where_the_program_hangs(tmp_path: Path) -> None:
    with supervised(tmp_path, f"import faulthandler\nfaulthandler.enable()\n{STUBBORN}") as process:
        assert wait_until(lambda: process.count_log_bytes() > 0)
        assert process.stop(StopLimits(dump=60.0)) == -signal.SIGABRT
        assert "most recent call first" in process.log.read_text()


def test_killed_supervisor_leaves_nothing_after_two_seconds(tmp_path: Path) -> None:
    # The best of several attempts: on a busy machine any of them may be held up.
    for attempt in range(5):
        if measure_end_after_kill(tmp_path / str(attempt)) < 2.0:
            return
    raise AssertionError("it takes longer each time")


def measure_end_after_kill(folder: Path) -> float:
    """Return how long a guarded family lives on after its supervisor was killed."""
    code = FAMILY.format(then="signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)")
    folder.mkdir()
    with ChildProcess([sys.executable, "-c", SUPERVISOR, str(folder), code, "stop"]) as supervisor:
        pids = read_pids(folder / "run" / "comfyui.log")
        record = read_process_record(folder / "run")
        assert record is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        everybody = [record.guard.pid, *pids]
        assert wait_until(lambda: not any(is_running(pid) for pid in everybody))
        return time.monotonic() - killed_at


def test_kept_program_is_adopted_by_the_next_supervisor(tmp_path: Path) -> None:
    code = FAMILY.format(then="time.sleep(600)")
    with ChildProcess([sys.executable, "-c", SUPERVISOR, str(tmp_path), code, "keep"]) as supervisor:
        pids = read_pids(tmp_path / "run" / "comfyui.log")
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait(60)
    assert all(is_running(pid) for pid in pids)
    process = SupervisedProcess.adopt(tmp_path / "run", boot_id=BOOT)
    assert process is not None
    assert process.main_pid == pids[0]
    assert process.wait(0) is None
    process.stop(StopLimits(interrupt=60.0))
    assert not any(is_running(pid) for pid in pids)
    process.release()


def test_adopted_program_tells_its_exit_status(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    code = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.01)\nraise SystemExit(42)"
    with ChildProcess([sys.executable, "-c", SUPERVISOR, str(tmp_path), code, "keep"]) as supervisor:
        assert wait_until((tmp_path / "run" / ".comfyui_guard.json").is_file)
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait(60)
    process = SupervisedProcess.adopt(tmp_path / "run", boot_id=BOOT)
    assert process is not None
    go_on.touch()
    assert process.wait(60) == 42
    process.release()


def test_nothing_is_adopted_from_another_boot(tmp_path: Path) -> None:
    with supervised(tmp_path, FOREVER) as process:
        assert wait_until(lambda: process.count_log_bytes() > 0)
        assert SupervisedProcess.adopt(tmp_path / "run", boot_id="another") is None


def test_stranger_with_the_recorded_pid_is_neither_adopted_nor_harmed(tmp_path: Path) -> None:
    with (
        supervised(tmp_path, FOREVER) as process,
        ChildProcess([sys.executable, "-c", FOREVER]) as stranger,
    ):
        guard = process.record.guard
        reused = msgspec.structs.replace(
            process.record, guard=type(guard)(boot_id=BOOT, pid=stranger.pid, started_ticks=guard.started_ticks - 1)
        )
        (tmp_path / "run" / RECORD_NAME).write_bytes(msgspec.json.encode(reused))
        assert SupervisedProcess.adopt(tmp_path / "run", boot_id=BOOT) is None
        assert stranger.wait(0) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"guard": 1}', b"\xff" * 10])
def test_damaged_record_adopts_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECORD_NAME).write_bytes(content)
    assert SupervisedProcess.adopt(tmp_path, boot_id=BOOT) is None


def test_logs_of_earlier_starts_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    for number in range(8):
        rotate_logs(tmp_path)
        (tmp_path / "comfyui.log").write_text(str(number))
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {
        "comfyui.log": "7",
        "comfyui.1.log": "6",
        "comfyui.2.log": "5",
        "comfyui.3.log": "4",
        "comfyui.4.log": "3",
    }


def test_guard_records_the_memory_counters_of_its_cgroup_at_the_end(tmp_path: Path) -> None:
    # Machines without cgroups have none.
    expected = guard.read_oom_events(os.getpid()) or {}
    with supervised(tmp_path, "raise SystemExit(0)") as process:
        assert process.wait(60) == 0
        assert (process.oom_events_at_end or {}).keys() == expected.keys()
