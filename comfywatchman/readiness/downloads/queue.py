"""What is to be fetched and what came of it, in `state/downloads.json`; survives whatever ends the program."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.config import Home
from comfywatchman.base.files import CorruptFile, read_state, to_json, unwritable_failure, write_atomic
from comfywatchman.readiness.downloads.plan import PlanItem

_MAX_ENDED: Final = 500
RETRYABLE_CODES: Final = frozenset(
    {
        "download-interrupted",
        "download-later",
        "download-no-space",
        "download-stopped",
        "http-unreachable",
        "lock-held",
        "state-unwritable",
    }
)
"""Failures that time, space or a connection may mend; the others need a person first."""

DownloadMethod = Literal["downloaded", "linked", "there"]


class DownloadOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one item.

    Attributes:
        id: The item's.
        filename: As the workflow names it.
        target: Where it is, or would be.
        how: `downloaded`, `linked` to the same bytes elsewhere, or `there` already; null when it failed.
        size: Of the file, in bytes.
        sha256: Of its bytes.
        received_bytes: What came over the network for it.
        resumed_from: How many of its bytes an earlier run had fetched.
        seconds: How long it took.
        code: Of the failure; null when there is none.
        message: What happened, for people.
        hint: What to do.
    """

    id: str
    filename: str
    target: str | None = None
    how: DownloadMethod | None = None
    size: int | None = None
    sha256: str | None = None
    received_bytes: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    code: str | None = None
    message: str | None = None
    hint: str | None = None


class QueueEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item of the queue.

    Attributes:
        item: What is to be fetched.
        added_at: UTC.
        ended_at: When its outcome was recorded, UTC; null while it waits.
        outcome: Null while it waits or is under way.
    """

    item: PlanItem
    added_at: str
    ended_at: str | None = None
    outcome: DownloadOutcome | None = None


class DownloadQueue(msgspec.Struct, frozen=True):
    """`state/downloads.json`: entries by the id of their item."""

    entries: dict[str, QueueEntry] = {}
    schema_version: Literal[1] = 1

    def unfinished(self) -> tuple[PlanItem, ...]:
        """Return what waits, was under way when the program ended, or failed in a way that may pass; oldest first."""
        waiting = [
            entry for entry in self.entries.values() if entry.outcome is None or entry.outcome.code in RETRYABLE_CODES
        ]
        return tuple(entry.item for entry in sorted(waiting, key=lambda entry: (entry.added_at, entry.item.id)))


def queue_file(home: Home) -> Path:
    """Return the file of the queue."""
    return home.state / "downloads.json"


def read_queue(path: Path) -> tuple[DownloadQueue, CorruptFile | None]:
    """Read the queue; a damaged one is set aside, reported, and begun anew."""
    found = read_state(path, DownloadQueue)
    return (found, None) if isinstance(found, DownloadQueue) else (DownloadQueue(), found)


def add_items(path: Path, items: Iterable[PlanItem], *, clock: Clock) -> None:
    """Put items into the queue as waiting, also those that are in it with an outcome.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())
    _update_queue(path, lambda entries: entries | {item.id: QueueEntry(item, now) for item in items})


def record_outcomes(path: Path, outcomes: Iterable[DownloadOutcome], *, clock: Clock) -> None:
    """Write down what came of items; those that somebody took out of the queue meanwhile stay out.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())

    def change(entries: dict[str, QueueEntry]) -> dict[str, QueueEntry]:
        ended = {one.id: one for one in outcomes}
        return {
            key: msgspec.structs.replace(entry, ended_at=now, outcome=ended[key]) if key in ended else entry
            for key, entry in entries.items()
        }

    _update_queue(path, change)


def remove_items(path: Path, ids: Iterable[str]) -> None:
    """Take items out of the queue; their unfinished files stay until they are fetched again or deleted by hand.

    Raises:
        Failure: `state-unwritable`.
    """
    gone = set(ids)
    _update_queue(path, lambda entries: {key: entry for key, entry in entries.items() if key not in gone})


def _update_queue(path: Path, change: Callable[[dict[str, QueueEntry]], dict[str, QueueEntry]]) -> None:
    with _hold_lock(path.with_suffix(".lock")):
        before, _damaged = read_queue(path)
        entries = _prune_entries(change(dict(before.entries)))
        if entries != before.entries or _damaged is not None:
            write_atomic(path, to_json(DownloadQueue(entries)))


def _prune_entries(entries: dict[str, QueueEntry]) -> dict[str, QueueEntry]:
    ended = sorted((entry.ended_at, key) for key, entry in entries.items() if entry.ended_at is not None)
    gone = {key for _, key in ended[: max(0, len(ended) - _MAX_ENDED)]}
    return {key: entry for key, entry in entries.items() if key not in gone}


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock for the few milliseconds of a change; others wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable_failure(path, error, verb="made") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
