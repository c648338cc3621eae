"""Intake: acknowledge which workflow files are new, updated, renamed or removed since the last cycle.

The log is authoritative: each line is on disk before any other state depends on it. `workflows.json` is the log
applied up to a byte offset. Lines that a crash left unapplied are applied at the next start, so a file is
acknowledged exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.append_log import append_lines
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import CorruptFile, open_regular, printable_path, read_state, to_json, write_if_changed
from comfywatchman.comfyui.workflow.embedded.extract import SUFFIXES as MEDIA_SUFFIXES
from comfywatchman.readiness.workflows.discovery import WorkflowFile

SCHEMA_VERSION: Final = 1
_UNKNOWN_HASH: Final = ""
IntakeKind = Literal["new", "updated", "renamed", "removed"]


class Acknowledgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the intake log.

    Attributes:
        at: When it was acknowledged, UTC.
        kind: `new`, `updated`, `renamed` or `removed`.
        path: The file; bytes that are not UTF-8 and control characters are escaped.
        source: Intake source: the label of the configured root, `cli` or `api`.
        sha256: SHA-256 of the file; of the last known content when removed.
        cycle: Id of the cycle that acknowledged it.
        raw_path: The path's bytes in hexadecimal, when `path` had to be escaped.
        previous_path: The old path of a renamed file.
    """

    at: str
    kind: IntakeKind
    path: str
    source: str
    sha256: str
    cycle: str
    raw_path: str | None = None
    previous_path: str | None = None


