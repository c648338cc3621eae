"""The queue fits what a worker needs, and the defaults stand for a host with ComfyUI only."""

from __future__ import annotations

from comfywatchman.jobs.execution.services import WorkerServices, WorkerStore
from comfywatchman.jobs.store.job_store import JobStore


def test_queue_has_every_method_that_a_worker_uses() -> None:
    names = [name for name in vars(WorkerStore) if not name.startswith("_")]
    assert names
    assert [name for name in names if not callable(getattr(JobStore, name, None))] == []


def test_defaults_know_nothing_of_other_areas() -> None:
    services = WorkerServices()
    assert services.reason_to_wait() is None
    assert services.ready_workflows() is None
    assert services.was_restart_ordered(1.0) is False
    assert services.describe_models({}) == ()
