"""The changes of an environment at the level of its commit: what promotions and removals come down to.

Run as a program it makes one change, so that a test can kill it: `python -m tests.governance.changes SITE WHAT ...`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from comfywatchman.governance import commit, generation, snapshot, truth, workshop
from comfywatchman.governance.ground import Ground
from comfywatchman.governance.records import Operation, OperationKind, Plugin
from comfywatchman.governance.rollback import operations, rollback, undo
from comfywatchman.governance.uv import UvEnded
from comfywatchman.governance.workshop import Workshop
from tests.governance.grounds import Site


def promote(ground: Ground, node_id: str, lines: Sequence[str], *, pins: Sequence[str] = ()) -> Operation:
    """Give a node's group these lines, register it, and commit."""
    group = truth.node_group(node_id)
    plugin = Plugin(id=node_id, git_url="", ref="", path=str(ground.custom_nodes / node_id), group=group)

    def edit(work: Workshop) -> None:
        work.edit_project(lambda text: truth.with_group(text, group, lines))
        plugins = work.read_plugins()
        work.write_plugins(type(plugins)(plugins={**plugins.plugins, node_id: plugin}))

    return change(ground, edit, kind="promote", ref=node_id, pins=pins)


def remove(ground: Ground, node_id: str) -> Operation:
    """Take a node's group and record away, and commit."""

    def edit(work: Workshop) -> None:
        work.edit_project(lambda text: truth.without_group(text, truth.node_group(node_id)))
        plugins = work.read_plugins()
        work.write_plugins(type(plugins)(plugins={k: v for k, v in plugins.plugins.items() if k != node_id}))

    return change(ground, edit, kind="remove", ref=node_id)


def change(
    ground: Ground, edit: Callable[[Workshop], None], *, kind: OperationKind, ref: str, pins: Sequence[str] = ()
) -> Operation:
    """Edit copies of the truth files, resolve, build, commit."""
    layout = ground.layout
    with workshop.opened(ground) as work:
        edit(work)
        ended = work.lock(ground, pins=pins)
        assert ended.is_well, ended.errors
        mark = generation.build(ground, work.folder)
        assert not isinstance(mark, UvEnded), mark.errors
        pre = snapshot.take(layout, ground.clock, reason=f"{kind}_pre", ref=ref, generation=generation.current(layout))
        return commit.publish(
            ground, commit.prepare(ground, work, kind=kind, ref=ref, key=mark.key, pre_snapshot=pre.id)
        )


def main() -> None:
    folder, what, *rest = sys.argv[1:]
    with Site(Path(folder)).opened(what) as ground:
        if what == "promote":
            promote(ground, rest[0], rest[1:])
        elif what == "remove":
            remove(ground, rest[0])
        elif what == "rollback":
            metas = snapshot.read_all(ground.layout)
            rollback(ground, metas[int(rest[0]) % len(metas)].id)
        elif what == "undo":
            last = operations(ground.layout)[-1]
            if last.pre_snapshot is not None and last.status == "success":
                undo(ground, last.op_id)


if __name__ == "__main__":
    main()
