"""What a running worker does, on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfywatchman.jobs.execution.worker import JobWorker


def format_worker_line(worker: JobWorker) -> str:
    """Return what a worker does now, in one line."""
    progress = worker.progress
    job = progress.get("job")
    if job is None:
        reason = worker.wait_reason
        return "Waiting for jobs." if reason is None else f"Waiting: {reason.sentence}"
    return f"{job.removesuffix('.yaml')}: {format_progress(progress)}"


def format_progress(progress: dict[str, object]) -> str:
    """Return how far a job is, from the progress that its worker publishes."""
    ahead = progress.get("prompts_ahead")
    if not progress.get("running"):
        return f"waits for {ahead} other prompts in ComfyUI" if ahead else "starting"
    value, maximum = progress.get("value"), progress.get("maximum")
    if isinstance(value, (int, float)) and isinstance(maximum, (int, float)) and maximum > 0:
        return f"node {progress.get('node')}, step {value:.0f} of {maximum:.0f}"
    node = progress.get("node")
    return f"node {node}" if node else "running"
