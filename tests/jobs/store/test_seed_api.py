from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.seed_api import (
    apply_god_mode,
    complete_job,
    init_db,
    lease_next_job,
    recover_orphans,
    upsert_job,
)
from tests.jobs.jobs import SPEC

ROW: dict[str, Any] = {
    "config_name": SPEC.config_name,
    "job_type": "T2I",
    "workflow_id": "empty-image",
    "priority": 50,
    "retry_limit": 1,
    "status": "pending",
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[JobStore]:
    with init_db(str(tmp_path / "new" / "jobs.db")) as store:
        yield store


def test_database_has_the_columns_and_indexes(db: JobStore) -> None:
    inspector = sa.inspect(db.database.engine)
    columns = {column["name"] for column in inspector.get_columns("jobs")}
    assert columns >= {
        *("id", "config_name", "job_type", "workflow_id", "priority", "status", "run_count", "retries_attempted"),
        *("retry_limit", "start_time", "end_time", "duration", "error_trace", "metadata", "worker_id"),
        "lease_expires_at",
    }
    assert len(inspector.get_indexes("jobs")) >= 4


def test_second_start_keeps_the_jobs(tmp_path: Path) -> None:
    for _ in range(2):
        with init_db(str(tmp_path / "jobs.db")) as store:
            upsert_job(store, ROW)
            assert store.stats().total_jobs == 1


def test_same_name_has_the_same_id(db: JobStore) -> None:
    assert upsert_job(db, ROW) == upsert_job(db, {**ROW, "priority": 7})
    assert db.get(SPEC.config_name).priority == 7


@pytest.mark.parametrize("changes", [{"config_name": None}, {"priority": "high"}])
def test_row_that_is_not_a_job_is_refused(db: JobStore, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="The row is not a job"):
        upsert_job(db, {**ROW, **changes})


def test_jobs_are_leased_in_order_until_none_is_left(db: JobStore) -> None:
    upsert_job(db, {**ROW, "config_name": "b.yaml"})
    upsert_job(db, {**ROW, "config_name": "a.yaml", "priority": 1})
    rows = [lease_next_job(db, "w", 60), lease_next_job(db, "w", 60)]
    assert [row["config_name"] for row in rows if row] == ["a.yaml", "b.yaml"]
    assert rows[0] is not None
    assert (rows[0]["status"], rows[0]["worker_id"], rows[0]["run_count"]) == ("processing", "w", 1)
    assert lease_next_job(db, "w", 60) is None


def test_failed_job_waits_again_until_its_retries_are_used_up(db: JobStore) -> None:
    job_id = upsert_job(db, ROW)
    statuses = []
    for _ in range(2):
        lease_next_job(db, "w", 60)
        complete_job(db, job_id, success=False, updates={"error_trace": "Traceback"})
        statuses.append(db.get(SPEC.config_name).status.value)
    assert statuses == ["pending", "failed"]
    assert db.get(SPEC.config_name).error_trace == "Traceback"


def test_done_job_holds_its_metadata(db: JobStore) -> None:
    job_id = upsert_job(db, ROW)
    lease_next_job(db, "w", 60)
    complete_job(db, job_id, success=True, updates={"metadata": {"saved": ["a.png"]}})
    job = db.get(SPEC.config_name)
    assert (job.status.value, job.metadata) == ("done", {"saved": ["a.png"]})
    with pytest.raises(ValueError, match="does not run"):
        complete_job(db, job_id, success=True, updates={})
    with pytest.raises(ValueError, match="does not run"):
        complete_job(db, 99, success=True, updates={})


def test_expired_leases_are_recovered(db: JobStore) -> None:
    upsert_job(db, ROW)
    lease_next_job(db, "w", 60)
    assert recover_orphans(db, datetime.now(UTC)) == 0
    assert recover_orphans(db, datetime.now(UTC) + timedelta(seconds=61)) == 1
    assert db.get(SPEC.config_name).status.value == "pending"


def test_god_mode_sets_the_first_priority(db: JobStore) -> None:
    upsert_job(db, ROW)
    apply_god_mode(db, SPEC.config_name)
    assert db.get(SPEC.config_name).priority == 1
    assert db.audit(SPEC.config_name)[0].actor == "plain functions"


def test_god_mode_of_an_unknown_job_is_a_failure(db: JobStore) -> None:
    with pytest.raises(Failure) as caught:
        apply_god_mode(db, "none.yaml")
    assert caught.value.code == "jobs-job-unknown"
