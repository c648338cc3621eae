from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from comfywatchman.jobs.store.job_store import JobStore, open_store
from comfywatchman.jobs.store.leasing import AffinityLimits
from comfywatchman.jobs.store.tables import queue_state
from tests.jobs.jobs import (
    ACTOR,
    DONE,
    FAILED,
    SPEC,
    add_jobs,
    build_name,
    build_spec,
    lease,
    move_clock,
    silence,
    start_worker,
    try_lease,
)


def test_empty_queue_leases_nothing(store: JobStore) -> None:
    assert try_lease(store, start_worker(store)) is None


def test_jobs_are_leased_by_priority_then_age(store: JobStore) -> None:
    for number, priority in enumerate([50, 999, 1, 50, 1]):
        store.upsert(build_spec(number, priority=priority))
    worker = start_worker(store)
    order = [lease(store, worker).job.config_name for _ in range(5)]
    assert order == [build_name(number) for number in (2, 4, 0, 3, 1)]
    assert try_lease(store, worker) is None


def test_lease_counts_the_run_and_names_its_worker(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store, "gpu-host")
    taken = lease(store, worker, host="gpu-host")
    job = store.get(SPEC.config_name)
    assert (job.status, job.run_count, job.attempt) == (JobStatus.PROCESSING, 1, 1)
    assert (job.worker_id, job.host) == (worker, "gpu-host")
    assert job.start_time is not None
    assert job.lease_expires_at is not None
    assert 55 < (job.lease_expires_at - job.start_time).total_seconds() < 90
    assert taken.job.spec == SPEC
    assert [run.outcome for run in store.attempts(SPEC.config_name)] == ["running"]


def test_done_job_holds_its_times_and_result(store: JobStore) -> None:
    store.upsert(SPEC)
    taken = lease(store, start_worker(store))
    answer = store.complete(taken, AttemptOutcome(success=True, metadata={"files": ["a.png"], "seed": 7}))
    job = store.get(SPEC.config_name)
    assert (answer.accepted, answer.status, job.status) == (True, JobStatus.DONE, JobStatus.DONE)
    assert (job.run_count, job.retries_attempted) == (1, 0)
    assert job.metadata == {"files": ["a.png"], "seed": 7}
    assert job.start_time is not None
    assert job.end_time is not None
    assert job.end_time >= job.start_time
    assert job.duration == pytest.approx((job.end_time - job.start_time).total_seconds(), abs=0.001)
    assert job.lease_expires_at is None
    assert (job.error_code, job.error_trace) == (None, None)


def test_failed_job_runs_again_until_its_retries_are_used_up(store: JobStore) -> None:
    store.upsert(replace(SPEC, retry_limit=2))
    worker = start_worker(store)
    statuses = [store.complete(lease(store, worker), FAILED).status for _ in range(3)]
    job = store.get(SPEC.config_name)
    assert statuses == [JobStatus.PENDING, JobStatus.PENDING, JobStatus.FAILED]
    assert (job.run_count, job.retries_attempted, job.error_code, job.error_trace) == (3, 2, "node-error", "boom")
    assert [run.outcome for run in store.attempts(SPEC.config_name)] == ["failed"] * 3
    assert try_lease(store, worker) is None


