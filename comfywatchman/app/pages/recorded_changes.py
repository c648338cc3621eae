"""The changes that people and programs requested over the web page, read from the end of the structured log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from comfywatchman.app.session import Session
from comfywatchman.base.logs import FILE_NAME, read_last_records

MAX_CHANGES: Final = 50
CHANGE_ANSWERED: Final = "change answered"
REQUEST_REFUSED: Final = "request refused"
"""The fixed messages of the log lines that are read here; `web.guard_middleware` writes them."""


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


def select_changes(records: Iterable[dict[str, Any]], *, limit: int) -> tuple[RecordedChange, ...]:
    """Return the changes among log records, which come oldest first; malformed ones are left out. Pure."""
    changes = []
    for record in records:
        if record.get("message") not in {CHANGE_ANSWERED, REQUEST_REFUSED}:
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
