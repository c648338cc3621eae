"""Random histories of the queue beside a model of it: two hosts, and a database whose clock jumps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import AttemptOutcome, JobStatus, Lease, UpsertOutcome
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.transitions import RunCounters, decide_completion, decide_recovery
from tests.jobs.conftest import delete_rows
from tests.jobs.jobs import ACTOR, LEASE_SECONDS, build_name, build_spec, move_clock, start_worker

HOSTS = ("one", "two")
JOBS = st.integers(0, 2)
# A lease of 60 s ends between the second and the third step of 40 s, so a slow test machine changes no outcome.
JUMPS = st.sampled_from([40, 80, 120, 600, -40, -120, -600])
OUTCOMES = st.sampled_from(
    [
        AttemptOutcome(success=True),
        AttemptOutcome(success=False),
        AttemptOutcome(success=False, retryable=False),
        AttemptOutcome(success=False, killed_comfyui=True),
        AttemptOutcome(success=False, counts_against_job=False),
        AttemptOutcome(success=False, was_cancelled=True),
    ]
)


@dataclass
class ModelJob:
    """What the job must be like in the database."""

    number: int
    priority: int
    status: JobStatus = JobStatus.PENDING
    attempt: int = 0
    retries: int = 0
    retries_base: int = 0
    interruptions: int = 0
    kills: int = 0
    is_cancel_requested: bool = False
    holder: str | None = None
    lease_end: float = 0.0
    successes: int = 0

    @property
    def counters(self) -> RunCounters:
        return RunCounters(self.retries, self.retries_base, 2, self.interruptions, self.kills)


@dataclass
class ModelLease:
    """A lease that a worker was given at some time, and may still believe in."""

    lease: Lease
    number: int
    answers: list[bool] = field(default_factory=list)


class QueueMachine(RuleBasedStateMachine):
    """The queue and its model, changed together."""

    def __init__(self, store: JobStore) -> None:
        super().__init__()
        self.store = store
        self.jobs: dict[int, ModelJob] = {}
        self.workers: dict[str, tuple[str, float]] = {}
        self.leases: list[ModelLease] = []
        self.now = 0.0
        self.is_paused = False

    @initialize()
    def start_empty(self) -> None:
        self.store.database.write(delete_rows)

    @rule(number=JOBS, priority=st.integers(1, 3))
    def read_job_file(self, number: int, priority: int) -> None:
        answer = self.store.upsert(build_spec(number, priority=priority))
        if number not in self.jobs:
            assert answer.outcome is UpsertOutcome.INSERTED
            self.jobs[number] = ModelJob(number, priority)
            return
        job = self.jobs[number]
        if answer.outcome is UpsertOutcome.UPDATED:
            assert job.status not in {JobStatus.PROCESSING, JobStatus.DONE}
            job.priority = priority

    @rule(host=st.sampled_from(HOSTS))
    @precondition(lambda self: len(self.workers) < 2)
    def start_a_worker(self, host: str) -> None:
        self.workers[start_worker(self.store, host)] = (host, self.now)

    @rule(data=st.data())
    @precondition(lambda self: self.workers)
    def lease_a_job(self, data: st.DataObject) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.workers)))
        host = self.workers[worker_id][0]
        lease = self.store.lease_next(worker_id, lease_seconds=LEASE_SECONDS, host=host)
        self.workers[worker_id] = (host, self.now)
        expected = self._find_next()
        if expected is None:
            assert lease is None
            return
        assert lease is not None
        assert lease.job.config_name == build_name(expected.number)
        expected.attempt += 1
        expected.status = JobStatus.PROCESSING
        expected.holder = worker_id
        expected.lease_end = self.now + LEASE_SECONDS
        expected.is_cancel_requested = False
        assert lease.attempt == expected.attempt == lease.job.run_count
        self.leases.append(ModelLease(lease, expected.number))

    def _find_next(self) -> ModelJob | None:
        pending = [job for job in self.jobs.values() if job.status is JobStatus.PENDING]
        if self.is_paused or not pending:
            return None
        # Jobs are inserted in the order of their first file.
        order = list(self.jobs)
        return min(pending, key=lambda job: (job.priority, order.index(job.number)))

    @rule(data=st.data(), outcome=OUTCOMES)
    @precondition(lambda self: self.leases)
    def complete_a_lease(self, data: st.DataObject, outcome: AttemptOutcome) -> None:
        held = data.draw(st.sampled_from(self.leases))
        job = self.jobs[held.number]
        is_current = job.status is JobStatus.PROCESSING and job.attempt == held.lease.attempt
        answer = self.store.complete(held.lease, outcome)
        if not is_current:
            # Only the repetition of an accepted answer is accepted.
            assert answer.accepted == any(held.answers)
            assert answer.status is job.status
            return
        assert answer.accepted
        held.answers.append(True)
        state = decide_completion(job.counters, outcome, is_cancel_requested=job.is_cancel_requested)
        assert answer.status is state.status
        job.successes += outcome.success
        job.status, job.retries = state.status, state.retries_attempted
        job.interruptions, job.kills = state.interruptions, state.comfyui_kills
        job.is_cancel_requested = False

    @rule(data=st.data())
    @precondition(lambda self: self.workers)
    def send_a_heartbeat(self, data: st.DataObject) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.workers)))
        assert self.store.beat(worker_id)
        self.workers[worker_id] = (self.workers[worker_id][0], self.now)

    @rule(seconds=JUMPS)
    def let_the_clock_jump(self, seconds: int) -> None:
        move_clock(self.store, seconds)
        self.now += seconds

    @rule()
    def recover(self) -> None:
        for worker_id, (host, beat) in self.workers.items():
            self.workers[worker_id] = (host, min(beat, self.now))
        lost = []
        for job in self.jobs.values():
            if job.status is not JobStatus.PROCESSING or job.holder is None:
                continue
            job.lease_end = min(job.lease_end, self.now + LEASE_SECONDS)
            if job.lease_end < self.now and self.workers[job.holder][1] + LEASE_SECONDS < self.now:
                lost.append(job)
        assert self.store.recover_orphans() == len(lost)
        for job in lost:
            state = decide_recovery(job.counters, is_cancel_requested=job.is_cancel_requested)
            job.status, job.interruptions, job.is_cancel_requested = state.status, state.interruptions, False

    @rule(number=JOBS)
    @precondition(lambda self: self.jobs)
    def retry_a_job(self, number: int) -> None:
        job = self.jobs.get(number)
        try:
            self.store.retry(build_name(number), actor=ACTOR)
        except Failure:
            assert job is None or job.status not in {JobStatus.FAILED, JobStatus.QUARANTINED, JobStatus.PENDING}
            return
        assert job is not None
        if job.status is not JobStatus.PENDING:
            job.status, job.retries_base, job.interruptions, job.kills = JobStatus.PENDING, job.retries, 0, 0

    @rule(number=JOBS)
    @precondition(lambda self: self.jobs)
    def cancel_a_job(self, number: int) -> None:
        job = self.jobs.get(number)
        try:
            status = self.store.cancel(build_name(number), actor=ACTOR)
        except Failure:
            assert job is None or (job.status.is_terminal and job.status is not JobStatus.CANCELLED)
            return
        assert job is not None
        if job.status is JobStatus.PROCESSING:
            job.is_cancel_requested = True
        else:
            job.status = JobStatus.CANCELLED
        assert status is job.status

    @rule(number=JOBS, priority=st.integers(1, 3))
    def change_a_priority(self, number: int, priority: int) -> None:
        if number in self.jobs:
            self.store.set_priority(build_name(number), priority, actor=ACTOR)
            self.jobs[number].priority = priority

    @rule()
    def pause_or_resume(self) -> None:
        change = self.store.resume if self.is_paused else self.store.pause
        change(actor=ACTOR)
        self.is_paused = not self.is_paused

    @invariant()
    def database_equals_the_model(self) -> None:
        rows = {job.config_name: job for job in self.store.list_jobs(limit=10)}
        assert len(rows) == len(self.jobs)
        for number, job in self.jobs.items():
            row = rows[build_name(number)]
            assert (row.status, row.priority, row.attempt) == (job.status, job.priority, job.attempt)
            assert (row.run_count, row.retries_attempted) == (job.attempt, job.retries)
            assert row.is_cancel_requested == job.is_cancel_requested
            assert job.successes <= 1

    @invariant()
    def each_job_has_at_most_one_holder(self) -> None:
        holders = [held.number for held in self.leases[-6:] if self.store.is_lease_held(held.lease)]
        assert len(holders) == len(set(holders))


def run_machine(store: JobStore, *, examples: int, steps: int) -> None:
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    # Annotated as a class, but any callable that returns a machine will do.
    run_state_machine_as_test(lambda: QueueMachine(store), settings=profile)  # type: ignore[arg-type]


@pytest.mark.slow
def test_random_histories_agree_with_the_model(store: JobStore) -> None:
    run_machine(store, examples=20, steps=30)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_thousand_random_histories_agree_with_the_model(store: JobStore) -> None:
    run_machine(store, examples=1000, steps=50)


def test_store_reads_no_clock_of_its_host() -> None:
    folder = Path(__file__).parents[3] / "comfywatchman" / "jobs" / "store"
    modules = list(folder.rglob("*.py"))
    assert len(modules) > 10
    for module in modules:
        text = module.read_text("utf-8")
        assert "base.clock" not in text, module
        assert "utcnow" not in text, module
