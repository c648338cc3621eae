"""`comfywatchman jobs queue ls`: the jobs by priority, once or live."""

from __future__ import annotations

import signal
import sys

import click

from comfywatchman.app.job_facts import describe_job, warn_long_queue
from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.jobs.common import format_result, open_agent, print_paused
from comfywatchman.cli.jobs.live_table import show_queue
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table
from comfywatchman.jobs.records import Job, JobStatus

_DEFAULT_LIMIT = 50


@click.command("ls")
@click.argument("status", type=click.Choice([status.value for status in JobStatus]), required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=_DEFAULT_LIMIT, help=f"Longest list (default: {_DEFAULT_LIMIT})."
)
@click.option("--search", "text", default="", metavar="TEXT", help="Only jobs whose name or workflow contains TEXT.")
@click.option("--live", "is_live", is_flag=True, help="Show them with their progress until Ctrl-C.")
@json_option
@click.pass_context
def list_queue(context: click.Context, status: str | None, limit: int, text: str, is_live: bool, as_json: bool) -> None:
    """List the jobs in the order in which they run.

    \b
    Examples:
      comfywatchman jobs queue ls
      comfywatchman jobs queue ls failed
      comfywatchman jobs queue ls --live
    """
    if is_live and (as_json or not sys.stdout.isatty()):
        raise click.UsageError("--live needs a terminal, and cannot be combined with --json.")
    wanted = None if status is None else JobStatus(status)
    agent = open_agent(context)
    with agent.open_store() as store:
        if is_live:
            with StopEvent() as stop_event:
                stop_event.set_on_signals(signal.SIGINT, signal.SIGTERM)
                show_queue(store, stop_event, status=wanted, text=text)
            return
        jobs = store.list_jobs(wanted, limit=limit, text=text)
        figures = store.stats()
    total = figures.total_jobs if wanted is None else figures.by_status[wanted.value]
    if as_json:
        print_json(jobs=[describe_job(job) for job in jobs], total=total, paused=figures.is_paused)
        return
    if jobs:
        columns = ("Job", "Status", "Priority", "Workflow", "Runs", "Result")
        print_table(
            columns, [build_row(job) for job in jobs], whole=("Job", "Status"), spare=("Workflow", "Runs", "Result")
        )
    else:
        click.echo("There is no job." if wanted is None else f"No job is {wanted.value}.")
    if len(jobs) < total and not text:
        click.echo(f"{total - len(jobs)} more: raise --limit.")
    warning = warn_long_queue(figures.by_status["pending"], agent.settings.pending_warning)
    if warning:
        click.echo(warning)
    if figures.is_paused:
        print_paused(context.obj)


def build_row(job: Job) -> tuple[str, ...]:
    """Return the row of a job in the list."""
    return (
        job.config_name.removesuffix(".yaml"),
        job.status.value,
        str(job.priority),
        job.workflow_id,
        str(job.run_count),
        format_result(job),
    )
