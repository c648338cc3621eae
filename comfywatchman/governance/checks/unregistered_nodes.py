"""Check `unregistered-nodes`: are custom nodes installed that are not registered?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from comfywatchman.comfyui.packs.scan import find_node_folders
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names


def find_unregistered(custom_nodes: Path, registered: Collection[str]) -> tuple[str, ...]:
    """Return the folders of `custom_nodes` that are not registered, sorted.

    Args:
        custom_nodes: The folder of custom nodes.
        registered: The ids of the registered nodes.
    """
    packs = find_node_folders(custom_nodes)
    # Single files have no requirements that could be governed.
    folders = {name for name, listing in packs.items() if listing.path.is_dir()}
    return tuple(sorted(folders - set(registered)))


def judge(folders: Sequence[str]) -> CheckResult:
    """Judge whether custom nodes are installed that are not registered.

    Args:
        folders: Their folders in `custom_nodes`.
    """
    if not folders:
        evidence = "Every custom node that is installed is registered."
        return CheckResult(name=CHECK.name, status="ok", evidence=evidence)
    names = sorted(folders)
    return CheckResult(
        name=CHECK.name,
        status="warn",
        evidence=f"Installed and not registered, so that their packages are not governed: {shorten_names(names)}.",
        action=f"gov node add --adopt {names[0]}",
        items=tuple(names),
    )


def _run(context: CheckContext) -> CheckResult:
    return judge(find_unregistered(context.gov.custom_nodes, context.registry.plugins.keys()))


CHECK = Check("unregistered-nodes", _run)
