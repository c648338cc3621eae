"""`gov resolve`: pins for packages that cannot be installed together."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.gov.tx import print_next_step, show_conflict
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, USAGE, printable

if TYPE_CHECKING:
    from comfywatchman.governance.environments.context import GovContext


@click.command(cls=GovCommand)
@click.argument("txid")
@click.option(
    "--pin", "pins", multiple=True, metavar="PACKAGE==VERSION", help="One version that is to hold; repeatable."
)
@click.option(
    "--drop", "drop", multiple=True, metavar="PACKAGE", help="Take the pin of a package away again; repeatable."
)
@json_option
@click.pass_context
def resolve(context: click.Context, txid: str, pins: tuple[str, ...], drop: tuple[str, ...], as_json: bool) -> None:
    """Solve the conflict of the transaction TXID with pins; they are tried aside, and production stays as it is.

    On a terminal without --pin it shows what clashes and asks. Elsewhere, without --pin it only looks whether what
    went wrong has gone by itself. Pins of earlier calls hold until another one for the same package. Exits with 2
    while packages still conflict.

    \b
    gov resolve 20261120T120000Z-0a1b2c3d
    gov resolve 20261120T120000Z-0a1b2c3d --pin numpy==1.26.4 --pin pillow==10.4.0
    """
    from comfywatchman.governance.conflicts import resolve as conflict_resolve

    if not (pins or drop or as_json) and sys.stdin.isatty() and sys.stdout.isatty():
        pins = _prompt_for_pins(read_gov(context.obj), txid)
    with open_gov(context.obj, f"resolve {txid}", words="Trying the pins") as (ground, _tell):
        done = conflict_resolve.resolve(ground, txid, pins, drop=drop)
        report = conflict_resolve.read_report(ground.layout, txid) if done.status == "needs_resolution" else None
    if as_json:
        print_result(context, {"transaction": done, "conflict": report})
    else:
        if done.status == "resolved":
            click.echo(f"Resolved with {printable(', '.join(done.resolution_pins)) or 'no pins'}.")
        if report is not None:
            show_conflict(report)
        print_next_step(done)
    context.exit(DONE if done.status == "resolved" else USAGE)


def _prompt_for_pins(ground: GovContext, txid: str) -> tuple[str, ...]:
    """Show what clashes and what can be chosen; return what the person chose."""
    from comfywatchman.governance.conflicts import resolve as conflict_resolve
    from comfywatchman.governance.transactions import transaction

    transaction.read(ground.layout, txid)
    report = conflict_resolve.read_report(ground.layout, txid)
    if report is None:
        click.echo("There is no conflict report of this transaction.")
        return ()
    show_conflict(report, with_suggestions=False)
    choices = conflict_resolve.list_choices(report)
    for number, choice in enumerate(choices, start=1):
        over = f"; gives way: {', '.join(choice.gives_way)}" if choice.gives_way else ""
        click.echo(f"  {number}: {printable(choice.pin)}{printable(over)}")
    pins: list[str] = []
    while True:
        words = f"Number or {report.input_hint.removeprefix('Use: ')} (empty to go on)"
        typed = click.prompt(words, default="", show_default=False).strip()
        if not typed:
            return tuple(pins)
        if typed.isdigit() and not 0 < int(typed) <= len(choices):
            click.echo(f"There is no {typed}.")
            continue
        pins.append(choices[int(typed) - 1].pin if typed.isdigit() else typed)
