"""The changes of an environment at the level of its commit: what promotions and removals come down to.

Run as a program it makes one change, so that a test can kill it: `python -m tests.governance.changes SITE WHAT ...`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from comfywatchman.base import failpoints
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.init import init
from comfywatchman.governance.environments.rollback import read_operations, rollback, undo
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.add import adopt_node
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry, Operation, OperationKind, RegisteredNode, Transaction
from comfywatchman.governance.transactions import promotion, transaction
from comfywatchman.governance.transactions.comfyui_update import update_comfyui
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.run import run_transaction
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import Site

CHECKOUT = Path(__file__).parents[2]


def promote(context: GovContext, node_id: str, lines: Sequence[str], *, pins: Sequence[str] = ()) -> Operation:
    """Give a node's group these lines, register it, and commit."""
    group = truth.node_group(node_id)
    plugin = RegisteredNode(id=node_id, git_url="", ref="", path=str(context.custom_nodes / node_id), group=group)

    def edit(work: StagingDir) -> None:
        work.edit_project(lambda text: truth.set_group(text, group, lines))
        known = work.read_registry().plugins
        work.write_registry(NodeRegistry(plugins={**known, node_id: plugin}))

    return commit_change(context, edit, kind="promote", ref=node_id, pins=pins)


def remove(context: GovContext, node_id: str) -> Operation:
    """Take a node's group and record away, and commit."""

    def edit(work: StagingDir) -> None:
        work.edit_project(lambda text: truth.remove_group(text, truth.node_group(node_id)))
        known = work.read_registry().plugins
        work.write_registry(NodeRegistry(plugins={name: one for name, one in known.items() if name != node_id}))

    return commit_change(context, edit, kind="remove", ref=node_id)


def commit_change(
    context: GovContext, edit: Callable[[StagingDir], None], *, kind: OperationKind, ref: str, pins: Sequence[str] = ()
) -> Operation:
    """Edit copies of the truth files, resolve, build, commit."""
    layout = context.layout
    with staging.open_staging(context.layout) as work:
        edit(work)
        result = work.lock(context.uv, context.python, pins=pins)
        assert result.is_success, result.errors
        mark = generation.build(context, work.folder)
        assert not isinstance(mark, UvResult), mark.errors
        pre = snapshot.create(
            layout, context.clock, reason=f"{kind}_pre", ref=ref, generation=generation.current_key(layout)
        )
        return commit.publish(
            context,
            commit.prepare(context.layout, context.clock, work, kind=kind, ref=ref, key=mark.key, pre_snapshot=pre.id),
        )


def add_and_promote(context: GovContext, node_id: str) -> Transaction:
    """Register a node whose folder is there, try it, and promote it: what `gov node add`, `tx run`, `tx promote` do."""
    if node_id not in staging.read_registry(context.layout).plugins:
        adopt_node(context, node_id)
    tried = run_transaction(context, node_id)
    assert tried.status == "completed", tried.error
    done = promotion.promote(context, tried.txid, Consent(), report=_fail_on_conflict)
    assert done.status == "promoted", done.error
    return done


def _fail_on_conflict(*_facts: object) -> NoReturn:
    raise AssertionError("the packages can be installed together")


def run(site: Site, *change: str, failpoint: str = "") -> int:
    """Make a change in a process of its own; return its exit status, which is that of a kill or 0."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.governance.changes", site.folder, *change],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), failpoints.VARIABLE: failpoint},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert result.returncode in {0, -signal.SIGKILL}, result.stderr
    return result.returncode


def assert_consistent(site: Site) -> None:
    """Hold that truth files, environment, records and snapshots tell one story, and that production imports."""
    layout = site.layout
    key = generation.current_key(layout)
    mark = generation.read_mark(layout, key)
    assert mark is not None
    hashes = snapshot.hash_contents(snapshot.read_root_files(layout))
    assert mark.lock_sha256 == hashes["uv.lock"]
    registered = {truth.node_group(name) for name in staging.read_registry(layout).plugins}
    assert {name for name in truth.parse_groups(layout.pyproject.read_text()) if name.startswith("node-")} <= registered
    last = read_operations(layout)[-1]
    assert {name: change.post_sha256 for name, change in last.files.items()} == hashes
    metas = snapshot.read_all(layout)
    assert metas[-1].sha256 == hashes
    assert metas[-1].generation == key
    assert {meta.id for meta in metas} == {path.name for path in layout.snapshots.iterdir()}
    assert not layout.journal.exists()
    assert list(layout.work.iterdir()) == []
    assert [path.name for path in layout.generations.iterdir() if not generation.read_mark(layout, path.name)] == []
    promotions = [one.ref for one in read_operations(layout) if one.kind == "promote"]
    promoted = {txid for ref in promotions for txid in ref.split(", ")}
    assert {one.txid for one in transaction.read_all(layout) if one.status == "promoted"} <= promoted
    modules = [package.name for package in mark.packages]
    assert site.run_in_production(f"import {', '.join(modules)}; print('well')") == "well"


def main() -> None:
    folder, what, *rest = sys.argv[1:]
    with Site(Path(folder)).opened(what) as context:
        print("opened", flush=True)  # noqa: T201 - whoever kills waits for it
        if what == "init":
            init(context)
        elif what == "promote":
            promote(context, rest[0], rest[1:])
        elif what == "remove":
            remove(context, rest[0])
        elif what == "chain":
            add_and_promote(context, rest[0])
        elif what == "update":
            update_comfyui(context, network={})
        elif what == "drop":
            registry.unregister(context, rest[0])
        elif what == "rollback":
            metas = snapshot.read_all(context.layout)
            rollback(context, metas[int(rest[0]) % len(metas)].id)
        elif what == "undo":
            last = read_operations(context.layout)[-1]
            if last.pre_snapshot is not None and last.status == "success":
                undo(context, last.op_id)


if __name__ == "__main__":
    main()
