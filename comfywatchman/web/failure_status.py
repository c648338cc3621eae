"""The HTTP status of each failure, for pages and the API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_NOT_FOUND_CODES: Final = frozenset(
    {"file-unreadable", "jobs-job-unknown", "supervisor-incident-unknown", "web-task-unknown", "workflow-unknown"}
)
_CONFLICT_CODES: Final = frozenset({"jobs-count-changed", "jobs-job-status", "lock-held"})
_USAGE_CODES: Final = frozenset({"jobs-priority-range", "web-form-invalid"})


def find_status(code: str) -> HTTPStatus:
    """Return the HTTP status of a failure."""
    if code in _NOT_FOUND_CODES:
        return HTTPStatus.NOT_FOUND
    if code in _CONFLICT_CODES:
        return HTTPStatus.CONFLICT
    return HTTPStatus.UNPROCESSABLE_ENTITY if code in _USAGE_CODES else HTTPStatus.SERVICE_UNAVAILABLE
