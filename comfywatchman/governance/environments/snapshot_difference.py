"""What a rollback would change: the packages and nodes of a snapshot compared with the present ones."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from comfywatchman.governance.store.uv_lock import parse_packages


class SnapshotDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that restoring a snapshot makes; None stands for what is not there.

    Attributes:
        snapshot: The snapshot.
        packages: The present version and the one of the snapshot, by package.
        nodes: The present commit and the recorded one of each node that changes; empty for a folder without git.
        is_environment_kept: Whether its environment exists; otherwise it is built again from the lock.
    """

    snapshot: str
    packages: dict[str, tuple[str | None, str | None]] = {}
    nodes: dict[str, tuple[str | None, str | None]] = {}
    is_environment_kept: bool = False


def compare_with_snapshot(context: GovContext, snapshot_id: str) -> SnapshotDifference:
    """Return what a rollback to a snapshot would change; nothing is changed.

    Raises:
        Failure: `gov-snapshot-unknown`, `gov-snapshot-damaged`, or `gov-truth-damaged`.
    """
    meta = snapshot.read(context.layout, snapshot_id)
    contents = snapshot.read_contents(context.layout, snapshot_id)
    present = snapshot.read_root_files(context.layout)
    return SnapshotDifference(
        snapshot=snapshot_id,
        packages=_find_changes(_parse_versions(present), _parse_versions(contents)),
        nodes=_find_changes(_parse_commits(present), _parse_commits(contents)),
        is_environment_kept=generation.read_mark(context.layout, meta.generation) is not None,
    )


def _parse_versions(contents: Mapping[str, bytes]) -> dict[str, str]:
    lock = contents.get("uv.lock", b"").decode("utf-8", "replace")
    return {package.name: package.version for package in parse_packages(lock)}


def parse_registry(contents: Mapping[str, bytes]) -> NodeRegistry:
    """Return the registered nodes in truth files.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    try:
        return decode_json(contents.get("plugins.json", b"{}"), NodeRegistry)
    except msgspec.DecodeError as error:
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {error}.",
            hint="A rollback replaces it: run it without --dry-run.",
        ) from error


def _parse_commits(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {node_id: _describe_code(node) for node_id, node in parse_registry(contents).plugins.items()}


def _describe_code(node: RegisteredNode) -> str:
    return node.commit or ""


def _find_changes(present: Mapping[str, str], restored: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    changes = {}
    for name in sorted(present.keys() | restored.keys()):
        if present.get(name) != restored.get(name):
            changes[name] = (present.get(name), restored.get(name))
    return changes
