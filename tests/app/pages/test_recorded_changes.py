from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.app.pages.recorded_changes import (
    ChangeEvent,
    RecordedChange,
    describe_gaps,
    read_changes,
    select_changes,
)
from comfywatchman.app.session import Session


def record(event: str, **changes: Any) -> dict[str, Any]:
    facts = {
        "timestamp": "2026-12-01T12:00:00Z",
        "event": event,
        "path": "/actions/queue/retry",
        "client": "127.0.0.1",
        "signed_in_by": "session",
        "status": 303,
    }
    return {**facts, **changes}


def test_changes_and_refusals_are_listed_newest_first() -> None:
    records = [
        record(ChangeEvent.CHANGE),
        record("other"),
        {"event": []},
        {"message": "change answered"},
        record(ChangeEvent.CHANGE, status=422),
        record(ChangeEvent.REFUSAL, status=403, why="origin", signed_in_by=""),
    ]
    changes = select_changes(records, limit=9)
    assert [change.result for change in changes] == ["refused: origin", "failed (status 422)", "done"]
    assert [change.was_done for change in changes] == [False, False, True]
    assert select_changes(records, limit=1) == changes[:1]


@pytest.mark.parametrize("changes", [{"path": None}, {"status": "x"}, {"timestamp": 7}])
def test_malformed_lines_are_left_out(changes: dict[str, Any]) -> None:
    assert select_changes([record(ChangeEvent.CHANGE, **changes)], limit=9) == ()


def test_changes_are_read_from_the_log_of_the_home(tmp_path: Path) -> None:
    session = Session(tmp_path / "home", None)
    assert read_changes(session) == ()
    facts = {"event": "change", "path": "/check", "client": "::1", "signed_in_by": "token", "status": 303}
    session.log.getChild("web").info("any message", extra=facts)
    (change,) = read_changes(session)
    assert change == RecordedChange(change.at, "/check", "::1", "token", 303, "")


@pytest.mark.parametrize(
    ("level", "sentence"),
    [
        ("info", "The end of the log holds no changes."),
        (
            "error",
            "The end of the log holds no changes. Changes are recorded at log level info; the level is error.",
        ),
    ],
)
def test_empty_list_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, sentence: str) -> None:
    monkeypatch.setenv("COMFYWATCHMAN_LOG__LEVEL", level)
    assert describe_gaps(Session(tmp_path, None), ()) == sentence


def test_list_of_changes_needs_no_explanation_at_log_level_info(tmp_path: Path) -> None:
    changes = select_changes([record(ChangeEvent.CHANGE)], limit=9)
    assert describe_gaps(Session(tmp_path, None), changes) == ""
