"""Try the packages of a lock: build a candidate of exactly that lock, and start ComfyUI in it with all nodes.

A node is tried with the versions that uv chose for it alone. Pins of the user, and requirements of other nodes, can
move some of them when the whole is locked; nothing is known of the moved versions until ComfyUI has started with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from comfywatchman.governance.environments import generation, integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.store.records import Finding, InstalledPackage, Judgement
from comfywatchman.governance.store.uv_lock import parse_freeze_lines
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.transactions.freeze import FrozenPackage, parse_freeze
from comfywatchman.governance.transactions.run import evict_modified
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.trial import build_trial_spec

_ADDRESS: Final = " @ "


def find_moved_packages(post: Sequence[str], installed: Iterable[InstalledPackage], lock: str) -> tuple[str, ...]:
    """Return how the packages of a locked environment differ from the tried ones, each as `name tried -> locked`.

    Packages from folders and files of this machine only count when both environments show their version.

    Args:
        post: The freeze after the trial.
        installed: The packages of the environment that was built from the lock.
        lock: The content of its uv.lock.
    """
    # An editable package is frozen as its folder, whose name need not be that of the package.
    tried = parse_freeze(line for line in post if not line.startswith("-e "))
    versions = {package.name: package.version for package in installed}
    at_addresses = {line.partition(_ADDRESS)[0] for line in parse_freeze_lines(lock) if _ADDRESS in line}
    moved = []
    for name in sorted(tried.keys() | versions.keys()):
        before, after = tried.get(name), versions.get(name)
        if _is_moved(before, after, is_at_address=name in at_addresses):
            moved.append(f"{name} {_describe_tried(before)} -> {after or 'none'}")
    return tuple(moved)


def try_lock(context: GovContext, node_id: str, project: Path, *, name: str) -> Judgement:
    """Start ComfyUI, with the enabled nodes and one more, in a candidate that has exactly the packages of a lock.

    The candidate is deleted; production stays unchanged.

    Args:
        context: The governed root; its lock must be held.
        node_id: The node under trial; empty for none.
        project: A folder with pyproject.toml and uv.lock.
        name: The name of the candidate and of the logs of the start.

    Raises:
        Failure: `gov-candidate-failed` or `state-unwritable`.
    """
    layout = context.layout
    environment = layout.candidates / name
    nodes = registry.find_enabled_folders(layout, context.custom_nodes)
    folder = context.custom_nodes / node_id
    if node_id and folder.exists():
        nodes = {**nodes, node_id: folder}
    try:
        candidate.create_from_lock(context, environment, project)
        spec = build_trial_spec(context, txid=name, node_id=node_id, environment=environment, nodes=nodes)
        judgement, _logs = evaluate(spec)
        # Some wheels are published with a wrong hash in their RECORD: such files were not modified by the start.
        mark = generation.read_mark(layout, generation.current_key(layout))
        report = integrity.verify(environment, None, known=mark.unverifiable if mark else ())
        error = evict_modified(context, environment, report)
    finally:
        candidate.delete(environment)
    if error is None:
        return judgement
    finding = Finding(name="files", status="fail", detail=error)
    return Judgement(how=judgement.how, exit_code=judgement.exit_code or 1, findings=(finding, *judgement.findings))


def _is_moved(before: FrozenPackage | None, after: str | None, *, is_at_address: bool) -> bool:
    if before is None:
        return not is_at_address
    if after is None:
        return not before.is_local
    # A package from a URL is frozen without its version.
    return bool(before.version) and before.version != after


def _describe_tried(package: FrozenPackage | None) -> str:
    if package is None:
        return "none"
    return package.version or package.url
