"""Snapshots: kept states of the truth files, each with hashes so that a damaged one is seen before it is used."""

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
    CorruptFile,
    fsync_folder,
    printable_path,
    read_regular,
    read_state,
    to_json,
    unwritable_failure,
    write_atomic,
    write_if_changed,
)
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
    """Keep the present truth files under a new name, and list it.

    Args:
        layout: The governed root.
        clock: The clocks of this machine.
        reason: Why, such as `promote_pre`.
        ref: What it is taken for.
        generation: The environment in production.

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
    """Write a snapshot and list it; one that is there already stays as it is.

    Raises:
        Failure: `state-unwritable`.
    """
    folder = layout.snapshots / meta.id
    if not (folder / _META).is_file():
        unfinished = layout.snapshots / f"{_UNFINISHED}-{meta.id}"
        for name, content in contents.items():
            write_atomic(unfinished / name, content)
        # A folder with meta.json is complete; until its rename nothing looks into it.
        write_atomic(unfinished / _META, to_json(meta))
        try:
            failpoint("gov.snapshot_before_rename")
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.replace(folder)
            fsync_folder(layout.snapshots)
        except OSError as error:
            raise unwritable_failure(folder, error) from error
    failpoint("gov.snapshot_before_index")
    if meta.id not in {one.id for one in _read_index(layout)}:
        _write_index(layout, (*(one for one in read_all(layout) if one.id != meta.id), meta))


def read_all(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    """Return the kept snapshots, oldest first; from their folders when the list is lost or damaged."""
    return _read_index(layout) or _read_folders(layout)


def read(layout: GovLayout, snapshot_id: str) -> SnapshotMeta:
    """Return one snapshot's facts.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`.
    """
    folder = layout.snapshots / snapshot_id
    if not SNAPSHOT_ID.fullmatch(snapshot_id) or not folder.is_dir():
        raise Failure(
            "gov-snapshot-unknown",
            f"There is no snapshot {snapshot_id!r}.",
            hint="`gov snapshot list` shows those that are kept.",
        )
    meta = read_state(folder / _META, SnapshotMeta, only_look=True)
    if not isinstance(meta, SnapshotMeta):
        raise _snapshot_damaged(snapshot_id, meta.reason if isinstance(meta, CorruptFile) else "its meta.json is gone")
    return meta


def read_contents(layout: GovLayout, snapshot_id: str) -> dict[str, bytes]:
    """Return a snapshot's truth files, each with the hash that was recorded when it was taken.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`.
    """
    meta = read(layout, snapshot_id)
    try:
        contents = read_truth_files(layout.snapshots / snapshot_id)
    except Failure as failure:
        raise _snapshot_damaged(snapshot_id, failure.message) from failure
    found = hash_contents(contents)
    if changed := sorted(name for name in TRUTH_FILES if found.get(name) != meta.sha256.get(name)):
        raise _snapshot_damaged(snapshot_id, f"{', '.join(changed)} changed since it was taken")
    if missing := sorted(set(TRUTH_FILES) - found.keys()):
        raise _snapshot_damaged(snapshot_id, f"it has no {', '.join(missing)}")
    return contents


def prune(layout: GovLayout, *, retention: int) -> tuple[str, ...]:
    """Drop the oldest snapshots but the newest few, and return the names of those dropped.

    Raises:
        Failure: `state-unwritable`.
    """
    listed = read_all(layout)
    dropped = tuple(one.id for one in listed[:-retention])
    if dropped:
        _write_index(layout, listed[-retention:])
        failpoint("gov.prune_after_index")
    for name in dropped:
        shutil.rmtree(layout.snapshots / name, ignore_errors=True)
    return dropped


def repair_index(layout: GovLayout) -> None:
    """Bring list and folders together after a kill: what is not listed goes, what is listed and gone is not listed.

    A folder that is not listed was being pruned, or was taken before a change that never came.

    Raises:
        Failure: `state-unwritable`.
    """
    for folder in layout.snapshots.glob(f"{_UNFINISHED}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    listed = read_all(layout)
    here = {folder.name for folder in _list_folders(layout)}
    standing = tuple(one for one in listed if one.id in here)
    if standing != _read_index(layout):
        _write_index(layout, standing)
    for name in here - {one.id for one in standing}:
        shutil.rmtree(layout.snapshots / name, ignore_errors=True)


def _read_index(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    index = read_state(layout.snapshots_index, SnapshotsIndex, only_look=True)
    listed = index.snapshots if isinstance(index, SnapshotsIndex) else ()
    return tuple(one for one in listed if SNAPSHOT_ID.fullmatch(one.id))


def _write_index(layout: GovLayout, metas: tuple[SnapshotMeta, ...]) -> None:
    write_if_changed(layout.snapshots_index, to_json(SnapshotsIndex(snapshots=metas)))


def _list_folders(layout: GovLayout) -> list[Path]:
    if not layout.snapshots.is_dir():
        return []
    return [folder for folder in layout.snapshots.iterdir() if SNAPSHOT_ID.fullmatch(folder.name) and folder.is_dir()]


def _read_folders(layout: GovLayout) -> tuple[SnapshotMeta, ...]:
    metas = (read_state(folder / _META, SnapshotMeta, only_look=True) for folder in _list_folders(layout))
    return tuple(
        sorted((one for one in metas if isinstance(one, SnapshotMeta)), key=lambda one: (one.created_at, one.id))
    )


def _snapshot_damaged(snapshot_id: str, reason: str) -> Failure:
    return Failure(
        "gov-snapshot-damaged",
        f"The snapshot {printable_path(snapshot_id)} cannot be used: {reason}. Nothing was changed.",
        hint="Choose another one: gov snapshot list.",
    )
