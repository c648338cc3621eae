"""The scheduler's state file, and the note that a cycle prints for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.scheduler.due import Moment
from comfywatchman.readiness.scheduler.state import (
    MAX_OUTCOMES,
    SCHEMA_VERSION,
    CycleNote,
    CycleOutcome,
    RunningCycle,
    ScheduleState,
    add_outcome,
    load_schedule_state,
    parse_cycle_note,
    save_schedule_state,
)

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
RUNNING = RunningCycle(pid=7, started_ticks=9, boot_id="b", trigger="schedule", due_at=NOW, started_at=NOW)


def build_outcome(cycle_id: str) -> CycleOutcome:
    return CycleOutcome("ran", "schedule", NOW, NOW, NOW, cycle_id=cycle_id)


def test_state_survives_saving_and_loading(tmp_path: Path) -> None:
    path = tmp_path / "state/scheduler.json"
    state = ScheduleState(7200.0, Moment(NOW, 12.5, "b"), RUNNING, (build_outcome("c-1"),))
    assert load_schedule_state(path) is None
    save_schedule_state(path, state)
    assert load_schedule_state(path) == state


def test_unchanged_state_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    save_schedule_state(path, ScheduleState(7200.0))
    inode = path.stat().st_ino
    save_schedule_state(path, ScheduleState(7200.0))
    assert path.stat().st_ino == inode


def test_state_of_a_later_version_stays_in_place(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"interval_seconds": 60.0, "schema_version": SCHEMA_VERSION + 1}))
    damaged = load_schedule_state(path)
    assert isinstance(damaged, CorruptFile)
    assert (damaged.moved_to, damaged.later_version) == (None, SCHEMA_VERSION + 1)
    assert path.exists()


def test_outcome_ends_the_running_cycle_and_drops_the_oldest() -> None:
    outcomes = tuple(build_outcome(str(number)) for number in range(MAX_OUTCOMES))
    state = add_outcome(ScheduleState(60.0, running=RUNNING, last_outcomes=outcomes), build_outcome("new"))
    assert state.running is None
    assert [outcome.cycle_id for outcome in state.last_outcomes] == [*map(str, range(1, MAX_OUTCOMES)), "new"]


@pytest.mark.parametrize(
    ("output", "note"),
    [
        (b'a table\n{"id": "c-1", "later_field": 1}\n', CycleNote(id="c-1")),
        (b'{"skipped_reason": "vram-low", "message": "m"}', CycleNote(skipped_reason="vram-low", message="m")),
        (b'{"id": "c-1"}\nTraceback', CycleNote()),
        (b'{"id": 3}', CycleNote()),
        (b"\xff\xfe", CycleNote()),
        (b"\n \n", CycleNote()),
        (b"", CycleNote()),
    ],
)
def test_note_is_parsed_from_the_last_line(output: bytes, note: CycleNote) -> None:
    assert parse_cycle_note(output) == note
