"""Intake: acknowledge which workflow files are new, updated, renamed or removed since the last cycle.

The log is authoritative: each line is on disk before any other state depends on it. `workflows.json` is the log
applied up to a byte offset. Lines that a crash left unapplied are applied at the next start, so a file is
acknowledged exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.readiness.workflows.discovery import WorkflowFile
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, IntakeKind, decode_path
from comfywatchman.readiness.workflows.known_workflows import UNKNOWN_HASH, KnownWorkflow, build_known


@dataclass(frozen=True, slots=True)
class IntakeComparison:
    """Difference between the listed files and the known workflows.

    Attributes:
        known: The workflows known now, by shown path.
        added: Acknowledgements to append, in the order of the files; removals come last.
        unreadable: Files that could not be read; a known one of them stays known.
        unavailable: Why known workflows that were not listed may still exist, by shown path; they stay known.
    """

    known: dict[str, KnownWorkflow]
    added: tuple[Acknowledgement, ...]
    unreadable: tuple[WorkflowFile, ...]
    unavailable: Mapping[str, Obstacle]


def compare_files(
    files: Iterable[WorkflowFile],
    known: Mapping[str, KnownWorkflow],
    *,
    hash_file: Callable[[str], str | None],
    explain_absence: Callable[[str, int | None], Obstacle | None],
    at: str,
    cycle: str,
    comfyui: str | None = None,
) -> IntakeComparison:
    """Compare the listed files with the known workflows.

    Args:
        files: The files of the watched roots.
        known: The workflows acknowledged so far, by shown path.
        hash_file: Returns a file's SHA-256, or None when it cannot be read; called only when the signature changed.
        explain_absence: Returns why a known path that was not listed, last seen on a device (None: unknown), may still
            exist; None for a deleted one.
        at: Time of the new acknowledgements.
        cycle: Id of the cycle.
        comfyui: Id of the watched ComfyUI.
    """
    listed: dict[str, KnownWorkflow] = {}
    added: list[Acknowledgement] = []
    unreadable: list[WorkflowFile] = []
    for file in files:
        shown = printable_path(file.path)
        old = known.get(shown)
        if old is not None and old.signature == file.signature:
            listed[shown] = old
            continue
        sha256 = hash_file(file.path)
        if sha256 is None:
            unreadable.append(file)
            if old is not None:
                listed[shown] = old
        elif old is not None and old.sha256 in {sha256, UNKNOWN_HASH}:
            # Touched, moved to another disk or copied back: the content is the acknowledged one.
            listed[shown] = msgspec.structs.replace(old, sha256=sha256, signature=file.signature, source=file.source)
        else:
            entry = _build_entry(file, shown, "updated" if old else "new", sha256, at=at, cycle=cycle)
            added.append(entry)
            listed[shown] = build_known(entry, file.signature, old)
    removed, unavailable = _split_absent(known, listed, explain_absence)
    _match_renames(added, listed, removed)
    for path, workflow in removed.items():
        added.append(_build_removal(path, workflow, at=at, cycle=cycle))
    owned = tuple(msgspec.structs.replace(entry, comfyui=comfyui) for entry in added)
    kept = {path: known[path] for path in unavailable}
    return IntakeComparison({**kept, **listed}, owned, tuple(unreadable), unavailable)


def _split_absent(
    known: Mapping[str, KnownWorkflow],
    listed: Mapping[str, KnownWorkflow],
    explain_absence: Callable[[str, int | None], Obstacle | None],
) -> tuple[dict[str, KnownWorkflow], dict[str, Obstacle]]:
    """Return the known workflows that were removed, and why others were not listed."""
    removed: dict[str, KnownWorkflow] = {}
    unavailable: dict[str, Obstacle] = {}
    for path, workflow in known.items():
        if path in listed:
            continue
        obstacle = explain_absence(decode_path(path, workflow.raw_path), _get_device(workflow))
        if obstacle is None:
            removed[path] = workflow
        else:
            unavailable[path] = obstacle
    return removed, unavailable


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
        listed[entry.path] = build_known(renamed, listed[entry.path].signature, old)
        added[position] = renamed


def _get_device(workflow: KnownWorkflow) -> int | None:
    return workflow.signature[0] if workflow.signature else None
