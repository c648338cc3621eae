"""`comfywatchman jobs show`: one job with its outputs, runs, errors and changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from comfywatchman.app.job_facts import describe_attempt, describe_job, format_moment
from comfywatchman.base.text import format_size
from comfywatchman.cli.jobs.common import describe_step, format_duration, open_agent
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, print_table, printable
from comfywatchman.jobs.files.names import complete_config_name

if TYPE_CHECKING:
    from comfywatchman.jobs.records import AttemptRecord, AuditRecord, Job


@click.command()
@click.argument("name", shell_complete=complete_names("job"))
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one job: where its outputs are, how long it took, and why it failed.

    NAME is the name of its file, with or without .yaml.

    \b
    Examples:
      comfywatchman jobs show T2I_20261120144545_1_fox
      comfywatchman jobs show T2I_20261120144545_1_fox --json
    """
    config_name = complete_config_name(name)
    with open_agent(context).open_store() as store:
        job = store.get(config_name)
        attempts = store.attempts(config_name)
        changes = store.audit(config_name)
        reason = store.explain_job(config_name)
    if as_json:
        print_json(
            job=describe_job(job),
            spec=msgspec.to_builtins(job.spec),
            attempts=[describe_attempt(attempt) for attempt in attempts],
            audit=[{**msgspec.to_builtins(change), "at": format_moment(change.at)} for change in changes],
            waits_for=None if reason is None else msgspec.to_builtins(reason),
        )
        return
    _print_job(job)
    if reason is not None:
        step = describe_step(context.obj, reason)
        click.echo(f"{'Waits for:':<13}{printable(reason.sentence)} {printable(step)}".rstrip())
    _print_outputs(job)
    _print_attempts(attempts)
    _print_changes(changes)


def _print_job(job: Job) -> None:
    rows = [
        ("Job", job.config_name),
        ("Status", f"{job.status.value}, cancelling" if job.is_cancel_requested else job.status.value),
        ("Workflow", job.workflow_id),
        ("Priority", str(job.priority)),
        ("Runs", f"{job.run_count} ({job.retries_attempted} retries, {job.retry_limit} allowed)"),
        ("Queued", format_moment(job.created_at) or ""),
        ("Started", format_moment(job.start_time) or "not yet"),
        ("Ended", format_moment(job.end_time) or "not yet"),
    ]
    if job.duration is not None:
        rows.append(("Took", format_duration(job.duration)))
    if job.host is not None:
        rows.append(("Host", job.host))
    for label, text in rows:
        click.echo(f"{label + ':':<13}{printable(text)}")
    if job.error_code is not None:
        click.echo(f"{'Error:':<13}{printable(job.error_code)}")
        for line in (job.error_trace or "").splitlines():
            click.echo(f"{'':<13}{printable(line)}")


def _print_outputs(job: Job) -> None:
    files = job.metadata.get("files") or ()
    if not files:
        return
    click.echo(f"{'Outputs:':<13}{printable(str(job.metadata.get('folder')))}")
    for file in files:
        click.echo(f"{'':<13}{printable(file['name'])} ({format_size(file['size_bytes'])})")


def _print_attempts(attempts: tuple[AttemptRecord, ...]) -> None:
    if not attempts:
        return
    rows = [
        (
            str(attempt.attempt),
            attempt.outcome,
            attempt.host,
            format_moment(attempt.started_at) or "",
            attempt.error_code or "",
        )
        for attempt in attempts
    ]
    print_table(("Run", "Outcome", "Host", "Started", "Error"), rows, spare=("Host",))


def _print_changes(changes: tuple[AuditRecord, ...]) -> None:
    for change in changes:
        what = f"{change.action}: {change.old} -> {change.new}"
        click.echo(f"{format_moment(change.at)} {printable(change.actor)} ({change.interface}) {printable(what)}")
