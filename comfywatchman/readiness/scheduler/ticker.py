"""The scheduler process: APScheduler ticks in one thread, and the main thread watches that it keeps ticking."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from datetime import UTC
from logging import WARNING, Logger, getLogger
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.host import notify_service_manager
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.scheduler.loop import CycleCommand, CycleLoop, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.state import CycleOutcome

INTERRUPTED_STATUS: Final = 130

_WATCH_SECONDS: Final = 5.0
_SLACK_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 1.8
"""How long to wait for the ticking thread at the end; a stop must take less than two seconds."""


class Ticker:
    """Calls one function at a fixed rate in a thread of its own; APScheduler is used as a clock and stores nothing.

    Args:
        tick: The function; the next call waits until it has returned.
        seconds: Seconds from one call to the next.
        clock: Gives the time of the first call.
    """

    def __init__(self, tick: Callable[[], None], *, seconds: float, clock: Clock) -> None:
        from apscheduler.events import EVENT_SCHEDULER_STARTED
        from apscheduler.executors.debug import DebugExecutor
        from apscheduler.schedulers.blocking import BlockingScheduler
        from apscheduler.triggers.interval import IntervalTrigger

        # APScheduler warns of each tick skipped during a long cycle, which is normal here.
        getLogger("apscheduler").setLevel(max(WARNING + 1, getLogger("apscheduler").level))
        self._clock = clock
        self._started = threading.Event()
        # The "debug" executor runs the job in the scheduler's own thread: no pool whose threads outlive a stop.
        self._scheduler = BlockingScheduler(timezone=UTC, executors={"default": DebugExecutor()})
        self._scheduler.add_listener(lambda _event: self._started.set(), EVENT_SCHEDULER_STARTED)
        self._scheduler.add_job(
            tick,
            IntervalTrigger(seconds=seconds, timezone=UTC),
            id="tick",
            next_run_time=clock.now(),
            coalesce=True,
            misfire_grace_time=None,
            max_instances=1,
        )
        self._thread = threading.Thread(target=self._scheduler.start, name="ticks", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the ticking thread still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start ticking; return when the thread runs."""
        self._thread.start()
        self._started.wait(_SLACK_SECONDS)

    def nudge(self) -> None:
        """Make the next tick due now.

        APScheduler plans the next tick by the wall clock; when that is set back, the tick would come hours later.
        """
        self._scheduler.modify_job("tick", next_run_time=self._clock.now())
        self._scheduler.wakeup()

    def close(self, *, timeout_seconds: float) -> bool:
        """End the thread after its current tick; return whether it ended in time."""
        # APScheduler's shutdown waits for the tick without a limit, so it runs in a thread that can be abandoned.
        closing = threading.Thread(target=self._shut_down, daemon=True)
        closing.start()
        closing.join(timeout_seconds)
        if self.alive:
            self._thread.join(0.1)
        return not self.alive

    def _shut_down(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


def run_scheduler(
    settings: ScheduleSettings,
    *,
    paths: SchedulePaths,
    clock: Clock,
    command: Callable[[str], CycleCommand],
    log: Logger,
    record: Callable[[CycleOutcome], None] = lambda _outcome: None,
    notify_address: str | None = None,
) -> int:
    """Run cycles at a fixed rate until SIGTERM, SIGINT or SIGHUP; the first one at once.

    Call this from the main thread: it installs signal handlers.

    Args:
        settings: Timing.
        paths: Its files.
        clock: The clocks of this machine.
        command: Returns the command of a cycle for a trigger (`first` or `schedule`).
        log: Log for outcomes and errors.
        record: Adds an outcome to the history; see `CycleLoop`.
        notify_address: Value of `NOTIFY_SOCKET`; systemd is notified there that the scheduler is ready and alive.

    Returns:
        The exit status: 0 after SIGTERM or SIGHUP, 130 after SIGINT, 1 when the ticking thread died or hangs.

    Raises:
        Failure: `lock-held` when another scheduler uses the same state; the message names it.
    """
    with hold_lock(paths.lock, command="comfywatchman --scheduler", clock=clock), StopEvent() as stop:
        stop.set_on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        loop = CycleLoop(settings, paths=paths, clock=clock, command=command, stop=stop, log=log, record=record)
        loop.begin()
        ticker = Ticker(loop.tick, seconds=settings.tick_seconds, clock=clock)
        ticker.start()
        log.info("scheduler started", extra={"interval_seconds": settings.interval_seconds})
        status = watch_ticks(ticker, loop, stop, settings=settings, log=log, notify_address=notify_address)
        notify_service_manager("STOPPING=1", address=notify_address)
        if not ticker.close(timeout_seconds=_CLOSE_SECONDS):
            log.error("tick did not end in time")
        log.info("scheduler stopped", extra={"status": status})
        return status


def watch_ticks(
    ticker: Ticker,
    loop: CycleLoop,
    stop: StopEvent,
    *,
    settings: ScheduleSettings,
    log: Logger,
    notify_address: str | None = None,
) -> int:
    """Watch until the stop event that ticks keep coming; return the exit status."""
    longest_tick = settings.cycle_deadline_seconds + settings.stop_grace_seconds + _SLACK_SECONDS
    notify_service_manager("READY=1", address=notify_address)
    while not stop.wait(min(_WATCH_SECONDS, settings.tick_seconds)):
        silent = loop.silent_seconds()
        # The thread died, or a tick takes longer than a killed cycle can: only a restart by systemd helps now.
        if not ticker.alive or silent > longest_tick:
            log.critical("ticks have stopped", extra={"alive": ticker.alive, "silent_seconds": round(silent, 1)})
            stop.set()
            return 1
        # Without a running cycle, missing ticks mean that the wall clock was set back.
        if silent > 2 * settings.tick_seconds and not loop.busy:
            ticker.nudge()
        notify_service_manager("WATCHDOG=1", address=notify_address)
    if stop.signal == signal.SIGINT:
        return INTERRUPTED_STATUS
    return 0
