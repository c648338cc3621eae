"""What a worker needs from the database, and from the rest of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.jobs.records import AttemptOutcome, AttemptRecord, Completion, Job, JobStatus, Lease, WaitReason
from comfywatchman.jobs.store.queries import JobOrder


class WorkerStore(Protocol):
    """The parts of `jobs.store.job_store.JobStore` that a worker uses.

    Every method raises a `Failure` whose code begins with `jobs-database-` when the database cannot be used.
    """

    def register_worker(self, host: str, *, version: str, gpu: str = "", lease_seconds: float = 60.0) -> str:
        """Register a worker under a new identity, and return that."""

    def recover_orphans(self, *, worker_id: str | None = None) -> int:
        """Queue the jobs of lost leases again, and return how many there were."""

    def is_paused(self) -> bool:
        """Return whether a person paused the queue."""

    def lease_next(
        self,
        worker_id: str,
        *,
        lease_seconds: float,
        host: str,
        ready_workflows: frozenset[str] | None = None,
        loaded_key: str | None = None,
    ) -> Lease | None:
        """Lease the next job that this host can run; None when there is none."""

    def complete(self, lease: Lease, outcome: AttemptOutcome) -> Completion:
        """End a run. A result that comes after the lease was lost is refused."""

    def note_prompt(self, lease: Lease, prompt_id: str) -> bool:
        """Record a prompt before it is sent to ComfyUI; False when the lease was lost."""

    def note_published(self, lease: Lease, files: Iterable[str]) -> bool:
        """Record the files that are about to be published; False when the lease was lost, and nothing may be."""

    def is_lease_held(self, lease: Lease) -> bool:
        """Return whether a lease still holds."""

    def is_cancel_requested(self, lease: Lease) -> bool:
        """Return whether a person asked to cancel the job."""

    def beat(self, worker_id: str, *, progress: Mapping[str, Any] | None = None) -> bool:
        """Record a heartbeat; False when the worker is no longer registered."""

    def get(self, name: str) -> Job:
        """Return a job; `jobs-job-unknown` when there is none."""

    def attempts(self, name: str) -> Sequence[AttemptRecord]:
        """Return the runs of a job."""

    def list_jobs(
        self, status: JobStatus | None = None, *, limit: int = 100, order: JobOrder = JobOrder.QUEUE
    ) -> Sequence[Job]:
        """Return jobs."""


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """Functions that the rest of the program passes in; the defaults stand for a host with ComfyUI only.

    Attributes:
        reason_to_wait: Returns why the host is needed for something else, or None.
        can_supervise: Returns whether `supervise run` can start ComfyUI on this host.
        ready_workflows: Returns the workflows that are READY on this host; None when that is not judged.
        was_restart_ordered: Returns whether a restart of ComfyUI during the last seconds was ordered by a person.
        describe_models: Returns name, folder and, where it is known, hash of the models that a prompt names.
        clock: The clocks of this machine.
    """

    reason_to_wait: Callable[[], WaitReason | None] = lambda: None
    can_supervise: Callable[[], bool] = lambda: False
    ready_workflows: Callable[[], frozenset[str] | None] = lambda: None
    was_restart_ordered: Callable[[float], bool] = lambda _seconds: False
    describe_models: Callable[[Prompt], Sequence[Mapping[str, Any]]] = lambda _prompt: ()
    clock: Clock = field(default_factory=SystemClock)
