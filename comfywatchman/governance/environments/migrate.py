"""Bringing files of the first `gov`, or of an older version, to this one's form. Keys are only ever added."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, printable_path, read_regular, read_state, to_json, write_if_changed
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import ConflictReport, NodeRegistry, Operation, SnapshotMeta, Transaction
from comfywatchman.governance.store.truth import node_group
from comfywatchman.governance.uv.client import UvResult

_MAX_PLUGINS_BYTES: Final = 16 << 20
_OLD_PRODUCTION: Final = ".venv-prod.before-migrate"


def migrate(context: GovContext) -> tuple[str, ...]:
    """Bring every file to this version's form; one that cannot be read stays as it is and is named.

    The truth files change in one commit that `gov undo` takes back. A production environment of the first `gov`, which
    was a folder and not a link, is built anew beside it and then kept under another name.

    Returns:
        What was done, in words; empty when everything was of this form.

    Raises:
        Failure: As `gov init`.
    """
    done = [line for line in _rewrite_records(context) if line]
    with staging.open_staging(context.layout) as work:
        before = work.hashes()
        work.write_registry(_convert_registry(work.folder / "plugins.json", context))
        work.edit_project(truth.convert_overrides_group)
        if work.hashes() != before or not context.layout.production.is_symlink():
            done.append(_commit_truth(context, work))
    return tuple(done)


def _commit_truth(context: GovContext, work: StagingDir) -> str:
    started_at, layout = format_utc(context.clock.now()), context.layout
    ended = work.lock(context.uv, context.python)
    built = generation.build(context, work.folder) if ended.is_success else ended
    if isinstance(built, UvResult):
        raise Failure(
            "gov-lock-failed",
            f"uv could not build the environment of what is declared: {built.errors.strip()}",
            hint="Nothing was changed. Check the network and pyproject.toml of the governed root.",
        )
    current = generation.current_key(layout)
    pre = snapshot.create(layout, context.clock, reason="migrate_pre", ref="migrate", generation=current)
    journal = commit.prepare(
        context.layout,
        context.clock,
        work,
        kind="migrate",
        ref="migrate",
        key=built.key,
        pre_snapshot=pre.id,
        started_at=started_at,
    )
    if layout.production.is_dir() and not layout.production.is_symlink():
        layout.production.rename(layout.root / _OLD_PRODUCTION)
    operation = commit.publish(context, journal)
    return f"The truth files are of this version's form; to take it back: gov undo {operation.op_id}"


def _rewrite_records(context: GovContext) -> list[str]:
    layout = context.layout
    found = (
        (layout.transactions.glob("*.json"), Transaction),
        (layout.operations.glob("*.json"), Operation),
        (layout.conflicts.glob("*.json"), ConflictReport),
        (layout.snapshots.glob("*/meta.json"), SnapshotMeta),
    )
    return [_rewrite_record(path, shape) for paths, shape in found for path in sorted(paths)]


def _rewrite_record(path: Path, shape: type[msgspec.Struct]) -> str:
    record = read_state(path, shape, only_look=True)
    if isinstance(record, CorruptFile):
        return f"{printable_path(path)} stays as it is: {record.reason}"
    if record is not None and write_if_changed(path, to_json(record)):
        return f"{printable_path(path)} is of this version's form"
    return ""


def _convert_registry(path: Path, context: GovContext) -> NodeRegistry:
    """Return the register in a file of any version: a node without `path` or `group` gets what they mean."""
    if not path.exists():
        return NodeRegistry()
    try:
        read = orjson.loads(read_regular(path, max_bytes=_MAX_PLUGINS_BYTES))
        listed = read.get("plugins", {})
        entries = listed.values() if isinstance(listed, dict) else listed
        nodes = [_convert_node(entry, context) for entry in entries]
        return msgspec.convert({"plugins": {node["id"]: node for node in nodes}}, NodeRegistry)
    except (AttributeError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {error}.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        ) from error


def _convert_node(entry: dict[str, Any], context: GovContext) -> dict[str, Any]:
    node_id = str(entry["id"])
    path = str(context.custom_nodes / str(entry.get("install_relpath") or node_id))
    return {"git_url": "", "ref": "", "path": path, "group": node_group(node_id), **_drop_nulls(entry), "id": node_id}


def _drop_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}
