"""`gov rollback`, `gov undo`, `gov snapshot …` and `gov op …`: earlier states, and restoring them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.gov.ids import complete_operation_id, complete_snapshot_id
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import DONE, FAILED, print_step, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.environments.context import GovContext
    from comfywatchman.governance.store.records import Operation


@click.command(cls=GovCommand)
@click.argument("snapshot", shell_complete=complete_names("snapshot"))
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--with-code", is_flag=True, help="Also take the code of nodes back to what was recorded.")
@json_option
@click.pass_context
def rollback(context: click.Context, snapshot: str, dry_run: bool, with_code: bool, as_json: bool) -> None:
    """Restore the packages and the node registry of SNAPSHOT.

    It takes under a second and needs no network while the snapshot's environment is kept. The code of custom nodes
    stays as it is, unless you give --with-code: then nodes go back to their recorded commits, and folders without git
    to the copy that was kept at their promotion. Local changes are never overwritten. A snapshot of the current state
    is taken first.

    \b
    Examples:
      gov snapshot list
      gov rollback 20261120T120000Z-snap-0a1b2c --dry-run
      gov rollback 20261120T120000Z-snap-0a1b2c
      gov rollback latest --with-code
    """
    if dry_run:
        _show_difference(context, snapshot, as_json=as_json)
        return
    from comfywatchman.governance.environments import staging
    from comfywatchman.governance.environments.rollback import rollback as run_rollback
    from comfywatchman.governance.nodes.recorded_code import restore_code

    with open_gov(context.obj, "rollback", activity="Restoring the snapshot") as (gov, _progress):
        snapshot = complete_snapshot_id(gov.layout, snapshot)
        if with_code:
            _require_restorable_code(gov, snapshot)
        operation = run_rollback(gov, snapshot)
        code = restore_code(gov, staging.read_registry(gov.layout)) if with_code else ()
    if as_json and with_code:
        print_result(context, {"operation": operation, "code": code})
    else:
        _print_operation(context, operation, f"Production is restored to snapshot {snapshot}.", as_json=as_json)
        for change in code:
            outcome = change.error or f"{(change.before or 'gone')[:12]} -> {change.after[:12]}"
            click.echo(f"Code of {printable(change.node_id)}: {printable(outcome)}")
    context.exit(FAILED if any(change.error for change in code) else DONE)


def _require_restorable_code(gov: GovContext, snapshot_id: str) -> None:
    """Refuse a rollback with code that would stop half-way.

    Raises:
        Failure: `gov-code-refused`, `gov-snapshot-unknown` or `gov-snapshot-damaged`.
    """
    from comfywatchman.governance.environments import snapshot as snapshots
    from comfywatchman.governance.environments.snapshot_difference import parse_registry
    from comfywatchman.governance.nodes.recorded_code import find_obstacles

    obstacles = find_obstacles(gov, parse_registry(snapshots.read_contents(gov.layout, snapshot_id)))
    if obstacles:
        reasons = "; ".join(f"{node_id}: {reason}" for node_id, reason in obstacles.items())
        raise Failure(
            "gov-code-refused",
            f"The code of nodes cannot be taken back, and nothing was changed: {reasons}.",
            hint="Roll back without --with-code, or remove what is in the way.",
        )


def _show_difference(context: click.Context, text: str, *, as_json: bool) -> None:
    from comfywatchman.governance.environments.snapshot_difference import compare_with_snapshot

    gov = read_gov(context.obj)
    difference = compare_with_snapshot(gov, complete_snapshot_id(gov.layout, text))
    if as_json:
        print_result(context, difference)
        return
    rows = [("package", name, old or "", new or "") for name, (old, new) in difference.packages.items()]
    for name, (old, new) in difference.nodes.items():
        rows.append(("node", name, _describe_commit(old), _describe_commit(new)))
    if rows:
        print_table(("Kind", "Name", "Now", "After"), rows)
    else:
        click.echo("Packages and nodes are those of the snapshot.")
    if not difference.is_environment_kept:
        click.echo("Its environment was deleted, and would be built again.")
    click.echo("Nothing was changed.")


def _describe_commit(commit: str | None) -> str:
    if commit is None:
        return "not registered"
    return commit[:12] or "registered, without git"


@click.command(cls=GovCommand)
@click.argument("operation", shell_complete=complete_names("operation"))
@json_option
@click.pass_context
def undo(context: click.Context, operation: str, as_json: bool) -> None:
    """Undo OPERATION, if pyproject.toml, uv.lock and plugins.json have not changed since.

    Undoing the first one, such as an adoption, ends the governance: its files are moved aside, and ComfyUI's own
    environment is as before.

    \b
    Examples:
      gov op list
      gov undo 20261120T120000Z-op-0a1b2c
    """
    from comfywatchman.governance.environments.rollback import undo as run_undo
    from comfywatchman.governance.environments.withdraw import find_withdrawn_folder

    with open_gov(context.obj, "undo", activity="Undoing the operation") as (gov, _progress):
        operation = complete_operation_id(gov.layout, operation)
        undo_operation = run_undo(gov, operation)
        aside = find_withdrawn_folder(gov.layout, operation)
    if undo_operation.op_id == operation and not as_json:
        click.echo(
            f"Operation {operation} was undone: nothing is governed any more. Its files are in {printable_path(aside)}."
        )
        print_step("To govern ComfyUI again: gov init --adopt")
        return
    _print_operation(context, undo_operation, f"Operation {operation} was undone.", as_json=as_json)


def _print_operation(context: click.Context, operation: Operation, message: str, *, as_json: bool) -> None:
    if as_json:
        print_result(context, operation)
        return
    click.echo(printable(message))
    if operation.note:
        click.echo(printable(f"{operation.note}."))
    if operation.pre_snapshot is not None:
        print_step(f"To undo this: gov undo {operation.op_id}")
    else:
        click.echo("This cannot be undone: the files before it were damaged, so no snapshot of them was taken.")
    click.echo("A running ComfyUI keeps its old environment until it is restarted.")


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_snapshots(context: click.Context, as_json: bool) -> None:
    """List the kept snapshots, newest first.

    \b
    Examples:
      gov snapshot list
      gov snapshot list --json
    """
    from comfywatchman.governance.environments import generation, snapshot

    gov = read_gov(context.obj)
    snapshots = tuple(reversed(snapshot.read_all(gov.layout)))
    if as_json:
        print_result(context, {"snapshots": snapshots})
        return
    rows = []
    for meta in snapshots:
        has_environment = generation.read_mark(gov.layout, meta.generation) is not None
        environment = "kept" if has_environment else "to be rebuilt"
        rows.append((meta.id, meta.created_at, meta.reason, meta.ref, environment))
    print_table(("Snapshot", "Taken", "Reason", "For", "Environment"), rows, whole="Snapshot", spare=("Taken",))
    print_step("To restore one: gov rollback SNAPSHOT")


@click.command("inspect", cls=GovCommand)
@click.argument("snapshot", shell_complete=complete_names("snapshot"))
@json_option
@click.pass_context
def inspect_snapshot(context: click.Context, snapshot: str, as_json: bool) -> None:
    """Show SNAPSHOT, and whether its files are unchanged. Exits with 1 when they are not.

    \b
    Examples:
      gov snapshot inspect 20261120T144545Z-snap-1a2b3c
      gov snapshot inspect 20261120T144545Z-snap-1a2b3c --json
    """
    from comfywatchman.governance.environments import snapshot as snapshots

    gov = read_gov(context.obj)
    snapshot = complete_snapshot_id(gov.layout, snapshot)
    meta = snapshots.read(gov.layout, snapshot)
    damage = None
    try:
        snapshots.read_contents(gov.layout, snapshot)
    except Failure as failure:
        damage = failure.message
    if as_json:
        print_result(context, {"meta": meta, "trouble": damage})
    else:
        rows = [
            ("id", meta.id),
            ("created_at", meta.created_at),
            ("reason", meta.reason),
            ("ref", meta.ref),
            ("generation", meta.generation or ""),
            *sorted(meta.sha256.items()),
        ]
        print_table(("Field", "Value"), rows)
        click.echo(printable(damage or "Its files are unchanged."))
    context.exit(DONE if damage is None else FAILED)


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_operations(context: click.Context, as_json: bool) -> None:
    """List operations, newest first.

    \b
    Examples:
      gov op list
      gov op list --json
    """
    from comfywatchman.governance.environments.rollback import read_operations

    operations = tuple(reversed(read_operations(read_gov(context.obj).layout)))
    if as_json:
        print_result(context, {"operations": operations})
        return
    rows = []
    for operation in operations:
        ended_at = operation.ended_at or ""
        rows.append((operation.op_id, operation.kind, operation.ref, operation.status, ended_at, operation.note))
    columns = ("Operation", "Kind", "Of", "Status", "Ended", "Note")
    print_table(columns, rows, whole="Operation", spare=("Ended",))


@click.command("inspect", cls=GovCommand)
@click.argument("operation", shell_complete=complete_names("operation"))
@json_option
@click.pass_context
def inspect_operation(context: click.Context, operation: str, as_json: bool) -> None:
    """Show the changes that OPERATION made.

    \b
    Examples:
      gov op inspect 20261120T144545Z-op-1a2b3c
      gov op inspect 20261120T144545Z-op-1a2b3c --json
    """
    from comfywatchman.governance.environments.rollback import read_operation

    layout = read_gov(context.obj).layout
    record = read_operation(layout, complete_operation_id(layout, operation))
    if as_json:
        print_result(context, record)
        return
    rows = [
        ("kind", record.kind),
        ("of", record.ref),
        ("status", record.status),
        ("started", record.started_at),
        ("ended", record.ended_at or ""),
        ("before", record.pre_snapshot or ""),
        ("after", record.post_snapshot or ""),
    ]
    if record.note:
        rows.append(("note", record.note))
    print_table(("Field", "Value"), rows)
    for name, change in sorted(record.files.items()):
        outcome = "unchanged" if change.pre_sha256 == change.post_sha256 else "changed"
        click.echo(f"{name}: {outcome}")
