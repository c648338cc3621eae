from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.app.pages.recorded_changes import (
    CHANGE_ANSWERED,
    REQUEST_REFUSED,
    RecordedChange,
    read_changes,
    select_changes,
)
from comfywatchman.app.session import Session


def record(message: str, **changes: Any) -> dict[str, Any]:
    facts = {
        "timestamp": "2026-12-01T12:00:00Z",
        "message": message,
        "path": "/actions/queue/retry",
        "client": "127.0.0.1",
        "signed_in_by": "session",
        "status": 303,
    }
    return {**facts, **changes}


def test_changes_and_refusals_are_listed_newest_first() -> None:
    records = [
        record(CHANGE_ANSWERED),
        record("change requested"),
        record(CHANGE_ANSWERED, status=422),
        record(REQUEST_REFUSED, status=403, why="origin", signed_in_by=""),
    ]
    changes = select_changes(records, limit=9)
    assert [change.result for change in changes] == ["refused: origin", "failed (status 422)", "done"]
    assert [change.was_done for change in changes] == [False, False, True]
    assert select_changes(records, limit=1) == changes[:1]


@pytest.mark.parametrize("changes", [{"path": None}, {"status": "x"}, {"timestamp": 7}])
def test_malformed_lines_are_left_out(changes: dict[str, Any]) -> None:
    assert select_changes([record(CHANGE_ANSWERED, **changes)], limit=9) == ()


def test_changes_are_read_from_the_log_of_the_home(tmp_path: Path) -> None:
    session = Session(tmp_path / "home", None)
    assert read_changes(session) == ()
    facts = {"path": "/check", "client": "::1", "signed_in_by": "token", "status": 303}
    session.log.getChild("web").info(CHANGE_ANSWERED, extra=facts)
    (change,) = read_changes(session)
    assert change == RecordedChange(change.at, "/check", "::1", "token", 303, "")
