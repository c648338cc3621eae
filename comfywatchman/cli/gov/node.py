"""`gov node …`: add, list and remove custom nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result, read_gov
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_step, print_table, printable

if TYPE_CHECKING:
    from comfywatchman.governance.nodes.add import FindPack
    from comfywatchman.governance.nodes.registry import NodeListing
    from comfywatchman.governance.store.records import RegisteredNode

_REGISTRY_SECONDS = 20.0


@click.command(cls=GovCommand)
@click.argument("targets", metavar="[URL|ID]...", nargs=-1)
@click.option("--ref", default="", help="Branch, tag or commit; by default the default branch.")
@click.option("--id", "node_id", default="", help="Id and folder name; by default the repository's name.")
@click.option("--adopt", is_flag=True, help="Register the existing folders ID of custom_nodes as they are.")
@click.option("--all", "every", is_flag=True, help="With --adopt: every folder that is not registered.")
@click.option("--allow-local", is_flag=True, help="Allow the URL to be a folder of this machine.")
@json_option
@click.pass_context
def add(
    context: click.Context,
    targets: tuple[str, ...],
    ref: str,
    node_id: str,
    adopt: bool,
    every: bool,
    allow_local: bool,
    as_json: bool,
) -> None:
    """Clone a node into custom_nodes and register it; production does not change yet.

    URL is the URL of a repository, ID an id of the Comfy Registry. Nothing of the node is run and none of its packages
    are installed before you try it.

    \b
    Examples:
      gov node add https://github.com/OWNER/PACK
      gov node add comfyui-kjnodes --ref 1.1.2
      gov node add --adopt FOLDER OTHER
      gov node add --adopt --all
    """
    if adopt and (ref or node_id or allow_local):
        raise click.UsageError(
            "--adopt registers a folder as it is and cannot be combined with --ref, --id and --allow-local."
        )
    if every and (targets or not adopt):
        raise click.UsageError("--all belongs to --adopt, without folders.")
    session: Session = context.obj
    if adopt and (every or len(targets) > 1):
        nodes = _adopt_several(session, targets)
        if as_json:
            print_result(context, nodes)
            return
    else:
        if len(targets) != 1:
            raise click.UsageError("Give one URL or ID; only --adopt takes several.")
        node = _add_one(session, targets[0], ref, node_id, adopt=adopt, allow_local=allow_local)
        if as_json:
            print_result(context, node)
            return
        nodes = (node,)
    for node in nodes:
        click.echo(f"Registered: {printable(node.id)} at {(node.commit or 'no commit')[:12]}")
    if nodes:
        print_step(f"Next, try it: gov tx run {nodes[0].id}")
    else:
        click.echo("Every custom node that is installed is registered.")


def _adopt_several(session: Session, targets: tuple[str, ...]) -> tuple[RegisteredNode, ...]:
    """Register the given folders in one operation; without any, all that are not registered."""
    from comfywatchman.governance.nodes import add as node_add

    with open_gov(session, "node add --adopt", activity="Registering") as (gov, _show):
        node_ids = targets or node_add.find_unregistered_nodes(gov)
        return node_add.adopt_nodes(gov, node_ids) if node_ids else ()


def _add_one(
    session: Session, target: str, ref: str, node_id: str, *, adopt: bool, allow_local: bool
) -> RegisteredNode:
    from comfywatchman.base.address import redact_url
    from comfywatchman.governance.nodes import add as node_add

    # The command appears in the lock file and on the terminal: a token in a URL must not.
    shown_target = redact_url(target)
    with open_gov(session, f"node add {shown_target}", activity=f"Adding {shown_target}") as (gov, show):
        if adopt:
            return node_add.adopt_node(gov, target)
        request = node_add.AddRequest(target, ref=ref, node_id=node_id, allow_local=allow_local)
        return node_add.add_node(gov, request, find_pack=_build_pack_finder(session), progress=show)


def _build_pack_finder(session: Session) -> FindPack:
    """Return a function that looks up a pack's repository in the Comfy Registry."""

    def find_pack(pack_id: str) -> str | None:
        from comfywatchman.base.http import HttpSession
        from comfywatchman.sources.registry import find_registry_pack

        seconds = _REGISTRY_SECONDS
        with HttpSession(timeout_seconds=seconds, budget_seconds=seconds, max_bytes=1 << 20) as http:
            result = find_registry_pack(http, session.settings.nodes.registry_url, pack_id)
        if result.failure is not None:
            raise Failure(
                result.failure.code,
                f"The Comfy Registry could not be queried for {pack_id}: {result.failure.message}",
                hint="Give the repository's URL instead: gov node add https://github.com/OWNER/NAME",
            )
        return result.package.url if result.package else None

    return find_pack


@click.command("list", cls=GovCommand)
@json_option
@click.pass_context
def list_nodes(context: click.Context, as_json: bool) -> None:
    """List the registered nodes, and folders of custom_nodes that are not registered.

    \b
    Examples:
      gov node list
      gov node list --json
    """
    from comfywatchman.governance.checks.unregistered_nodes import find_unregistered
    from comfywatchman.governance.nodes import registry

    gov = read_gov(context.obj)
    listings = registry.list_nodes(gov.layout, gov.custom_nodes)
    unregistered = find_unregistered(gov.custom_nodes, [listing.plugin.id for listing in listings])
    if as_json:
        nodes = [
            {"plugin": listing.plugin, "code": listing.code, "commit": listing.commit, "is_dirty": listing.is_dirty}
            for listing in listings
        ]
        print_result(context, {"nodes": nodes, "unregistered": unregistered})
        return
    if listings:
        print_table(("Node", "Code", "Commit", "Requirements", "From"), [_build_row(listing) for listing in listings])
    else:
        print_step("No node is registered. Register one: gov node add URL")
    for name in unregistered:
        print_step(f"Not registered: {printable(name)}. Register it: gov node add --adopt {printable(name)}")


def _build_row(listing: NodeListing) -> tuple[str, ...]:
    code = listing.code.replace("-", " ")
    if listing.is_dirty:
        code = f"{code}, with changed files"
    node = listing.plugin
    return node.id, code, (listing.commit or "")[:12], str(len(node.managed_deps)), node.git_url


@click.command(cls=GovCommand)
@click.argument("node_id", metavar="ID", shell_complete=complete_names("node"))
@click.option("--purge-code", is_flag=True, help="Also delete its folder in custom_nodes.")
@json_option
@click.pass_context
def remove(context: click.Context, node_id: str, purge_code: bool, as_json: bool) -> None:
    """Remove a node and the packages only it needs.

    The environment without it is built beside production first. Its code stays in custom_nodes, and ComfyUI still
    loads it, unless you give --purge-code.

    \b
    Examples:
      gov node remove PACK
      gov node remove PACK --purge-code
    """
    from comfywatchman.governance.transactions.remove import remove_node

    with open_gov(context.obj, f"node remove {node_id}", activity=f"Removing {node_id}") as (gov, _show):
        operation = remove_node(gov, node_id, purge_code=purge_code)
    if as_json:
        print_result(context, operation)
        return
    click.echo(f"Removed: {printable(node_id)}{' with its code' if purge_code else ''}")
    print_step(f"To undo this: gov undo {operation.op_id}")
    if not purge_code:
        click.echo("Its code is still in custom_nodes, and ComfyUI loads it. To prevent that, move the folder away.")
