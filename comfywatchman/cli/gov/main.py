"""The command group `gov`, also available as `comfywatchman env`, and its subgroups."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS, session_options

COMMANDS: Final = {
    "init": "comfywatchman.cli.gov.init:init",
    "status": "comfywatchman.cli.gov.root:status",
    "check": "comfywatchman.cli.gov.root:check",
    "node": "comfywatchman.cli.gov.main:node",
    "tx": "comfywatchman.cli.gov.main:tx",
    "package": "comfywatchman.cli.gov.main:package",
    "comfyui": "comfywatchman.cli.gov.main:comfyui_group",
    "resolve": "comfywatchman.cli.gov.resolve:resolve",
    "rollback": "comfywatchman.cli.gov.history:rollback",
    "undo": "comfywatchman.cli.gov.history:undo",
    "snapshot": "comfywatchman.cli.gov.main:snapshot",
    "op": "comfywatchman.cli.gov.main:op",
    "run": "comfywatchman.cli.gov.run:run",
    "test": "comfywatchman.cli.gov.selftest:selftest",
    "migrate": "comfywatchman.cli.gov.root:migrate",
}
NODE_COMMANDS: Final = {
    "add": "comfywatchman.cli.gov.node:add",
    "list": "comfywatchman.cli.gov.node:list_nodes",
    "remove": "comfywatchman.cli.gov.node:remove",
}
TX_COMMANDS: Final = {
    "run": "comfywatchman.cli.gov.tx:run",
    "list": "comfywatchman.cli.gov.tx:list_transactions",
    "inspect": "comfywatchman.cli.gov.tx:inspect",
    "abort": "comfywatchman.cli.gov.tx:abort",
    "promote": "comfywatchman.cli.gov.tx:promote",
}
PACKAGE_COMMANDS: Final = {
    "add": "comfywatchman.cli.gov.package:add",
    "remove": "comfywatchman.cli.gov.package:remove",
    "pin": "comfywatchman.cli.gov.package:pin",
    "list": "comfywatchman.cli.gov.package:list_packages",
}
COMFYUI_COMMANDS: Final = {"update": "comfywatchman.cli.gov.comfyui:update"}
SNAPSHOT_COMMANDS: Final = {
    "list": "comfywatchman.cli.gov.history:list_snapshots",
    "inspect": "comfywatchman.cli.gov.history:inspect_snapshot",
}
OP_COMMANDS: Final = {
    "list": "comfywatchman.cli.gov.history:list_operations",
    "inspect": "comfywatchman.cli.gov.history:inspect_operation",
}
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed or refused, 2 usage, configuration, not found or a conflict between packages, "
    "75 another command holds the lock, 130 interrupted."
)


@click.group("gov", cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the governed environment.")
@session_options("gov")
@click.pass_context
def gov(
    context: click.Context, root: Path | None, home: Path | None, config_file: Path | None, comfyui: Path | None
) -> None:
    """Change the Python environment of ComfyUI atomically.

    A node is tried in a candidate environment; only what was tried and verified is promoted to production, and every
    change can be undone.

    \b
    gov init --adopt                            govern the environment
    gov node add https://github.com/OWNER/PACK  register a node
    gov tx run PACK                             try it in a candidate
    gov tx promote TXID                         put it in production
    """
    from comfywatchman.app.session import Session

    # As `comfywatchman env`, it inherits the options that were given before `env`.
    outer = context.obj if isinstance(context.obj, Session) else Session(None, None)
    context.obj = Session(
        home_option=home or outer.home_option,
        config_option=config_file or outer.config_option,
        comfyui_option=comfyui or outer.comfyui_option,
        governed_option=root,
        task=outer.task,
    )


@click.group(cls=LazyGroup, locations=NODE_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def node() -> None:
    """Add, list and remove custom nodes."""


@click.group(cls=LazyGroup, locations=TX_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def tx() -> None:
    """Try a node in a candidate environment, inspect the result, then promote or abort it."""


@click.group(cls=LazyGroup, locations=PACKAGE_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def package() -> None:
    """Add, remove and pin packages beside those of ComfyUI and the nodes."""


@click.group("comfyui", cls=LazyGroup, locations=COMFYUI_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def comfyui_group() -> None:
    """Move ComfyUI to another version."""


@click.group(cls=LazyGroup, locations=SNAPSHOT_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def snapshot() -> None:
    """List and inspect snapshots: kept states of pyproject.toml, uv.lock and plugins.json."""


@click.group(cls=LazyGroup, locations=OP_COMMANDS, context_settings=CONTEXT_SETTINGS, epilog=EXIT_CODES)
def op() -> None:
    """List and inspect operations: all changes made so far."""
