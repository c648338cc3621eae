"""`comfywatchman jobs run`: run the jobs of the queue, the next one or all until stopped."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from comfywatchman import __version__
from comfywatchman.app.job_facts import describe_job
from comfywatchman.base.stop import StopEvent
from comfywatchman.base.text import pluralize
from comfywatchman.cli.jobs.common import describe_step, format_duration, open_agent
from comfywatchman.cli.jobs.live import format_worker_line
from comfywatchman.cli.jobs.monitor import print_scan_result, scan_files_once
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, JSON_SCHEMA_VERSION, SKIPPED, print_json, print_step, printable
from comfywatchman.cli.supervise.live import show_line
from comfywatchman.jobs.records import JobStatus, WaitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfywatchman.app.jobs import JobAgent
    from comfywatchman.app.session import Session
    from comfywatchman.jobs.execution.worker import FinishedRun, JobWorker
    from comfywatchman.jobs.records import WaitReason
    from comfywatchman.jobs.store.job_store import JobStore

_WELL: Final = frozenset({JobStatus.DONE, JobStatus.PENDING, JobStatus.CANCELLED})

_LONG_WAITS: Final = frozenset({WaitCode.PAUSED, WaitCode.COMFYUI_AWAY, WaitCode.SUPERVISOR_NOT_READY})
"""What only a person ends, in most cases; the other reasons come and go."""


@click.command()
@click.option("--once/--loop", "is_once", default=True, help="Run the next job, or go on until stopped.")
@json_option
@click.pass_context
def run(context: click.Context, is_once: bool, as_json: bool) -> None:
    """Run jobs of the queue on ComfyUI, one at a time.

    With --once, new job files are read first. Ctrl-C and SIGTERM stop the running job, which goes back into the queue.
    With --loop --json, each job that ended is one object per line.

    \b
    Examples:
      comfywatchman jobs run --once
      comfywatchman jobs run --loop
    """
    agent = open_agent(context)
    _ = context.obj.log
    if is_once:
        for result in scan_files_once(agent):
            if not as_json:
                print_scan_result(result)
    with agent.open_store() as store, StopEvent() as stop_event:
        stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
        with open_worker(agent, store, stop_event) as worker:
            worker.settle()
            if is_once:
                context.exit(run_next(agent, worker, store, as_json=as_json))
            if not as_json:
                click.echo(f"Running jobs on {agent.settings.comfyui_url}. Ctrl-C stops.")
            run_until_stopped(agent, worker, store, stop_event, as_json=as_json)


@contextmanager
def open_worker(agent: JobAgent, store: JobStore, stop_event: StopEvent) -> Iterator[JobWorker]:
    """Register a worker, and remove it at the end."""
    from comfywatchman.jobs.execution.worker import JobWorker
    from comfywatchman.jobs.files.monitor import WorkflowsFile

    cfg = agent.settings
    worker_id = store.register_worker(agent.host, version=__version__, lease_seconds=cfg.lease_seconds)
    workflows = WorkflowsFile(cfg.workflows)
    agent.readiness.refresh(store, workflows.load())
    agent.readiness.start(store, WorkflowsFile(cfg.workflows).load)
    with JobWorker(
        cfg,
        workflows.load,
        store,
        worker_id,
        host=agent.host,
        services=agent.build_services(),
        stop_event=stop_event,
    ) as worker:
        try:
            yield worker
        finally:
            agent.readiness.close()
            store.unregister_worker(worker.worker_id)


def run_next(agent: JobAgent, worker: JobWorker, store: JobStore, *, as_json: bool) -> int:
    """Run the next job and print its result; return the exit code."""
    with show_line(lambda: format_worker_line(worker), is_shown=not as_json):
        has_run = worker.run_once()
    finished = worker.last_run
    if not has_run or finished is None:
        return print_idle(agent.session, worker.wait_reason, store, as_json=as_json)
    if as_json:
        print_json(job=describe_job(store.get(finished.config_name)))
    else:
        print_run(agent.session, finished)
    return DONE if finished.status in _WELL else FAILED


def run_until_stopped(
    agent: JobAgent, worker: JobWorker, store: JobStore, stop_event: StopEvent, *, as_json: bool
) -> None:
    """Run jobs until stopped, and print the result of each."""
    from comfywatchman.jobs.execution.worker_loop import run_worker

    def report(finished: FinishedRun) -> None:
        if as_json:
            facts = {"schema_version": JSON_SCHEMA_VERSION, "job": describe_job(store.get(finished.config_name))}
            click.echo(json.dumps(facts, sort_keys=True))
        else:
            print_run(agent.session, finished)

    def report_wait(reason: WaitReason) -> None:
        if not as_json and reason.code in _LONG_WAITS:
            print_step(f"Jobs wait: {printable(f'{reason.sentence} {reason.next_step}'.strip())}")

    with show_line(lambda: format_worker_line(worker), is_shown=not as_json):
        run_worker(worker, agent.settings, stop_event, report=report, report_wait=report_wait)


def print_run(session: Session, finished: FinishedRun) -> None:
    """Print how a job ended, and where its outputs are or what to do."""
    name = printable(finished.config_name.removesuffix(".yaml"))
    if finished.status is JobStatus.DONE:
        seconds = finished.outcome.metadata.get("run_seconds")
        took = "" if seconds is None else f" in {format_duration(seconds)}"
        count = pluralize(len(finished.outcome.metadata.get("files") or ()), "file")
        click.echo(f"{name}: done{took}, {count} in {printable(finished.outcome.metadata['folder'])}")
        return
    click.echo(f"{name}: {describe_end(finished)}", err=True)
    if finished.outcome.error_text:
        click.echo(f"  {printable(finished.outcome.error_text)}", err=True)
    if finished.status is JobStatus.FAILED:
        command = session.format_command("jobs", "retry", finished.config_name.removesuffix(".yaml"))
        click.echo(f"  Run it again: {printable(command)}", err=True)


def describe_end(finished: FinishedRun) -> str:
    """Return how a run without a result ended, in words."""
    code = finished.outcome.error_code
    if finished.status is JobStatus.PENDING:
        return f"queued again ({code})"
    if finished.status is JobStatus.CANCELLED:
        return "cancelled"
    return f"{finished.status.value} ({code})"


def print_idle(session: Session, reason: WaitReason | None, store: JobStore, *, as_json: bool) -> int:
    """Print why no job was run; return the exit code."""
    waiting = store.explain_waiting(limit=1)
    if reason is None and waiting:
        reason = waiting[0].reason
    if as_json:
        facts = None if reason is None else {"code": reason.code.value, "reason": reason.sentence}
        print_json(job=None, waits_for=facts)
    elif reason is None:
        click.echo("There is no job to run.")
    else:
        click.echo(f"No job was started: {printable(reason.sentence)}")
        if step := describe_step(session, reason):
            click.echo(printable(step))
    return DONE if reason is None else SKIPPED
