"""The download queue in `state/downloads.json`: items and their outcomes, kept across crashes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import Clock, format_utc, parse_utc
from comfywatchman.base.config import Home
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.state.ranges import check_times
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
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

_FINAL_CODES: Final = frozenset({"download-wrong-content", "download-gone"})
"""Failures that the same bytes at the same address meet again; another hash or address is another item."""

_PATIENCE_SECONDS: Final = 24 * 3600.0
"""Time after which a cycle tries a download again that needs a person: terms, a key, an end of early access."""

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
        comfyui: Id of the ComfyUI that gets the model; null in entries of older versions, which are not resumed.
    """

    item: PlanItem
    added_at: str
    ended_at: str | None = None
    outcome: DownloadOutcome | None = None
    comfyui: str | None = None

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.added_at, self.ended_at)


class DownloadQueue(msgspec.Struct, frozen=True):
    """`state/downloads.json`: entries by the id of their item and that of their ComfyUI."""

    entries: dict[str, QueueEntry] = {}
    schema_version: Literal[1] = 1

    def unfinished(self, comfyui: str | None) -> tuple[PlanItem, ...]:
        """Return the items without an outcome, and those that failed in a way that may pass; the oldest first.

        Args:
            comfyui: Id of the watched ComfyUI; items of others are left out.
        """
        waiting = [
            entry
            for entry in self.entries.values()
            if entry.comfyui == comfyui and (entry.outcome is None or entry.outcome.code in RETRYABLE_CODES)
        ]
        waiting.sort(key=lambda entry: (entry.added_at, entry.item.id))
        return tuple(entry.item for entry in waiting)

    def is_waiting_for_person(self, item_id: str, comfyui: str, now: datetime) -> bool:
        """Return whether a cycle leaves an item alone, because its download failed in a way that does not pass.

        Args:
            item_id: The item.
            comfyui: Id of the ComfyUI that gets the model.
            now: The current time.
        """
        entry = self.entries.get(_build_key(item_id, comfyui))
        if entry is None or entry.outcome is None or entry.outcome.code is None or entry.ended_at is None:
            return False
        if entry.outcome.code in RETRYABLE_CODES:
            return False
        age_seconds = (now - parse_utc(entry.ended_at)).total_seconds()
        return entry.outcome.code in _FINAL_CODES or 0 <= age_seconds < _PATIENCE_SECONDS


def queue_file(home: Home) -> Path:
    """Return the path of the queue."""
    return home.state / "downloads.json"


def read_queue(path: Path) -> tuple[DownloadQueue, CorruptFile | None]:
    """Read the queue. A corrupt file is set aside and reported, and the queue is empty."""
    stored = read_state(path, DownloadQueue)
    if isinstance(stored, DownloadQueue):
        return stored, None
    return DownloadQueue(), stored


def add_items(path: Path, items: Iterable[PlanItem], comfyui: str, *, clock: Clock) -> None:
    """Add items of a ComfyUI to the queue; items that already have an outcome wait again.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())
    new_entries = {_build_key(item.id, comfyui): QueueEntry(item, now, comfyui=comfyui) for item in items}
    _update_queue(path, lambda entries: entries | new_entries)


def record_outcomes(path: Path, outcomes: Iterable[DownloadOutcome], comfyui: str, *, clock: Clock) -> None:
    """Record outcomes of items of a ComfyUI; items that were removed from the queue meanwhile stay removed.

    Raises:
        Failure: `state-unwritable`.
    """
    now = format_utc(clock.now())
    recorded = list(outcomes)

    def set_outcomes(entries: dict[str, QueueEntry]) -> dict[str, QueueEntry]:
        for outcome in recorded:
            key = _build_key(outcome.id, comfyui)
            entry = entries.get(key)
            if entry is not None:
                entries[key] = msgspec.structs.replace(entry, ended_at=now, outcome=outcome)
        return entries

    _update_queue(path, set_outcomes)


def remove_items(path: Path, ids: Iterable[str], comfyui: str | None) -> None:
    """Remove items of a ComfyUI; their unfinished files stay until they are downloaded again or deleted by hand.

    Raises:
        Failure: `state-unwritable`.
    """
    removed = {_build_key(item_id, comfyui) for item_id in ids}
    _update_queue(path, lambda entries: {key: entry for key, entry in entries.items() if key not in removed})


def _build_key(item_id: str, comfyui: str | None) -> str:
    # Two ComfyUIs that share a home may miss the same model.
    return item_id if comfyui is None else f"{item_id}-{comfyui}"


def _update_queue(path: Path, update: Callable[[dict[str, QueueEntry]], dict[str, QueueEntry]]) -> None:
    """Read, change and write the queue under its lock; `update` gets a copy of the entries."""
    with _hold_lock(path.with_suffix(".lock")):
        queue, corrupt_file = read_queue(path)
        entries = _prune_entries(update(dict(queue.entries)))
        if entries != queue.entries or corrupt_file is not None:
            write_state(path, DownloadQueue(entries))


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
