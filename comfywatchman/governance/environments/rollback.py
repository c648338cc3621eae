"""`gov rollback` and `gov undo`: restore a snapshot, or the state before one operation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.base.state.state_file import read_state
from comfywatchman.base.text import shorten_list
from comfywatchman.governance.environments import checkout, commit, generation, snapshot, staging
from comfywatchman.governance.environments.checkout import CheckoutChange
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.environments.truth_damage import find_truth_damage
from comfywatchman.governance.environments.withdraw import withdraw
from comfywatchman.governance.store.ids import OPERATION_ID
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Operation, OperationKind
from comfywatchman.governance.uv.client import UvResult


def rollback(context: GovContext, snapshot_id: str) -> Operation:
    """Restore the truth files and the environment of a snapshot; no network is needed while its environment exists.

    The code of custom nodes stays as it is.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`; `gov-environment-failed` or `gov-smoke-failed` when
            its environment was pruned and could not be rebuilt. Production is unchanged then.
    """
    contents = snapshot.read_contents(context.layout, snapshot_id)
    return _restore(context, snapshot_id, contents, kind="rollback", ref=snapshot_id)


def undo(context: GovContext, op_id: str) -> Operation:
    """Restore the state before an operation, if the truth files have not changed since.

    Returns:
        The new operation; the undone one itself when nothing was governed before it.

    Raises:
        Failure: `gov-operation-unknown`, `gov-undo-refused`, or as `rollback`. Production is unchanged then.
    """
    operation = read_operation(context.layout, op_id)
    if operation.status == "undone":
        raise _undo_refused(op_id, "it was undone already")
    current = snapshot.hash_contents(snapshot.read_root_files(context.layout))
    changed = sorted(name for name, change in operation.files.items() if current.get(name) != change.post_sha256)
    is_first = _is_first(context.layout, operation)
    if is_first:
        # An undo that was killed has moved some of the files already.
        changed = [name for name in changed if name in current]
    if changed:
        raise _undo_refused(op_id, f"{', '.join(changed)} changed after it")
    if is_first:
        return withdraw(context.layout, operation)
    if operation.pre_snapshot is None:
        raise _undo_refused(op_id, "there is no snapshot of the state before it")
    moved = checkout.read(context.layout, op_id)
    if moved is not None:
        checkout.require_changeable(moved.reverse())
    contents = snapshot.read_contents(context.layout, operation.pre_snapshot)
    return _restore(
        context,
        operation.pre_snapshot,
        contents,
        kind="undo",
        ref=op_id,
        undone=op_id,
        moved=None if moved is None else moved.reverse(),
    )


def _is_first(layout: GovLayout, operation: Operation) -> bool:
    """Return whether nothing was governed before an operation, and it is the only one.

    An adoption is of kind `init`, too. A missing snapshot alone does not prove it: the files before an operation may
    have been damaged or incomplete, and then none is taken.
    """
    if operation.kind != "init" or operation.pre_snapshot is not None:
        return False
    if any(change.pre_sha256 is not None for change in operation.files.values()):
        return False
    # Unreadable records count as well.
    return len(list(layout.operations.glob("*.json"))) == 1


def read_operation(layout: GovLayout, op_id: str) -> Operation:
    """Return the record of an operation.

    Raises:
        Failure: `gov-operation-unknown`.
    """
    operation = None
    # An id from the command line could otherwise lead out of the folder.
    if OPERATION_ID.fullmatch(op_id):
        operation = read_state(layout.operations / f"{op_id}.json", Operation, only_look=True)
    if not isinstance(operation, Operation):
        raise Failure("gov-operation-unknown", f"There is no operation {op_id!r}.", hint="See: gov op list")
    return operation


def read_operations(layout: GovLayout) -> tuple[Operation, ...]:
    """Return all readable operations, oldest first."""
    operations = []
    for path in layout.operations.glob("*.json"):
        operation = read_state(path, Operation, only_look=True)
        if isinstance(operation, Operation):
            operations.append(operation)
    operations.sort(key=lambda operation: (operation.number, operation.op_id))
    return tuple(operations)


def _restore(
    context: GovContext,
    snapshot_id: str,
    contents: Mapping[str, bytes],
    *,
    kind: OperationKind,
    ref: str,
    undone: str | None = None,
    moved: CheckoutChange | None = None,
) -> Operation:
    layout, clock = context.layout, context.clock
    started_at = format_utc(clock.now())
    with staging.open_staging(layout, contents=contents) as staging_dir:
        key = _find_kept_generation(layout, snapshot_id, contents["uv.lock"])
        if key is None:
            key = _rebuild(context, staging_dir, snapshot_id)
        pre_snapshot = None
        # To a snapshot of damaged files there is no way back.
        if find_truth_damage(snapshot.read_root_files(layout)) is None:
            current = generation.current_key(layout)
            pre_snapshot = snapshot.create(layout, clock, reason=f"{kind}_pre", ref=ref, generation=current).id
        journal = commit.prepare(
            layout,
            clock,
            staging_dir,
            kind=kind,
            ref=ref,
            key=key,
            pre_snapshot=pre_snapshot,
            note=_describe_rest(context, staging_dir, snapshot_id, kind),
            started_at=started_at,
        )
        if moved is not None:
            checkout.save(layout, journal.operation.op_id, moved)
        return commit.publish(context, msgspec.structs.replace(journal, undone=undone))


def _describe_rest(context: GovContext, staging_dir: StagingDir, snapshot_id: str, kind: OperationKind) -> str:
    """Return a note about the code that does not fit the restored packages; empty when all does."""
    notes = [_describe_gone_code(staging_dir, context.custom_nodes)]
    if kind == "rollback":
        notes.append(_describe_comfyui(context, snapshot_id, staging_dir.hashes()))
    return ". ".join(note for note in notes if note)


def _describe_comfyui(context: GovContext, snapshot_id: str, hashes: Mapping[str, str]) -> str:
    """Return how to move ComfyUI to the commit that it had at a snapshot; empty when it is there.

    Args:
        context: The governed root.
        snapshot_id: The snapshot that is restored.
        hashes: The hashes of its truth files.
    """
    try:
        moves = _find_moves_since(context.layout, snapshot_id)
    except Failure as failure:
        # A rollback moves packages only, so it needs no record of the checkout.
        return f"Check whether ComfyUI is at the commit of these packages. {failure.message.removesuffix('.')}"
    commit_now = read_head(context.comfyui)
    if not moves or commit_now is None or commit_now == moves[0][1].before:
        return ""
    wanted = moves[0][1].before
    last, change = moves[-1]
    # The condition of `undo`: the files are those that the operation left.
    is_undoable = last.status == "success" and change.before == wanted and change.after == commit_now
    is_undoable = is_undoable and all(hashes.get(name) == file.post_sha256 for name, file in last.files.items())
    command = f"gov undo {last.op_id}" if is_undoable else f"gov comfyui update --to {wanted}"
    return f"ComfyUI stays at {commit_now[:12]}, but these packages are those of {wanted[:12]}. Run `{command}`"


def _find_moves_since(layout: GovLayout, snapshot_id: str) -> list[tuple[Operation, CheckoutChange]]:
    """Return the operations after a snapshot that moved ComfyUI's checkout, oldest first.

    Raises:
        Failure: `gov-checkout-unreadable`.
    """
    moves = []
    is_later = False
    for operation in read_operations(layout):
        is_later = is_later or operation.pre_snapshot == snapshot_id
        change = checkout.read(layout, operation.op_id) if is_later else None
        if change is not None:
            moves.append((operation, change))
        is_later = is_later or operation.post_snapshot == snapshot_id
    return moves


def _describe_gone_code(staging_dir: StagingDir, custom_nodes: Path) -> str:
    """Return a note about restored nodes whose folder is gone, as after `gov node remove --purge-code`."""
    gone = [node_id for node_id in sorted(staging_dir.read_registry().plugins) if not (custom_nodes / node_id).exists()]
    if not gone:
        return ""
    folders = "folder is" if len(gone) == 1 else "folders are"
    return f"{shorten_list(gone)}: registered again, but the {folders} gone from custom_nodes; clone the code again"


def _find_kept_generation(layout: GovLayout, snapshot_id: str, lock: bytes) -> str | None:
    """Return the key of a snapshot's environment if it exists, matches the lock and is unmodified."""
    mark = generation.read_mark(layout, snapshot.read(layout, snapshot_id).generation)
    if mark is None or mark.lock_sha256 != hashlib.sha256(lock).hexdigest():
        return None
    return mark.key if generation.is_unmodified(layout, mark) else None


def _rebuild(context: GovContext, staging_dir: StagingDir, snapshot_id: str) -> str:
    mark = generation.build(context, staging_dir.folder)
    if isinstance(mark, UvResult):
        raise Failure(
            "gov-environment-failed",
            f"The environment of snapshot {snapshot_id} was pruned and could not be rebuilt: "
            f"{mark.errors.strip() or mark.output.strip()}",
            hint="Production is unchanged. Check the network, or choose a newer snapshot: gov snapshot list.",
        )
    return mark.key


def _undo_refused(op_id: str, reason: str) -> Failure:
    return Failure(
        "gov-undo-refused",
        f"The operation {op_id} cannot be undone: {reason}.",
        hint="To go back further: gov snapshot list, then gov rollback SNAPSHOT.",
    )
