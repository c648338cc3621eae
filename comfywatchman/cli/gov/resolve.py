"""`gov resolve`: resolve a conflict between packages with pins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.gov.ids import complete_transaction_id
from comfywatchman.cli.gov.tx import describe_start, print_next_step, show_conflict
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import DONE, USAGE, printable

if TYPE_CHECKING:
    from comfywatchman.governance.conflicts.resolve import PinChoice
    from comfywatchman.governance.environments.context import GovContext
    from comfywatchman.governance.store.conflict_records import ConflictReport
    from comfywatchman.governance.store.records import Transaction


@click.command(cls=GovCommand)
@click.argument("txid", shell_complete=complete_names("transaction"))
@click.option("--pin", "pins", multiple=True, metavar="PACKAGE==VERSION", help="A version to enforce; repeatable.")
@click.option("--drop", "drop", multiple=True, metavar="PACKAGE", help="Remove the pin of a package; repeatable.")
@click.option("--keep", "keep", multiple=True, metavar="PACKAGE", help="Keep this one of packages with the same files.")
@json_option
@click.pass_context
def resolve(
    context: click.Context,
    txid: str,
    pins: tuple[str, ...],
    drop: tuple[str, ...],
    keep: tuple[str, ...],
    as_json: bool,
) -> None:
    """Resolve the conflict of the transaction TXID with pins. Production is not changed.

    On a terminal without --pin it shows the conflict and prompts for pins. Elsewhere, without --pin, it only tries
    again. Pins of earlier calls stay until they are replaced or dropped. Where packages own the same files, --keep
    names the one to keep. Exits with 2 while packages still conflict.

    \b
    Examples:
      gov resolve 20261120T120000Z-0a1b2c3d
      gov resolve 20261120T120000Z-0a1b2c3d --pin numpy==1.26.4 --pin pillow==10.4
    """
    from comfywatchman.governance.conflicts import resolve as conflict_resolve

    txid = complete_transaction_id(read_gov(context.obj).layout, txid)
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if has_terminal and not (pins or drop or keep or as_json):
        pins, keep = _prompt_for_choice(read_gov(context.obj), txid)
    with open_gov(context.obj, f"resolve {txid}", activity="Trying the pins") as (gov, _progress):
        transaction = conflict_resolve.resolve(gov, txid, pins, drop=drop, keep=keep)
        report = None
        if transaction.status == "needs_resolution":
            report = conflict_resolve.read_report(gov.layout, txid)
    if as_json:
        print_result(context, {"transaction": transaction, "conflict": report})
    else:
        if transaction.status == "resolved":
            click.echo(_describe_resolution(transaction))
        if report is not None:
            show_conflict(report)
        print_next_step(transaction)
    context.exit(DONE if transaction.status == "resolved" else USAGE)


def _describe_resolution(transaction: Transaction) -> str:
    pins = printable(", ".join(transaction.resolution_pins))
    if not transaction.kept_packages:
        return f"Resolved with {pins or 'no pins'}."
    kept = printable(", ".join(transaction.kept_packages))
    return f"Resolved with {pins}, keeping {kept}." if pins else f"Resolved, keeping {kept}."


def _prompt_for_choice(gov: GovContext, txid: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Show a conflict; return the pins that the user entered, and the packages to keep."""
    from comfywatchman.governance.conflicts import resolve as conflict_resolve
    from comfywatchman.governance.transactions import transaction

    # Fails for an unknown transaction before anything is asked.
    transaction.read(gov.layout, txid)
    report = conflict_resolve.read_report(gov.layout, txid)
    if report is None:
        click.echo("The transaction has no conflict report.")
        return (), ()
    show_conflict(report, with_suggestions=False)
    if report.keep:
        return (), (click.prompt("Package to keep", type=click.Choice(report.keep), default=report.keep[0]),)
    return _prompt_for_pins(report), ()


def _prompt_for_pins(report: ConflictReport) -> tuple[str, ...]:
    """Show the suggested pins of a report; return the pins that the user entered."""
    from comfywatchman.governance.conflicts import resolve as conflict_resolve

    choices = conflict_resolve.list_choices(report)
    for number, choice in enumerate(choices, start=1):
        overruled = f"; overrules {', '.join(choice.overrules)}" if choice.overrules else ""
        start = describe_start(report, choice.pin)
        click.echo(f"  {number}: {printable(choice.pin)}{printable(overruled)}{printable(start)}")
    prompt = f"Number or {report.input_hint.removeprefix('Use: ')} (empty to go on)"
    pins: list[str] = []
    while True:
        answer = click.prompt(prompt, default="", show_default=False).strip()
        if not answer:
            return tuple(pins)
        pin = _parse_choice(answer, choices)
        if pin is None:
            click.echo(f"There is no {answer}.")
        else:
            pins.append(pin)


def _parse_choice(answer: str, choices: tuple[PinChoice, ...]) -> str | None:
    """Return the pin that an answer names by number, or the answer itself; None for an unknown number."""
    if not answer.isdigit():
        return answer
    number = int(answer)
    return choices[number - 1].pin if 0 < number <= len(choices) else None