def test_error_of_an_earlier_run_is_gone_after_success(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    store.complete(lease(store, worker), FAILED)
    store.complete(lease(store, worker), DONE)
    job = store.get(SPEC.config_name)
    assert (job.status, job.error_code, job.error_trace) == (JobStatus.DONE, None, None)


def test_second_comfyui_that_dies_puts_the_job_in_quarantine(store: JobStore) -> None:
    add_jobs(store, [1, 2])
    worker = start_worker(store)
    killed = replace(FAILED, killed_comfyui=True)
    statuses = [store.complete(lease(store, worker), killed).status for _ in range(2)]
    job = store.get(build_name(1))
    assert statuses == [JobStatus.PENDING, JobStatus.QUARANTINED]
    assert job.error_code == "jobs-comfyui-killed"
    assert lease(store, worker).job.config_name == build_name(2)


def test_error_text_that_no_database_stores_is_kept_readable(store: JobStore) -> None:
    store.upsert(SPEC)
    taken = lease(store, start_worker(store))
    odd = AttemptOutcome(success=False, error_text="a\x00b\udcff", metadata={"path": "\udcff\x00"}, retryable=False)
    store.complete(taken, odd)
    job = store.get(SPEC.config_name)
    assert job.error_trace == "a\ufffdb?"
    assert job.metadata == {"path": "\udcff\x00"}


def test_result_of_a_lost_lease_is_refused(store: JobStore) -> None:
    store.upsert(SPEC)
    first = start_worker(store)
    second = start_worker(store, "two")
    lost = lease(store, first)
    silence(store, first, 61)
    assert store.recover_orphans() == 1
    current = lease(store, second, host="two")
    answer = store.complete(lost, DONE)
    assert (answer.accepted, answer.status) == (False, JobStatus.PROCESSING)
    assert not store.is_lease_held(lost)
    assert store.is_lease_held(current)
    assert store.complete(current, DONE).accepted
    late = store.complete(lost, FAILED)
    assert (late.accepted, late.status) == (False, JobStatus.DONE)
    assert store.get(SPEC.config_name).host == "two"
    assert [run.outcome for run in store.attempts(SPEC.config_name)] == ["lost", "done"]


def test_result_is_refused_before_the_job_is_leased_again(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    lost = lease(store, worker)
    silence(store, worker, 61)
    store.recover_orphans()
    answer = store.complete(lost, DONE)
    assert (answer.accepted, answer.status) == (False, JobStatus.PENDING)


def test_same_result_again_is_accepted_without_counting_twice(store: JobStore) -> None:
    store.upsert(SPEC)
    taken = lease(store, start_worker(store))
    for _ in range(2):
        answer = store.complete(taken, FAILED)
        assert (answer.accepted, answer.status) == (True, JobStatus.PENDING)
    job = store.get(SPEC.config_name)
    assert (job.run_count, job.retries_attempted) == (1, 1)


def test_attempt_of_the_same_worker_is_fenced_too(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    lost = lease(store, worker)
    silence(store, worker, 61)
    store.recover_orphans()
    current = lease(store, worker)
    assert not store.complete(lost, DONE).accepted
    assert store.complete(current, DONE).accepted


def test_notes_of_a_lost_lease_are_refused(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    taken = lease(store, worker)
    assert store.note_prompt(taken, "p1")
    assert store.note_prompt(taken, "p2")
    assert store.note_published(taken, ["a.png"])
    silence(store, worker, 61)
    store.recover_orphans()
    assert not store.note_prompt(taken, "p3")
    assert not store.note_published(taken, ["b.png"])
    (run,) = store.attempts(SPEC.config_name)
    assert (run.prompt_ids, run.published) == (("p1", "p2"), ("a.png",))


def test_lease_that_ran_out_is_not_held_even_before_recovery(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    taken = lease(store, worker)
    silence(store, worker, 45)
    assert store.is_lease_held(taken)
    silence(store, worker, 16)
    assert not store.is_lease_held(taken)


def test_heartbeat_extends_the_lease(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    taken = lease(store, worker)
    silence(store, worker, 35)
    assert store.beat(worker, progress={"node": "KSampler", "value": 3, "max": 20})
    silence(store, worker, 35)
    assert store.recover_orphans() == 0
    assert store.is_lease_held(taken)


def test_paused_queue_leases_nothing(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    store.pause(actor=ACTOR)
    assert try_lease(store, worker) is None
    store.resume(actor=ACTOR)
    assert lease(store, worker).job.config_name == SPEC.config_name


def test_worker_is_given_only_workflows_ready_on_its_host(store: JobStore) -> None:
    store.upsert(build_spec(1, workflow_id="flux", priority=1))
    store.upsert(build_spec(2, workflow_id="sdxl"))
    worker = start_worker(store)
    assert try_lease(store, worker, ready_workflows=frozenset()) is None
    taken = lease(store, worker, ready_workflows=frozenset({"sdxl", "wan"}))
    assert taken.job.workflow_id == "sdxl"
    assert try_lease(store, worker, ready_workflows=frozenset({"sdxl"})) is None


def test_worker_is_given_only_jobs_whose_models_are_ready_on_its_host(store: JobStore) -> None:
    store.upsert(build_spec(1, workflow_id="sdxl", readiness_key="sdxl with 4.ckpt_name=b"))
    worker = start_worker(store)
    assert try_lease(store, worker, ready_workflows=frozenset({"sdxl"})) is None
    assert lease(store, worker, ready_workflows=frozenset({"sdxl with 4.ckpt_name=b"})).job.workflow_id == "sdxl"


def test_unknown_worker_leases_nothing(store: JobStore) -> None:
    store.upsert(SPEC)
    with pytest.raises(Failure) as caught:
        try_lease(store, "gone")
    assert caught.value.code == "jobs-worker-unknown"
    assert store.get(SPEC.config_name).status is JobStatus.PENDING


def test_agent_older_than_the_database_takes_no_more_jobs(store: JobStore) -> None:
    add_jobs(store, [1, 2])
    worker = start_worker(store)
    running = lease(store, worker)
    assert not store.is_newer_than_agent()
    store.database.write(lambda connection: connection.execute(queue_state.update().values(schema_version=99)))
    assert store.is_newer_than_agent()
    with pytest.raises(Failure) as caught:
        try_lease(store, worker)
    assert caught.value.code == "jobs-agent-older"
    assert store.complete(running, DONE).accepted


class TestAffinity:
    def test_loaded_model_goes_first_within_its_priority(self, store: JobStore) -> None:
        store.upsert(build_spec(1, affinity_key="flux"))
        store.upsert(build_spec(2, affinity_key="sdxl"))
        store.upsert(build_spec(3, affinity_key="sdxl", priority=60))
        worker = start_worker(store)
        assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(2)
        assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(1)
        assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(3)

    def test_workflow_stands_for_its_models(self, store: JobStore) -> None:
        store.upsert(build_spec(1, workflow_id="flux"))
        store.upsert(build_spec(2, workflow_id="sdxl"))
        assert lease(store, start_worker(store), loaded_key="sdxl").job.config_name == build_name(2)

    def test_oldest_job_is_passed_over_a_limited_number_of_times(self, database_url: str) -> None:
        with open_store(database_url, affinity=AffinityLimits(max_passes=3)) as store:
            store.upsert(build_spec(0, affinity_key="flux"))
            add_jobs(store, range(1, 9), affinity_key="sdxl")
            worker = start_worker(store)
            order = [lease(store, worker, loaded_key="sdxl").job.config_name for _ in range(5)]
            assert order == [build_name(number) for number in (1, 2, 3, 0, 4)]

    def test_oldest_job_waits_a_limited_time(self, database_url: str) -> None:
        with open_store(database_url, affinity=AffinityLimits(max_wait_seconds=900)) as store:
            store.upsert(build_spec(0, affinity_key="flux"))
            add_jobs(store, range(1, 9), affinity_key="sdxl")
            worker = start_worker(store)
            assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(1)
            move_clock(store, 860)
            assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(2)
            move_clock(store, 41)
            assert lease(store, worker, loaded_key="sdxl").job.config_name == build_name(0)

    def test_time_in_the_queue_before_the_first_pass_does_not_count(self, store: JobStore) -> None:
        store.upsert(build_spec(0, affinity_key="flux"))
        add_jobs(store, [1], affinity_key="sdxl")
        move_clock(store, 90_000)
        assert lease(store, start_worker(store), loaded_key="sdxl").job.config_name == build_name(1)

    def test_preferred_job_must_be_ready_too(self, store: JobStore) -> None:
        store.upsert(build_spec(1, workflow_id="a", affinity_key="flux"))
        store.upsert(build_spec(2, workflow_id="b", affinity_key="sdxl"))
        taken = lease(store, start_worker(store), loaded_key="sdxl", ready_workflows=frozenset({"a"}))
        assert taken.job.config_name == build_name(1)
