"""Snapshots: copies of the truth files with their hashes, so that a damaged one is detected before it is used."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import (
    fsync_folder,
    printable_path,
    read_regular,
    to_json,
    unwritable_failure,
    write_atomic,
)
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
from comfywatchman.governance.store.ids import SNAPSHOT_ID, make_snapshot_id
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import SnapshotMeta, SnapshotsIndex

MAX_TRUTH_BYTES: Final = 64 << 20
_META: Final = "meta.json"
_UNFINISHED: Final = ".unfinished"


def read_truth_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the truth files in a folder that holds them side by side, by name; missing ones are left out.

    Raises:
        Failure: `file-unreadable` for one that exists and cannot be read.
    """
    return _read_existing({name: folder / name for name in TRUTH_FILES})


def read_root_files(layout: GovLayout) -> dict[str, bytes]:
    """Return the bytes of a governed root's truth files, by name; missing ones are left out.

    Raises:
        Failure: `file-unreadable` for one that exists and cannot be read.
    """
    return _read_existing({name: layout.truth_file(name) for name in TRUTH_FILES})


def _read_existing(paths: Mapping[str, Path]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name, path in paths.items():
        if path.exists():
            contents[name] = read_regular(path, max_bytes=MAX_TRUTH_BYTES)
    return contents


def hash_contents(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each content."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def create(layout: GovLayout, clock: Clock, *, reason: str, ref: str, generation: str | None) -> SnapshotMeta:
    """Take a snapshot of the current truth files, and list it.

    Args:
        layout: The governed root.
        clock: The clock.
        reason: The reason, such as `promote_pre`.
        ref: The transaction, node or snapshot that it is taken for.
        generation: The key of the production environment.

    Raises:
        Failure: `state-unwritable` or `file-unreadable`; nothing is listed then.
    """
    contents = read_root_files(layout)
    meta = SnapshotMeta(
        id=make_snapshot_id(clock),
        created_at=format_utc(clock.now()),
        reason=reason,
        ref=ref,
        generation=generation,
        sha256=hash_contents(contents),
    )
    write(layout, meta, contents)
    return meta


def write(layout: GovLayout, meta: SnapshotMeta, contents: Mapping[str, bytes]) -> None:
    """Write a snapshot and list it; an existing one is left unchanged.

    Raises:
        Failure: `state-unwritable`.
    """
    folder = layout.snapshots / meta.id
    if not (folder / _META).is_file():
        _write_folder(layout, folder, meta, contents)
    failpoint("gov.snapshot_before_index")
    if all(snapshot.id != meta.id for snapshot in _read_index(layout)):
        # Without an index the folders are listed, and the new one is among them already.
        others = [snapshot for snapshot in read_all(layout) if snapshot.id != meta.id]
        _write_index(layout, (*others, meta))


def read_all(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    """Return the snapshots, oldest first; found from their folders when the index is lost or damaged."""
    return _read_index(layout) or _read_folders(layout)


def read(layout: GovLayout, snapshot_id: str) -> SnapshotMeta:
    """Return the metadata of one snapshot.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`.
    """
    folder = layout.snapshots / snapshot_id
    # An id from the command line could otherwise lead out of the folder.
    if not SNAPSHOT_ID.fullmatch(snapshot_id) or not folder.is_dir():
        raise Failure(
            "gov-snapshot-unknown",
            f"There is no snapshot {snapshot_id!r}.",
            hint="`gov snapshot list` lists the snapshots.",
        )
    meta = read_state(folder / _META, SnapshotMeta, only_look=True)
    if meta is None:
        raise _snapshot_damaged(snapshot_id, "its meta.json is missing")
    if isinstance(meta, CorruptFile):
        raise _snapshot_damaged(snapshot_id, meta.reason)
    return meta


def read_contents(layout: GovLayout, snapshot_id: str) -> dict[str, bytes]:
    """Return the truth files of a snapshot, each checked against its recorded hash.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`.
    """
    meta = read(layout, snapshot_id)
    try:
        contents = read_truth_files(layout.snapshots / snapshot_id)
    except Failure as failure:
        raise _snapshot_damaged(snapshot_id, failure.message) from failure
    hashes = hash_contents(contents)
    changed = sorted(name for name in TRUTH_FILES if hashes.get(name) != meta.sha256.get(name))
    if changed:
        raise _snapshot_damaged(snapshot_id, f"{', '.join(changed)} changed since it was taken")
    # A snapshot of an incomplete root matches its hashes, but would not restore a working one.
    missing = sorted(set(TRUTH_FILES) - hashes.keys())
    if missing:
        raise _snapshot_damaged(snapshot_id, f"it has no {', '.join(missing)}")
    return contents


def find_newest_intact(layout: GovLayout) -> str | None:
    """Return the id of the newest snapshot that can be restored; None when there is none."""
    for meta in reversed(read_all(layout)):
        try:
            read_contents(layout, meta.id)
        except Failure:
            continue
        return meta.id
    return None


def prune(layout: GovLayout, *, retention: int) -> tuple[str, ...]:
    """Delete all but the newest snapshots, and return the ids of the deleted ones.

    Raises:
        Failure: `state-unwritable`.
    """
    snapshots = read_all(layout)
    deleted = tuple(snapshot.id for snapshot in snapshots[:-retention])
    if deleted:
        # The index first: a kill in between leaves unlisted folders, which are deleted later. The other way round it
        # would leave index entries without a folder.
        _write_index(layout, snapshots[-retention:])
        failpoint("gov.prune_after_index")
    for snapshot_id in deleted:
        shutil.rmtree(layout.snapshots / snapshot_id, ignore_errors=True)
    return deleted


def repair_index(layout: GovLayout) -> None:
    """Make index and folders agree after a kill: unlisted folders are deleted, entries without a folder dropped.

    An unlisted folder was being pruned, or belongs to a change that was never committed.

    Raises:
        Failure: `state-unwritable`.
    """
    for folder in layout.snapshots.glob(f"{_UNFINISHED}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    folders = {folder.name for folder in _list_folders(layout)}
    existing = tuple(snapshot for snapshot in read_all(layout) if snapshot.id in folders)
    if existing != _read_index(layout):
        _write_index(layout, existing)
    for name in folders - {snapshot.id for snapshot in existing}:
        shutil.rmtree(layout.snapshots / name, ignore_errors=True)


def _write_folder(layout: GovLayout, folder: Path, meta: SnapshotMeta, contents: Mapping[str, bytes]) -> None:
    unfinished = layout.snapshots / f"{_UNFINISHED}-{meta.id}"
    for name, content in contents.items():
        write_atomic(unfinished / name, content)
    # A folder with meta.json is complete; nothing reads it before the rename.
    write_atomic(unfinished / _META, to_json(meta))
    try:
        failpoint("gov.snapshot_before_rename")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
        fsync_folder(layout.snapshots)
    except OSError as error:
        raise unwritable_failure(folder, error) from error


def _read_index(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    index = read_state(layout.snapshots_index, SnapshotsIndex, only_look=True)
    if not isinstance(index, SnapshotsIndex):
        return ()
    # Ids become paths of folders that are deleted: never trust them as they stand in a file.
    return tuple(snapshot for snapshot in index.snapshots if SNAPSHOT_ID.fullmatch(snapshot.id))


def _write_index(layout: GovLayout, snapshots: tuple[SnapshotMeta, ...]) -> None:
    write_state(layout.snapshots_index, SnapshotsIndex(snapshots=snapshots))


def _list_folders(layout: GovLayout) -> list[Path]:
    if not layout.snapshots.is_dir():
        return []
    return [folder for folder in layout.snapshots.iterdir() if SNAPSHOT_ID.fullmatch(folder.name) and folder.is_dir()]


def _read_folders(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    snapshots = []
    for folder in _list_folders(layout):
        meta = read_state(folder / _META, SnapshotMeta, only_look=True)
        if isinstance(meta, SnapshotMeta):
            snapshots.append(meta)
    snapshots.sort(key=lambda snapshot: (snapshot.created_at, snapshot.id))
    return tuple(snapshots)


def _snapshot_damaged(snapshot_id: str, reason: str) -> Failure:
    return Failure(
        "gov-snapshot-damaged",
        f"The snapshot {printable_path(snapshot_id)} cannot be used: {reason}. Nothing was changed.",
        hint="Choose another one: gov snapshot list.",
    )
