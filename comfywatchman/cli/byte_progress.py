"""Progress of reading many bytes: a bar with amounts and remaining time on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from comfywatchman.cli.render import printable

if TYPE_CHECKING:
    from comfywatchman.app.session import ProgressRecorder

_LINE_SECONDS: Final = 10.0
_BAR_SECONDS: Final = 0.1
_RECORD_SECONDS: Final = 1.0
ByteProgress = Callable[[str, int, int], None]
"""Called with the name of a file, the bytes done so far, and all bytes."""


@contextmanager
def show_bytes(reporter: ProgressRecorder | None, verb: str, *, as_json: bool) -> Iterator[ByteProgress]:
    """Yield the progress display that fits the output; a task records its progress instead.

    Args:
        reporter: Where a task records it; None outside a task.
        verb: What happens to the files, such as `Hashing`.
        as_json: Whether a program reads the output, which gets no progress.
    """
    if reporter is not None:
        yield _limit_rate(lambda name, done, total: reporter.count(f"{verb} {name}", done, total), _RECORD_SECONDS)
    elif as_json:
        yield lambda _name, _done, _total: None
    elif not sys.stderr.isatty():
        yield _build_line_printer(verb)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        # A name in square brackets would count as markup in the description of a bar.
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(verb, total=None)

            def show(name: str, done: int, total: int) -> None:
                progress.update(bar, description=f"{verb} {printable(name)}", completed=done, total=total)

            yield _limit_rate(show, _BAR_SECONDS)


def _build_line_printer(verb: str) -> ByteProgress:
    from comfywatchman.cli.download_progress import format_progress

    began = time.monotonic()

    def show(name: str, done: int, total: int) -> None:
        pace = format_progress(done, total, done, time.monotonic() - began)
        click.echo(f"{verb} {printable(name)}: {pace}", err=True)

    return _limit_rate(show, _LINE_SECONDS, begins_at_once=False)


def _limit_rate(show: ByteProgress, seconds: float, *, begins_at_once: bool = True) -> ByteProgress:
    """Return a display that is updated at most every so many seconds."""
    shown_at = -seconds if begins_at_once else time.monotonic()

    def limited(name: str, done: int, total: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= seconds:
            shown_at = now
            show(name, done, total)

    return limited
