"""The known workflows of each ComfyUI (`state/workflows.json`): the intake log applied up to a byte offset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.state.ranges import Count, HexText
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
from comfywatchman.comfyui.workflow.embedded.extract import SUFFIXES as MEDIA_SUFFIXES
from comfywatchman.readiness.workflows.intake_log import Acknowledgement, IntakeKind, decode_path, get_size, read_log

SCHEMA_VERSION: Final = 1
UNKNOWN_HASH: Final = ""
_MAX_OTHERS: Final = 8
"""How many other ComfyUIs are remembered."""


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
    raw_path: HexText | None = None
    last_resolved_at: str | None = None
    was_missing: bool | None = None


class ForeignWorkflows(msgspec.Struct, frozen=True):
    """The known workflows of another ComfyUI, and the byte offset up to which the intake log is applied to them."""

    intake_log_bytes: Count = 0
    workflows: dict[str, KnownWorkflow] = {}


class KnownWorkflows(msgspec.Struct, frozen=True):
    """`state/workflows.json`.

    Attributes:
        schema_version: 1.
        comfyui: Id of the ComfyUI that `workflows` belongs to; null in files of older versions.
        others: The known workflows of other ComfyUIs that share this home, by id.
        hash_of: `file`: every hash is that of the whole file. Absent in files of older versions, where the hash of a
            media file is that of the workflow in it.
        intake_log_bytes: Byte offset up to which the intake log is applied.
        workflows: Acknowledged workflows by path.
    """

    schema_version: Literal[1] = 1
    hash_of: Literal["", "file"] = ""
    intake_log_bytes: Count = 0
    workflows: dict[str, KnownWorkflow] = {}
    comfyui: str | None = None
    others: dict[str, ForeignWorkflows] = {}


def load_known_workflows(
    state: Path, log: Path, *, comfyui: str | None = None, is_watched: Callable[[str], bool] = lambda _path: True
) -> tuple[dict[str, KnownWorkflow], tuple[CorruptFile, ...]]:
    """Read the acknowledged workflows: the state file, then the log lines that it does not contain yet.

    Without a usable state file the whole log is applied. Then nothing is acknowledged twice, but the times at which
    workflows became complete are lost, since the log does not contain them. Of a log that was shortened, only the
    lines newer than the state file are applied.

    Args:
        state: The state file.
        log: The intake log.
        comfyui: Id of the watched ComfyUI; workflows of others are left out.
        is_watched: Returns whether a path is in a watched root. Older versions did not record the ComfyUI; what they
            acknowledged there belongs to this one.

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
    known, from_byte = _select_known(stored or KnownWorkflows(comfyui=comfyui), comfyui, is_watched)
    newest = ""
    if get_size(log) < from_byte:
        # The log was shortened, so the offset is no longer valid; the times still are.
        from_byte = 0
        newest = max((workflow.acknowledged_at for workflow in known.values()), default="")
    for entry in read_log(log, from_byte=from_byte):
        is_own = entry.comfyui == comfyui or (entry.comfyui is None and is_watched(_decode(entry.path, entry)))
        if is_own and entry.at > newest:
            _apply_entry(known, entry)
    return known, damaged


def _select_known(
    stored: KnownWorkflows, comfyui: str | None, is_watched: Callable[[str], bool]
) -> tuple[dict[str, KnownWorkflow], int]:
    """Return the stored workflows of a ComfyUI, and the offset up to which the log is applied to them."""
    if stored.comfyui not in {comfyui, None}:
        other = stored.others.get(comfyui or "", ForeignWorkflows())
        return dict(other.workflows), other.intake_log_bytes
    known = dict(stored.workflows)
    if stored.hash_of != "file":
        known = {path: _forget_text_hash(path, workflow) for path, workflow in known.items()}
    if stored.comfyui != comfyui:
        known = {path: _forget_verdict(item) for path, item in known.items() if is_watched(_decode(path, item))}
    return known, stored.intake_log_bytes


def _forget_verdict(workflow: KnownWorkflow) -> KnownWorkflow:
    """Keep what is true of the file, and drop the verdict of an older version, which did not record the ComfyUI."""
    return msgspec.structs.replace(workflow, was_missing=None, last_resolved_at=None)


def _decode(path: str, stored: KnownWorkflow | Acknowledgement) -> str:
    return decode_path(path, stored.raw_path)


def _forget_text_hash(path: str, workflow: KnownWorkflow) -> KnownWorkflow:
    """Let a media file be hashed again, without an acknowledgement: only the meaning of its hash has changed."""
    if os.path.splitext(path)[1].lower() not in MEDIA_SUFFIXES:
        return workflow
    return msgspec.structs.replace(workflow, sha256=UNKNOWN_HASH, signature=())


def save_known_workflows(
    state: Path, log: Path, known: Mapping[str, KnownWorkflow], *, comfyui: str | None = None
) -> bool:
    """Write the state file if it changed; return whether it was written. Workflows of other ComfyUIs are kept.

    Raises:
        Failure: `state-newer`, `state-unwritable`.
    """
    failpoint("cycle.after_intake")
    content = KnownWorkflows(
        hash_of="file",
        intake_log_bytes=get_size(log),
        workflows=dict(known),
        comfyui=comfyui,
        others=_list_others(state, comfyui),
    )
    return write_state(state, content)


def _list_others(state: Path, comfyui: str | None) -> dict[str, ForeignWorkflows]:
    stored = read_state(state, KnownWorkflows, only_look=True)
    if not isinstance(stored, KnownWorkflows):
        return {}
    others = dict(stored.others)
    if stored.comfyui is not None:
        others[stored.comfyui] = ForeignWorkflows(stored.intake_log_bytes, stored.workflows)
    others.pop(comfyui or "", None)
    # A deleted ComfyUI never comes back, so the one with the oldest acknowledgement is dropped first.
    newest_first = sorted(others, key=lambda name: _find_newest(others[name]), reverse=True)
    return {name: others[name] for name in newest_first[:_MAX_OTHERS]}


def _find_newest(other: ForeignWorkflows) -> str:
    return max((workflow.acknowledged_at for workflow in other.workflows.values()), default="")


def _apply_entry(known: dict[str, KnownWorkflow], entry: Acknowledgement) -> None:
    if entry.kind == "removed":
        known.pop(entry.path, None)
        return
    old = known.get(entry.path)
    if entry.previous_path:
        old = known.pop(entry.previous_path, None)
    known[entry.path] = build_known(entry, (), old)


def build_known(entry: Acknowledgement, signature: tuple[int, ...], old: KnownWorkflow | None) -> KnownWorkflow:
    """Return the known workflow after an acknowledgement; one that was known before keeps its history."""
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
