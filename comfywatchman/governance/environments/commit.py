"""The commit of every change: a journal, then steps that can be repeated until the last one is done.

Before the journal is on disk, production is unchanged; after it, recovery finishes the change. Everything that the
journal names (the staging folder, the environment) is complete on disk before the journal.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import (
    delete_temporary_files,
    fsync_file,
    fsync_folder,
    printable_path,
    to_json,
    unwritable_failure,
    write_atomic,
    write_if_changed,
)
from comfywatchman.base.state.state_file import CorruptFile, describe_corrupt_file, read_state
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import checkout, generation, snapshot
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store.ids import make_operation_id, make_snapshot_id
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import (
    FileChange,
    Journal,
    Operation,
    OperationKind,
    SnapshotMeta,
    SnapshotsIndex,
)
from comfywatchman.governance.store.settings import GovSettings

log = logging.getLogger(__name__)

_CHECKOUT_CODES: Final = frozenset({"gov-comfyui-changed", "gov-checkout-unreadable"})
"""Failures of ComfyUI's checkout, whose hints apply to an unfinished commit as well."""


def prepare(
    layout: GovLayout,
    clock: Clock,
    staging_dir: StagingDir,
    *,
    kind: OperationKind,
    ref: str,
    key: str,
    pre_snapshot: str | None,
    note: str = "",
    started_at: str | None = None,
    post_id: str | None = None,
) -> Journal:
    """Return the journal of a change whose truth files and environment are complete; nothing is written.

    Args:
        layout: The governed root; its lock must be held.
        clock: The clock.
        staging_dir: The new truth files.
        kind: The kind of change.
        ref: The transaction, node, snapshot or operation that it applies to.
        key: The key of the new production environment (`generation.build`).
        pre_snapshot: The id of the snapshot from before (`snapshot.create`); `undo` goes back to it.
        note: A description for people.
        started_at: The time when it began; now when None.
        post_id: The id of the snapshot from after, where the truth files contain it; a new one when None.
    """
    before = snapshot.hash_contents(snapshot.read_root_files(layout))
    after = staging_dir.hashes()
    now = format_utc(clock.now())
    post_snapshot = SnapshotMeta(
        id=post_id or make_snapshot_id(clock),
        created_at=now,
        reason="init" if kind == "init" else f"{kind}_post",
        ref=ref,
        generation=key,
        sha256=after,
    )
    files = {}
    for name in TRUTH_FILES:
        files[name] = FileChange(pre_sha256=before.get(name), post_sha256=after.get(name))
    operation = Operation(
        op_id=make_operation_id(clock),
        number=_next_number(layout),
        kind=kind,
        ref=ref,
        started_at=started_at or now,
        ended_at=now,
        files=files,
        pre_snapshot=pre_snapshot,
        post_snapshot=post_snapshot.id,
        note=note,
    )
    return Journal(operation=operation, work=staging_dir.folder.name, generation=key, post_snapshot=post_snapshot)


def _next_number(layout: GovLayout) -> int:
    """Return the number of the next operation. Ids begin with the time, which a change of the clock can turn back."""
    last = 0
    for path in layout.operations.glob("*.json"):
        operation = read_state(path, Operation, only_look=True)
        if isinstance(operation, Operation):
            last = max(last, operation.number)
    return last + 1


def publish(context: GovContext, journal: Journal) -> Operation:
    """Commit a change: once its journal is on disk it will happen, even if this process is killed.

    Raises:
        Failure: `state-unwritable` before the commit point: nothing changed. `gov-commit-unfinished` after it: the
            change counts as done, and the next command finishes it.
    """
    _make_durable(context.layout.work / journal.work)
    write_atomic(context.layout.journal, to_json(journal))
    failpoint("gov.after_journal")
    _apply(context.layout, context.custom_nodes, journal)
    prune(context.layout, context.settings)
    return journal.operation


def recover(context: GovContext) -> str | None:
    """Finish an interrupted commit and delete the files of killed commands; every command starts with it.

    Returns:
        A message about the commit that was finished; None when there was none.

    Raises:
        Failure: `state-newer` when a later version of this program wrote files of the root;
            `gov-recovery-impossible`; `gov-commit-unfinished` when it still cannot be finished.
    """
    layout = context.layout
    _refuse_later_version(layout)
    journal = read_state(layout.journal, Journal)
    note = None
    if isinstance(journal, CorruptFile):
        note = f"The journal of a change was damaged ({journal.reason}); it was set aside. Run: gov check"
        log.warning("damaged journal set aside", extra={"reason": journal.reason})
    elif journal is not None:
        note = _recover_journal(layout, context.custom_nodes, journal)
        log.info("interrupted change finished", extra={"op_id": journal.operation.op_id})
    delete_stale_files(layout)
    if journal is not None:
        prune(layout, context.settings)
    return note


def _refuse_later_version(layout: GovLayout) -> None:
    # Without the list of a later version its snapshots would count as stale files, and be deleted.
    for path, shape in ((layout.journal, Journal), (layout.snapshots_index, SnapshotsIndex)):
        stored = read_state(path, shape, only_look=True)
        if isinstance(stored, CorruptFile) and stored.later_version is not None:
            raise Failure("state-newer", describe_corrupt_file(stored) + ".", hint="Update comfywatchman.")


def delete_stale_files(layout: GovLayout) -> None:
    """Delete the files of killed commands: staging folders, unfinished builds, temporary files, unlisted snapshots."""
    if layout.work.is_dir():
        for folder in layout.work.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (layout.root, layout.root / "state", layout.operations, layout.transactions):
        delete_temporary_files(folder)
    snapshot.repair_index(layout)
    generation.delete_temporary_files(layout)


