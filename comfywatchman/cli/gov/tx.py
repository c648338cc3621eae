"""`gov tx …`: trying a node aside, and putting what was tried in production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, USAGE, print_table, printable, shorten_list

if TYPE_CHECKING:
    from comfywatchman.governance.store.records import ConflictReport, Transaction

_MAX_SHOWN: Final = 8


@click.command(cls=GovCommand)
@click.argument("node_id", metavar="NODE")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="How long a start of ComfyUI may take, in seconds; without it as [tx] timeout_seconds says.",
)
@json_option
@click.pass_context
def run(context: click.Context, node_id: str, timeout_seconds: float | None, as_json: bool) -> None:
    """Try NODE: build a candidate environment, install what it wants there, and start ComfyUI in it.

    Production stays as it is, whatever the node does. Exits with 1 when the node failed.

    \b
    gov tx run PACK
    gov tx run PACK --timeout 300
    """
    from comfywatchman.governance.transactions.run import run_transaction

    with open_gov(context.obj, f"tx run {node_id}", activity=f"Trying {node_id}") as (ground, tell):
        done = run_transaction(ground, node_id, timeout_seconds=timeout_seconds, progress=tell)
    if as_json:
        print_result(context, done)
    else:
        _print_transaction(done)
        print_next_step(done)
    context.exit(DONE if done.status == "completed" else FAILED)


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_transactions(context: click.Context, as_json: bool) -> None:
    """List transactions, newest first."""
    from comfywatchman.governance.transactions import transaction

    found = tuple(reversed(transaction.read_all(read_gov(context.obj).layout)))
    if as_json:
        print_result(context, {"transactions": [_summarize(one) for one in found]})
        return
    if not found:
        click.echo("No node was tried yet. Try one: gov tx run NODE")
        return
    rows = [(one.txid, one.node_id, one.status, one.started_at, shorten_list(one.diff.added)) for one in found]
    columns = ("Transaction", "Node", "Status", "Started", "Came")
    print_table(columns, rows, whole="Transaction", spare=("Started",))


@click.command(cls=GovCommand)
@click.argument("txid")
@json_option
@click.pass_context
def inspect(context: click.Context, txid: str, as_json: bool) -> None:
    """Show what the transaction TXID changed, how it went, and what it conflicts with."""
    from comfywatchman.governance.conflicts import resolve
    from comfywatchman.governance.transactions import transaction

    ground = read_gov(context.obj)
    found = transaction.read(ground.layout, txid)
    report = resolve.read_report(ground.layout, txid)
    if as_json:
        print_result(context, {"transaction": found, "conflict": report})
        return
    _print_transaction(found)
    if report is not None:
        show_conflict(report)
    print_next_step(found)


@click.command(cls=GovCommand)
@click.argument("txid")
@json_option
@click.pass_context
def abort(context: click.Context, txid: str, as_json: bool) -> None:
    """Throw the candidate environment of the transaction TXID away; its record stays."""
    from comfywatchman.governance.transactions import transaction

    with open_gov(context.obj, f"tx abort {txid}") as (ground, _tell):
        done = transaction.abort(ground.layout, ground.clock, txid)
    if as_json:
        print_result(context, done)
        return
    click.echo(f"Aborted: {done.txid}. Its candidate environment is gone; production never changed.")


@click.command(cls=GovCommand)
@click.argument("txid")
@click.option("--approve-core", is_flag=True, help="Let it change core packages such as torch and numpy.")
@click.option("--reason", default="", help="Why core packages may change; kept in the record.")
@click.option("--allow-failed-run", is_flag=True, help="Promote although the start of ComfyUI failed.")
@json_option
@click.pass_context
def promote(
    context: click.Context, txid: str, approve_core: bool, reason: str, allow_failed_run: bool, as_json: bool
) -> None:
    """Put what the transaction TXID tried in production.

    A new environment is built beside production, verified and tested; then production is switched in one step. What
    fails before that leaves production as it is. Exits with 2 when packages conflict.

    \b
    gov tx promote 20261120T120000Z-0a1b2c3d
    gov tx promote 20261120T120000Z-0a1b2c3d --approve-core --reason "needs numpy 2"
    """
    from comfywatchman.governance.conflicts import report as conflict_report
    from comfywatchman.governance.conflicts import resolve
    from comfywatchman.governance.transactions import gates, promotion

    if approve_core and not reason:
        raise click.UsageError("--approve-core needs --reason TEXT: it is kept in the record.")
    consent = gates.Consent(approve_core=approve_core, reason=reason, allow_failed_run=allow_failed_run)
    with open_gov(context.obj, f"tx promote {txid}", activity="Promoting") as (ground, tell):
        done = promotion.promote(ground, txid, consent, report=conflict_report.report_conflict, progress=tell)
        clash = resolve.read_report(ground.layout, txid) if done.status == "needs_resolution" else None
    if as_json:
        print_result(context, done)
    elif done.status == "promoted":
        _print_promoted(done)
    elif clash is not None:
        show_conflict(clash)
        print_next_step(done)
    else:
        _print_transaction(done)
        print_next_step(done)
    context.exit({"promoted": DONE, "needs_resolution": USAGE}.get(done.status, FAILED))


def show_conflict(report: ConflictReport, *, with_suggestions: bool = True) -> None:
    """Print a conflict report: what clashes, who wants it, what to try."""
    kind = report.kind.replace("_", " ")
    click.echo(f"Conflict ({kind}, {report.confidence}): {printable(report.summary)}")
    for edge in report.clash:
        click.echo(f"  {printable(edge.source)} wants {printable(edge.requirement)}")
    for pin in report.suggestions if with_suggestions else ():
        click.echo(f"  Try: gov resolve {report.txid} --pin {printable(pin)}")
    click.echo(f"  What uv said: {printable(report.raw_log)}")


def _print_promoted(done: Transaction) -> None:
    click.echo(f"Promoted: {printable(done.node_id)}")
    promotion = done.promotion
    for line in promotion.accepted_violations if promotion else ():
        click.echo(f"Accepted, because you pinned it: {printable(line)}")
    for line in promotion.violations if promotion else ():
        click.echo(f"Does not fit, and nobody pinned it: {printable(line)}")
    for line in promotion.differences if promotion else ():
        click.echo(f"Locked in another version than was tried: {printable(line)}")
    if promotion is not None and promotion.pre_snapshot:
        click.echo(f"To take this back: gov rollback {promotion.pre_snapshot}")
    click.echo("A ComfyUI that is running gets it when it is started again: gov run")


def _print_transaction(one: Transaction) -> None:
    rows = [("transaction", one.txid), ("node", one.node_id), ("status", one.status), ("started", one.started_at)]
    rows += [("ended", one.ended_at or ""), ("candidate", one.candidate_env), ("files", one.integrity)]
    rows += [("pins", ", ".join(one.resolution_pins))] if one.resolution_pins else []
    print_table(("Field", "Value"), rows)
    for sign, lines in (("+", one.diff.added), ("-", one.diff.removed)):
        for line in lines[:_MAX_SHOWN]:
            click.echo(f"  {sign} {printable(line)}")
        if len(lines) > _MAX_SHOWN:
            click.echo(f"  {sign} … and {len(lines) - _MAX_SHOWN} more; --json shows all")
    for line in one.core_impact:
        click.echo(f"Core package: {printable(line)}")
    for finding in one.judgement.findings if one.judgement else ():
        click.echo(f"{finding.status:7} {printable(finding.name)}: {printable(finding.detail)}")
    for line in one.promotion_plan.unparseable if one.promotion_plan else ():
        click.echo(f"Not governed: {printable(line)}")
    error = (one.promotion.error if one.promotion else None) or one.error
    if error:
        click.echo(f"Error: {printable(error)}", err=True)
    if one.status == "failed" and one.logs.stderr:
        click.echo(f"What ComfyUI printed: {printable(one.logs.stdout)}, {printable(one.logs.stderr)}")


def print_next_step(one: Transaction) -> None:
    """Print the command that comes next for a transaction."""
    from comfywatchman.governance.store.status_policy import describe_next_step

    if step := describe_next_step(one.status, one.txid):
        click.echo(step)


def _summarize(one: Transaction) -> dict[str, object]:
    return {"txid": one.txid, "node_id": one.node_id, "status": one.status, "started_at": one.started_at}
