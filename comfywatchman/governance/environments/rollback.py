"""Going back: to a snapshot, or to before one operation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_state
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store.ids import OPERATION_ID
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Operation, OperationKind
from comfywatchman.governance.uv.client import UvResult


def rollback(context: GovContext, snapshot_id: str) -> Operation:
    """Make the truth files and the environment those of a snapshot; no network while its environment is kept.

    The code of custom nodes stays as it is.

    Raises:
        Failure: `gov-snapshot-unknown` or `gov-snapshot-damaged`; or the environment, which had been pruned, could not
            be built again: `gov-environment-failed`, `gov-smoke-failed`. Production is as it was.
    """
    contents = snapshot.read_contents(context.layout, snapshot_id)
    return _restore(context, snapshot_id, contents, kind="rollback", ref=snapshot_id)


def undo(context: GovContext, op_id: str) -> Operation:
    """Go back to before an operation, if the truth files are still as it left them.

    Raises:
        Failure: `gov-operation-unknown`, `gov-undo-refused`, or as `rollback`. Production is as it was.
    """
    operation = read_operation(context.layout, op_id)
    if operation.status == "undone":
        raise _undo_refused(op_id, "it was undone already")
    if operation.pre_snapshot is None:
        raise _undo_refused(op_id, "there was nothing before it")
    here = snapshot.hash_contents(snapshot.read_root_files(context.layout))
    changed = sorted(name for name, change in operation.files.items() if here.get(name) != change.post_sha256)
    if changed:
        raise _undo_refused(op_id, f"{', '.join(changed)} changed after it")
    contents = snapshot.read_contents(context.layout, operation.pre_snapshot)
    return _restore(context, operation.pre_snapshot, contents, kind="undo", ref=op_id, undone=op_id)


def read_operation(layout: GovLayout, op_id: str) -> Operation:
    """Return the record of an operation.

    Raises:
        Failure: `gov-operation-unknown`.
    """
    found = None
    if OPERATION_ID.fullmatch(op_id):
        found = read_state(layout.operations / f"{op_id}.json", Operation, only_look=True)
    if not isinstance(found, Operation):
        raise Failure("gov-operation-unknown", f"There is no operation {op_id!r}.", hint="See: gov op list")
    return found


def read_operations(layout: GovLayout) -> tuple[Operation, ...]:
    """Return the operations that can be read, oldest first."""
    found = (read_state(path, Operation, only_look=True) for path in sorted(layout.operations.glob("*.json")))
    return tuple(sorted((one for one in found if isinstance(one, Operation)), key=lambda one: one.op_id))


def _restore(
    context: GovContext,
    snapshot_id: str,
    contents: Mapping[str, bytes],
    *,
    kind: OperationKind,
    ref: str,
    undone: str | None = None,
) -> Operation:
    layout = context.layout
    started_at = format_utc(context.clock.now())
    with staging.open_staging(context.layout, contents=contents) as work:
        key = _find_kept_generation(layout, snapshot_id, contents["uv.lock"]) or _rebuild(context, work, snapshot_id)
        pre = snapshot.create(
            layout, context.clock, reason=f"{kind}_pre", ref=ref, generation=generation.current_key(layout)
        )
        journal = commit.prepare(
            context.layout, context.clock, work, kind=kind, ref=ref, key=key, pre_snapshot=pre.id, started_at=started_at
        )
        return commit.publish(context, msgspec.structs.replace(journal, undone=undone))


def _find_kept_generation(layout: GovLayout, snapshot_id: str, lock: bytes) -> str | None:
    mark = generation.read_mark(layout, snapshot.read(layout, snapshot_id).generation)
    if mark is None or mark.lock_sha256 != hashlib.sha256(lock).hexdigest():
        return None
    return mark.key if generation.is_unmodified(layout, mark) else None


def _rebuild(context: GovContext, work: StagingDir, snapshot_id: str) -> str:
    built = generation.build(context, work.folder)
    if isinstance(built, UvResult):
        raise Failure(
            "gov-environment-failed",
            f"The environment of snapshot {snapshot_id} is not kept and could not be built again: "
            f"{built.errors.strip() or built.output.strip()}",
            hint="Production is as it was. Check the network, or choose a newer snapshot: gov snapshot list.",
        )
    return built.key


def _undo_refused(op_id: str, reason: str) -> Failure:
    return Failure(
        "gov-undo-refused",
        f"The operation {op_id} cannot be undone: {reason}.",
        hint="To go back further: gov snapshot list, then gov rollback SNAPSHOT.",
    )
