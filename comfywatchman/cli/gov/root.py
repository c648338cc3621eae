"""`gov init`, `gov status`, `gov check` and `gov migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.base.text import pluralize
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.status import GovStatus


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def init(context: click.Context, as_json: bool) -> None:
    """Create the governed environment of a ComfyUI, or restore the missing parts of one.

    Reads ComfyUI's requirements.txt, resolves it, builds an environment beside your own and verifies it. Your own
    environment and the folder custom_nodes are not touched. On a governed root it restores what is missing: a lock
    after an edit of pyproject.toml, an environment that was deleted or modified.

    \b
    gov init
    gov --comfyui ~/ComfyUI init
    """
    from comfywatchman.governance.environments.init import init as run_init
    from comfywatchman.governance.environments.init import store_comfyui_dir
    from comfywatchman.governance.status import read_status

    session: Session = context.obj
    with open_gov(session, "init", is_new=True, activity="Building the environment") as (gov, _progress):
        operation = run_init(gov)
        if session.comfyui_option is not None:
            # Later commands need not name the ComfyUI again.
            store_comfyui_dir(gov.layout.config, gov.comfyui)
        gov_status = read_status(gov)
    if as_json:
        print_result(context, {"operation": operation, "status": gov_status})
        return
    if operation is None:
        click.echo("The environment is complete; nothing was changed.")
    else:
        packages = pluralize(gov_status.packages, "package")
        click.echo(f"Governed: {printable(gov_status.root)}")
        click.echo(f"Production: Python {gov_status.python}, {packages}, all of their files verified.")
    click.echo("Next: gov node add URL registers a custom node, gov run starts ComfyUI, gov check checks everything.")


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show the production environment, the registered nodes, and the open transactions."""
    from comfywatchman.governance.status import read_status

    gov_status = read_status(read_gov(context.obj))
    if as_json:
        print_result(context, gov_status)
    else:
        _print_status(gov_status)


def _print_status(gov_status: GovStatus) -> None:
    click.echo(f"Governed:   {printable(gov_status.root)}")
    click.echo(f"ComfyUI:    {printable(gov_status.comfyui)}")
    if gov_status.prod_env_exists:
        packages = pluralize(gov_status.packages, "package")
        click.echo(f"Production: {gov_status.generation}, Python {gov_status.python}, {packages}")
    else:
        click.echo("Production: none. Run: gov init")
    if gov_status.lock_exists:
        click.echo("Lock:       there")
    else:
        click.echo("Lock:       not there. Run: gov init")
    click.echo(f"Snapshots:  {gov_status.snapshots}")
    if gov_status.nodes:
        rows = []
        for node in gov_status.nodes:
            enabled = "yes" if node.enabled else "no"
            rows.append((node.id, enabled, str(node.requirements), (node.commit or "")[:10]))
        print_table(("Node", "Enabled", "Requirements", "Commit"), rows)
    else:
        click.echo("Nodes:      none registered. Register one: gov node add URL")
    transactions = pluralize(gov_status.transactions_total, "transaction")
    click.echo(f"{transactions}, {gov_status.pending} of them not over.")
    if gov_status.recent:
        lines = [(recent.txid, recent.node_id, recent.status, recent.started_at) for recent in gov_status.recent]
        print_table(("Transaction", "Node", "Status", "Started"), lines, whole="Transaction", spare=("Started",))


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the whole environment: lock, packages, files, nodes, driver, deny list, disk space.

    Every file of every package is read, which takes seconds on a large environment. The readiness cycle runs the same
    checks within a fraction of a second, as it remembers what did not change. Exits with 1 when a check fails.

    \b
    gov check
    gov check --json | jq -r '.result.checks[] | select(.status != "ok") | .action'
    """
    from comfywatchman.base.gpu.driver import read_gpu_driver
    from comfywatchman.governance.checks.runner import find_worst_status, run_checks

    results = run_checks(read_gov(context.obj), driver=read_gpu_driver(), budget_seconds=None)
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
            click.echo(f"  {name}: {printable(action)}")
    context.exit(FAILED if worst == "fail" else DONE)


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def migrate(context: click.Context, as_json: bool) -> None:
    """Convert files of an older version to the current format; files in the current format are left unchanged."""
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
