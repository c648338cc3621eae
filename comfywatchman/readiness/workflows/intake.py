"""Acknowledging workflow files: what is new, updated, renamed or removed since the last cycle.

The log is the truth: a line is on disk before anything else remembers it. `workflows.json` is the log applied up to
a byte; what a crash left unapplied is applied at the next start, so a file is acknowledged exactly once.
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
from comfywatchman.readiness.workflows.discovery import WorkflowFile

SCHEMA_VERSION: Final = 1
IntakeKind = Literal["new", "updated", "renamed", "removed"]


class Acknowledgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the intake log.

    Attributes:
        at: When it was acknowledged, UTC.
        kind: What happened to the file.
        path: The file; bytes that are no UTF-8 and control characters as escapes.
        source: Intake source: the label of the configured root, `cli` or `api`.
        sha256: Hash of the content; of the last known content when removed.
        cycle: The cycle that saw it.
        raw_path: The path's bytes in hexadecimal, when `path` had to be escaped.
        previous_path: Where a renamed file was.
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
        sha256: Hash of the acknowledged content.
        kind: Last acknowledgement's kind.
        source: Intake source.
        acknowledged_at: When, UTC.
        signature: device, inode, size in bytes and mtime in nanoseconds that belong to the hash; empty after a
            crash, which means: hash it again.
        raw_path: The path's bytes in hexadecimal, when its key had to be escaped.
        last_resolved_at: The last time its set of missing things became empty, UTC.
        was_missing: Whether something was missing at the last verdict; None before the first.
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
        intake_log_bytes: Up to which byte of the intake log this is.
        workflows: Acknowledged workflows by path.
    """

    schema_version: Literal[1] = 1
    intake_log_bytes: int = 0
    workflows: dict[str, KnownWorkflow] = {}


def load_known_workflows(state: Path, log: Path) -> tuple[dict[str, KnownWorkflow], tuple[CorruptFile, ...]]:
    """Read what was acknowledged so far: the state file, then the log's lines that it does not hold yet.

    Without a usable state file the whole log is applied: nothing is acknowledged twice, but when a workflow last
    became complete is not in the log and begins anew. A log that somebody shortened gives only its lines that are
    newer than all the state file holds.

    Raises:
        Failure: `file-unreadable`: the log is there and cannot be read.
    """
    read = read_state(state, KnownWorkflows)
    damaged = (read,) if isinstance(read, CorruptFile) else ()
    base = read if isinstance(read, KnownWorkflows) else KnownWorkflows()
    known = dict(base.workflows)
    shortened = _get_size(log) < base.intake_log_bytes
    newest = max((item.acknowledged_at for item in known.values()), default="") if shortened else ""
    for entry in read_log(log, from_byte=0 if shortened else base.intake_log_bytes):
        if entry.at > newest:
            _apply_entry(known, entry)
    return known, damaged


def read_log(log: Path, *, from_byte: int = 0) -> Iterator[Acknowledgement]:
    """Yield the log's entries from a byte on, oldest first; lines that cannot be read are passed over.

    Raises:
        Failure: `file-unreadable` or `file-not-regular`: the log is there and cannot be read.
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
    block = 1 << 16
    while True:
        start = max(0, size - block)
        found = list(read_log(log, from_byte=start))
        entries = found[1:] if start and len(found) > count else found
        if start == 0 or len(entries) > count:
            return entries[::-1][:count]
        block *= 4


@dataclass(frozen=True, slots=True)
class IntakeComparison:
    """What a walk over the roots means, held against what was known before.

    Attributes:
        known: What is known now, by shown path.
        added: What to acknowledge, in the order of the files; what was removed comes last.
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
    gone: Callable[[str, int | None], bool],
    at: str,
    cycle: str,
) -> IntakeComparison:
    """Hold the listed files against what is known.

    Args:
        files: The files of the watched roots.
        known: What was acknowledged so far, by shown path.
        hash_file: Returns a file's SHA-256, or None when it cannot be read; called only where the signature changed.
        gone: Says of a known path that was not listed, and the device it was on (None: not known), whether it is
            really gone, rather than in a root that cannot be read at the moment (then it stays known).
        at: Now, for the entries.
        cycle: Id of the cycle.
    """
    now: dict[str, KnownWorkflow] = {}
    fresh: list[Acknowledgement] = []
    unreadable: list[str] = []
    for file in files:
        shown = printable_path(file.path)
        old = known.get(shown)
        if old is not None and old.signature == file.signature:
            now[shown] = old
            continue
        sha256 = hash_file(file.path)
        if sha256 is None:
            unreadable.append(shown)
            now |= {shown: old} if old is not None else {}
        elif old is not None and old.sha256 == sha256:
            now[shown] = msgspec.structs.replace(old, signature=file.signature, source=file.source)
        else:
            entry = _build_entry(file, shown, "updated" if old else "new", sha256, at=at, cycle=cycle)
            fresh.append(entry)
            now[shown] = _build_known(entry, file.signature, old)
    absent = {path: item for path, item in known.items() if path not in now}
    lost = {path: item for path, item in absent.items() if gone(decode_path(path, item.raw_path), _get_device(item))}
    kept = {path: item for path, item in absent.items() if path not in lost}
    fresh = _match_renames(fresh, now, lost)
    removed = (_build_removal(path, item, at=at, cycle=cycle) for path, item in lost.items())
    return IntakeComparison({**kept, **now}, (*fresh, *removed), tuple(unreadable))


