"""Watch the folder of job files. Scanning is what counts; a notice of the kernel only makes the next scan earlier."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, Self

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.folders import ensure_media_folders
from comfywatchman.jobs.files.intake import IntakeMemory, IntakeStore, ScanResult, ScanStatus, scan_once
from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.reading import FileStamp
from comfywatchman.jobs.files.workflows import JobWorkflow, load_workflows
from comfywatchman.jobs.settings import JobSettings

_LOG: Final = logging.getLogger("comfywatchman.jobs")
_SCAN_SHARE: Final = 10
"""A pause is at least this many times as long as the scan before it: a large folder does not keep a core busy."""

_NOTICE_MS: Final = 100
"""Time within which notices are collected; a writer needs it anyway."""


class StopSignal(Protocol):
    """An event that ends the loop: `base.stop.StopEvent`, or `threading.Event`."""

    def is_set(self) -> bool:
        """Return whether the event is set."""

    def wait(self, timeout: float, /) -> bool:
        """Wait for the event, for at most some seconds."""


class WorkflowsFile:
    """workflows.yaml, read again when it changes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: FileStamp | None = None
        self._workflows: dict[str, JobWorkflow] | None = None

    def load(self) -> dict[str, JobWorkflow]:
        """Return the workflows.

        Raises:
            JobFileError: The file is invalid, or there is none.
        """
        stamp = None
        with suppress(OSError):
            stamp = FileStamp.from_stat(self._path.stat())
        if self._workflows is None or stamp is None or stamp != self._stamp:
            self._workflows = None
            self._workflows = load_workflows(self._path)
            self._stamp = stamp
        return self._workflows


def run_monitor_loop(
    cfg: JobSettings,
    workflows: Mapping[str, JobWorkflow] | None,
    db: IntakeStore,
    stop_event: StopSignal,
    *,
    report: Callable[[ScanResult], object] = lambda _result: None,
    memory: IntakeMemory | None = None,
    clock: Clock | None = None,
) -> None:
    """Scan until the event is set: after each notice of the kernel, and at least once per poll interval.

    Args:
        cfg: The limits and places of the job agent.
        workflows: The workflows; None: those of `cfg.workflows`, read again when the file changes.
        db: The database. While it cannot be used, the loop goes on, and files are read later.
        stop_event: The event.
        report: Called with each new result.
        memory: What an earlier loop found.
        clock: The clock.
    """
    clock = clock or SystemClock()
    memory = IntakeMemory() if memory is None else memory
    source = WorkflowsFile(cfg.workflows)
    ensure_media_folders([cfg.processing], cfg.media_of_type.values())
    last_failure = ""
    with _Notices(cfg.processing, stop_event) as notices:
        while not stop_event.is_set():
            started = clock.monotonic()
            try:
                known = source.load() if workflows is None else workflows
                scan_once(cfg, known, db, memory=memory, clock=clock, report=report, is_stopped=stop_event.is_set)
                last_failure = ""
            except Failure as failure:
                # The same failure of each scan is reported once.
                if str(failure) != last_failure:
                    report(_build_failure_result(failure, cfg))
                last_failure = str(failure)
            seconds = clock.monotonic() - started
            notices.wait(cfg.poll_interval_seconds)
            rest = started + _SCAN_SHARE * seconds - clock.monotonic()
            if rest > 0:
                stop_event.wait(rest)


def _build_failure_result(failure: Failure, cfg: JobSettings) -> ScanResult:
    if isinstance(failure, JobFileError):
        first = failure.problems[0]
        path = str(cfg.workflows)
        return ScanResult(
            path, ScanStatus.REJECTED, failure.message, first.line, first.field, problems=failure.problems
        )
    return ScanResult(str(cfg.processing), ScanStatus.WAITING, str(failure))


class _Notices:
    """Notices of the kernel about changes below a folder, collected by a thread while the block runs."""

    def __init__(self, folder: Path, stop_event: StopSignal) -> None:
        self._folder = folder
        self._stop_event = stop_event
        self._changed = threading.Event()
        self._is_left = False
        self._thread = threading.Thread(target=self._collect, name="job file notices", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_left = True
        self._thread.join()

    def is_set(self) -> bool:
        """Return whether the thread is to end; watchfiles asks it many times per second."""
        return self._is_left or self._stop_event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for a notice since the last call, or the stop event, for at most some seconds."""
        if self._thread.is_alive():
            self._changed.wait(seconds)
            self._changed.clear()
        else:
            self._stop_event.wait(seconds)

    def _collect(self) -> None:
        from watchfiles import watch

        try:
            # Names are judged by the scan, so that no filter is needed.
            notices = watch(
                self._folder,
                watch_filter=None,
                stop_event=self,
                debounce=_NOTICE_MS,
                step=_NOTICE_MS,
                raise_interrupt=False,
            )
            for _changes in notices:
                self._changed.set()
        except OSError as error:
            # The kernel gives no more watches (fs.inotify.max_user_watches), or the folder went away: the scans go on.
            _LOG.info("job files are found by scanning only", extra={"reason": str(error)})
        self._changed.set()
