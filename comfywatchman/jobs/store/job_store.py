"""The queue of jobs in its database, as the agent, the command line and the web page use it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

from comfywatchman.jobs import records
from comfywatchman.jobs.records import Actor, JobStatus
from comfywatchman.jobs.store import bulk, changes, fleet, intake, leasing, queries, recovery
from comfywatchman.jobs.store.bulk import BulkChange, FailureGroup, JobFilter
from comfywatchman.jobs.store.engine import open_engine
from comfywatchman.jobs.store.leasing import AffinityLimits, LeaseRequest
from comfywatchman.jobs.store.migrate import upgrade_database
from comfywatchman.jobs.store.pruning import build_prune, prune_workers
from comfywatchman.jobs.store.queries import JobOrder
from comfywatchman.jobs.store.queue_times import QueueTimes, read_queue_times
from comfywatchman.jobs.store.session import JobDatabase
from comfywatchman.jobs.store.tables import SCHEMA_VERSION
from comfywatchman.jobs.store.waiting import Fleet, explain_job, explain_jobs


class JobStore:
    """An open queue; its methods may be called from several threads.

    Each method is one transaction. All times are those of the database, never of a host. Every method raises
    `jobs-database-unavailable` or `jobs-database-damaged` when the database cannot be used.
    """

    def __init__(self, database: JobDatabase, *, affinity: AffinityLimits | None = None) -> None:
        self.database = database
        self._affinity = affinity or AffinityLimits()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    # Job files.

    def upsert(self, spec: records.JobSpec) -> records.Upserted:
        """Insert a job, or update a waiting one whose file changed; a job that runs or is done stays as it is."""
        return self.database.write(intake.build_upsert(self.database, spec))

    def find_source_hashes(self, config_names: Iterable[str]) -> Mapping[str, str]:
        """Return the hash of the file that each known job was last read from."""
        names = tuple(config_names)
        return self.database.read(lambda connection: intake.find_source_hashes(connection, names))

    # Workers and hosts.

    def register_worker(self, host: str, *, version: str, gpu: str = "", lease_seconds: float = 60.0) -> str:
        """Register a worker under a new identity, and return that.

        Args:
            host: The name of its host.
            version: The version of the program.
            gpu: Its GPU, for people.
            lease_seconds: The time without a heartbeat after which it counts as gone.
        """
        return self.database.write(
            fleet.build_registration(host, version=version, gpu=gpu, lease_seconds=lease_seconds)
        )

    def beat(self, worker_id: str, *, progress: Mapping[str, Any] | None = None) -> bool:
        """Record a heartbeat; False when the worker is no longer registered and must register again."""
        return self.database.write(fleet.build_beat(worker_id, progress))

    def unregister_worker(self, worker_id: str) -> None:
        """Remove a worker that ends; the next recovery takes a job that it still holds."""
        self.database.write(fleet.build_farewell(worker_id))

    def publish_readiness(self, host: str, ready: Mapping[str, bool], reasons: Mapping[str, str]) -> None:
        """Replace what a host says of its workflows.

        Args:
            host: The name of the host.
            ready: Whether each workflow, or readiness key of waiting jobs, is ready on it.
            reasons: Why not, for those that are not.
        """
        self.database.write(fleet.build_publication(self.database, host, ready, reasons))

    def list_variants(self) -> tuple[records.JobSpec, ...]:
        """Return one waiting job for each choice of models that waiting jobs name."""
        return self.database.read(queries.read_variants)

    def list_hosts(self) -> tuple[records.HostRecord, ...]:
        """Return all hosts with their workers, and the workflows that are ready on each."""
        return self.database.read(fleet.read_hosts)

    # Leases.

    def lease_next(
        self,
        worker_id: str,
        *,
        lease_seconds: float,
        host: str,
        ready_workflows: frozenset[str] | None = None,
        loaded_key: str | None = None,
    ) -> records.Lease | None:
        """Lease the next job: by priority, then age, with a bounded preference for models that are loaded.

        Args:
            worker_id: The worker.
            lease_seconds: The time without a heartbeat after which the lease is lost.
            host: The name of its host.
            ready_workflows: The readiness keys of the jobs that the host can run; None: all.
            loaded_key: The `affinity_key` of the last job, whose models are loaded.

        Raises:
            Failure: `jobs-worker-unknown`, or `jobs-agent-older` when a newer version upgraded the database.
        """
        request = LeaseRequest(worker_id, host, lease_seconds, ready_workflows, loaded_key)
        return self.database.write(leasing.build_lease(request, self._affinity))

    def complete(self, lease: records.Lease, outcome: records.AttemptOutcome) -> records.Completion:
        """End a run. A result that comes after the lease was lost is refused; the same result again is not."""
        return self.database.write(leasing.build_completion(lease, outcome), is_durable=True)

    def note_prompt(self, lease: records.Lease, prompt_id: str) -> bool:
        """Record a prompt before it is sent to ComfyUI; False when the lease was lost."""
        return self.database.write(leasing.build_prompt_note(lease, prompt_id))

    def note_published(self, lease: records.Lease, files: Iterable[str]) -> bool:
        """Record the files that are about to be published; False when the lease was lost, and nothing may be."""
        return self.database.write(leasing.build_publication_note(lease, files), is_durable=True)

    def is_lease_held(self, lease: records.Lease) -> bool:
        """Return whether the lease is still that of its worker and has not run out."""
        return self.database.read(lambda connection: leasing.has_lease(connection, lease))

    def is_cancel_requested(self, lease: records.Lease) -> bool:
        """Return whether a person asked to cancel the job of a lease."""
        return self.database.read(lambda connection: leasing.has_cancel_request(connection, lease))

    def recover_orphans(self, *, worker_id: str | None = None, now: datetime | None = None) -> int:
        """Queue the jobs of lost leases again, and return how many there were.

        Args:
            worker_id: The worker that recovers; its heartbeat is written first.
            now: The time to compare with; None: the clock of the database.

        Raises:
            Failure: `jobs-worker-unknown`.
        """
        return self.database.write(recovery.build_recovery(worker_id, now))

    # Changes by people.

    def set_priority(self, name: str, priority: int, *, actor: Actor) -> None:
        """Change the priority of a job.

        Raises:
            Failure: `jobs-priority-range` or `jobs-job-unknown`.
        """
        self.database.write(changes.build_priority_change(name, priority, actor=actor), is_durable=True)

    def god_mode(self, name: str, *, actor: Actor) -> None:
        """Put a job first: priority 1.

        Raises:
            Failure: `jobs-job-unknown`.
        """
        change = changes.build_priority_change(name, records.MIN_PRIORITY, actor=actor, action="god-mode")
        self.database.write(change, is_durable=True)

    def retry(self, name: str, *, actor: Actor) -> None:
        """Queue a failed job again with new retries; a job that waits already stays as it is.

        Raises:
            Failure: `jobs-job-unknown`, or `jobs-job-status` for a job that did not fail.
        """
        self.database.write(changes.build_retry(name, actor=actor), is_durable=True)

    def cancel(self, name: str, *, actor: Actor) -> JobStatus:
        """Cancel a job: a waiting one at once, a running one through its worker. Return its status now.

        Raises:
            Failure: `jobs-job-unknown`, or `jobs-job-status` for a job that has ended.
        """
        return self.database.write(changes.build_cancel(name, actor=actor), is_durable=True)

    def pause(self, *, actor: Actor) -> None:
        """Let no host take another job; running ones go on."""
        self.database.write(changes.build_pause(True, actor=actor), is_durable=True)

    def resume(self, *, actor: Actor) -> None:
        """End a pause."""
        self.database.write(changes.build_pause(False, actor=actor), is_durable=True)

    def change_many(
        self, job_filter: JobFilter, change: BulkChange, *, expected: int, actor: Actor, priority: int | None = None
    ) -> int:
        """Change all jobs that match a filter, if they are as many as the person confirmed; return how many.

        Raises:
            Failure: `jobs-count-changed`, `jobs-job-status` or `jobs-priority-range`; nothing is changed then.
        """
        transaction = bulk.build_bulk_change(job_filter, change, expected=expected, actor=actor, priority=priority)
        return self.database.write(transaction, is_durable=True)

    # Reading.

    def count_jobs(self, job_filter: JobFilter) -> int:
        """Return how many jobs match a filter."""
        return self.database.read(lambda connection: bulk.count_jobs(connection, job_filter))

    def count_newer(self, job_id: int) -> int:
        """Return how many jobs came after one."""
        return self.database.read(lambda connection: bulk.count_newer(connection, job_id))

    def find_newest_id(self) -> int:
        """Return the id of the newest job; 0 without jobs."""
        return self.database.read(bulk.read_newest_id)

    def group_failures(self, *, limit: int = 30, text: str = "") -> tuple[FailureGroup, ...]:
        """Return the causes of failed jobs, the most frequent first."""
        return self.database.read(lambda connection: bulk.read_failure_groups(connection, limit=limit, text=text))

    def list_matching(self, job_filter: JobFilter, *, limit: int = 20) -> tuple[records.Job, ...]:
        """Return the newest jobs that match a filter."""
        return self.database.read(lambda connection: bulk.read_matching(connection, job_filter, limit=limit))

    def is_paused(self) -> bool:
        """Return whether a person paused the queue."""
        return self.database.read(queries.read_pause)

    def is_newer_than_agent(self) -> bool:
        """Return whether a newer version of this program upgraded the database, so that this one takes no more jobs."""
        return self.database.read(queries.read_schema_version) > SCHEMA_VERSION

    def list_jobs(
        self,
        status: JobStatus | None = None,
        *,
        limit: int = 100,
        after: int | None = None,
        text: str = "",
        order: JobOrder = JobOrder.QUEUE,
    ) -> tuple[records.Job, ...]:
        """Return one page of jobs.

        Args:
            status: Only jobs with this status; None: all.
            limit: Length of the page.
            after: The id of the last job of the page before; None: the first page.
            text: Only jobs whose name or workflow contains it.
            order: The order of the queue (running jobs, then pending ones by priority and age, then the others, newest
                first), or age alone.
        """
        return self.database.read(
            lambda connection: queries.read_jobs(connection, status, limit=limit, after=after, text=text, order=order)
        )

    def get(self, name: str) -> records.Job:
        """Return a job by the name of its file.

        Raises:
            Failure: `jobs-job-unknown`.
        """
        job = self.database.read(lambda connection: queries.read_job_named(connection, name))
        if job is None:
            raise changes.job_unknown_failure(name)
        return job

    def attempts(self, name: str) -> tuple[records.AttemptRecord, ...]:
        """Return the runs of a job, the first one first."""
        return self.database.read(lambda connection: queries.read_attempts(connection, name))

    def audit(self, name: str | None = None, *, limit: int = 100) -> tuple[records.AuditRecord, ...]:
        """Return changes by people, the latest one first; of one job, or of all and the queue."""
        return self.database.read(lambda connection: queries.read_audit_log(connection, name, limit=limit))

    def stats(self) -> records.QueueStats:
        """Return the figures of the queue."""
        return self.database.read(queries.read_stats)

    def read_queue_times(self, since: datetime) -> QueueTimes:
        """Return when jobs came and ended since a time."""
        return self.database.read(lambda connection: read_queue_times(connection, since.timestamp()))

    def explain_waiting(self, *, limit: int = 100) -> tuple[records.WaitingJob, ...]:
        """Return the first pending jobs in the order of the queue, each with the reason why it waits."""
        pending = self.list_jobs(JobStatus.PENDING, limit=limit)
        return explain_jobs(pending, Fleet(is_paused=self.is_paused(), hosts=self.list_hosts()))

    def explain_job(self, name: str) -> records.WaitReason | None:
        """Return why a pending job waits; None when it does not.

        Raises:
            Failure: `jobs-job-unknown`.
        """
        job = self.get(name)
        if job.status is not JobStatus.PENDING:
            return None
        ahead = self.database.read(lambda connection: queries.count_before(connection, job))
        return explain_job(job, ahead, Fleet(is_paused=self.is_paused(), hosts=self.list_hosts()))

    def prune(self, history_days: float) -> int:
        """Delete jobs that were done longer ago, old audit entries, and workers long silent; return how many jobs."""
        total = 0
        while deleted := self.database.write(build_prune(history_days)):
            total += deleted
        self.database.write(prune_workers)
        return total


@contextmanager
def open_store(url: str, *, affinity: AffinityLimits | None = None) -> Iterator[JobStore]:
    """Open the queue at a URL; create its database, or upgrade it after a backup.

    Args:
        url: `sqlite:////path/jobs.db` or `postgresql+psycopg://USER@HOST/NAME`.
        affinity: How far jobs whose models are loaded go before older ones.

    Raises:
        Failure: `jobs-database-url`, `jobs-driver-missing`, `jobs-database-unavailable`, `jobs-database-damaged`,
            `jobs-agent-older` or `state-unwritable`.
    """
    with JobStore(JobDatabase(open_engine(url)), affinity=affinity) as store:
        upgrade_database(store.database)
        yield store
