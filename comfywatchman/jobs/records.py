"""Records of the job agent that its parts exchange: jobs, leases, outcomes, hosts and changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

MEDIA_OF_TYPE: Final[Mapping[str, str]] = {
    "T2I": "image",
    "T2V": "video",
    "SPEECH": "speech",
    "AUDIO": "audio",
    "3D": "3d",
}
"""The job types that need no configuration, and the folder of each below processing/ and finished/."""

MIN_PRIORITY: Final = 1
MAX_PRIORITY: Final = 999


class JobStatus(StrEnum):
    """The state of a job in the database."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"

    @property
    def is_terminal(self) -> bool:
        """Whether only a person's retry can change the state."""
        return self not in {JobStatus.PENDING, JobStatus.PROCESSING}


class UpsertOutcome(StrEnum):
    """What the database did with a job file that was read.

    Attributes:
        INSERTED: The job is new.
        UPDATED: The job has the new description.
        UNCHANGED: The job waits or runs, and has this description already.
        IGNORED: The job runs with another description, or has ended.
    """

    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"


class WaitCode(StrEnum):
    """Why a job does not start."""

    CYCLE_RUNNING = "cycle-running"
    CANDIDATE_RUNNING = "candidate-running"
    VRAM_SHORT = "vram-short"
    VRAM_UNKNOWN = "vram-unknown"
    DISK_SHORT = "disk-short"
    OUTPUT_UNWRITABLE = "output-unwritable"
    SUPERVISOR_NOT_READY = "supervisor-not-ready"
    COMFYUI_AWAY = "comfyui-away"
    FOREIGN_PROMPTS = "foreign-prompts"
    PAUSED = "paused"
    NO_WORKER = "no-worker"
    NO_HOST_READY = "no-host-ready"
    NOT_JUDGED = "not-judged"
    AGENT_OLDER = "agent-older"
    QUEUED = "queued"


class Interface(StrEnum):
    """Where a person made a change."""

    CLI = "cli"
    WEB = "web"
    API = "api"
    FILE = "file"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change, for the audit."""

    name: str
    interface: Interface


@dataclass(frozen=True, slots=True)
class JobInputFile:
    """A file that a job sends to ComfyUI before it runs.

    Attributes:
        input_name: The input of the job that names the file.
        path: The file on the host that read the job file.
        sha256: Its hash when the job file was read, if known.
        size_bytes: Its size at that time, if known.
    """

    input_name: str
    path: str
    sha256: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its file describes it, checked and with defaults applied.

    Attributes:
        config_name: The file name without folder; the same name is the same job.
        job_type: For example `T2I`.
        media: The folder of the type below processing/ and finished/, for example `image`.
        workflow_id: A key of workflows.yaml.
        priority: 1 (first) to 999 (last).
        retry_limit: Number of retries after the first run.
        inputs: Values of the workflow's inputs.
        output_path: Where outputs go, relative to the finished tree.
        input_files: Files to upload.
        repeats: Changed inputs of each run, where one file asks for several seeds or prompts; empty: one run.
        deadline_seconds: Longest run; None: the configured one.
        webhook: Address that gets a POST at the end; None: the configured one.
        command: Program and arguments to start at the end; empty: the configured ones.
        source_path: The job file.
        source_sha256: The hash of its content.
        affinity_key: The models that the job needs; jobs with equal keys are preferred while these are loaded.
            Empty: the workflow stands for its models.
        readiness_key: The workflow and the models that the job's inputs name; the same hosts can run jobs with equal
            keys. Empty: the workflow alone.
    """

    config_name: str
    job_type: str
    media: str
    workflow_id: str
    priority: int = 50
    retry_limit: int = 2
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output_path: str = ""
    input_files: tuple[JobInputFile, ...] = ()
    repeats: tuple[Mapping[str, Any], ...] = ()
    deadline_seconds: float | None = None
    webhook: str | None = None
    command: tuple[str, ...] = ()
    source_path: str = ""
    source_sha256: str = ""
    affinity_key: str = ""
    readiness_key: str = ""


