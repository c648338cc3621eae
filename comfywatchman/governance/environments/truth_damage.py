"""Hold the three truth files against each other: a lost or emptied one is damage, not a root that declares nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import decode_json
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry


def find_truth_damage(contents: Mapping[str, bytes]) -> str | None:
    """Return why truth files do not belong together, as a sentence without its end; None when they do.

    A root without a lock was not built yet, and may lack the list of nodes, too.

    Args:
        contents: The bytes of the truth files by name; missing ones are left out.
    """
    if not contents:
        return None
    for name in ("pyproject.toml", "uv.lock"):
        if name in contents and not contents[name].strip():
            return f"{name} of the governed root is empty"
    if "pyproject.toml" not in contents:
        return "pyproject.toml of the governed root is missing"
    try:
        groups = truth.parse_groups(contents["pyproject.toml"].decode("utf-8"))
    except (Failure, UnicodeDecodeError) as error:
        return f"pyproject.toml of the governed root cannot be read: {error}"
    return _find_mismatch(contents, groups) if "uv.lock" in contents else None


def require_undamaged_truth(layout: GovLayout, contents: Mapping[str, bytes]) -> None:
    """Refuse to change a root whose truth files do not belong together.

    Args:
        layout: The governed root.
        contents: The bytes of its truth files by name.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    damage = find_truth_damage(contents)
    if damage is not None:
        raise Failure("gov-truth-damaged", f"{damage}.", hint=describe_restoration(layout))


def describe_restoration(layout: GovLayout) -> str:
    """Return how damaged truth files are restored: from the newest snapshot that is intact."""
    newest = snapshot.find_newest_intact(layout)
    if newest is None:
        return "There is no snapshot to restore them from: restore the file from a backup."
    return f"Restore the truth files from the last snapshot: gov rollback {newest}"


def _find_mismatch(contents: Mapping[str, bytes], groups: Mapping[str, tuple[str, ...]]) -> str | None:
    if truth.BASE_GROUP not in groups:
        return f"pyproject.toml of the governed root lost its group {truth.BASE_GROUP}, which uv.lock has"
    if "plugins.json" not in contents:
        return "plugins.json of the governed root is missing"
    try:
        registry = decode_json(contents["plugins.json"], NodeRegistry)
    except msgspec.DecodeError as error:
        return f"plugins.json of the governed root cannot be used: {error}"
    registered = {canonicalize_name(truth.node_group(node_id)) for node_id in registry.plugins}
    unknown = [
        group for group in groups if group.startswith(truth.NODE_PREFIX) and canonicalize_name(group) not in registered
    ]
    if unknown:
        node_id = unknown[0].removeprefix(truth.NODE_PREFIX)
        return f"plugins.json of the governed root lost the node {node_id}, whose packages pyproject.toml declares"
    return None
