"""The handler in the form that RunPod's serverless worker calls: a job in, its output or its error out.

RunPod's package is imported where the worker starts, and nowhere else: it brings a hundred packages, and takes seconds.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.handler.handle import HandlerOptions, handle_request
from comfywatchman.handler.readiness_probe import LOST_CODES
from comfywatchman.handler.request import KEY_PATTERN, HandlerRequest, parse_request
from comfywatchman.handler.result import describe_failure
from comfywatchman.jobs.execution.run_states import RunProgress

MAX_RESULT_BYTES: Final = 9 << 20
"""The largest sum of outputs, encoded, that a job returns in its result: RunPod accepts 10 MiB in all."""

_PROGRESS_SECONDS: Final = 2.0

SendProgress = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
"""Sends the progress of a job to RunPod."""


class RunPodWorker:
    """Runs the jobs of a serverless worker, one after the other.

    Args:
        options: How requests are handled.
        send_progress: Sends the progress of a job.
    """

    def __init__(self, options: HandlerOptions, send_progress: SendProgress) -> None:
        self._options = replace(options, max_inline_bytes=MAX_RESULT_BYTES)
        self._send_progress = send_progress

    async def run_job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Return the output of a job; with `error` when it failed, and `refresh_worker` when the worker is of no use.

        Args:
            job: `id`, and a request as `input`.
        """
        cancelled = threading.Event()
        # In a thread: RunPod's loop must go on to hear that a job is to stop.
        task = asyncio.create_task(asyncio.to_thread(self._run, job, cancelled))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The next job must not meet the prompt of this one.
            cancelled.set()
            await asyncio.wait({task})
            raise

    def _run(self, job: Mapping[str, Any], cancelled: threading.Event) -> dict[str, Any]:
        reporter = ProgressReporter(lambda progress: self._send_progress(job, progress), time.monotonic)
        options = replace(self._options, is_cancelled=cancelled.is_set, show_progress=reporter.show)
        try:
            return handle_request(parse_job(job), options)
        except Failure as failure:
            return describe_job_failure(failure)


class ProgressReporter:
    """Sends the progress of a job when another node begins, and not more often than every two seconds.

    Args:
        send: Sends a progress.
        monotonic: The clock.
    """

    def __init__(self, send: Callable[[Mapping[str, Any]], None], monotonic: Callable[[], float]) -> None:
        self._send = send
        self._monotonic = monotonic
        self._last: Mapping[str, Any] = {}
        self._next_seconds = 0.0

    def show(self, progress: RunProgress) -> None:
        """Send a progress that is new."""
        facts = {"node_id": progress.node_id, "prompts_ahead": progress.prompts_ahead}
        if facts == self._last or self._monotonic() < self._next_seconds:
            return
        self._last = facts
        self._next_seconds = self._monotonic() + _PROGRESS_SECONDS
        self._send({**facts, "value": progress.value, "maximum": progress.maximum})


def parse_job(job: Mapping[str, Any]) -> HandlerRequest:
    """Return the request of a job; its id is the idempotency key of a request that has none.

    Raises:
        Failure: A `handler-…` code.
    """
    request = parse_request(orjson.dumps({"input": job.get("input")}))
    job_id = job.get("id")
    if request.key is None and isinstance(job_id, str) and KEY_PATTERN.fullmatch(job_id):
        return replace(request, key=job_id)
    return request


def describe_job_failure(failure: Failure) -> dict[str, Any]:
    """Return a failure as the output of a job: RunPod takes `error`, a text, as the sign that it failed."""
    described = describe_failure(failure)
    output = {
        "error": f"{failure.code}: {failure.message}",
        "status": described["status"],
        "details": described["error"],
    }
    if failure.code in LOST_CODES:
        # RunPod then ends this worker, and sends further jobs to others.
        output["refresh_worker"] = True
    return output


def start_worker(options: HandlerOptions) -> None:
    """Take jobs from RunPod until it ends the worker.

    Raises:
        Failure: `handler-runpod-missing`.
    """
    try:
        import runpod
    except ImportError as error:
        raise Failure(
            "handler-runpod-missing",
            "RunPod's package is not installed.",
            hint="Install it with the extra `runpod`: pip install '.[runpod]' in the checkout.",
        ) from error
    worker = RunPodWorker(options, runpod.serverless.progress_update)
    # RunPod's package reads the arguments of the program, and logs outputs at its default level.
    sys.argv = [*sys.argv[:1], "--rp_log_level", "INFO"]
    runpod.serverless.start({"handler": worker.run_job})
