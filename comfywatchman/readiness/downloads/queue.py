"""What is to be fetched and what came of it, in `state/downloads.json`; survives whatever ends the program."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import Clock, to_text
from comfywatchman.base.config import Home
from comfywatchman.base.files import Damaged, read_state, to_json, unwritable, write_atomic
from comfywatchman.readiness.downloads.plan import PlanItem

_KEPT_ENDED: Final = 500
WORTH_ANOTHER_TRY: Final = frozenset(
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

How = Literal["downloaded", "linked", "there"]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
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
    how: How | None = None
    size: int | None = None
    sha256: str | None = None
    received_bytes: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    code: str | None = None
    message: str | None = None
    hint: str | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
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
    outcome: Outcome | None = None


class Queue(msgspec.Struct, frozen=True):
    """`state/downloads.json`: entries by the id of their item."""

    entries: dict[str, Entry] = {}
    schema_version: Literal[1] = 1

    def unfinished(self) -> tuple[PlanItem, ...]:
        """Return what waits, was under way when the program ended, or failed in a way that may pass; oldest first."""
        waiting = [
            entry for entry in self.entries.values() if entry.outcome is None or entry.outcome.code in WORTH_ANOTHER_TRY
        ]
        return tuple(entry.item for entry in sorted(waiting, key=lambda entry: (entry.added_at, entry.item.id)))


def queue_file(home: Home) -> Path:
    """Return the file of the queue."""
    return home.state / "downloads.json"


def read_queue(path: Path) -> tuple[Queue, Damaged | None]:
    """Read the queue; a damaged one is set aside, reported, and begun anew."""
    found = read_state(path, Queue)
    return (found, None) if isinstance(found, Queue) else (Queue(), found)


def add_items(path: Path, items: Iterable[PlanItem], *, clock: Clock) -> None:
    """Put items into the queue as waiting, also those that are in it with an outcome.

    Raises:
        Failure: `state-unwritable`.
    """
    now = to_text(clock.now())
    _change(path, lambda entries: entries | {item.id: Entry(item, now) for item in items})


def record(path: Path, outcomes: Iterable[Outcome], *, clock: Clock) -> None:
    """Write down what came of items; those that somebody took out of the queue meanwhile stay out.

    Raises:
        Failure: `state-unwritable`.
    """
    now = to_text(clock.now())

    def change(entries: dict[str, Entry]) -> dict[str, Entry]:
        ended = {one.id: one for one in outcomes}
        return {
            key: msgspec.structs.replace(entry, ended_at=now, outcome=ended[key]) if key in ended else entry
            for key, entry in entries.items()
        }

    _change(path, change)


def drop(path: Path, ids: Iterable[str]) -> None:
    """Take items out of the queue; their unfinished files stay until they are fetched again or deleted by hand.

    Raises:
        Failure: `state-unwritable`.
    """
    gone = set(ids)
    _change(path, lambda entries: {key: entry for key, entry in entries.items() if key not in gone})


def _change(path: Path, change: Callable[[dict[str, Entry]], dict[str, Entry]]) -> None:
    with _alone(path.with_suffix(".lock")):
        before, _damaged = read_queue(path)
        entries = _pruned(change(dict(before.entries)))
        if entries != before.entries or _damaged is not None:
            write_atomic(path, to_json(Queue(entries)))


def _pruned(entries: dict[str, Entry]) -> dict[str, Entry]:
    ended = sorted((entry.ended_at, key) for key, entry in entries.items() if entry.ended_at is not None)
    gone = {key for _, key in ended[: max(0, len(ended) - _KEPT_ENDED)]}
    return {key: entry for key, entry in entries.items() if key not in gone}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock for the few milliseconds of a change; others wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(path, error, verb="made") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
