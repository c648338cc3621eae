from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.housekeeping import apply_retention, run_housekeeping
from comfywatchman.jobs.settings import JobSettings
from tests.jobs.files.job_folder import NOW, FixedClock

NAME = "T2I_20260131093000_1_fox"
LATER = FixedClock(NOW.replace(year=2100))


class RecordingStore:
    def __init__(self, deleted: int = 0) -> None:
        self.calls: list[float] = []
        self.deleted = deleted

    def prune(self, history_days: float) -> int:
        self.calls.append(history_days)
        return self.deleted


class AwayStore(RecordingStore):
    def prune(self, history_days: float) -> int:
        raise Failure("jobs-database-unavailable", f"The database is away ({history_days}).")


class CountedStop:
    def __init__(self, pauses: int) -> None:
        self.pauses = pauses
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return self.pauses <= 0

    def wait(self, timeout: float, /) -> bool:
        self.pauses -= 1
        self.waits.append(timeout)
        return self.is_set()


@contextmanager
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Record the lines of the agent, also after another test has opened the log of the program."""
    logger = logging.getLogger("comfywatchman.jobs")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger=logger.name):
            yield
    finally:
        logger.removeHandler(caplog.handler)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(
        processing=tmp_path / "processing",
        finished=tmp_path / "finished",
        database_url="",
        workflows=tmp_path / "workflows.yaml",
        global_config=tmp_path / "global_config.yaml",
        keep_outputs_days=30.0,
    )


def publish(settings: JobSettings, moment: datetime) -> Path:
    folder = settings.finished / "image" / NAME
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"config_name": f"{NAME}.yaml"}), "utf-8")
    for path in (folder / "result.json", folder):
        os.utime(path, (moment.timestamp(),) * 2)
    return folder


def test_old_jobs_and_outputs_are_deleted_and_logged(settings: JobSettings, caplog: pytest.LogCaptureFixture) -> None:
    folder, store = publish(settings, NOW), RecordingStore(deleted=3)
    with logged(caplog):
        apply_retention(settings, store, LATER)
    assert store.calls == [90.0]
    assert not folder.exists()
    assert {record.message for record in caplog.records} == {"retention applied"}


def test_nothing_to_delete_is_not_logged(settings: JobSettings, caplog: pytest.LogCaptureFixture) -> None:
    with logged(caplog):
        apply_retention(settings, RecordingStore(), LATER)
    assert caplog.records == []


def test_zero_days_keep_everything(settings: JobSettings) -> None:
    folder, store = publish(settings, NOW), RecordingStore()
    kept = dataclasses.replace(settings, keep_history_days=0.0, keep_outputs_days=0.0)
    apply_retention(kept, store, LATER)
    assert store.calls == []
    assert folder.exists()


def test_outputs_are_deleted_while_the_database_is_away(settings: JobSettings) -> None:
    folder = publish(settings, NOW)
    apply_retention(settings, AwayStore(), LATER)
    assert not folder.exists()


def test_retention_is_applied_every_hour_until_the_stop(settings: JobSettings) -> None:
    store, stop = RecordingStore(), CountedStop(2)
    run_housekeeping(settings, store, stop, SystemClock())
    assert stop.waits == [3600.0, 3600.0]
    assert len(store.calls) == 2
