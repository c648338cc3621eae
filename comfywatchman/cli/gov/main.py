"""`gov`, which is `comfywatchman env`: the group, and the groups in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from comfywatchman import __version__
from comfywatchman.cli.lazy import LazyGroup

COMMANDS: Final = {
    "init": "comfywatchman.cli.gov.root:init",
    "status": "comfywatchman.cli.gov.root:status",
    "check": "comfywatchman.cli.gov.root:check",
    "node": "comfywatchman.cli.gov.main:node",
    "tx": "comfywatchman.cli.gov.main:tx",
    "resolve": "comfywatchman.cli.gov.resolve:resolve",
    "rollback": "comfywatchman.cli.gov.history:rollback",
    "undo": "comfywatchman.cli.gov.history:undo",
    "snapshot": "comfywatchman.cli.gov.main:snapshot",
    "op": "comfywatchman.cli.gov.main:op",
    "run": "comfywatchman.cli.gov.run:run",
    "test": "comfywatchman.cli.gov.selftest:test",
    "migrate": "comfywatchman.cli.gov.root:migrate",
}
SUMMARIES: Final = {
    "init": "Take a ComfyUI's Python environment under governance, or make what is missing of one.",
    "status": "Show what is in production, which nodes are registered, and what waits for you.",
    "check": "Check the whole environment: lock, packages, files, nodes, driver, deny list, room.",
    "node": "Add, list and remove custom nodes.",
    "tx": "Try a node in a candidate environment; look at it, promote it, or throw it away.",
    "resolve": "Solve a conflict between packages with pins.",
    "rollback": "Go back to a snapshot, in a blink and without network while its environment is kept.",
    "undo": "Take one operation back, if nothing has changed since.",
    "snapshot": "List and inspect snapshots.",
    "op": "List and inspect operations: every change that was made.",
    "run": "Start ComfyUI in the production environment, in the foreground.",
    "test": "Try the whole chain on a scratch copy, without network.",
    "migrate": "Bring files of an older version to this one's form.",
}
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed or refused, 2 usage, configuration, not found or a conflict between packages, "
    "75 another command holds the lock, 130 interrupted."
)
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group("gov", cls=LazyGroup, places=COMMANDS, summaries=SUMMARIES, context_settings=_SETTINGS, epilog=EXIT_CODES)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the governed environment.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder that holds state/, output/ and log/.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A configuration file, read after all others.",
)
@click.option("--comfyui", type=click.Path(path_type=Path), help="Folder of ComfyUI, instead of the configured one.")
@click.version_option(__version__, prog_name="gov")
@click.pass_context
def gov(
    context: click.Context, root: Path | None, home: Path | None, config_file: Path | None, comfyui: Path | None
) -> None:
    """Change the Python environment of ComfyUI as a whole, or not at all.

    A node is tried in a candidate environment beside production; only what was tried and verified is promoted, and
    every step can be taken back.

    \b
    gov init                                    take the environment under governance
    gov node add https://github.com/OWNER/PACK  register a node
    gov tx run PACK                             try it aside
    gov tx promote TXID                         put it in production
    """
    from comfywatchman.cli.session import Session

    outer = context.obj if isinstance(context.obj, Session) else None
    context.obj = Session(
        home_option=home or (outer.home_option if outer else None),
        config_option=config_file or (outer.config_option if outer else None),
        comfyui_option=comfyui or (outer.comfyui_option if outer else None),
        governed_option=root,
    )


def _build_group(name: str, text: str, commands: dict[str, tuple[str, str]]) -> LazyGroup:
    return LazyGroup(
        name=name,
        help=text,
        places={command: place for command, (place, _) in commands.items()},
        summaries={command: summary for command, (_, summary) in commands.items()},
        context_settings=_SETTINGS,
        epilog=EXIT_CODES,
    )


node = _build_group(
    "node",
    SUMMARIES["node"],
    {
        "add": ("comfywatchman.cli.gov.node:add", "Clone a node and register it; production does not change yet."),
        "list": ("comfywatchman.cli.gov.node:list_nodes", "List the registered nodes, and folders that are not."),
        "remove": ("comfywatchman.cli.gov.node:remove", "Take a node and every package that only it needs away."),
    },
)
tx = _build_group(
    "tx",
    SUMMARIES["tx"],
    {
        "run": ("comfywatchman.cli.gov.tx:run", "Try a node: build a candidate environment and start ComfyUI in it."),
        "list": ("comfywatchman.cli.gov.tx:list_transactions", "List transactions, newest first."),
        "inspect": ("comfywatchman.cli.gov.tx:inspect", "Show what a transaction changed, and how it went."),
        "abort": ("comfywatchman.cli.gov.tx:abort", "Throw a candidate environment away."),
        "promote": ("comfywatchman.cli.gov.tx:promote", "Put what was tried in production."),
    },
)
snapshot = _build_group(
    "snapshot",
    "List and inspect snapshots: kept states of pyproject.toml, uv.lock and plugins.json.",
    {
        "list": ("comfywatchman.cli.gov.history:list_snapshots", "List the kept snapshots, newest first."),
        "inspect": ("comfywatchman.cli.gov.history:inspect_snapshot", "Show one snapshot, and whether it is whole."),
    },
)
op = _build_group(
    "op",
    SUMMARIES["op"],
    {
        "list": ("comfywatchman.cli.gov.history:list_operations", "List operations, newest first."),
        "inspect": ("comfywatchman.cli.gov.history:inspect_operation", "Show what one operation changed."),
    },
)
