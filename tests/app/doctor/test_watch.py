from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfywatchman.app.doctor.check import CheckState, DoctorCheck
from comfywatchman.app.doctor.watch import check_service
from comfywatchman.app.session import Session
from comfywatchman.base.config import systemd_user_folder
from comfywatchman.readiness.history import CycleRecord, add_record

TIMER = "comfywatchman-cycle.timer"


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return Session(tmp_path / "home", None)


def check(session: Session) -> DoctorCheck:
    (found,) = check_service(session)
    return found


def record_cycle(session: Session, trigger: str, minutes_ago: float) -> None:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    cycle = CycleRecord(at.isoformat(), trigger, at.isoformat(), 1.0, success=True)
    add_record(session.layout.history, cycle, keep=9)


def write_unit(name: str) -> None:
    systemd_user_folder().mkdir(parents=True, exist_ok=True)
    (systemd_user_folder() / name).touch()


def test_checks_that_only_a_person_starts(session: Session) -> None:
    record_cycle(session, "manual", 1)
    found = check(session)
    assert (found.state, found.next_step) == (CheckState.WARN, session.format_command("install-service", "--write"))


def test_cron_is_recognised_by_its_cycles(session: Session) -> None:
    record_cycle(session, "cron", 200)
    record_cycle(session, "manual", 1)
    assert check(session).state is CheckState.OK


def test_cron_that_ended_long_ago_is_not_running(session: Session) -> None:
    record_cycle(session, "cron", 60 * 24 * 3)
    assert check(session).state is CheckState.WARN


def test_timer_is_recognised_by_its_unit_and_cycles(session: Session) -> None:
    record_cycle(session, "schedule", 10)
    assert check(session).state is CheckState.WARN
    write_unit(TIMER)
    assert check(session).state is CheckState.OK


@pytest.mark.parametrize("name", ["comfywatchman.service", TIMER])
def test_written_unit_is_to_be_enabled(session: Session, name: str) -> None:
    write_unit(name)
    found = check(session)
    assert (found.state, found.next_step) == (CheckState.WARN, f"systemctl --user enable --now {name}")
