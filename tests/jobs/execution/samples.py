"""Jobs and leases for tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from comfywatchman.jobs.records import Job, JobSpec, JobStatus

NAME = "T2I_20260131093000_1_cat.yaml"
MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SPEC = JobSpec(NAME, "T2I", "image", "picture", output_path="image")


def build_job(spec: JobSpec = SPEC, **changes: Any) -> Job:
    """Return a job that runs."""
    job = Job(
        id=7,
        config_name=spec.config_name,
        job_type=spec.job_type,
        workflow_id=spec.workflow_id,
        priority=50,
        status=JobStatus.PROCESSING,
        run_count=1,
        retries_attempted=0,
        retry_limit=2,
        attempt=1,
        start_time=MOMENT,
        end_time=None,
        duration=None,
        error_code=None,
        error_trace=None,
        metadata={},
        worker_id="w-1",
        host="here",
        lease_expires_at=MOMENT,
        created_at=MOMENT,
        updated_at=MOMENT,
        spec=spec,
    )
    return replace(job, **changes)
