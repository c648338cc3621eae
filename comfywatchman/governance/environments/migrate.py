"""`gov migrate`: convert files of older versions to the current format. Keys are only ever added."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, write_if_changed
from comfywatchman.base.state.state_file import CorruptFile, read_state
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import ConflictReport
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import (
    GenerationMark,
    NodeRegistry,
    Operation,
    SnapshotMeta,
    Transaction,
)
from comfywatchman.governance.store.truth import node_group
from comfywatchman.governance.uv.client import UvResult

_MAX_PLUGINS_BYTES: Final = 16 << 20
_OLD_PRODUCTION: Final = ".venv-prod.before-migrate"


def migrate(context: GovContext) -> tuple[str, ...]:
    """Convert every file to the current format; unreadable ones are left alone and reported.

    The truth files change in one commit that `gov undo` reverts. A production environment of the first `gov`, which was
    a folder instead of a link, is rebuilt beside it and then kept under another name.

    Returns:
        One message per converted or unreadable file; empty when every file has the current format.

    Raises:
        Failure: As `gov init`.
    """
    messages = _rewrite_records(context.layout)
    # Files of an older version need not belong together yet.
    contents = snapshot.read_root_files(context.layout)
    with staging.open_staging(context.layout, contents=contents) as staging_dir:
        before = staging_dir.hashes()
        staging_dir.write_registry(_convert_registry(staging_dir.folder / "plugins.json", context.custom_nodes))
        staging_dir.edit_project(truth.convert_overrides_group)
        if staging_dir.hashes() != before or not context.layout.production.is_symlink():
            messages.append(_commit_truth(context, staging_dir))
    return tuple(messages)


def _commit_truth(context: GovContext, staging_dir: StagingDir) -> str:
    layout, clock = context.layout, context.clock
    started_at = format_utc(clock.now())
    mark: GenerationMark | UvResult = staging_dir.lock(context.uv, context.python)
    if isinstance(mark, UvResult) and mark.is_success:
        mark = generation.build(context, staging_dir.folder)
    if isinstance(mark, UvResult):
        raise Failure(
            "gov-lock-failed",
            f"uv could not build the declared environment: {mark.errors.strip()}",
            hint="Nothing was changed. Check the network and pyproject.toml of the governed root.",
        )
    current = generation.current_key(layout)
    pre_snapshot = snapshot.create(layout, clock, reason="migrate_pre", ref="migrate", generation=current)
    journal = commit.prepare(
        layout,
        clock,
        staging_dir,
        kind="migrate",
        ref="migrate",
        key=mark.key,
        pre_snapshot=pre_snapshot.id,
        started_at=started_at,
    )
    if layout.production.is_dir() and not layout.production.is_symlink():
        layout.production.rename(layout.root / _OLD_PRODUCTION)
    operation = commit.publish(context, journal)
    return f"The truth files were converted; to revert this: gov undo {operation.op_id}"


def _rewrite_records(layout: GovLayout) -> list[str]:
    records: tuple[tuple[Iterable[Path], type[msgspec.Struct]], ...] = (
        (layout.transactions.glob("*.json"), Transaction),
        (layout.operations.glob("*.json"), Operation),
        (layout.conflicts.glob("*.json"), ConflictReport),
        (layout.snapshots.glob("*/meta.json"), SnapshotMeta),
    )
    messages = []
    for paths, record_type in records:
        for path in sorted(paths):
            message = _rewrite_record(path, record_type)
            if message is not None:
                messages.append(message)
    return messages


def _rewrite_record(path: Path, record_type: type[msgspec.Struct]) -> str | None:
    record = read_state(path, record_type, only_look=True)
    if isinstance(record, CorruptFile):
        return f"{printable_path(path)} was left unchanged: {record.reason}"
    # Writing adds the keys that the file lacks, with their defaults.
    if record is not None and write_if_changed(path, to_json(record)):
        return f"{printable_path(path)} was converted"
    return None


def _convert_registry(path: Path, custom_nodes: Path) -> NodeRegistry:
    """Return the node registry in a file of any version; a node without `path` or `group` gets the default ones."""
    if not path.exists():
        return NodeRegistry()
    try:
        stored = orjson.loads(read_regular(path, max_bytes=_MAX_PLUGINS_BYTES))
        entries = stored.get("plugins", {})
        if isinstance(entries, dict):
            entries = entries.values()
        nodes = {}
        for entry in entries:
            node = _convert_node(entry, custom_nodes)
            nodes[node["id"]] = node
        return msgspec.convert({"plugins": nodes}, NodeRegistry)
    except (AttributeError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {error}.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        ) from error


def _convert_node(entry: dict[str, Any], custom_nodes: Path) -> dict[str, Any]:
    node_id = str(entry["id"])
    defaults = {
        "git_url": "",
        "ref": "",
        # The first `gov` stored a path relative to custom_nodes under this key.
        "path": str(custom_nodes / str(entry.get("install_relpath") or node_id)),
        "group": node_group(node_id),
    }
    # The first `gov` wrote null for missing values; their defaults apply.
    stored = {key: value for key, value in entry.items() if value is not None}
    return {**defaults, **stored, "id": node_id}
