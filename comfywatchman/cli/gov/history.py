"""`gov rollback`, `gov undo`, `gov snapshot …` and `gov op …`: the past, and going back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.store.records import Operation


@click.command(cls=GovCommand)
@click.argument("snapshot")
@json_option
@click.pass_context
def rollback(context: click.Context, snapshot: str, as_json: bool) -> None:
    """Make packages and the register of nodes those of SNAPSHOT again.

    It takes a blink and needs no network while the snapshot's environment is kept. The code of custom nodes stays as
    it is. A snapshot of now is taken first.

    \b
    gov snapshot list
    gov rollback 20261120T120000Z-snap-0a1b2c
    """
    from comfywatchman.governance.environments.rollback import rollback as go_back

    with open_gov(context.obj, "rollback", words="Going back") as (ground, _tell):
        operation = go_back(ground, snapshot)
    _print_operation(context, operation, f"Production is as snapshot {snapshot}.", as_json=as_json)


@click.command(cls=GovCommand)
@click.argument("operation")
@json_option
@click.pass_context
def undo(context: click.Context, operation: str, as_json: bool) -> None:
    """Take OPERATION back, if pyproject.toml, uv.lock and plugins.json are still as it left them.

    \b
    gov op list
    gov undo 20261120T120000Z-op-0a1b2c
    """
    from comfywatchman.governance.environments.rollback import undo as take_back

    with open_gov(context.obj, "undo", words="Going back") as (ground, _tell):
        done = take_back(ground, operation)
    _print_operation(context, done, f"Operation {operation} was taken back.", as_json=as_json)


def _print_operation(context: click.Context, operation: Operation, words: str, *, as_json: bool) -> None:
    if as_json:
        print_result(context, operation)
        return
    click.echo(printable(words))
    click.echo(f"To take this back: gov undo {operation.op_id}")
    click.echo("A ComfyUI that is running keeps its old environment until it is started again.")


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_snapshots(context: click.Context, as_json: bool) -> None:
    """List the kept snapshots, newest first."""
    from comfywatchman.governance.environments import generation, snapshot

    ground = read_gov(context.obj)
    found = tuple(reversed(snapshot.read_all(ground.layout)))
    if as_json:
        print_result(context, {"snapshots": found})
        return
    rows = []
    for one in found:
        is_kept = generation.read_mark(ground.layout, one.generation) is not None
        rows.append((one.id, one.created_at, one.reason, one.ref, "kept" if is_kept else "to be built again"))
    print_table(("Snapshot", "Taken", "Reason", "For", "Environment"), rows, whole="Snapshot", spare=("Taken",))
    click.echo("To go back: gov rollback SNAPSHOT")


@click.command("inspect", cls=GovCommand)
@click.argument("snapshot")
@json_option
@click.pass_context
def inspect_snapshot(context: click.Context, snapshot: str, as_json: bool) -> None:
    """Show SNAPSHOT, and whether its files are as they were taken. Exits with 1 when they are not."""
    from comfywatchman.base.errors import Failure
    from comfywatchman.governance.environments import snapshot as snapshots

    ground = read_gov(context.obj)
    meta = snapshots.read(ground.layout, snapshot)
    trouble = None
    try:
        snapshots.read_contents(ground.layout, snapshot)
    except Failure as failure:
        trouble = failure.message
    if as_json:
        print_result(context, {"meta": meta, "trouble": trouble})
    else:
        rows = [("id", meta.id), ("created_at", meta.created_at), ("reason", meta.reason), ("ref", meta.ref)]
        rows += [("generation", meta.generation or ""), *sorted(meta.sha256.items())]
        print_table(("Field", "Value"), rows)
        click.echo(printable(trouble or "Its files are as they were taken."))
    context.exit(FAILED if trouble else DONE)


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_operations(context: click.Context, as_json: bool) -> None:
    """List operations, newest first."""
    from comfywatchman.governance.environments.rollback import read_operations

    session: Session = context.obj
    found = tuple(reversed(read_operations(read_gov(session).layout)))
    if as_json:
        print_result(context, {"operations": found})
        return
    rows = [(one.op_id, one.kind, one.ref, one.status, one.ended_at or "", one.note) for one in found]
    columns = ("Operation", "Kind", "Of", "Status", "Ended", "Note")
    print_table(columns, rows, whole="Operation", spare=("Ended",))


@click.command("inspect", cls=GovCommand)
@click.argument("operation")
@json_option
@click.pass_context
def inspect_operation(context: click.Context, operation: str, as_json: bool) -> None:
    """Show what OPERATION changed."""
    from comfywatchman.governance.environments.rollback import read_operation

    found = read_operation(read_gov(context.obj).layout, operation)
    if as_json:
        print_result(context, found)
        return
    rows = [("kind", found.kind), ("of", found.ref), ("status", found.status), ("started", found.started_at)]
    rows += [
        ("ended", found.ended_at or ""),
        ("before", found.pre_snapshot or ""),
        ("after", found.post_snapshot or ""),
    ]
    rows += [("note", found.note)] if found.note else []
    print_table(("Field", "Value"), rows)
    for name, change in sorted(found.files.items()):
        is_changed = change.pre_sha256 != change.post_sha256
        click.echo(f"{name}: {'changed' if is_changed else 'not changed'}")