def prune(layout: GovLayout, settings: GovSettings) -> None:
    """Delete snapshots and environments beyond the configured numbers; failures are logged, not raised."""
    # Two snapshots always stay, so that the last change can be undone.
    retention = max(2, settings.rollback.snapshot_retention)
    try:
        snapshot.prune(layout, retention=retention)
        generation.prune(layout, snapshot.read_all(layout), keep=settings.runtime.keep_generations)
    except (Failure, OSError) as error:
        # The change itself is done; the next one tries again.
        log.warning("old snapshots or environments not pruned", extra={"reason": str(error)})


def _make_durable(folder: Path) -> None:
    # uv renames its lock into place without flushing it (seen with strace: no fsync anywhere).
    try:
        for name in TRUTH_FILES:
            if (folder / name).exists():
                fsync_file(folder / name)
        fsync_folder(folder)
        failpoint("gov.before_journal")
    except OSError as error:
        raise unwritable_failure(folder, error) from error


def _apply(layout: GovLayout, custom_nodes: Path, journal: Journal) -> None:
    """Do all steps of a commit. Each can be repeated, as recovery starts again with the first one."""
    try:
        contents = snapshot.read_truth_files(layout.work / journal.work)
        for name in TRUTH_FILES:
            if name in contents:
                write_if_changed(layout.truth_file(name), contents[name])
                failpoint("gov.after_truth")
        if journal.generation is not None:
            generation.switch_production(layout, journal.generation)
        checkout.apply(layout, journal.operation.op_id)
        failpoint("gov.after_flip")
        _write_records(layout, journal)
        failpoint("gov.after_records")
        snapshot.write(layout, journal.post_snapshot, contents)
        failpoint("gov.after_snapshot")
        if journal.removed_node:
            _delete_node_code(custom_nodes, journal.removed_node)
        layout.journal.unlink()
        fsync_folder(layout.journal.parent)
        failpoint("gov.after_unlink")
    except (OSError, Failure) as error:
        reason = error.message if isinstance(error, Failure) else f"{os_error_text(error)}."
        hint = "Free disk space or fix the permissions of the governed root; the next gov command finishes it."
        if isinstance(error, Failure) and error.code in _CHECKOUT_CODES and error.hint:
            hint = error.hint
        raise Failure(
            "gov-commit-unfinished",
            f"The {journal.operation.kind} of {journal.operation.ref} is committed but not finished: {reason}",
            hint=hint,
        ) from error
    shutil.rmtree(layout.work / journal.work, ignore_errors=True)


def _write_records(layout: GovLayout, journal: Journal) -> None:
    operation = journal.operation
    write_if_changed(layout.operations / f"{operation.op_id}.json", to_json(operation))
    transactions = journal.transactions if journal.transaction is None else (journal.transaction,)
    for transaction in transactions:
        write_if_changed(layout.transactions / f"{transaction.txid}.json", to_json(transaction))
    if journal.undone is not None:
        path = layout.operations / f"{journal.undone}.json"
        undone = read_state(path, Operation, only_look=True)
        if isinstance(undone, Operation):
            write_if_changed(path, to_json(msgspec.structs.replace(undone, status="undone")))


def _delete_node_code(custom_nodes: Path, node_id: str) -> None:
    # The journal is a file that could have been edited: never delete outside of custom_nodes.
    if node_id in {".", ".."} or "/" in node_id:
        return
    folder = custom_nodes / node_id
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def _recover_journal(layout: GovLayout, custom_nodes: Path, journal: Journal) -> str:
    operation = journal.operation
    if _is_complete(layout, journal):
        _apply(layout, custom_nodes, journal)
        return f"An interrupted {operation.kind} of {operation.ref} was finished."
    _revert(layout, journal)
    layout.journal.unlink()
    fsync_folder(layout.journal.parent)
    return f"A {operation.kind} of {operation.ref} was interrupted and its files are lost; it was reverted."


def _is_complete(layout: GovLayout, journal: Journal) -> bool:
    """Return whether everything that a journal names is still on disk."""
    hashes = snapshot.hash_contents(snapshot.read_truth_files(layout.work / journal.work))
    expected = {}
    for name, change in journal.operation.files.items():
        if change.post_sha256:
            expected[name] = change.post_sha256
    has_environment = journal.generation is None or generation.read_mark(layout, journal.generation) is not None
    return hashes == expected and has_environment


def _revert(layout: GovLayout, journal: Journal) -> None:
    try:
        contents, key = _read_complete_snapshot(layout, journal.operation.pre_snapshot)
    except Failure as failure:
        raise Failure(
            "gov-recovery-impossible",
            f"The change {journal.operation.op_id} was interrupted. Its files are missing from "
            f"{printable_path(layout.work)}, and it cannot be reverted: {failure.message}",
            hint="Restore pyproject.toml, uv.lock and state/plugins.json from a backup, delete state/journal.json, "
            "then run: gov init",
        ) from failure
    for name, content in contents.items():
        write_if_changed(layout.truth_file(name), content)
    generation.switch_production(layout, key)


def _read_complete_snapshot(layout: GovLayout, snapshot_id: str | None) -> tuple[dict[str, bytes], str]:
    """Return the truth files of a snapshot and the key of its environment, which must still exist."""
    if snapshot_id is None:
        raise Failure("gov-snapshot-unknown", "there was nothing before it.")
    key = snapshot.read(layout, snapshot_id).generation
    if key is None or generation.read_mark(layout, key) is None:
        raise Failure("gov-snapshot-damaged", f"The environment of snapshot {snapshot_id} is missing.")
    return snapshot.read_contents(layout, snapshot_id), key
