"""Shared by the commands of `jobs`: the agent, and a job in words."""

from __future__ import annotations

from typing import Final

import click

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from comfywatchman.cli.supervise.live import format_elapsed
from comfywatchman.jobs.records import Job, JobStatus, WaitCode, WaitReason

_SHORT_SECONDS: Final = 10.0
_MAX_RESULT_CHARS: Final = 40


def open_agent(context: click.Context) -> JobAgent:
    """Return the job agent of a command."""
    return JobAgent(context.obj)


def print_paused(session: Session) -> None:
    """Print that the queue is paused, and how to resume it."""
    click.echo(f"The queue is paused. Resume it: {session.format_command('jobs', 'resume')}")


def describe_step(session: Session, reason: WaitReason) -> str:
    """Return what to do about a reason to wait, with the options of this call; empty when there is nothing to do."""
    match reason.code:
        case WaitCode.PAUSED:
            return f"Resume it: {session.format_command('jobs', 'resume')}"
        case WaitCode.NO_WORKER:
            return f"Start one: {session.format_command('jobs', 'start')}"
        case _:
            return session.complete_commands(reason.next_step)


def format_result(job: Job) -> str:
    """Return the result of a job in a few words, for a list."""
    if job.status is JobStatus.DONE:
        count = len(job.metadata.get("files") or ())
        files = "1 file" if count == 1 else f"{count} files"
        return files if job.duration is None else f"{files}, {format_duration(job.duration)}"
    if job.status is JobStatus.PROCESSING:
        return f"on {job.host}" if job.host else ""
    lines = (job.error_trace or "").splitlines()
    text = lines[0] if lines else job.error_code or ""
    return text if len(text) <= _MAX_RESULT_CHARS else f"{text[: _MAX_RESULT_CHARS - 1]}…"


def format_duration(seconds: float) -> str:
    """Return a duration, with a fraction where it is short."""
    return f"{seconds:.1f} s" if seconds < _SHORT_SECONDS else format_elapsed(seconds)