def encode_spec(spec: JobSpec) -> str:
    """Return a job's description as ASCII JSON; a database stores neither NUL nor half of a surrogate pair."""
    return json.dumps(msgspec.to_builtins(spec), sort_keys=True)


def decode_spec(text: str) -> JobSpec:
    """Read a job's description from JSON.

    Raises:
        msgspec.ValidationError: It is not one.
    """
    return msgspec.convert(json.loads(text), JobSpec)


@dataclass(frozen=True, slots=True)
class Job:
    """A job in the database. All times are UTC by the clock of the database.

    Attributes:
        run_count: Number of leases so far.
        retries_attempted: Number of retries so far, also those before a person granted new ones.
        attempt: Number of the latest lease; every write of its worker must match it.
        start_time: Begin of the latest run.
        end_time: End of the latest run.
        duration: Seconds between both.
        metadata: What the latest run reported: outputs, timings, seeds.
        is_cancel_requested: Whether a person asked to cancel while it ran.
    """

    id: int
    config_name: str
    job_type: str
    workflow_id: str
    priority: int
    status: JobStatus
    run_count: int
    retries_attempted: int
    retry_limit: int
    attempt: int
    start_time: datetime | None
    end_time: datetime | None
    duration: float | None
    error_code: str | None
    error_trace: str | None
    metadata: Mapping[str, Any]
    worker_id: str | None
    host: str | None
    lease_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    spec: JobSpec
    is_cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to run one job until it misses its heartbeats."""

    job: Job
    attempt: int
    worker_id: str
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one run of a job ended.

    Attributes:
        success: Whether its outputs are published.
        error_code: Stable code of the failure, for programs.
        error_text: The failure, for people.
        retryable: Whether another run may succeed.
        killed_comfyui: Whether ComfyUI ended while the job ran.
        metadata: Outputs, timings and seeds.
        counts_against_job: Whether the run uses up one of the job's retries.
        was_cancelled: Whether the run ended because a person cancelled the job.
    """

    success: bool
    error_code: str | None = None
    error_text: str | None = None
    retryable: bool = True
    killed_comfyui: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    counts_against_job: bool = True
    was_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer of the database to the end of a run.

    Attributes:
        accepted: False when the lease had been lost: the result is refused.
        status: The status of the job now.
    """

    accepted: bool
    status: JobStatus


@dataclass(frozen=True, slots=True)
class Upserted:
    """The job that a file became."""

    job_id: int
    outcome: UpsertOutcome


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why a job, or the whole queue, waits."""

    code: WaitCode
    sentence: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A pending job and why it waits."""

    job: Job
    reason: WaitReason


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One run of a job, as the history keeps it.

    Attributes:
        outcome: `running`, `done`, `failed`, `cancelled`, `requeued` or `lost` (no heartbeat in time).
        prompt_ids: The prompts that it sent to ComfyUI.
        published: The output files that it published, or was about to publish when it ended.
    """

    job_id: int
    attempt: int
    worker_id: str
    host: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    error_code: str | None
    error_text: str | None
    prompt_ids: tuple[str, ...]
    published: tuple[str, ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One change by a person."""

    at: datetime
    actor: str
    interface: str
    action: str
    config_name: str | None
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A running worker. A worker is alive while its last heartbeat is younger than its lease."""

    worker_id: str
    host: str
    version: str
    gpu: str
    started_at: datetime
    last_beat: datetime
    is_alive: bool
    job_id: int | None
    progress: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host with its workers, and the workflows that are ready on it or the reason why not."""

    host: str
    published_at: datetime | None
    ready: tuple[str, ...]
    reasons: Mapping[str, str]
    workers: tuple[WorkerRecord, ...]


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Figures of the queue.

    Attributes:
        by_status: Number of jobs by status, with every status.
        average_duration_seconds: Of the last thousand jobs that are done.
        oldest_pending_seconds: How long the oldest pending job waits.
        is_paused: Whether a person paused the queue.
    """

    total_jobs: int
    by_status: Mapping[str, int]
    average_duration_seconds: float | None
    oldest_pending_seconds: float | None
    is_paused: bool
