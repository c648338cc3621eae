"""The one commit of every change: a journal, then steps that can be done again until the last of them is done.

Before the journal is on disk nothing of production changed; after it, recovery finishes what was begun. What the
journal names (the work folder, the environment) is complete on disk before it.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import (
    CorruptFile,
    delete_unfinished,
    fsync_file,
    fsync_folder,
    printable_path,
    read_state,
    to_json,
    unwritable_failure,
    write_atomic,
    write_if_changed,
)
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store.ids import make_operation_id, make_snapshot_id
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import FileChange, Journal, Operation, OperationKind, SnapshotMeta

log = logging.getLogger(__name__)


def prepare(
    layout: GovLayout,
    clock: Clock,
    work: StagingDir,
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
        work: The new truth files.
        kind: What is done.
        ref: What it is done to.
        key: The environment that production becomes (`generation.build`).
        pre_snapshot: The snapshot of before (`snapshot.take`); what `undo` goes back to.
        note: What it does, for people.
        started_at: When it began; now when None.
        post_id: The name of the snapshot of after, where the truth files name it themselves; a new one when None.
    """
    before = snapshot.hash_contents(snapshot.read_root_files(layout))
    after = work.hashes()
    now = format_utc(clock.now())
    post = SnapshotMeta(
        id=post_id or make_snapshot_id(clock),
        created_at=now,
        reason="init" if kind == "init" else f"{kind}_post",
        ref=ref,
        generation=key,
        sha256=after,
    )
    operation = Operation(
        op_id=make_operation_id(clock),
        kind=kind,
        ref=ref,
        started_at=started_at or now,
        ended_at=now,
        files={n: FileChange(pre_sha256=before.get(n), post_sha256=after.get(n)) for n in TRUTH_FILES},
        pre_snapshot=pre_snapshot,
        post_snapshot=post.id,
        note=note,
    )
    return Journal(operation=operation, work=work.folder.name, generation=key, post_snapshot=post)


def publish(context: GovContext, journal: Journal) -> Operation:
    """Commit a change: from the moment that its journal is on disk it happens, whatever happens to this process.

    Raises:
        Failure: `state-unwritable` before the commit point: nothing changed. `gov-commit-unfinished` after it: the next
            command finishes what was begun, so it counts as done.
    """
    _make_durable(context.layout.work / journal.work)
    write_atomic(context.layout.journal, to_json(journal))
    failpoint("gov.after_journal")
    _apply(context, journal)
    prune(context)
    return journal.operation


def recover(context: GovContext) -> str | None:
    """Finish a commit that was cut off, and sweep what a kill left; the first act of every command.

    Returns:
        What was finished, for people; None when nothing was under way.

    Raises:
        Failure: `gov-recovery-impossible`; `gov-commit-unfinished` when it still cannot be finished.
    """
    layout = context.layout
    journal = read_state(layout.journal, Journal)
    note = None
    if isinstance(journal, CorruptFile):
        note = f"The journal of a change was damaged ({journal.reason}); it was set aside. Run: gov check"
        log.warning("damaged journal set aside", extra={"reason": journal.reason})
    elif journal is not None:
        note = _recover_journal(context, journal)
        log.info("unfinished change finished", extra={"op_id": journal.operation.op_id})
    delete_stale_files(layout)
    if journal is not None:
        prune(context)
    return note


def delete_stale_files(layout: GovLayout) -> None:
    """Delete what killed commands left: work folders, unfinished builds, temporary files, unlisted snapshots."""
    if layout.work.is_dir():
        for folder in layout.work.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
    for folder in (layout.root, layout.root / "state", layout.operations, layout.transactions):
        delete_unfinished(folder)
    snapshot.repair_index(layout)
    generation.delete_unfinished(layout)


def prune(context: GovContext) -> None:
    """Keep no more snapshots and environments than the settings say; trouble with that is noted, not raised."""
    try:
        # The newest two stay whatever is configured: the last change can be undone.
        snapshot.prune(context.layout, retention=max(2, context.settings.rollback.snapshot_retention))
        generation.prune(context, snapshot.read_all(context.layout))
    except (Failure, OSError) as error:
        log.warning("old snapshots or environments not pruned", extra={"reason": str(error)})