class KnownWorkflow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One acknowledged workflow.

    Attributes:
        sha256: SHA-256 of the acknowledged file; empty when it is to be hashed anew.
        kind: Kind of the last acknowledgement.
        source: Intake source.
        acknowledged_at: Time of the last acknowledgement, UTC.
        signature: Device, inode, size in bytes and mtime in nanoseconds at the time of hashing; empty after a crash,
            so that the file is hashed again.
        raw_path: The path's bytes in hexadecimal, when its key had to be escaped.
        last_resolved_at: The last time it became complete, UTC.
        was_missing: Whether it lacked something at the last verdict; None before the first verdict.
    """

    sha256: str
    kind: IntakeKind
    source: str
    acknowledged_at: str
    signature: tuple[int, ...] = ()
    raw_path: str | None = None
    last_resolved_at: str | None = None
    was_missing: bool | None = None


class KnownWorkflows(msgspec.Struct, frozen=True):
    """`state/workflows.json`.

    Attributes:
        schema_version: 1.
        hash_of: `file`: every hash is that of the whole file. Absent in files of older versions, where the hash of a
            media file is that of the workflow in it.
        intake_log_bytes: Byte offset up to which the intake log is applied.
        workflows: Acknowledged workflows by path.
    """

    schema_version: Literal[1] = 1
    hash_of: Literal["", "file"] = ""
    intake_log_bytes: int = 0
    workflows: dict[str, KnownWorkflow] = {}


def load_known_workflows(state: Path, log: Path) -> tuple[dict[str, KnownWorkflow], tuple[CorruptFile, ...]]:
    """Read the acknowledged workflows: the state file, then the log lines that it does not contain yet.

    Without a usable state file the whole log is applied. Then nothing is acknowledged twice, but the times at which
    workflows became complete are lost, since the log does not contain them. Of a log that was shortened, only the
    lines newer than the state file are applied.

    Returns:
        The known workflows by shown path, and the state file if it was damaged.

    Raises:
        Failure: `file-unreadable`: the log exists and cannot be read.
    """
    damaged: tuple[CorruptFile, ...] = ()
    stored = read_state(state, KnownWorkflows)
    if isinstance(stored, CorruptFile):
        damaged = (stored,)
        stored = None
    if stored is None:
        stored = KnownWorkflows()
    known = dict(stored.workflows)
    if stored.hash_of != "file":
        known = {path: _forget_text_hash(path, workflow) for path, workflow in known.items()}
    from_byte = stored.intake_log_bytes
    newest = ""
    if _get_size(log) < from_byte:
        # Somebody shortened the log, so the offset means nothing any more; the times still do.
        from_byte = 0
        newest = max((workflow.acknowledged_at for workflow in known.values()), default="")
    for entry in read_log(log, from_byte=from_byte):
        if entry.at > newest:
            _apply_entry(known, entry)
    return known, damaged


def _forget_text_hash(path: str, workflow: KnownWorkflow) -> KnownWorkflow:
    """Let a media file be hashed again, without an acknowledgement: only the meaning of its hash has changed."""
    if os.path.splitext(path)[1].lower() not in MEDIA_SUFFIXES:
        return workflow
    return msgspec.structs.replace(workflow, sha256=_UNKNOWN_HASH, signature=())


def read_log(log: Path, *, from_byte: int = 0) -> Iterator[Acknowledgement]:
    """Yield the log's entries from a byte offset on, oldest first; unreadable lines are skipped.

    Raises:
        Failure: `file-unreadable` or `file-not-regular`: the log exists and cannot be read.
    """
    try:
        with open_regular(log) as descriptor, open(descriptor, "rb", closefd=False) as stream:
            stream.seek(from_byte)
            for line in stream:
                try:
                    yield msgspec.json.decode(line, type=Acknowledgement)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
    except Failure as failure:
        if not isinstance(failure.__cause__, FileNotFoundError):
            raise


def read_last_entries(log: Path, count: int) -> list[Acknowledgement]:
    """Return the newest entries, newest first, reading the log from its end."""
    size = _get_size(log)
    block_bytes = 1 << 16
    while True:
        start = max(0, size - block_bytes)
        entries = list(read_log(log, from_byte=start))
        # The first entry of a block that starts within a line may be wrong, so the block must contain one entry more.
        if start == 0 or len(entries) > count + 1:
            entries.reverse()
            return entries[:count]
        block_bytes *= 4


@dataclass(frozen=True, slots=True)
class IntakeComparison:
    """Difference between the listed files and the known workflows.

    Attributes:
        known: The workflows known now, by shown path.
        added: Acknowledgements to append, in the order of the files; removals come last.
        unreadable: Shown paths of files that could not be read; a known one of them stays known.
    """

    known: dict[str, KnownWorkflow]
    added: tuple[Acknowledgement, ...]
    unreadable: tuple[str, ...]


def compare_files(
    files: Iterable[WorkflowFile],
    known: Mapping[str, KnownWorkflow],
    *,
    hash_file: Callable[[str], str | None],
    is_gone: Callable[[str, int | None], bool],
    at: str,
    cycle: str,
) -> IntakeComparison:
    """Compare the listed files with the known workflows.

    Args:
        files: The files of the watched roots.
        known: The workflows acknowledged so far, by shown path.
        hash_file: Returns a file's SHA-256, or None when it cannot be read; called only when the signature changed.
        is_gone: Returns whether a known path that was not listed, last seen on a device (None: unknown), was deleted.
            A path below an unavailable root is not: it stays known.
        at: Time of the new acknowledgements.
        cycle: Id of the cycle.
    """
    listed: dict[str, KnownWorkflow] = {}
    added: list[Acknowledgement] = []
    unreadable: list[str] = []
    for file in files:
        shown = printable_path(file.path)
        old = known.get(shown)
        if old is not None and old.signature == file.signature:
            listed[shown] = old
            continue
        sha256 = hash_file(file.path)
        if sha256 is None:
            unreadable.append(shown)
            if old is not None:
                listed[shown] = old
        elif old is not None and old.sha256 in {sha256, _UNKNOWN_HASH}:
            # Touched, moved to another disk or copied back: the content is the acknowledged one.
            listed[shown] = msgspec.structs.replace(old, sha256=sha256, signature=file.signature, source=file.source)
        else:
            entry = _build_entry(file, shown, "updated" if old else "new", sha256, at=at, cycle=cycle)
            added.append(entry)
            listed[shown] = _build_known(entry, file.signature, old)
    removed, unavailable = _split_absent(known, listed, is_gone)
    _match_renames(added, listed, removed)
    for path, workflow in removed.items():
        added.append(_build_removal(path, workflow, at=at, cycle=cycle))
    return IntakeComparison({**unavailable, **listed}, tuple(added), tuple(unreadable))


def _split_absent(
    known: Mapping[str, KnownWorkflow],
    listed: Mapping[str, KnownWorkflow],
    is_gone: Callable[[str, int | None], bool],
) -> tuple[dict[str, KnownWorkflow], dict[str, KnownWorkflow]]:
    """Return the known workflows that were not listed: those removed, and those unavailable at the moment."""
    removed: dict[str, KnownWorkflow] = {}
    unavailable: dict[str, KnownWorkflow] = {}
    for path, workflow in known.items():
        if path in listed:
            continue
        if is_gone(decode_path(path, workflow.raw_path), _get_device(workflow)):
            removed[path] = workflow
        else:
            unavailable[path] = workflow
    return removed, unavailable


def append_entries(log: Path, entries: Iterable[Acknowledgement]) -> None:
    """Append entries durably, with one flush for all.

    Raises:
        Failure: `state-unwritable`; entries that reached the disk count as acknowledged.
    """
    append_lines(log, [msgspec.json.encode(entry) for entry in entries])


def save_known_workflows(state: Path, log: Path, known: Mapping[str, KnownWorkflow]) -> bool:
    """Write the state file if it changed; return whether it was written.

    Raises:
        Failure: `state-unwritable`.
    """
    failpoint("cycle.after_intake")
    content = KnownWorkflows(hash_of="file", intake_log_bytes=_get_size(log), workflows=dict(known))
    return write_if_changed(state, to_json(content))


def _apply_entry(known: dict[str, KnownWorkflow], entry: Acknowledgement) -> None:
    if entry.kind == "removed":
        known.pop(entry.path, None)
        return
    old = known.get(entry.path)
    if entry.previous_path:
        old = known.pop(entry.previous_path, None)
    known[entry.path] = _build_known(entry, (), old)


def _build_known(entry: Acknowledgement, signature: tuple[int, ...], old: KnownWorkflow | None) -> KnownWorkflow:
    known = KnownWorkflow(
        sha256=entry.sha256,
        kind=entry.kind,
        source=entry.source,
        acknowledged_at=entry.at,
        signature=signature,
        raw_path=entry.raw_path,
    )
    if old is None:
        return known
    # An edited or renamed workflow is still the same one, so it keeps its history.
    return msgspec.structs.replace(known, last_resolved_at=old.last_resolved_at, was_missing=old.was_missing)


def _build_entry(
    file: WorkflowFile, shown: str, kind: IntakeKind, sha256: str, *, at: str, cycle: str
) -> Acknowledgement:
    raw_path = None
    if shown != file.path:
        raw_path = os.fsencode(file.path).hex()
    return Acknowledgement(
        at=at, kind=kind, path=shown, source=file.source, sha256=sha256, cycle=cycle, raw_path=raw_path
    )


def _build_removal(path: str, workflow: KnownWorkflow, *, at: str, cycle: str) -> Acknowledgement:
    return Acknowledgement(
        at=at,
        kind="removed",
        path=path,
        source=workflow.source,
        sha256=workflow.sha256,
        cycle=cycle,
        raw_path=workflow.raw_path,
    )


def _match_renames(
    added: list[Acknowledgement], listed: dict[str, KnownWorkflow], removed: dict[str, KnownWorkflow]
) -> None:
    """Turn each new file with the content of a removed one into a rename, in place in all three."""
    paths_by_hash: dict[str, list[str]] = {}
    for path, workflow in removed.items():
        paths_by_hash.setdefault(workflow.sha256, []).append(path)
    for position, entry in enumerate(added):
        candidates = paths_by_hash.get(entry.sha256)
        if entry.kind != "new" or not candidates:
            continue
        # Of several removed files with this content, the one with the same file name most likely moved.
        name = os.path.basename(entry.path)
        previous = next((path for path in candidates if os.path.basename(path) == name), candidates[0])
        candidates.remove(previous)
        old = removed.pop(previous)
        renamed = msgspec.structs.replace(entry, kind="renamed", previous_path=previous)
        listed[entry.path] = _build_known(renamed, listed[entry.path].signature, old)
        added[position] = renamed


def _get_device(workflow: KnownWorkflow) -> int | None:
    return workflow.signature[0] if workflow.signature else None


def decode_path(shown: str, raw_path: str | None) -> str:
    """Return the real path of a file, from its shown form and its bytes in hexadecimal."""
    if raw_path:
        return os.fsdecode(bytes.fromhex(raw_path))
    return shown


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
