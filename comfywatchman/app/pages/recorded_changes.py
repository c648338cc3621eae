"""The changes that people and programs requested over the web page, read from the end of the structured log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.logs import FILE_NAME, read_last_records

MAX_CHANGES: Final = 50
_LOG_LEVELS: Final = ("debug", "info")
"""The log levels at which changes are recorded."""


class ChangeEvent(StrEnum):
    """The field `event` of the log lines that are read here; `web.guard_middleware` writes them."""

    CHANGE = "change"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change over the web page, or a request for one that was refused.

    Attributes:
        at: When, UTC.
        action: What was asked for: the path of the request.
        client: The address that it came from.
        signed_in_by: `session`, `token`, or empty.
        status: The HTTP status of the answer.
        why: Why it was refused before it was carried out; empty for a change.
    """

    at: str
    action: str
    client: str
    signed_in_by: str
    status: int
    why: str

    @property
    def was_done(self) -> bool:
        """Whether it was carried out."""
        return not self.why and self.status < HTTPStatus.BAD_REQUEST

    @property
    def result(self) -> str:
        """The result in words."""
        if self.why:
            return f"refused: {self.why}"
        return "done" if self.was_done else f"failed (status {self.status})"


def read_changes(session: Session, *, limit: int = MAX_CHANGES) -> tuple[RecordedChange, ...]:
    """Return the last changes, the newest first.

    Args:
        session: The session, whose log is read.
        limit: How many.
    """
    return select_changes(read_last_records(session.home_layout.home.log / FILE_NAME), limit=limit)


def describe_gaps(session: Session, changes: Sequence[RecordedChange]) -> str:
    """Return what the list of changes may lack: that it is empty, and that the log level leaves changes out."""
    sentences = []
    if not changes:
        sentences.append("The end of the log holds no changes.")
    level = session.settings.log.level
    if level not in _LOG_LEVELS:
        sentences.append(f"Changes are recorded at log level info; the level is {level}.")
    return " ".join(sentences)


def select_changes(records: Iterable[dict[str, Any]], *, limit: int) -> tuple[RecordedChange, ...]:
    """Return the changes among log records, which come oldest first; malformed ones are left out. Pure."""
    changes = []
    for record in records:
        if record.get("event") not in tuple(ChangeEvent):
            continue
        facts = {
            "at": record.get("timestamp"),
            "action": record.get("path"),
            "client": record.get("client"),
            "signed_in_by": record.get("signed_in_by"),
            "status": record.get("status"),
            "why": record.get("why", ""),
        }
        try:
            changes.append(msgspec.convert(facts, RecordedChange))
        except msgspec.ValidationError:
            # Written by another version.
            continue
    return tuple(changes[: -limit - 1 : -1])
