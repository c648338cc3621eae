"""`gov status`, `gov check` and `gov migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.base.text import pluralize
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_step, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.status import GovStatus


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show the production environment, the registered nodes, and the open transactions.

    \b
    Examples:
      gov status
      gov status --json
    """
    from comfywatchman.governance.status import read_status

    gov_status = read_status(read_gov(context.obj))
    if as_json:
        print_result(context, gov_status)
    else:
        _print_status(gov_status, context.obj.format_gov_command("init"))


def _print_status(gov_status: GovStatus, init_command: str) -> None:
    click.echo(f"Governed:   {printable(gov_status.root)}")
    click.echo(f"ComfyUI:    {printable(gov_status.comfyui)}")
    if gov_status.prod_env_exists:
        packages = pluralize(gov_status.packages, "package")
        click.echo(f"Production: {gov_status.generation}, Python {gov_status.python}, {packages}")
    else:
        click.echo(f"Production: none. Run: {printable(init_command)}")
    if gov_status.lock_exists:
        click.echo("Lock:       present")
    else:
        click.echo(f"Lock:       missing. Run: {printable(init_command)}")
    click.echo(f"Snapshots:  {gov_status.snapshots}")
    if gov_status.nodes:
        rows = []
        for node in gov_status.nodes:
            enabled = "yes" if node.enabled else "no"
            rows.append((node.id, enabled, str(node.requirements), (node.commit or "")[:10]))
        print_table(("Node", "Enabled", "Requirements", "Commit"), rows)
    else:
        print_step("Nodes:      none registered. Register one: gov node add URL")
    transactions = pluralize(gov_status.transactions_total, "transaction")
    click.echo(f"{transactions}, {gov_status.pending} of them open.")
    if gov_status.recent:
        lines = [(recent.txid, recent.node_id, recent.status, recent.started_at) for recent in gov_status.recent]
        print_table(("Transaction", "Node", "Status", "Started"), lines, whole="Transaction", spare=("Started",))


@click.command(cls=GovCommand)
@click.option("--full", is_flag=True, help="Read every installed file again.")
@json_option
@click.pass_context
def check(context: click.Context, full: bool, as_json: bool) -> None:
    """Check the whole environment: lock, packages, files, nodes, driver, deny list, disk space.

    Installed files are read that were written since they were verified, and all files of a package after seven days.
    With --full every file is read, which takes seconds to minutes on a large environment. Exits with 1 when a check
    fails.

    \b
    Examples:
      gov check
      gov check --full
      gov check --json | jq -r '.result.checks[] | select(.status!="ok").action'
    """
    from comfywatchman.base.gpu.driver import read_gpu_driver
    from comfywatchman.governance.checks.runner import find_worst_status, run_checks

    results = run_checks(read_gov(context.obj), driver=read_gpu_driver(), budget_seconds=None, is_full=full)
    worst = find_worst_status(results)
    if as_json:
        print_result(context, {"state": worst, "checks": results})
    else:
        rows = [(result.name, result.status, result.evidence) for result in results]
        print_table(("Check", "State", "Finding"), rows)
        actions = [(result.name, result.action) for result in results if result.action is not None]
        if actions:
            click.echo("Next steps:")
        for name, action in actions:
            click.echo(f"  {name}: {printable(context.obj.complete_commands(action))}")
    context.exit(FAILED if worst == "fail" else DONE)


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def migrate(context: click.Context, as_json: bool) -> None:
    """Convert files of an older version to the current format; files in the current format are left unchanged.

    \b
    Examples:
      gov migrate
      gov migrate --json
    """
    from comfywatchman.governance.environments.migrate import migrate as run_migration

    with open_gov(context.obj, "migrate", activity="Converting files") as (gov, _progress):
        messages = run_migration(gov)
    if as_json:
        print_result(context, {"changed": messages})
        return
    for message in messages:
        click.echo(printable(message))
    if not messages:
        click.echo("Every file has the current format.")
