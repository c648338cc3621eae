from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import exc

from comfywatchman.jobs.records import AttemptOutcome, JobStatus, UpsertOutcome
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import ACTOR, DONE, SPEC, add_jobs, build_name, lease, start_worker

EDITED = replace(SPEC, inputs={"seed": 2}, priority=7, retry_limit=5, workflow_id="flux", source_sha256="bb")


def test_new_job_waits_with_the_values_of_its_file(store: JobStore) -> None:
    answer = store.upsert(EDITED)
    job = store.get(EDITED.config_name)
    assert answer.outcome is UpsertOutcome.INSERTED
    assert job.id == answer.job_id
    assert (job.status, job.priority, job.retry_limit) == (JobStatus.PENDING, 7, 5)
    assert (job.job_type, job.workflow_id, job.spec) == ("T2I", "flux", EDITED)
    assert (job.run_count, job.retries_attempted, job.attempt, job.worker_id) == (0, 0, 0, None)
    assert job.created_at == job.updated_at
    assert job.created_at.tzinfo is not None


def test_same_name_is_one_job(store: JobStore) -> None:
    first = store.upsert(SPEC)
    second = store.upsert(SPEC)
    assert second.outcome is UpsertOutcome.UNCHANGED
    assert second.job_id == first.job_id
    assert store.stats().total_jobs == 1


def test_changed_file_of_a_waiting_job_replaces_its_values(store: JobStore) -> None:
    first = store.upsert(SPEC)
    second = store.upsert(EDITED)
    job = store.get(SPEC.config_name)
    assert (second.outcome, second.job_id) == (UpsertOutcome.UPDATED, first.job_id)
    assert (job.spec, job.priority, job.retry_limit, job.workflow_id) == (EDITED, 7, 5, "flux")


def test_priority_of_a_person_outlives_other_changes_of_the_file(store: JobStore) -> None:
    store.upsert(SPEC)
    store.god_mode(SPEC.config_name, actor=ACTOR)
    store.upsert(replace(SPEC, inputs={"seed": 2}))
    assert store.get(SPEC.config_name).priority == 1
    store.upsert(replace(SPEC, inputs={"seed": 2}, priority=60))
    assert store.get(SPEC.config_name).priority == 60


def test_running_job_is_never_queued_again(store: JobStore) -> None:
    store.upsert(SPEC)
    taken = lease(store, start_worker(store))
    assert store.upsert(EDITED).outcome is UpsertOutcome.IGNORED
    job = store.get(SPEC.config_name)
    assert (job.status, job.spec) == (JobStatus.PROCESSING, SPEC)
    assert store.upsert(SPEC).outcome is UpsertOutcome.UNCHANGED
    assert store.complete(taken, DONE).accepted


def test_done_job_stays_done(store: JobStore) -> None:
    store.upsert(SPEC)
    store.complete(lease(store, start_worker(store)), DONE)
    assert store.upsert(EDITED).outcome is UpsertOutcome.IGNORED
    assert store.get(SPEC.config_name).spec == SPEC


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUARANTINED])
def test_ended_job_keeps_its_status_and_takes_the_corrected_file(store: JobStore, status: JobStatus) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    if status is JobStatus.QUARANTINED:
        killed = AttemptOutcome(success=False, killed_comfyui=True)
        for _ in range(2):
            store.complete(lease(store, worker), killed)
    else:
        outcome = AttemptOutcome(success=False, retryable=False, was_cancelled=status is JobStatus.CANCELLED)
        store.complete(lease(store, worker), outcome)
    assert store.get(SPEC.config_name).status is status
    assert store.upsert(SPEC).outcome is UpsertOutcome.IGNORED
    assert store.upsert(EDITED).outcome is UpsertOutcome.UPDATED
    job = store.get(SPEC.config_name)
    assert (job.status, job.spec) == (status, EDITED)


def test_hashes_of_known_files_are_found(store: JobStore) -> None:
    names = add_jobs(store, range(3))
    assert store.find_source_hashes([*names, "other.yaml"]) == {build_name(n): f"{n:02x}" for n in range(3)}
    assert store.find_source_hashes([]) == {}


def test_hashes_of_many_files_are_found(store: JobStore) -> None:
    store.upsert(SPEC)
    names = [f"{number}.yaml" for number in range(1500)]
    assert store.find_source_hashes([*names, SPEC.config_name]) == {SPEC.config_name: "aa"}


@pytest.mark.parametrize("changes", [{"priority": 0}, {"priority": 1000}, {"job_type": ""}, {"job_type": "t2i"}])
def test_database_refuses_values_out_of_range(store: JobStore, changes: dict[str, object]) -> None:
    with pytest.raises(exc.IntegrityError):
        store.upsert(replace(SPEC, **changes))  # type: ignore[arg-type]
    assert store.stats().total_jobs == 0


def test_names_of_any_language_are_kept(store: JobStore) -> None:
    spec = replace(SPEC, config_name="T2I_20261130120000_1_猫_ünï'\"%.yaml")
    store.upsert(spec)
    assert store.get(spec.config_name).spec == spec
