"""`comfywatchman jobs stats`: how many jobs there are in each status, and how long they take."""

from __future__ import annotations

import click
import msgspec

from comfywatchman.app.job_facts import warn_long_queue
from comfywatchman.cli.jobs.common import format_duration, open_agent, print_paused
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json
from comfywatchman.cli.supervise.live import format_elapsed


@click.command()
@json_option
@click.pass_context
def stats(context: click.Context, as_json: bool) -> None:
    """Count the jobs by status, and warn of a long queue.

    \b
    Examples:
      comfywatchman jobs stats
      comfywatchman jobs stats --json
    """
    agent = open_agent(context)
    with agent.open_store() as store:
        figures = store.stats()
    pending, limit = figures.by_status["pending"], agent.settings.pending_warning
    warning = warn_long_queue(pending, limit)
    if as_json:
        print_json(**msgspec.to_builtins(figures), is_long=bool(warning), pending_warning=limit)
        return
    for status, count in figures.by_status.items():
        click.echo(f"{status + ':':<13}{count}")
    click.echo(f"{'total:':<13}{figures.total_jobs}")
    if figures.average_duration_seconds is not None:
        click.echo(f"A job takes {format_duration(figures.average_duration_seconds)} on average.")
    if figures.oldest_pending_seconds is not None:
        click.echo(f"The oldest waiting job was queued {format_elapsed(figures.oldest_pending_seconds)} ago.")
    if figures.is_paused:
        print_paused(context.obj)
    if warning:
        click.echo(warning)
