"""Bringing files of the first `gov`, or of an older version, to this one's form. Keys are only ever added."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from comfywatchman.base.clock import to_text
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import Damaged, read_regular, read_state, show_path, to_json, write_if_changed
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.staging import Workshop
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import ConflictReport, Operation, Plugins, SnapshotMeta, Transaction
from comfywatchman.governance.store.truth import node_group
from comfywatchman.governance.uv.client import UvEnded

_MAX_PLUGINS_BYTES: Final = 16 << 20
_OLD_PRODUCTION: Final = ".venv-prod.before-migrate"


def migrate(ground: Ground) -> tuple[str, ...]:
    """Bring every file to this version's form; one that cannot be read stays as it is and is named.

    The truth files change in one commit that `gov undo` takes back. A production environment of the first `gov`, which
    was a folder and not a link, is built anew beside it and then kept under another name.

    Returns:
        What was done, in words; empty when everything was of this form.

    Raises:
        Failure: As `gov init`.
    """
    done = [line for line in _records(ground) if line]
    with staging.opened(ground) as work:
        before = work.hashes()
        work.write_plugins(_plugins(work.folder / "plugins.json", ground))
        work.edit_project(truth.translated)
        if work.hashes() != before or not ground.layout.production.is_symlink():
            done.append(_published(ground, work))
    return tuple(done)


def _published(ground: Ground, work: Workshop) -> str:
    started_at, layout = to_text(ground.clock.now()), ground.layout
    ended = work.lock(ground)
    built = generation.build(ground, work.folder) if ended.is_well else ended
    if isinstance(built, UvEnded):
        raise Failure(
            "gov-lock-failed",
            f"uv could not build the environment of what is declared: {built.errors.strip()}",
            hint="Nothing was changed. Check the network and pyproject.toml of the governed root.",
        )
    current = generation.current(layout)
    pre = snapshot.take(layout, ground.clock, reason="migrate_pre", ref="migrate", generation=current)
    journal = commit.prepare(
        ground, work, kind="migrate", ref="migrate", key=built.key, pre_snapshot=pre.id, started_at=started_at
    )
    if layout.production.is_dir() and not layout.production.is_symlink():
        layout.production.rename(layout.root / _OLD_PRODUCTION)
    operation = commit.publish(ground, journal)
    return f"The truth files are of this version's form; to take it back: gov undo {operation.op_id}"


def _records(ground: Ground) -> list[str]:
    layout = ground.layout
    found = (
        (layout.transactions.glob("*.json"), Transaction),
        (layout.operations.glob("*.json"), Operation),
        (layout.conflicts.glob("*.json"), ConflictReport),
        (layout.snapshots.glob("*/meta.json"), SnapshotMeta),
    )
    return [_rewritten(path, shape) for paths, shape in found for path in sorted(paths)]


def _rewritten(path: Path, shape: type[msgspec.Struct]) -> str:
    record = read_state(path, shape, only_look=True)
    if isinstance(record, Damaged):
        return f"{show_path(path)} stays as it is: {record.reason}"
    if record is not None and write_if_changed(path, to_json(record)):
        return f"{show_path(path)} is of this version's form"
    return ""


def _plugins(path: Path, ground: Ground) -> Plugins:
    """Return the register in a file of any version: a node without `path` or `group` gets what they mean."""
    if not path.exists():
        return Plugins()
    try:
        read = orjson.loads(read_regular(path, max_bytes=_MAX_PLUGINS_BYTES))
        listed = read.get("plugins", {})
        entries = listed.values() if isinstance(listed, dict) else listed
        nodes = [_plugin(entry, ground) for entry in entries]
        return msgspec.convert({"plugins": {node["id"]: node for node in nodes}}, Plugins)
    except (AttributeError, KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {error}.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        ) from error


def _plugin(entry: dict[str, Any], ground: Ground) -> dict[str, Any]:
    node_id = str(entry["id"])
    path = str(ground.custom_nodes / str(entry.get("install_relpath") or node_id))
    return {"git_url": "", "ref": "", "path": path, "group": node_group(node_id), **_without_null(entry), "id": node_id}


def _without_null(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}
