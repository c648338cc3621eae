"""Changes of many jobs at once: retry, cancel or set the priority of all that match, as many as were confirmed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from comfywatchman.app.jobs import local_actor
from comfywatchman.base.text import pluralize
from comfywatchman.cli.jobs.common import open_agent
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY, JobStatus
from comfywatchman.jobs.store.bulk import HEAD_CHARS, BulkChange, JobFilter
from comfywatchman.jobs.store.changes import FAILED_STATUSES

_expected_option = click.option(
    "--expected",
    type=click.IntRange(min=0),
    metavar="N",
    help="Confirm the change of N jobs; when another number matches, nothing is changed.",
)
_search_option = click.option(
    "--search", "text", default="", metavar="TEXT", help="Only jobs whose name or workflow contains TEXT."
)


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all changes of many jobs have."""
    return _search_option(_expected_option(json_option(command)))


@click.command("retry")
@click.option("--code", metavar="CODE", help="Only jobs that failed with this failure code.")
@click.option("--error", metavar="TEXT", help="Only jobs whose error is TEXT; 100 characters count.")
@bulk_options
@click.pass_context
def retry_many(
    context: click.Context, code: str | None, error: str | None, text: str, expected: int | None, as_json: bool
) -> None:
    """Queue failed jobs again, with all their retries.

    \b
    Examples:
      comfywatchman jobs bulk retry
      comfywatchman jobs bulk retry --code node-error --expected 5
    """
    head = None if error is None else error[:HEAD_CHARS]
    chosen = JobFilter(FAILED_STATUSES, text, code, head)
    _change(context, chosen, BulkChange.RETRY, ("Retry", "queued again"), expected=expected, as_json=as_json)


@click.command("cancel")
@bulk_options
@click.pass_context
def cancel_many(context: click.Context, text: str, expected: int | None, as_json: bool) -> None:
    """Cancel waiting jobs.

    \b
    Examples:
      comfywatchman jobs bulk cancel --search fox
      comfywatchman jobs bulk cancel --expected 12
    """
    chosen = JobFilter((JobStatus.PENDING,), text)
    _change(context, chosen, BulkChange.CANCEL, ("Cancel", "cancelled"), expected=expected, as_json=as_json)


@click.command("set-priority")
@click.argument("priority", type=click.IntRange(MIN_PRIORITY, MAX_PRIORITY))
@bulk_options
@click.pass_context
def set_priority_of_many(context: click.Context, priority: int, text: str, expected: int | None, as_json: bool) -> None:
    """Set the priority of waiting jobs, from 1 (first) to 999 (last).

    \b
    Examples:
      comfywatchman jobs bulk set-priority 10 --search fox
      comfywatchman jobs bulk set-priority 500 --expected 12
    """
    chosen = JobFilter((JobStatus.PENDING,), text)
    words = (f"Set priority {priority} of", f"with priority {priority}")
    _change(context, chosen, BulkChange.PRIORITY, words, expected=expected, as_json=as_json, priority=priority)


def _change(
    context: click.Context,
    chosen: JobFilter,
    change: BulkChange,
    words: tuple[str, str],
    *,
    expected: int | None,
    as_json: bool,
    priority: int | None = None,
) -> None:
    """Change all jobs that match, once their number is confirmed.

    Args:
        context: The context of the command.
        chosen: Which jobs.
        change: The change.
        words: The question without the number, and the result after it.
        expected: The number that was confirmed; None: ask for it.
        as_json: Whether the result is printed as JSON.
        priority: The priority to set.
    """
    question, result = words
    with open_agent(context).open_store() as store:
        if expected is None:
            expected = store.count_jobs(chosen)
            if expected and (as_json or not sys.stdin.isatty()):
                raise click.UsageError(f"{pluralize(expected, 'job')} would change. Confirm it: --expected {expected}")
            if expected:
                click.confirm(f"{question} {pluralize(expected, 'job')}?", abort=True)
        count = store.change_many(chosen, change, expected=expected, actor=local_actor(), priority=priority)
    if as_json:
        print_json(changed=count)
    elif not count:
        click.echo("No job matches.")
    else:
        click.echo(f"{pluralize(count, 'job')} {result}.")
