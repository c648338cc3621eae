"""`gov tx …`: try a node in a candidate environment, and promote it to production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from comfywatchman.base.text import shorten_list
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.gov.ids import complete_transaction_id
from comfywatchman.cli.gov.package import print_outcome
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import DONE, FAILED, USAGE, print_step, print_table, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfywatchman.governance.store.conflict_records import ConflictReport
    from comfywatchman.governance.store.records import Transaction
    from comfywatchman.governance.transactions import gates

_MAX_SHOWN: Final = 8


@click.command(cls=GovCommand)
@click.argument("node_ids", metavar="NODE...", nargs=-1, shell_complete=complete_names("node"))
@click.option("--all", "every", is_flag=True, help="Every registered node whose requirements are not in production.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a start of ComfyUI may take, instead of [tx] timeout_seconds.",
)
@json_option
@click.pass_context
def run(
    context: click.Context, node_ids: tuple[str, ...], every: bool, timeout_seconds: float | None, as_json: bool
) -> None:
    """Try NODE: build a candidate environment, install its requirements there, and start ComfyUI in it.

    Production stays unchanged, whatever the node does. Several nodes are tried with one start; when it fails, halves of
    them are, until the node that breaks it is found. Exits with 1 when a node failed.

    \b
    Examples:
      gov tx run PACK
      gov tx run PACK OTHER --timeout 300
      gov tx run --all
    """
    from comfywatchman.governance.transactions.run import run_transaction

    if every == bool(node_ids):
        raise click.UsageError("Give the nodes to try, or --all.")
    if every or len(node_ids) > 1:
        _run_several(context, node_ids, timeout_seconds, as_json=as_json)
        return
    node_id = node_ids[0]
    with open_gov(context.obj, f"tx run {node_id}", activity=f"Trying {node_id}") as (gov, show):
        tried = run_transaction(gov, node_id, timeout_seconds=timeout_seconds, progress=show)
    if as_json:
        print_result(context, tried)
    else:
        _print_transaction(tried)
        print_next_step(tried)
    context.exit(DONE if tried.status == "completed" else FAILED)


def _run_several(
    context: click.Context, node_ids: tuple[str, ...], timeout_seconds: float | None, *, as_json: bool
) -> None:
    """Try several nodes together, without names those whose requirements are not in production, and print each."""
    from comfywatchman.governance.transactions.several import find_untried, run_several

    with open_gov(context.obj, "tx run", activity="Trying several nodes") as (gov, show):
        wanted = node_ids or find_untried(gov)
        tried = run_several(gov, wanted, timeout_seconds=timeout_seconds, progress=show) if wanted else ()
    if as_json:
        print_result(context, tried)
    elif not tried:
        click.echo("The requirements of all registered nodes are in production.")
    else:
        print_table(
            ("Node", "Status", "Transaction", "Reason"),
            [(record.node_id, record.status, record.txid, record.error or "") for record in tried],
            whole="Transaction",
        )
        completed = [record.txid for record in tried if record.status == "completed"]
        if completed:
            print_step(f"Next, promote them together: gov tx promote {' '.join(completed)}")
    context.exit(DONE if all(record.status == "completed" for record in tried) else FAILED)


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_transactions(context: click.Context, as_json: bool) -> None:
    """List transactions, newest first.

    \b
    Examples:
      gov tx list
      gov tx list --json
    """
    from comfywatchman.governance.transactions import transaction

    layout = read_gov(context.obj).layout
    newest_first = transaction.read_all(layout)[::-1]
    unreadable = transaction.find_unreadable(layout)
    if as_json:
        print_result(
            context, {"transactions": [_summarize(record) for record in newest_first], "unreadable": unreadable}
        )
        return
    for txid, reason in unreadable.items():
        click.echo(f"Not readable: {txid}: {printable(reason)}", err=True)
    if not newest_first:
        print_step("No node has been tried yet. Try one: gov tx run NODE")
        return
    rows = [
        (record.txid, record.node_id, record.status, record.started_at, shorten_list(record.diff.added))
        for record in newest_first
    ]
    columns = ("Transaction", "Node", "Status", "Started", "Added")
    print_table(columns, rows, whole="Transaction", spare=("Started",))


@click.command(cls=GovCommand)
@click.argument("txid", shell_complete=complete_names("transaction"))
@json_option
@click.pass_context
def inspect(context: click.Context, txid: str, as_json: bool) -> None:
    """Show the changes, the trial and the conflicts of the transaction TXID.

    \b
    Examples:
      gov tx inspect 20261120T144545Z-tx-1a2b3c
      gov tx inspect 20261120T144545Z-tx-1a2b3c --json
    """
    from comfywatchman.governance.conflicts import resolve
    from comfywatchman.governance.transactions import transaction

    layout = read_gov(context.obj).layout
    txid = complete_transaction_id(layout, txid)
    record = transaction.read(layout, txid)
    report = resolve.read_report(layout, txid)
    if as_json:
        print_result(context, {"transaction": record, "conflict": report})
        return
    _print_transaction(record)
    if report is not None:
        show_conflict(report)
    print_next_step(record)


@click.command(cls=GovCommand)
@click.argument("txid", shell_complete=complete_names("transaction"))
@json_option
@click.pass_context
def abort(context: click.Context, txid: str, as_json: bool) -> None:
    """Delete the candidate environment of the transaction TXID; its record is kept.

    \b
    Examples:
      gov tx abort 20261120T144545Z-tx-1a2b3c
      gov tx abort 20261120T144545Z-tx-1a2b3c --json
    """
    from comfywatchman.governance.transactions import transaction

    with open_gov(context.obj, f"tx abort {txid}") as (gov, _show):
        aborted = transaction.abort(gov.layout, gov.clock, complete_transaction_id(gov.layout, txid))
    if as_json:
        print_result(context, aborted)
        return
    click.echo(f"Aborted: {aborted.txid}. Its candidate environment was deleted; production never changed.")


@click.command(cls=GovCommand)
@click.argument("txids", metavar="TXID...", nargs=-1, required=True, shell_complete=complete_names("transaction"))
@click.option("--approve-core", is_flag=True, help="Allow changes of core packages such as torch and numpy.")
@click.option("--reason", default="", help="Why core packages may change; kept in the record.")
@click.option("--allow-failed-run", is_flag=True, help="Promote although the start of ComfyUI failed.")
@click.option("--drop-foreign", is_flag=True, help="Drop packages that were installed into production past gov.")
@json_option
@click.pass_context
def promote(
    context: click.Context,
    txids: tuple[str, ...],
    approve_core: bool,
    reason: str,
    allow_failed_run: bool,
    drop_foreign: bool,
    as_json: bool,
) -> None:
    """Put the tried node of the transaction TXID in production.

    A new environment is built beside production, verified and tested; then production is switched in one step. A
    failure before that leaves production unchanged. Several transactions are promoted in one operation, after ComfyUI
    was started with all of their nodes. Exits with 2 when packages conflict.

    \b
    Examples:
      gov tx promote 20261120T120000Z-0a1b2c3d
      gov tx promote 20261120T120000Z-0a1b2c3d --approve-core --reason "numpy 2"
    """
    from comfywatchman.governance.conflicts import report as conflict_report
    from comfywatchman.governance.conflicts import resolve
    from comfywatchman.governance.transactions import gates, promotion

    if approve_core and not reason:
        raise click.UsageError("--approve-core needs --reason TEXT: it is kept in the record.")
    if allow_failed_run and len(txids) > 1:
        raise click.UsageError("--allow-failed-run promotes one transaction: give a single TXID.")
    consent = gates.Consent(
        approve_core=approve_core, reason=reason, allow_failed_run=allow_failed_run, drop_foreign=drop_foreign
    )
    if len(txids) > 1:
        _promote_several(context, txids, consent, as_json=as_json)
        return
    txid = txids[0]
    with open_gov(context.obj, f"tx promote {txid}", activity="Promoting") as (gov, show):
        txid = complete_transaction_id(gov.layout, txid)
        record = promotion.promote(gov, txid, consent, report=conflict_report.report_conflict, progress=show)
        conflict = resolve.read_report(gov.layout, txid) if record.status == "needs_resolution" else None
    if as_json:
        print_result(context, record)
    elif record.status == "promoted":
        _print_promoted(record)
    elif conflict is not None:
        show_conflict(conflict)
        print_next_step(record)
    else:
        _print_transaction(record)
        print_next_step(record)
    context.exit({"promoted": DONE, "needs_resolution": USAGE}.get(record.status, FAILED))


def _promote_several(context: click.Context, txids: tuple[str, ...], consent: gates.Consent, *, as_json: bool) -> None:
    from comfywatchman.governance.transactions.several_promotion import promote_several

    with open_gov(context.obj, "tx promote", activity="Promoting") as (gov, _show):
        outcome = promote_several(gov, [complete_transaction_id(gov.layout, text) for text in txids], consent)
    if as_json:
        print_result(context, outcome)
    else:
        note = "" if outcome.operation is None else outcome.operation.note
        print_outcome(outcome, verb="promoted", done=f"Promoted: {note}")
    context.exit(DONE if outcome.operation is not None else FAILED)


def show_conflict(report: ConflictReport, *, with_suggestions: bool = True) -> None:
    """Print a conflict report: the conflicting requirements, their sources, and pins to try."""
    from comfywatchman.governance.store.conflict_records import BASE_REPORT

    kind = report.kind.replace("_", " ")
    click.echo(f"Conflict ({kind}, {report.confidence}): {printable(report.summary)}")
    for edge in report.clash:
        click.echo(f"  {printable(edge.source)} requires {printable(edge.requirement)}")
    command = "gov init" if report.txid == BASE_REPORT else f"gov resolve {report.txid}"
    if with_suggestions:
        for pin in report.suggestions:
            click.echo(f"  {printable(pin)}{printable(describe_start(report, pin))}")
            print_step(f"  Try: {command} --pin {printable(pin)}")
        for package in report.keep:
            print_step(f"  Try: {command} --keep {printable(package)}")
    if report.raw_log:
        click.echo(f"  Output of uv: {printable(report.raw_log)}")


def describe_start(report: ConflictReport, pin: str) -> str:
    """Return how ComfyUI started with a suggested pin, as the rest of a line; empty when it was not started."""
    for start in report.starts:
        if start.pin == pin:
            return "; ComfyUI started with it" if start.has_started else f"; ComfyUI fails with it: {start.reason}"
    return ""


def print_next_step(record: Transaction) -> None:
    """Print the next command for a transaction, if there is one."""
    from comfywatchman.governance.store.status_policy import describe_next_step

    if step := describe_next_step(record.status, record.txid):
        click.echo(step)


def _print_promoted(record: Transaction) -> None:
    click.echo(f"Promoted: {printable(record.node_id)}")
    promotion = record.promotion
    if promotion is not None:
        for line in promotion.accepted_violations:
            click.echo(f"Accepted, because you pinned it: {printable(line)}")
        for line in promotion.violations:
            click.echo(f"Unmet requirement that is not pinned: {printable(line)}")
        for line in promotion.differences:
            click.echo(f"Locked in another version than the tried one: {printable(line)}")
        if promotion.pre_snapshot:
            print_step(f"To undo this: gov rollback {promotion.pre_snapshot}")
    print_step("Restart a running ComfyUI to use it (comfywatchman supervise restart), or start it: gov run")


def _print_transaction(record: Transaction) -> None:
    rows = [
        ("transaction", record.txid),
        ("node", record.node_id),
        ("status", record.status),
        ("started", record.started_at),
        ("ended", record.ended_at or ""),
        ("candidate", record.candidate_env),
        ("files", record.integrity),
    ]
    if record.resolution_pins:
        rows.append(("pins", ", ".join(record.resolution_pins)))
    print_table(("Field", "Value"), rows)
    _print_packages("+", record.diff.added)
    _print_packages("-", record.diff.removed)
    for change in record.core_impact:
        click.echo(f"Core package: {printable(change)}")
    if record.judgement is not None:
        for finding in record.judgement.findings:
            click.echo(f"{finding.status:7} {printable(finding.name)}: {printable(finding.detail)}")
    if record.promotion_plan is not None:
        for line in record.promotion_plan.unparseable:
            click.echo(f"Not governed: {printable(line)}")
    promotion_error = record.promotion.error if record.promotion is not None else None
    error = promotion_error or record.error
    if error:
        click.echo(f"Error: {printable(error)}", err=True)
    if record.status == "failed" and record.logs.stderr:
        click.echo(f"Output of ComfyUI: {printable(record.logs.stdout)}, {printable(record.logs.stderr)}")


def _print_packages(sign: str, lines: Sequence[str]) -> None:
    for line in lines[:_MAX_SHOWN]:
        click.echo(f"  {sign} {printable(line)}")
    if len(lines) > _MAX_SHOWN:
        click.echo(f"  {sign} … and {len(lines) - _MAX_SHOWN} more; --json shows all")


def _summarize(record: Transaction) -> dict[str, object]:
    return {
        "txid": record.txid,
        "node_id": record.node_id,
        "status": record.status,
        "started_at": record.started_at,
    }
