"""`gov package …`: add, remove and pin packages that the user wants, as transactions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_step, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.store.records import NodeRegistry
    from comfywatchman.governance.transactions.locked_change import ChangeOutcome

_MAX_SHOWN = 20

approve_option = click.option("--approve-core", is_flag=True, help="Allow changes of other core packages.")


@click.command(cls=GovCommand)
@click.argument("requirements", metavar="REQUIREMENT...", nargs=-1, required=True)
@approve_option
@json_option
@click.pass_context
def add(context: click.Context, requirements: tuple[str, ...], approve_core: bool, as_json: bool) -> None:
    """Add packages that neither ComfyUI nor a node requires.

    The packages are locked with all others, and ComfyUI is started with all nodes in a candidate of that lock. When it
    starts as before, the candidate's packages are put in production; otherwise production is unchanged.

    \b
    Examples:
      gov package add requests
      gov package add 'triton>=3,<4' sageattention
    """
    from comfywatchman.governance.transactions.packages import add_packages
    from comfywatchman.governance.uv.requirement import parse_package_name

    names = [parse_package_name(line) for line in requirements]
    _change(
        context,
        lambda text, _registry: add_packages(text, requirements),
        names,
        verb="added",
        approve_core=approve_core,
        as_json=as_json,
    )


@click.command(cls=GovCommand)
@click.argument("names", metavar="PACKAGE...", nargs=-1, required=True)
@approve_option
@json_option
@click.pass_context
def remove(context: click.Context, names: tuple[str, ...], approve_core: bool, as_json: bool) -> None:
    """Remove packages and pins that were added here, and packages that an adoption kept.

    A package that ComfyUI, a node or another package requires stays installed. Production changes only when ComfyUI
    starts as before.

    \b
    Examples:
      gov package remove requests
      gov package remove numpy --json
    """
    from comfywatchman.governance.transactions.packages import remove_packages

    _change(
        context,
        lambda text, registry: remove_packages(text, names, registry),
        names,
        verb="removed",
        approve_core=approve_core,
        as_json=as_json,
    )


@click.command(cls=GovCommand)
@click.argument("pins", metavar="PACKAGE==VERSION...", nargs=-1, required=True)
@click.option("--overrule", is_flag=True, help="Apply the pins against what nodes and packages require.")
@approve_option
@json_option
@click.pass_context
def pin(context: click.Context, pins: tuple[str, ...], overrule: bool, approve_core: bool, as_json: bool) -> None:
    """Pin packages to exact versions, whoever requires them.

    A pin installs nothing by itself. It ends with gov package remove, or with another pin of the same package.
    Production changes only when ComfyUI starts as before.

    \b
    Examples:
      gov package pin numpy==1.26.4
      gov package pin transformers==4.51.3 --overrule
    """
    from comfywatchman.governance.transactions.packages import pin_packages

    names = [text.partition("==")[0].strip() for text in pins]
    _change(
        context,
        lambda text, registry: pin_packages(text, pins, registry, overrules=overrule),
        names,
        verb="pinned",
        approve_core=approve_core,
        as_json=as_json,
    )


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_packages(context: click.Context, as_json: bool) -> None:
    """List the packages and pins that the user declared, and those that an adoption kept.

    \b
    Examples:
      gov package list
      gov package list --json
    """
    from comfywatchman.governance.environments.staging import read_registry
    from comfywatchman.governance.store.truth import read_project
    from comfywatchman.governance.transactions.packages import read_wanted

    gov = read_gov(context.obj)
    wanted = read_wanted(read_project(gov.layout.pyproject), read_registry(gov.layout))
    if as_json:
        print_result(context, wanted)
        return
    rows = [(line, "wanted") for line in wanted.added]
    rows += [(line, "pinned") for line in wanted.pins]
    rows += [(line, "pinned, overrules requirements") for line in wanted.overrides]
    if rows:
        print_table(("Package", "State"), rows)
    else:
        print_step("No package was added. Add one: gov package add REQUIREMENT")


def print_outcome(outcome: ChangeOutcome, *, verb: str, done: str) -> None:
    """Print the packages that a change moved, the start of ComfyUI, and how it ended.

    Args:
        outcome: The change.
        verb: What it would have done, in the past tense: `updated`.
        done: The line to print when it did.
    """
    for sign, lines in (("+", outcome.diff.added), ("-", outcome.diff.removed)):
        for line in lines[:_MAX_SHOWN]:
            click.echo(f"  {sign} {printable(line)}")
        if len(lines) > _MAX_SHOWN:
            click.echo(f"  {sign} … and {len(lines) - _MAX_SHOWN} more; --json shows all")
    for finding in outcome.judgement.findings:
        click.echo(f"{finding.status:7} {printable(finding.name)}: {printable(finding.detail)}")
    if outcome.operation is None:
        click.echo(f"Not {verb}: production is unchanged. Log: {printable(outcome.logs.stderr)}", err=True)
    else:
        click.echo(printable(done))
        print_step(f"To undo this: gov undo {outcome.operation.op_id}")


def _change(
    context: click.Context,
    edit: Callable[[str, NodeRegistry], str],
    names: Collection[str],
    *,
    verb: str,
    approve_core: bool,
    as_json: bool,
) -> None:
    from comfywatchman.governance.transactions.locked_change import LockedChange, try_change

    listed = ", ".join(names)
    change = LockedChange(
        kind="package",
        ref=listed,
        note=f"{listed} {'was' if len(names) == 1 else 'were'} {verb}",
        edit=lambda work: work.edit_project(lambda text: edit(text, work.read_registry())),
        approved=names,
        approve_core=approve_core,
    )
    with open_gov(context.obj, f"package {context.info_name}", activity="Locking the packages") as (gov, _show):
        outcome = try_change(gov, change)
    if as_json:
        print_result(context, outcome)
    else:
        print_outcome(outcome, verb=verb, done=f"{verb.capitalize()}: {listed}")
    context.exit(DONE if outcome.operation is not None else FAILED)