def _make_durable(folder: Path) -> None:
    # uv renames its lock into place without flushing it (traced: no fsync anywhere).
    try:
        for name in TRUTH_FILES:
            if (folder / name).exists():
                fsync_file(folder / name)
        fsync_folder(folder)
        failpoint("gov.before_journal")
    except OSError as error:
        raise unwritable_failure(folder, error) from error


def _apply(context: GovContext, journal: Journal) -> None:
    layout = context.layout
    try:
        contents = snapshot.read_truth_files(layout.work / journal.work)
        for name in TRUTH_FILES:
            if name in contents:
                write_if_changed(layout.truth_file(name), contents[name])
                failpoint("gov.after_truth")
        if journal.generation is not None:
            generation.switch_production(layout, journal.generation)
        failpoint("gov.after_flip")
        _write_records(layout, journal)
        failpoint("gov.after_records")
        snapshot.write(layout, journal.post_snapshot, contents)
        failpoint("gov.after_snapshot")
        _delete_node_code(context, journal.removed_node)
        layout.journal.unlink()
        fsync_folder(layout.journal.parent)
        failpoint("gov.after_unlink")
    except (OSError, Failure) as error:
        reason = error.message if isinstance(error, Failure) else f"{os_error_text(error)}."
        raise Failure(
            "gov-commit-unfinished",
            f"The {journal.operation.kind} of {journal.operation.ref} is decided but not finished: {reason}",
            hint="Free space or fix the permissions of the governed root; the next gov command finishes it.",
        ) from error
    shutil.rmtree(layout.work / journal.work, ignore_errors=True)


def _write_records(layout: GovLayout, journal: Journal) -> None:
    operation = journal.operation
    write_if_changed(layout.operations / f"{operation.op_id}.json", to_json(operation))
    if journal.transaction is not None:
        write_if_changed(layout.transactions / f"{journal.transaction.txid}.json", to_json(journal.transaction))
    if journal.undone is not None:
        path = layout.operations / f"{journal.undone}.json"
        undone = read_state(path, Operation, only_look=True)
        if isinstance(undone, Operation):
            write_if_changed(path, to_json(msgspec.structs.replace(undone, status="undone")))


def _delete_node_code(context: GovContext, node_id: str | None) -> None:
    if not node_id or node_id in {".", ".."} or "/" in node_id:
        return
    folder = context.custom_nodes / node_id
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def _recover_journal(context: GovContext, journal: Journal) -> str:
    layout, operation = context.layout, journal.operation
    if _is_complete(context, journal):
        _apply(context, journal)
        return f"A {operation.kind} of {operation.ref} that was cut off was finished."
    _revert(context, journal)
    layout.journal.unlink()
    fsync_folder(layout.journal.parent)
    return f"A {operation.kind} of {operation.ref} was cut off and its files are gone; it was taken back."


def _is_complete(context: GovContext, journal: Journal) -> bool:
    hashes = snapshot.hash_contents(snapshot.read_truth_files(context.layout.work / journal.work))
    wanted = {name: change.post_sha256 for name, change in journal.operation.files.items() if change.post_sha256}
    has_environment = journal.generation is None or generation.read_mark(context.layout, journal.generation) is not None
    return hashes == wanted and has_environment


def _revert(context: GovContext, journal: Journal) -> None:
    layout, pre = context.layout, journal.operation.pre_snapshot
    try:
        contents, key = _read_complete_snapshot(layout, pre)
    except Failure as failure:
        raise Failure(
            "gov-recovery-impossible",
            f"The change {journal.operation.op_id} was cut off; what it was to become is gone from "
            f"{printable_path(layout.work)}, and it cannot be taken back: {failure.message}",
            hint="Put pyproject.toml, uv.lock and state/plugins.json back from a backup, delete state/journal.json, "
            "then run: gov init",
        ) from failure
    for name, content in contents.items():
        write_if_changed(layout.truth_file(name), content)
    generation.switch_production(layout, key)


def _read_complete_snapshot(layout: GovLayout, snapshot_id: str | None) -> tuple[dict[str, bytes], str]:
    if snapshot_id is None:
        raise Failure("gov-snapshot-unknown", "there was nothing before it.")
    key = snapshot.read(layout, snapshot_id).generation
    if key is None or generation.read_mark(layout, key) is None:
        raise Failure("gov-snapshot-damaged", f"The environment of snapshot {snapshot_id} is gone.")
    return snapshot.read_contents(layout, snapshot_id), key
