from __future__ import annotations

from pathlib import Path

from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout


def test_truth_files_lie_where_uv_and_the_registry_expect_them() -> None:
    layout = GovLayout(Path("/root"))
    assert [layout.truth_file(name) for name in TRUTH_FILES] == [layout.pyproject, layout.uv_lock, layout.plugins]


def test_every_path_is_distinct_and_below_the_root() -> None:
    layout = GovLayout(Path("/root"))
    paths = [getattr(layout, name) for name, value in vars(GovLayout).items() if isinstance(value, property)]
    assert len(set(paths)) == len(paths) > 15
    assert all(path.is_relative_to(layout.root) for path in paths)
