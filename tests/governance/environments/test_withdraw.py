from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments.access import open_context
from comfywatchman.governance.environments.rollback import read_operations, undo
from comfywatchman.governance.store.governed import has_governed_files
from tests.governance import changes
from tests.governance.contexts import build_site

pytestmark = pytest.mark.slow


def test_undo_of_the_first_operation_ends_the_governance(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    op_id = read_operations(site.layout)[0].op_id
    # As after an undo that was killed.
    aside = site.root / f"undone-{op_id}"
    aside.mkdir()
    site.layout.plugins.rename(aside / "plugins.json")
    with site.opened() as context:
        assert undo(context, op_id).status == "undone"
    assert not has_governed_files(site.layout)
    assert not site.layout.production.exists()
    assert {path.name for path in aside.iterdir()} >= {"pyproject.toml", "uv.lock", "plugins.json", "snapshots"}
    site.init()
    changes.assert_consistent(site)


def test_withdrawal_that_was_killed_is_completed(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    op_id = read_operations(site.layout)[0].op_id
    with site.opened() as context:
        undo(context, op_id)
    # As after a kill before the last move.
    (site.root / f"undone-{op_id}" / "operations").rename(site.layout.operations)
    with open_context(site.root, comfyui=site.comfyui, command="undo", clock=site.clock, network={}) as context:
        assert undo(context, op_id).status == "undone"
    assert not has_governed_files(site.layout)
    assert not site.layout.operations.exists()


@pytest.mark.parametrize("is_alone", [True, False])
def test_init_over_existing_files_is_not_withdrawn(tmp_path: Path, *, is_alone: bool) -> None:
    site = build_site(tmp_path)
    site.layout.uv_lock.unlink()
    if is_alone:
        for path in site.layout.operations.iterdir():
            path.unlink()
    site.init()
    last = read_operations(site.layout)[-1]
    assert last.pre_snapshot is None
    with site.opened() as context, pytest.raises(Failure, match="no snapshot of the state before it"):
        undo(context, last.op_id)
    changes.assert_consistent(site)


def test_first_operation_cannot_be_undone_below_a_later_one(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with site.opened() as context:
        changes.promote(context, "a", ["plainlet"])
        with pytest.raises(Failure, match="changed after it") as caught:
            undo(context, read_operations(site.layout)[0].op_id)
    assert caught.value.code == "gov-undo-refused"
    changes.assert_consistent(site)
