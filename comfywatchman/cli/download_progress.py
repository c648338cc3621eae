"""Download progress: bars on a terminal, a line now and then elsewhere, nothing for programs."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.base.text import format_size, pluralize
from comfywatchman.cli.render import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress, TaskID

    from comfywatchman.app.session import ProgressRecorder
    from comfywatchman.readiness.downloads.item_downloader import DownloadWatcher
    from comfywatchman.readiness.downloads.plan import PlanItem
    from comfywatchman.readiness.downloads.queue import DownloadOutcome

_LINE_SECONDS: Final = 10.0
_BAR_SECONDS: Final = 0.1
_MIB: Final = 1 << 20


class QuietProgress:
    """Prints nothing."""

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        """Ignore it."""

    def finish(self, outcome: DownloadOutcome) -> None:
        """Ignore it."""


class LineProgress:
    """Prints a line per file every ten seconds, and one when it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[str, tuple[float, int]] = {}
        self._shown: dict[str, float] = {}

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        """Print a line, at most every ten seconds per file."""
        now = time.monotonic()
        with self._lock:
            began, first = self._began.setdefault(item.id, (now, have))
            if now - self._shown.setdefault(item.id, now) < _LINE_SECONDS:
                return
            self._shown[item.id] = now
        click.echo(f"{printable(item.filename)}: {format_progress(have, total, have - first, now - began)}", err=True)

    def finish(self, outcome: DownloadOutcome) -> None:
        """Print the outcome."""
        click.echo(format_outcome(outcome), err=True)


class BarProgress:
    """Shows a bar for each running download.

    Args:
        progress: The display, already running.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bars: dict[str, TaskID] = {}
        self._shown: dict[str, float] = {}

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        """Move its bar, at most ten times per second."""
        now = time.monotonic()
        with self._lock:
            if item.id not in self._bars:
                self._bars[item.id] = self._progress.add_task(
                    _escape_markup(item.filename), total=total, completed=have
                )
            elif now - self._shown.get(item.id, 0.0) < _BAR_SECONDS:
                return
            self._shown[item.id] = now
            self._progress.update(self._bars[item.id], completed=have, total=total)

    def finish(self, outcome: DownloadOutcome) -> None:
        """Remove its bar and print the outcome."""
        with self._lock:
            bar = self._bars.pop(outcome.id, None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.console.print(format_outcome(outcome), markup=False, highlight=False, soft_wrap=True)


class TaskDownloads:
    """Records the bytes of all downloads together, for the page.

    Args:
        reporter: Where they are recorded.
        items: The downloads.
    """

    def __init__(self, reporter: ProgressRecorder, items: Sequence[PlanItem]) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._sizes = {item.id: item.likely_bytes for item in items}
        self._done = dict.fromkeys(self._sizes, 0)
        self._ended = 0

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        """Record the bytes of one download."""
        with self._lock:
            self._done[item.id] = have
            self._sizes[item.id] = total or max(have, self._sizes.get(item.id, 0))
            self._record(item.filename)

    def finish(self, outcome: DownloadOutcome) -> None:
        """Print the outcome into the log of the task."""
        click.echo(format_outcome(outcome))
        with self._lock:
            self._ended += 1
            self._done[outcome.id] = self._sizes.get(outcome.id, 0)
            self._record(outcome.filename)

    def _record(self, name: str) -> None:
        text = f"{self._ended} of {pluralize(len(self._sizes), 'file')} done; now {name}"
        self._reporter.count(text, sum(self._done.values()), sum(self._sizes.values()) or None)


@contextmanager
def show_progress(
    reporter: ProgressRecorder | None, items: Sequence[PlanItem], *, as_json: bool
) -> Iterator[DownloadWatcher]:
    """Yield the progress display that fits the output; a task records its progress instead."""
    if reporter is not None:
        yield TaskDownloads(reporter, items)
    elif as_json:
        yield QuietProgress()
    elif not sys.stderr.isatty():
        yield LineProgress()
    else:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield BarProgress(progress)


def format_progress(have: int, total: int | None, received: int, seconds: float) -> str:
    """Return the share of a file that is there, the speed, and the remaining time.

    Args:
        have: Bytes that are there.
        total: Size of the file; None when it is not known.
        received: Bytes received by this run.
        seconds: Time that this took.
    """
    speed = received / seconds if seconds > 0 else 0.0
    pace = f"{speed / _MIB:.1f} MiB/s"
    if not total:
        return f"{format_size(have)}, {pace}"
    text = f"{100 * have // total} % of {format_size(total)}, {pace}"
    if speed > 0:
        text += f", {_format_duration((total - have) / speed)} left"
    return text


def format_outcome(outcome: DownloadOutcome) -> str:
    """Return the outcome of a download in one line; for a failure with the next step."""
    name = printable(outcome.filename)
    if outcome.how is None:
        hint = f" {printable(outcome.hint)}" if outcome.hint else ""
        return f"{name}: failed ({outcome.code}): {printable(outcome.message or '')}{hint}"
    facts = ["size unknown" if outcome.size is None else format_size(outcome.size)]
    if outcome.how == "downloaded" and outcome.seconds > 0:
        facts.append(f"{outcome.received_bytes / outcome.seconds / _MIB:.1f} MiB/s")
    if outcome.resumed_from:
        facts.append(f"resumed at {format_size(outcome.resumed_from)}")
    action = {"downloaded": "downloaded", "linked": "linked to a file of this host", "there": "already present"}
    return f"{name}: {action[outcome.how]} ({', '.join(facts)}) at {printable(outcome.target or '')}"


def _format_duration(seconds: float) -> str:
    # At a speed near zero the estimate may be years; 99:59:59 is enough.
    minutes, rest = divmod(int(min(seconds, 359_999)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def _escape_markup(name: str) -> str:
    from rich.markup import escape

    return escape(printable(name))
