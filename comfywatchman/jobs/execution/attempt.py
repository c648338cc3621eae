"""One attempt of a job: its prompts are run, their outputs fetched, described in `result.json` and published."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from comfywatchman import __version__
from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.comfyui.server.outputs import OutputFile, list_output_files
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.jobs.execution.gpu_meter import GpuMeter
from comfywatchman.jobs.execution.logger import log_job
from comfywatchman.jobs.execution.outcomes import (
    judge_failure,
    judge_lost_lease,
    judge_missing_output,
    judge_run,
)
from comfywatchman.jobs.execution.outputs import SavedFile, choose_files, fetch_outputs
from comfywatchman.jobs.execution.prompt_changes import force_outputs, set_unique_prefixes
from comfywatchman.jobs.execution.prompt_run import PromptRunner
from comfywatchman.jobs.execution.prompt_tags import build_extra_data
from comfywatchman.jobs.execution.publication import (
    OutputPlace,
    Published,
    build_identity,
    create_attempt_folder,
    delete_attempt,
    delete_earlier_attempts,
    find_place,
    find_published,
    publish,
    write_result,
)
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, Watch
from comfywatchman.jobs.execution.services import WorkerServices, WorkerStore
from comfywatchman.jobs.execution.uploads import UploadedFile, upload_input
from comfywatchman.jobs.files.payload import build_payload
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.records import AttemptOutcome, Lease

_TOKEN_CHARS: Final = 12
_RUNS_OF_A_PROMPT: Final = 2
"""The second run has its outputs forced, after a success without any file."""


class AttemptEndedError(Exception):
    """The attempt is over.

    Args:
        outcome: How it ended.
    """

    def __init__(self, outcome: AttemptOutcome) -> None:
        super().__init__(outcome.error_code)
        self.outcome = outcome


@dataclass(slots=True)
class _PromptRecord:
    """One prompt of an attempt, for `result.json`."""

    inputs: Mapping[str, Any]
    prompt: Prompt
    run: PromptRun
    files: tuple[SavedFile, ...] = ()


@dataclass(slots=True)
class JobAttempt:
    """One attempt.

    Attributes:
        lease: The lease of the job.
        finished: The finished tree.
        workflows: The workflows that jobs may name.
        runner: Runs prompts on ComfyUI.
        store: The database.
        services: What the rest of the program provides.
        watch: Decides whether to go on; it also shows the progress.
        comfyui_version: The version of ComfyUI, if known.
    """

    lease: Lease
    finished: Path
    workflows: Mapping[str, JobWorkflow]
    runner: PromptRunner
    store: WorkerStore
    services: WorkerServices
    watch: Watch
    comfyui_version: str | None = None
    records: list[_PromptRecord] = field(default_factory=list)
    uploads: list[UploadedFile] = field(default_factory=list)
    meter: GpuMeter | None = None

    def run(self) -> AttemptOutcome:
        """Run the job to its published outputs, or to the reason why there are none."""
        job = self.lease.job
        place = find_place(job, self.finished)
        delete_earlier_attempts(place, self.lease.attempt)
        published = find_published(place, job)
        if published is None:
            folder: Path | None = None
            try:
                folder = create_attempt_folder(place, self.lease.attempt)
                self._run_prompts(place, folder)
                published = self._publish(place, folder)
            except AttemptEndedError as ended:
                return ended.outcome
            except Failure as failure:
                return judge_failure(failure, self._describe_times())
            finally:
                if folder is not None:
                    delete_attempt(folder)
        else:
            log_job("earlier outputs found", job, folder=str(published.folder))
        return AttemptOutcome(success=True, metadata=_describe_published(published))

    def _run_prompts(self, place: OutputPlace, folder: Path) -> None:
        inputs = {**self.lease.job.spec.inputs, **self._upload()}
        for repeat in self.lease.job.spec.repeats or ({},):
            record, files = self._run_until_output({**inputs, **repeat})
            number = 1 + sum(len(earlier.files) for earlier in self.records)
            self.records.append(record)
            record.files = fetch_outputs(
                self.runner.transfers,
                self.runner.url,
                files,
                folder,
                base_name=place.base_name,
                first_number=number,
            )
        write_result(folder, self._build_result())
        failpoint("jobs.after_output_written")

    def _upload(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for file in self.lease.job.spec.input_files:
            uploaded = upload_input(self.runner.transfers, self.runner.url, file)
            if uploaded.has_changed:
                log_job("input file changed", self.lease.job, level=logging.WARNING, path=uploaded.path)
            self.uploads.append(uploaded)
            names[file.input_name] = uploaded.name
        return names

    def _run_until_output(self, inputs: Mapping[str, Any]) -> tuple[_PromptRecord, tuple[OutputFile, ...]]:
        """Run a prompt; run it again with its outputs forced when it succeeded without any file."""
        workflow_id = self.lease.job.workflow_id
        graph: Prompt = build_payload(workflow_id, inputs, self.workflows)
        for number in range(_RUNS_OF_A_PROMPT):
            prompt_id = str(uuid.uuid4())
            token = prompt_id.replace("-", "")[:_TOKEN_CHARS]
            prompt = set_unique_prefixes(graph, token)
            if number:
                prompt = force_outputs(prompt, token)
            run = self._run_prompt(prompt, prompt_id)
            files = choose_files(list_output_files(run.entry))
            if files:
                return _PromptRecord(inputs, prompt, run), files
            log_job("no output", self.lease.job, level=logging.WARNING, prompt_id=run.prompt_id)
        raise AttemptEndedError(judge_missing_output(self._describe_times()))

    def _run_prompt(self, prompt: Prompt, prompt_id: str) -> PromptRun:
        if not self.store.note_prompt(self.lease, prompt_id):
            raise AttemptEndedError(judge_lost_lease())
        log_job("prompt submitted", self.lease.job, prompt_id=prompt_id, comfyui=self.runner.url)
        extra_data = build_extra_data(self.lease)
        run = self.runner.run(prompt, prompt_id=prompt_id, extra_data=extra_data, watch=self.watch)
        if run.end is not RunEnd.SUCCESS:
            metadata = {**self._describe_times(), "prompt_id": run.prompt_id, "node_errors": dict(run.node_errors)}
            was_ordered = self.services.was_restart_ordered(run.queue_seconds + run.run_seconds)
            raise AttemptEndedError(judge_run(run, metadata, was_restart_ordered=was_ordered))
        return run

    def _publish(self, place: OutputPlace, folder: Path) -> Published:
        names = [str(place.parent / place.name / file.name) for record in self.records for file in record.files]
        # The database decides, immediately before: outputs of a lease that was lost are never published.
        if not self.store.note_published(self.lease, names):
            raise AttemptEndedError(judge_lost_lease())
        published = publish(folder, place, self.lease.job)
        failpoint("jobs.after_published")
        log_job("outputs published", self.lease.job, folder=str(published.folder), files=len(names))
        return published

    def _describe_times(self) -> dict[str, Any]:
        return {
            "queue_seconds": round(sum(record.run.queue_seconds for record in self.records), 3),
            "run_seconds": round(sum(record.run.run_seconds for record in self.records), 3),
            "peak_gpu_memory_bytes": None if self.meter is None else self.meter.peak_bytes,
        }

    def _build_result(self) -> dict[str, Any]:
        """Return the content of `result.json`: the file alone says how the outputs were made."""
        job = self.lease.job
        models: list[Mapping[str, Any]] = []
        for record in self.records:
            models += [model for model in self.services.describe_models(record.prompt) if model not in models]
        return {
            "schema_version": 1,
            **build_identity(job),
            "comfywatchman_version": __version__,
            "comfyui": {"url": self.runner.url, "version": self.comfyui_version},
            "job_type": job.job_type,
            "workflow_id": job.workflow_id,
            "attempt": self.lease.attempt,
            "host": job.host,
            "worker_id": self.lease.worker_id,
            "finished_at": format_utc(self.services.clock.now()),
            "job_file_sha256": job.spec.source_sha256,
            "input_files": [asdict(upload) for upload in self.uploads],
            "models": models,
            "runs": [_describe_record(record) for record in self.records],
            **self._describe_times(),
        }


def _describe_record(record: _PromptRecord) -> dict[str, Any]:
    canonical = orjson.dumps(record.prompt, option=orjson.OPT_SORT_KEYS)
    return {
        "prompt_id": record.run.prompt_id,
        "inputs": dict(record.inputs),
        "seeds": find_seeds(record.prompt),
        "workflow_sha256": hashlib.sha256(canonical).hexdigest(),
        "prompt": record.prompt,
        "queue_seconds": record.run.queue_seconds,
        "run_seconds": record.run.run_seconds,
        "files": [asdict(file) for file in record.files],
    }


def _describe_published(published: Published) -> dict[str, Any]:
    """Return what the database holds of published outputs: enough for lists and totals."""
    result = published.result
    files: list[dict[str, Any]] = []
    seeds: list[Any] = []
    for run in result.get("runs", []):
        files += [{name: file[name] for name in ("name", "size_bytes", "sha256")} for file in run["files"]]
        seeds += run["seeds"]
    names = ("queue_seconds", "run_seconds", "peak_gpu_memory_bytes", "attempt", "host")
    return {
        "folder": str(published.folder),
        "files": files,
        "seeds": seeds,
        **{name: result.get(name) for name in names},
    }


def find_seeds(prompt: Prompt) -> list[int]:
    """Return the seeds that the nodes of a prompt use, without repetition."""
    seeds: dict[int, None] = {}
    for node in prompt.values():
        for name, value in (node.get("inputs") or {}).items():
            if name in {"seed", "noise_seed"} and isinstance(value, int):
                seeds[value] = None
    return list(seeds)
