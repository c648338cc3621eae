"""`comfywatchman history` and `--list-intake`."""

from __future__ import annotations

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.cli.options import json_option
from comfywatchman.cli.other_comfyui import build_other_comfyui_failure
from comfywatchman.cli.render import DONE, print_json, print_step, print_table, printable
from comfywatchman.readiness.history import CycleRecord, read_records
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, read_last_entries


@click.command()
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Number of cycles."
)
@json_option
@click.pass_obj
def history(session: Session, limit: int, as_json: bool) -> None:
    """Show the last cycles of this ComfyUI, newest first: start, duration and outcome.

    Exits with 1 when all recorded cycles are about other ComfyUIs.

    \b
    Examples:
      comfywatchman history
      comfywatchman history -n 5
    """
    path = session.layout.history
    records = []
    watched = session.watched_comfyui()
    if watched is not None:
        records = read_records(path, limit=limit, comfyui=watched.id)
    if not records:
        for other in read_records(path, limit=1):
            raise build_other_comfyui_failure(
                session, "The last cycle", other.comfyui_root, other.started_at, command="history"
            )
    if as_json:
        print_json(cycles=[msgspec.to_builtins(record) for record in records])
        return
    if not records:
        print_step("No cycle has run yet. Start one: comfywatchman --run-cycle")
        return
    columns = ("Started", "Trigger", "Outcome", "Seconds", "Read", "Ready", "Missing", "Uncertain", "Invalid", "Unread")
    print_table(
        columns,
        [_cycle_row(record) for record in records],
        whole="Started",
        spare=("Read", "Seconds", "Trigger", "Unread", "Invalid"),
    )


def list_intake_command(session: Session, *, limit: int, as_json: bool) -> int:
    """Print the last acknowledged workflow files of this ComfyUI, newest first.

    Raises:
        Failure: `other-comfyui` when all of them belong to other ComfyUIs.
    """
    path = session.layout.intake_log
    entries = []
    watched = session.watched_comfyui()
    if watched is not None:
        entries = read_last_entries(path, limit, comfyui=watched.id)
    if not entries:
        for other in read_last_entries(path, 1):
            raise build_other_comfyui_failure(
                session, "The last workflow on record", _find_root(session, other), other.at, command="--list-intake"
            )
    if as_json:
        print_json(intake=[msgspec.to_builtins(entry) for entry in entries])
    elif entries:
        print_table(("At", "Kind", "Source", "Workflow"), [_intake_row(entry) for entry in entries], whole="At")
    else:
        print_step("No workflow has been acknowledged yet. Run: comfywatchman --run-cycle")
    return DONE


def _find_root(session: Session, entry: Acknowledgement) -> str | None:
    """Return the folder of the ComfyUI of an acknowledgement, which only stores its id."""
    if entry.comfyui is None:
        return None
    for record in read_records(session.layout.history, limit=1, comfyui=entry.comfyui):
        return record.comfyui_root
    return f"id {entry.comfyui}"


def _cycle_row(record: CycleRecord) -> tuple[str, ...]:
    counts: tuple[str, ...] = ("",) * 6
    outcome = {"ran": "done"}.get(record.result, record.result)
    if record.success:
        verdicts = (record.ready, record.missing, record.uncertain, record.invalid)
        numbers = (record.read, *verdicts, record.unknown_workflows)
        counts = tuple(str(number) for number in numbers)
    elif record.skipped_reason:
        outcome = f"{record.result}: {record.skipped_reason}"
        if record.count > 1:
            outcome += f" ({record.count})"
    elif record.message:
        outcome = f"{record.result}: {printable(record.message)}"
    return record.started_at, record.trigger, outcome, f"{record.duration_seconds:.2f}", *counts


def _intake_row(entry: Acknowledgement) -> tuple[str, str, str, str]:
    path = f"{entry.previous_path} -> {entry.path}" if entry.previous_path else entry.path
    return entry.at, entry.kind, entry.source, path
