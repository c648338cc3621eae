from __future__ import annotations

import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.lock import read_holder
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.scheduler.loop import CycleCommand, CycleLoop, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.state import ScheduleState, load_schedule_state
from comfywatchman.readiness.scheduler.ticker import Ticker, watch_ticks
from tests.base.test_process_children import DEAF, READY, gone, python, wait_until
from tests.fakes import FakeClock

SETTINGS = ScheduleSettings(
    interval_seconds=7200.0,
    cycle_deadline_seconds=120.0,
    resume_grace_seconds=1.0,
    tick_seconds=0.05,
    stop_grace_seconds=1.0,
)
SCHEDULER = """
import logging, os, sys
from pathlib import Path
from comfywatchman.base.clock import SystemClock
from comfywatchman.base.lock import read_holder
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.scheduler.loop import CycleCommand, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.ticker import run_scheduler

folder, interval, code = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
try:
    status = run_scheduler(
        ScheduleSettings(interval, 120.0, 1.0, tick_seconds=0.05),
        paths=SchedulePaths(folder / "scheduler.json", folder / "scheduler.lock", folder / "awake.json"),
        clock=SystemClock(),
        command=lambda trigger: CycleCommand([sys.executable, "-I", "-S", "-c", code, str(folder / "ready")]),
        log=logging.getLogger("scheduler"),
        notify_address=os.environ.get("NOTIFY_SOCKET"),
    )
except Failure as failure:
    sys.exit(f"{failure.code}: {failure}")
sys.exit(status)
"""
log = logging.getLogger("tests.schedule")


def start(folder: Path, *, code: str = "pass", interval: float = 7200.0, prefix: tuple[str, ...] = ()) -> list[str]:
    return [*prefix, sys.executable, "-c", SCHEDULER, str(folder), str(interval), code]


