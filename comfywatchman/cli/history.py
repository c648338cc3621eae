"""`comfywatchman history` and `--list-intake`."""

from __future__ import annotations

import click
import msgspec

from comfywatchman.cli.render import DONE, print_json, print_table
from comfywatchman.cli.session import Session
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.workflows.intake import Acknowledgement, read_last_entries


@click.command()
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many cycles."
)
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.pass_obj
def history(session: Session, limit: int, as_json: bool) -> None:
    """Show the last cycles, newest first: when, how long, what came of them."""
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
    outcome = "done" if record.success else f"skipped: {record.skipped_reason}" if record.skipped_reason else "failed"
    counts = (record.read, record.ready, record.missing, record.uncertain, record.invalid)
    shown = tuple(str(count) if record.success else "" for count in counts)
    return record.started_at, record.trigger, outcome, f"{record.duration_seconds:.2f}", *shown


def _intake_row(entry: Acknowledgement) -> tuple[str, str, str, str]:
    where = f"{entry.previous_path} -> {entry.path}" if entry.previous_path else entry.path
    return entry.at, entry.kind, entry.source, where
