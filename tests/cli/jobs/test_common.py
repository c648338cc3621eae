from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.app.job_facts import describe_job, format_moment, warn_long_queue
from comfywatchman.cli.jobs.common import format_result
from comfywatchman.jobs.records import JobStatus
from tests.jobs.execution.samples import MOMENT, build_job


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": JobStatus.DONE, "metadata": {"files": [{}]}, "duration": 61.0}, "1 file, 1 min 01 s"),
        ({"status": JobStatus.DONE, "metadata": {"files": [{}, {}]}}, "2 files"),
        ({}, "on here"),
        ({"host": None}, ""),
        ({"status": JobStatus.FAILED, "error_trace": "first\nsecond"}, "first"),
        ({"status": JobStatus.FAILED, "error_trace": "", "error_code": "jobs-refused"}, "jobs-refused"),
        ({"status": JobStatus.FAILED, "error_trace": None, "error_code": "jobs-refused"}, "jobs-refused"),
        ({"status": JobStatus.PENDING}, ""),
    ],
)
def test_result_is_short(changes: dict[str, Any], text: str) -> None:
    assert format_result(build_job(**changes)) == text


def test_json_has_the_names_of_the_seed() -> None:
    facts = describe_job(build_job())
    assert facts["start_time"] == "2026-01-31T09:30:00Z"
    assert facts["end_time"] is None
    names = (
        "run_count",
        "retries_attempted",
        "retry_limit",
        "error_trace",
        "metadata",
        "worker_id",
        "lease_expires_at",
    )
    assert [name for name in names if name not in facts] == []


@pytest.mark.parametrize(("pending", "limit", "is_long"), [(1, 2, False), (2, 2, True), (5, 0, False)])
def test_queue_is_long_from_the_limit_on(pending: int, limit: int, *, is_long: bool) -> None:
    assert bool(warn_long_queue(pending, limit)) is is_long


def test_no_time_is_none() -> None:
    assert format_moment(None) is None
    assert format_moment(MOMENT) == "2026-01-31T09:30:00Z"