@contextmanager
def scheduler(folder: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    command = start(folder, **options)  # type: ignore[arg-type]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_state(folder: Path) -> ScheduleState | None:
    state = load_schedule_state(folder / "scheduler.json")
    return state if isinstance(state, ScheduleState) else None


def read_cycle_pid(folder: Path) -> int:
    """Return the process id of the running cycle; 0 when none is recorded."""
    state = read_state(folder)
    return state.running.pid if state and state.running else 0


def outcomes(folder: Path) -> list[str]:
    state = read_state(folder)
    return [outcome.outcome for outcome in state.last_outcomes] if state else []


@pytest.mark.slow
def test_the_scheduler_runs_a_cycle_at_once_and_stops_cleanly(tmp_path: Path) -> None:
    with scheduler(tmp_path) as process:
        wait_until(lambda: outcomes(tmp_path) == ["ran"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert read_state(tmp_path) is not None


@pytest.mark.slow
def test_the_scheduler_runs_on_at_its_rate(tmp_path: Path) -> None:
    with scheduler(tmp_path, interval=0.2):
        wait_until(lambda: outcomes(tmp_path).count("ran") >= 4)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])
@pytest.mark.slow
def test_signal_during_a_cycle_stops_everything_within_two_seconds(tmp_path: Path, number: int, status: int) -> None:
    # The best of several attempts: on a busy machine any of them may be held up.
    best = 60.0
    for attempt in range(4):
        (tmp_path / str(attempt)).mkdir()
        best = min(best, measure_stop(tmp_path / str(attempt), number, status))
        if best < 2:
            return
    # Or all of them, and then the end of a scheduler without a cycle, too.
    assert best < 1.0 + 4 * measure_idle_stop(tmp_path)


def measure_idle_stop(folder: Path) -> float:
    """Return how long a scheduler takes to stop between its cycles."""
    with scheduler(folder) as process:
        wait_until(lambda: outcomes(folder) == ["ran"])
        began = time.monotonic()
        process.terminate()
        assert process.wait(60) == 0
        return time.monotonic() - began


def measure_stop(folder: Path, number: int, status: int) -> float:
    """Return how long a scheduler takes to stop in mid-cycle, and check what it leaves."""
    with scheduler(folder, code=READY.format(before=DEAF)) as process:
        wait_until((folder / "ready").exists)
        wait_until(lambda: (state := read_state(folder)) and state.running)
        running = read_state(folder)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(60) == status
        seconds = time.monotonic() - began
    assert running is not None
    assert running.running is not None
    assert gone(running.running.pid)
    assert outcomes(folder) == ["killed"]
    assert json.loads((folder / "scheduler.json").read_bytes())["running"] is None
    return seconds


@pytest.mark.slow
def test_cycle_of_a_killed_scheduler_ends_within_two_seconds(tmp_path: Path) -> None:
    seconds = []
    # The best of several attempts: on a busy machine any of them may be held up.
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with scheduler(folder, code=READY.format(before=DEAF)) as process:
            wait_until((folder / "ready").exists)
            wait_until(partial(read_cycle_pid, folder))
            pid = read_cycle_pid(folder)
            began = time.monotonic()
            process.kill()
            wait_until(partial(gone, pid))
            seconds.append(time.monotonic() - began)
        if seconds[-1] < 2:
            return
    raise AssertionError(seconds)


@pytest.mark.slow
def test_second_scheduler_refuses_and_names_the_first(tmp_path: Path) -> None:
    with scheduler(tmp_path) as first:
        wait_until(lambda: outcomes(tmp_path) == ["ran"])
        with scheduler(tmp_path) as second:
            _, errors = second.communicate(timeout=60)
            assert second.returncode == 1
        assert f"lock-held: scheduler.lock is held by process {first.pid} (comfywatchman --scheduler" in errors
        assert first.poll() is None


@pytest.mark.slow
def test_next_scheduler_continues_the_state_of_a_killed_one(tmp_path: Path) -> None:
    with scheduler(tmp_path, code=READY.format(before=DEAF)) as process:
        wait_until(lambda: (state := read_state(tmp_path)) and state.running)
        process.kill()
        process.wait()
    state = read_state(tmp_path)
    assert state is not None
    assert state.running is not None
    with scheduler(tmp_path):
        wait_until(lambda: outcomes(tmp_path) == ["killed", "ran"])
    assert gone(state.running.pid)


@pytest.mark.slow
def test_scheduler_notifies_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with scheduler(tmp_path) as process:
            assert listener.recv(100) == b"READY=1"
            assert listener.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (heard := listener.recv(100)) == b"WATCHDOG=1":
                pass
            assert heard == b"STOPPING=1"
            assert process.wait(60) == 0


@pytest.fixture
def stop() -> Iterator[StopEvent]:
    with StopEvent() as notice:
        yield notice


def loop(folder: Path, stop: StopEvent) -> CycleLoop:
    paths = SchedulePaths(folder / "scheduler.json", folder / "scheduler.lock", folder / "awake.json")
    return CycleLoop(
        SETTINGS, paths=paths, clock=SystemClock(), command=lambda _: CycleCommand(python("pass")), stop=stop, log=log
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_ticker_thread_ends_the_scheduler(
    tmp_path: Path, stop: StopEvent, caplog: pytest.LogCaptureFixture
) -> None:
    ticker = Ticker(lambda: ticker._scheduler.shutdown(wait=False), seconds=0.05, clock=SystemClock())
    ticker.start()
    wait_until(lambda: not ticker.alive)
    assert watch_ticks(ticker, loop(tmp_path, stop), stop, settings=SETTINGS, log=log) == 1
    assert "ticks have stopped" in caplog.text
    assert stop.is_set()


@pytest.mark.slow
def test_hanging_tick_is_noticed_and_does_not_block_the_exit(tmp_path: Path, stop: StopEvent) -> None:
    with StopEvent() as never:

        def hang() -> None:
            never.wait(60)

        watched = loop(tmp_path, stop)
        ticker = Ticker(hang, seconds=0.05, clock=SystemClock())
        ticker.start()
        watched.busy = True
        hasty = replace(SETTINGS, cycle_deadline_seconds=-61.0, stop_grace_seconds=0.1)
        assert watch_ticks(ticker, watched, stop, settings=hasty, log=log) == 1
        began = time.monotonic()
        assert not ticker.close(timeout_seconds=0.2)
        assert time.monotonic() - began < 40
        never.set()
        wait_until(lambda: not ticker.alive)


@pytest.mark.slow
def test_ticks_go_on_when_the_wall_clock_is_set_back(tmp_path: Path, stop: StopEvent) -> None:
    # A wall clock set back puts the next tick of APScheduler hours ahead; the test sets it directly.
    watched = loop(tmp_path, stop)
    ticks: list[int] = []
    enough = [1_000_000]

    def tick() -> None:
        watched.tick()
        ticks.append(1)
        if len(ticks) >= enough[0]:
            stop.set()

    ticker = Ticker(tick, seconds=0.05, clock=SystemClock())
    ticker.start()
    wait_until(lambda: ticks)
    ticker._scheduler.modify_job("tick", next_run_time=SystemClock().now() + timedelta(hours=8))
    enough[0] = len(ticks) + 3
    began = time.monotonic()
    assert watch_ticks(ticker, watched, stop, settings=SETTINGS, log=log) == 0
    assert time.monotonic() - began < 100
    assert ticker.close(timeout_seconds=60)


def test_ticker_survives_an_exception_of_its_tick() -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        raise SystemExit

    ticker = Ticker(tick, seconds=0.01, clock=SystemClock())
    ticker.start()
    wait_until(lambda: len(ticks) > 3)
    assert ticker.close(timeout_seconds=60)


@pytest.mark.slow
def test_ticker_that_never_started_is_closed() -> None:
    assert Ticker(lambda: None, seconds=1, clock=FakeClock()).close(timeout_seconds=60)


def can_shift_the_boot_clock() -> bool:
    command = ["unshare", "-U", "-r", "-T", "--boottime", "100000", "true"]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
def test_shifted_boot_clock_counts_as_sleep(tmp_path: Path) -> None:
    if not can_shift_the_boot_clock():
        pytest.skip("unshare cannot make a time namespace here")
    with scheduler(tmp_path) as process:
        wait_until(lambda: outcomes(tmp_path) == ["ran"])
        process.terminate()
        process.wait(60)
    slept = ("unshare", "-U", "-r", "-T", "--boottime", "20000", "--fork", "--kill-child")
    with scheduler(tmp_path, prefix=slept):
        wait_until(lambda: len(outcomes(tmp_path)) == 3)
    state = read_state(tmp_path)
    assert state is not None
    assert [(outcome.outcome, outcome.count) for outcome in state.last_outcomes] == [
        ("ran", 1),
        ("missed", 2),
        ("ran", 1),
    ]
    mark = json.loads((tmp_path / "awake.json").read_bytes())
    assert mark["slept_seconds"] >= 19_999
    assert mark["resumed_monotonic"] is not None


def holds(lock: Path, pid: int) -> bool:
    holder = read_holder(lock)
    return holder is not None and holder.pid == pid


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [8, pytest.param(25, marks=pytest.mark.torture)])
def test_scheduler_killed_at_any_moment_leaves_a_readable_state(tmp_path: Path, kills: int) -> None:
    moments = random.Random(4)  # noqa: S311 - the moments of the kills, the same ones each time
    for _ in range(kills):
        with scheduler(tmp_path, interval=0.05) as process:
            wait_until(partial(holds, tmp_path / "scheduler.lock", process.pid))
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            process.wait()
        assert not list(tmp_path.glob("*.damaged-*"))
    assert read_state(tmp_path) is not None
    with scheduler(tmp_path, interval=0.05):
        wait_until(lambda: {"ran", "missed"} <= set(outcomes(tmp_path)))
