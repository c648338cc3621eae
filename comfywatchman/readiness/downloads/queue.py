"""The download queue in `state/downloads.json`: items and their outcomes, kept across crashes."""

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
        "network-settings",
        "state-unwritable",
    }
)
"""Failures after which the same download may succeed later; all others need a person first."""

DownloadMethod = Literal["downloaded", "linked", "there"]


class DownloadOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one item.

    Attributes:
        id: Id of the item.
        filename: As the workflow names it.
        target: Path of the file.
        how: `downloaded`, `linked` to the same bytes elsewhere, or `there` already; null if it failed.
        size: Size of the file in bytes.
        sha256: Hash of the file.
        received_bytes: Bytes received over the network in this run.
        resumed_from: Bytes received by an earlier run.
        seconds: Duration.
        code: Code of the failure; null without a failure.
        message: The outcome, for people.
        hint: The next step, for people.
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
        item: The model to download.
        added_at: UTC.
        ended_at: Time of its outcome, UTC; null before it has one.
        outcome: Null while it waits or is downloaded.
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
        """Return the items without an outcome, and those that failed in a way that may pass; the oldest first."""
        waiting = [
            entry for entry in self.entries.values() if entry.outcome is None or entry.outcome.code in RETRYABLE_CODES
        ]
        waiting.sort(key=lambda entry: (entry.added_at, entry.item.id))
        return tuple(entry.item for entry in waiting)


def queue_file(home: Home) -> Path:
    """Return the path of the queue."""
    return home.state / "downloads.json"


def read_queue(path: Path) -> tuple[DownloadQueue, CorruptFile | None]:
    """Read the queue. A corrupt file is set aside and reported, and the queue is empty."""
    stored = read_state(path, DownloadQueue)
    if isinstance(stored, DownloadQueue):
        return stored, None
    return DownloadQueue(), stored


def add_items(path: Path, items: Iterable[PlanItem], *, clock: Clock) -> None:
    """Add items to the queue; items that already have an outcome wait again.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())
    new_entries = {item.id: QueueEntry(item, now) for item in items}
    _update_queue(path, lambda entries: entries | new_entries)


def record_outcomes(path: Path, outcomes: Iterable[DownloadOutcome], *, clock: Clock) -> None:
    """Record outcomes of items; items that were removed from the queue meanwhile stay removed.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())
    recorded = list(outcomes)

    def set_outcomes(entries: dict[str, QueueEntry]) -> dict[str, QueueEntry]:
        for outcome in recorded:
            entry = entries.get(outcome.id)
            if entry is not None:
                entries[outcome.id] = msgspec.structs.replace(entry, ended_at=now, outcome=outcome)
        return entries

    _update_queue(path, set_outcomes)


def remove_items(path: Path, ids: Iterable[str]) -> None:
    """Remove items from the queue; their unfinished files stay until they are downloaded again or deleted by hand.

    Raises:
        Failure: `state-unwritable`.
    """
    removed = set(ids)
    _update_queue(path, lambda entries: {key: entry for key, entry in entries.items() if key not in removed})


def _update_queue(path: Path, update: Callable[[dict[str, QueueEntry]], dict[str, QueueEntry]]) -> None:
    """Read, change and write the queue under its lock; `update` gets a copy of the entries."""
    with _hold_lock(path.with_suffix(".lock")):
        queue, corrupt_file = read_queue(path)
        entries = _prune_entries(update(dict(queue.entries)))
        if entries != queue.entries or corrupt_file is not None:
            write_atomic(path, to_json(DownloadQueue(entries)))


def _prune_entries(entries: dict[str, QueueEntry]) -> dict[str, QueueEntry]:
    """Drop the oldest outcomes beyond the limit."""
    ended = [(entry.ended_at, key) for key, entry in entries.items() if entry.ended_at is not None]
    ended.sort()
    dropped = {key for _ended_at, key in ended[: max(0, len(ended) - _MAX_ENDED)]}
    return {key: entry for key, entry in entries.items() if key not in dropped}


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock for the few milliseconds of a change, and wait for others to release it."""
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
