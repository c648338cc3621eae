"""`comfywatchman jobs hosts`: the hosts of the queue, their workers, and what they cannot run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from comfywatchman.app.job_facts import format_moment
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.jobs.live import format_progress
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.jobs.records import HostRecord, WorkerRecord


@click.command()
@json_option
@click.pass_context
def hosts(context: click.Context, as_json: bool) -> None:
    """List the hosts, what their workers do, and which workflows they cannot run.

    \b
    Examples:
      comfywatchman jobs hosts
      comfywatchman jobs hosts --json
    """
    with open_agent(context).open_store() as store:
        records = store.list_hosts()
    if as_json:
        print_json(hosts=[_describe_host(host) for host in records])
        return
    if not records:
        command = context.obj.format_command("jobs", "start")
        click.echo(f"No agent has run yet. Start one: {command}")
        return
    rows = [_build_row(host, worker) for host in records for worker in host.workers]
    print_table(("Host", "Worker", "Does", "Last sign of life"), rows, spare=("Worker",))
    for host in records:
        for workflow, reason in host.reasons.items():
            click.echo(f"{printable(host.host)} cannot run {printable(workflow)}: {printable(reason)}")


def _build_row(host: HostRecord, worker: WorkerRecord) -> tuple[str, ...]:
    return host.host, worker.worker_id[:8], _describe_work(worker), format_moment(worker.last_beat) or ""


def _describe_work(worker: WorkerRecord) -> str:
    if not worker.is_alive:
        return "no sign of life"
    job = worker.progress.get("job")
    if job:
        return f"{job.removesuffix('.yaml')}: {format_progress(dict(worker.progress))}"
    return str(worker.progress.get("reason") or "waits for jobs")


def _describe_host(host: HostRecord) -> dict[str, object]:
    workers = [
        {
            **msgspec.to_builtins(worker),
            "started_at": format_moment(worker.started_at),
            "last_beat": format_moment(worker.last_beat),
        }
        for worker in host.workers
    ]
    return {**msgspec.to_builtins(host), "published_at": format_moment(host.published_at), "workers": workers}
