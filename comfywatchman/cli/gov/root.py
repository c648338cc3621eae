"""`gov init`, `gov status`, `gov check` and `gov migrate`."""

from __future__ import annotations

import click

from comfywatchman.app.session import Session
from comfywatchman.base.text import pluralize
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_table, printable


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def init(context: click.Context, as_json: bool) -> None:
    """Take a ComfyUI's Python environment under governance, or make what is missing of one.

    Reads ComfyUI's requirements.txt, resolves it, builds an environment beside your own and verifies it. Your own
    environment and the folder custom_nodes are not touched. On a root that is governed already it makes what lacks: a
    lock after an edit of pyproject.toml, an environment that is gone or was modified.

    \b
    gov init
    gov --comfyui ~/ComfyUI init
    """
    from comfywatchman.governance.environments.init import init as make
    from comfywatchman.governance.environments.init import store_comfyui_dir

    session: Session = context.obj
    with open_gov(session, "init", is_new=True, words="Building the environment") as (ground, _tell):
        operation = make(ground)
        if session.comfyui_option is not None:
            # Later commands need not name the ComfyUI again.
            store_comfyui_dir(ground.layout.config, ground.comfyui)
        from comfywatchman.governance.status import read_status as status_of

        found = status_of(ground)
    if as_json:
        print_result(context, {"operation": operation, "status": found})
        return
    if operation is None:
        click.echo("Everything is there already; nothing was changed.")
    else:
        click.echo(f"Governed: {printable(found.root)}")
        click.echo(
            f"Production: Python {found.python}, {pluralize(found.packages, 'package')}, all of their files verified."
        )
    click.echo("Next: gov node add URL registers a custom node, gov run starts ComfyUI, gov check looks at everything.")


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what is in production, which nodes are registered, and what waits for you."""
    from comfywatchman.governance.status import read_status as status_of

    found = status_of(read_gov(context.obj))
    if as_json:
        print_result(context, found)
        return
    click.echo(f"Governed:   {printable(found.root)}")
    click.echo(f"ComfyUI:    {printable(found.comfyui)}")
    if found.prod_env_exists:
        click.echo(f"Production: {found.generation}, Python {found.python}, {pluralize(found.packages, 'package')}")
    else:
        click.echo("Production: none. Run: gov init")
    click.echo(f"Lock:       {'there' if found.lock_exists else 'not there. Run: gov init'}")
    click.echo(f"Snapshots:  {found.snapshots}")
    if found.nodes:
        rows = [
            (one.id, "yes" if one.enabled else "no", str(one.requirements), (one.commit or "")[:10])
            for one in found.nodes
        ]
        print_table(("Node", "Enabled", "Requirements", "Commit"), rows)
    else:
        click.echo("Nodes:      none registered. Register one: gov node add URL")
    click.echo(f"{pluralize(found.transactions_total, 'transaction')}, {found.pending} of them not over.")
    if found.recent:
        rows = [(one.txid, one.node_id, one.status, one.started_at) for one in found.recent]
        print_table(("Transaction", "Node", "Status", "Started"), rows, whole="Transaction", spare=("Started",))


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Check the whole environment: lock, packages, files, nodes, driver, deny list, room.

    Every file of every package is read, which takes seconds on a large environment. The readiness cycle makes the same
    checks within a fraction of a second, and remembers what did not change. Exits with 1 when a check fails.

    \b
    gov check
    gov check --json | jq -r '.result.checks[] | select(.status != "ok") | .action'
    """
    from comfywatchman.base.gpu.driver import read_gpu_driver
    from comfywatchman.governance.checks.runner import find_worst_status, run_checks

    results = run_checks(read_gov(context.obj), driver=read_gpu_driver(), budget_seconds=None)
    state = find_worst_status(results)
    if as_json:
        print_result(context, {"state": state, "checks": results})
    else:
        print_table(("Check", "State", "What was seen"), [(one.name, one.status, one.evidence) for one in results])
        todo = [one for one in results if one.action is not None]
        if todo:
            click.echo("What to do:")
        for one in todo:
            click.echo(f"  {one.name}: {printable(one.action or '')}")
    context.exit(FAILED if state == "fail" else DONE)


@click.command(cls=GovCommand)
@json_option
@click.pass_context
def migrate(context: click.Context, as_json: bool) -> None:
    """Bring files of an older version to this one's form; files that are of this form already stay as they are."""
    from comfywatchman.governance.environments.migrate import migrate as bring

    with open_gov(context.obj, "migrate") as (ground, _tell):
        done = bring(ground)
    if as_json:
        print_result(context, {"changed": done})
        return
    for line in done:
        click.echo(printable(line))
    if not done:
        click.echo("Every file is of this version's form.")
