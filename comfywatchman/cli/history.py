"""`comfywatchman history` and `--list-intake`."""

from __future__ import annotations

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, print_json, print_table
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.workflows.intake import Acknowledgement, read_last_entries


@click.command()
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Number of cycles."
)
@json_option
@click.pass_obj
def history(session: Session, limit: int, as_json: bool) -> None:
    """Show the last cycles, newest first: start, duration and outcome."""
    records = read_records(session.layout.history, limit=limit)
    if as_json:
        print_json(cycles=[msgspec.to_builtins(record) for record in records])
        return
    if not records:
        click.echo("No cycle has run yet. Start one: comfywatchman --run-cycle")
        return
    columns = ("Started", "Trigger", "Outcome", "Seconds", "Read", "Ready", "Missing", "Uncertain", "Invalid")
    print_table(
        columns,
        [_cycle_row(record) for record in records],
        whole="Started",
        spare=("Read", "Seconds", "Trigger", "Invalid"),
    )


def list_intake_command(session: Session, *, limit: int, as_json: bool) -> int:
    """Print the last acknowledged workflow files, newest first."""
    entries = read_last_entries(session.layout.intake_log, limit)
    if as_json:
        print_json(intake=[msgspec.to_builtins(entry) for entry in entries])
    elif entries:
        print_table(("At", "Kind", "Source", "Workflow"), [_intake_row(entry) for entry in entries], whole="At")
    else:
        click.echo("No workflow has been acknowledged yet. Run: comfywatchman --run-cycle")
    return DONE


def _cycle_row(record: CycleRecord) -> tuple[str, ...]:
    counts: tuple[str, ...] = ("",) * 5
    if record.success:
        outcome = "done"
        numbers = (record.read, record.ready, record.missing, record.uncertain, record.invalid)
        counts = tuple(str(number) for number in numbers)
    elif record.skipped_reason:
        outcome = f"skipped: {record.skipped_reason}"
    else:
        outcome = "failed"
    return record.started_at, record.trigger, outcome, f"{record.duration_seconds:.2f}", *counts


def _intake_row(entry: Acknowledgement) -> tuple[str, str, str, str]:
    path = f"{entry.previous_path} -> {entry.path}" if entry.previous_path else entry.path
    return entry.at, entry.kind, entry.source, path
