from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
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


def test_first_operation_cannot_be_undone_below_a_later_one(tmp_path: Path) -> None:
    site = build_site(tmp_path)
    with site.opened() as context:
        changes.promote(context, "a", ["plainlet"])
        with pytest.raises(Failure, match="changed after it") as caught:
            undo(context, read_operations(site.layout)[0].op_id)
    assert caught.value.code == "gov-undo-refused"
    changes.assert_consistent(site)
