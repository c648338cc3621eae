"""`gov node add`, `gov node list` and `gov node remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.nodes.add import FindPack

_REGISTRY_SECONDS = 20.0


@click.command(cls=GovCommand)
@click.argument("target", metavar="URL|ID")
@click.option("--ref", default="", help="Branch, tag or commit; without it the default branch.")
@click.option("--id", "node_id", default="", help="Name of its folder and here; without it the repository's name.")
@click.option("--adopt", is_flag=True, help="Register the folder ID that is in custom_nodes already, as it is.")
@click.option("--allow-local", is_flag=True, help="Let URL be a folder of this machine.")
@json_option
@click.pass_context
def add(
    context: click.Context, target: str, ref: str, node_id: str, adopt: bool, allow_local: bool, as_json: bool
) -> None:
    """Clone a node into custom_nodes and register it; production does not change yet.

    URL is a repository's address, ID an id of the Comfy Registry. Nothing of the node is run, and none of its packages
    installed, until you try it.

    \b
    gov node add https://github.com/OWNER/PACK
    gov node add comfyui-kjnodes --ref 1.1.2
    gov node add --adopt FOLDER
    """
    from comfywatchman.governance.nodes import add as node_add
    from comfywatchman.governance.nodes.identity import redact_url

    if adopt and (ref or node_id or allow_local):
        raise click.UsageError("--adopt takes a folder as it is: without --ref, --id and --allow-local.")
    session: Session = context.obj
    # What is done stands in the lock and on the terminal; a token in an address must not.
    shown = redact_url(target)
    with open_gov(session, f"node add {shown}", activity=f"Adding {shown}") as (ground, tell):
        if adopt:
            plugin = node_add.adopt_node(ground, target)
        else:
            wish = node_add.AddRequest(target, ref=ref, node_id=node_id, allow_local=allow_local)
            plugin = node_add.add_node(ground, wish, find_pack=_build_pack_finder(session), progress=tell)
    if as_json:
        print_result(context, plugin)
        return
    click.echo(f"Registered: {printable(plugin.id)} at {(plugin.commit or 'no commit')[:12]}")
    click.echo(f"Next, try it aside: gov tx run {plugin.id}")


def _build_pack_finder(session: Session) -> FindPack:
    def find(pack_id: str) -> str | None:
        from comfywatchman.base.http import HttpSession as Connection
        from comfywatchman.sources.registry import find_registry_pack

        seconds = _REGISTRY_SECONDS
        with Connection(timeout_seconds=seconds, budget_seconds=seconds, max_bytes=1 << 20) as connection:
            found = find_registry_pack(connection, session.settings.nodes.registry_url, pack_id)
        if found.failure is not None:
            raise Failure(
                found.failure.code,
                f"The Comfy Registry could not be asked for {pack_id}: {found.failure.message}",
                hint="Give the repository's address instead: gov node add https://github.com/OWNER/NAME",
            )
        return found.package.url if found.package else None

    return find


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_nodes(context: click.Context, as_json: bool) -> None:
    """List the registered nodes, and folders of custom_nodes that are not registered."""
    from comfywatchman.governance.checks.unregistered_nodes import find_unregistered
    from comfywatchman.governance.nodes import registry

    ground = read_gov(context.obj)
    found = registry.list_registered(ground.layout, ground.custom_nodes)
    strangers = find_unregistered(ground.custom_nodes, [node.plugin.id for node in found])
    if as_json:
        nodes = [
            {"plugin": one.plugin, "code": one.code, "commit": one.commit, "is_dirty": one.is_dirty} for one in found
        ]
        print_result(context, {"nodes": nodes, "unregistered": strangers})
        return
    if found:
        rows = [
            (
                one.plugin.id,
                one.code.replace("-", " ") + (", with changed files" if one.is_dirty else ""),
                (one.commit or "")[:12],
                str(len(one.plugin.managed_deps)),
                one.plugin.git_url,
            )
            for one in found
        ]
        print_table(("Node", "Code", "Commit", "Requirements", "From"), rows)
    else:
        click.echo("No node is registered. Register one: gov node add URL")
    for name in strangers:
        click.echo(f"Not registered: {printable(name)}. Register it: gov node add --adopt {printable(name)}")


@click.command(cls=GovCommand)
@click.argument("node_id", metavar="ID")
@click.option("--purge-code", is_flag=True, help="Delete its folder in custom_nodes, too.")
@json_option
@click.pass_context
def remove(context: click.Context, node_id: str, purge_code: bool, as_json: bool) -> None:
    """Take a node and every package that only it needs away.

    The environment without it is built beside production first. Its code stays in custom_nodes, and ComfyUI goes on
    loading it, unless you give --purge-code.

    \b
    gov node remove PACK
    gov node remove PACK --purge-code
    """
    from comfywatchman.governance.transactions.remove import remove_node as take_away

    with open_gov(context.obj, f"node remove {node_id}", activity=f"Removing {node_id}") as (ground, _tell):
        operation = take_away(ground, node_id, purge_code=purge_code)
    if as_json:
        print_result(context, operation)
        return
    click.echo(f"Removed: {printable(node_id)}{' with its code' if purge_code else ''}")
    click.echo(f"To take this back: gov undo {operation.op_id}")
    if not purge_code:
        click.echo("Its code is still in custom_nodes, and ComfyUI loads it; move it away if you do not want that.")