def append_entries(log: Path, entries: Iterable[Acknowledgement]) -> None:
    """Append entries durably, all with one flush.

    Raises:
        Failure: `state-unwritable`; some of the entries may be on disk, and then count as acknowledged.
    """
    append_lines(log, [msgspec.json.encode(entry) for entry in entries])


def save_known_workflows(state: Path, log: Path, known: Mapping[str, KnownWorkflow]) -> bool:
    """Write the state file if it changed; say whether it was written.

    Raises:
        Failure: `state-unwritable`.
    """
    failpoint("cycle.after_intake")
    return write_if_changed(state, to_json(KnownWorkflows(intake_log_bytes=_get_size(log), workflows=dict(known))))


def _apply_entry(known: dict[str, KnownWorkflow], entry: Acknowledgement) -> None:
    if entry.kind == "removed":
        known.pop(entry.path, None)
        return
    old = known.pop(entry.previous_path, None) if entry.previous_path else known.get(entry.path)
    known[entry.path] = _build_known(entry, (), old)


def _build_known(entry: Acknowledgement, signature: tuple[int, ...], old: KnownWorkflow | None) -> KnownWorkflow:
    return KnownWorkflow(
        sha256=entry.sha256,
        kind=entry.kind,
        source=entry.source,
        acknowledged_at=entry.at,
        signature=signature,
        raw_path=entry.raw_path,
        last_resolved_at=old.last_resolved_at if old else None,
        was_missing=old.was_missing if old else None,
    )


def _build_entry(
    file: WorkflowFile, shown: str, kind: IntakeKind, sha256: str, *, at: str, cycle: str
) -> Acknowledgement:
    raw = None if shown == file.path else os.fsencode(file.path).hex()
    return Acknowledgement(at=at, kind=kind, path=shown, source=file.source, sha256=sha256, cycle=cycle, raw_path=raw)


def _build_removal(path: str, item: KnownWorkflow, *, at: str, cycle: str) -> Acknowledgement:
    return Acknowledgement(
        at=at, kind="removed", path=path, source=item.source, sha256=item.sha256, cycle=cycle, raw_path=item.raw_path
    )


def _match_renames(
    fresh: list[Acknowledgement], now: dict[str, KnownWorkflow], lost: dict[str, KnownWorkflow]
) -> list[Acknowledgement]:
    by_hash: dict[str, list[str]] = {}
    for path, item in lost.items():
        by_hash.setdefault(item.sha256, []).append(path)
    result = []
    for entry in fresh:
        candidates = by_hash.get(entry.sha256) if entry.kind == "new" else None
        if not candidates:
            result.append(entry)
            continue
        # Of several files with this content, the one that kept its own name most likely moved.
        name = os.path.basename(entry.path)
        previous = next((path for path in candidates if os.path.basename(path) == name), candidates[0])
        candidates.remove(previous)
        old = lost.pop(previous)
        renamed = msgspec.structs.replace(entry, kind="renamed", previous_path=previous)
        now[entry.path] = _build_known(renamed, now[entry.path].signature, old)
        result.append(renamed)
    return result


def _get_device(item: KnownWorkflow) -> int | None:
    return item.signature[0] if item.signature else None


def decode_path(shown: str, raw_path: str | None) -> str:
    """Return the path that a file can be opened under, from its shown form and its bytes in hexadecimal."""
    return os.fsdecode(bytes.fromhex(raw_path)) if raw_path else shown


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
