from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.static_analysis.import_errors import cannot_be_imported
from comfywatchman.comfyui.static_analysis.modules import SourceTree


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", False),
        ("raise RuntimeError", True),
        ("assert False", True),
        ("assert True", False),
        ("import sys\nsys.exit(1)", True),
        ("from .gone import a", True),
        ("from . import gone", False),
        ("from .inner import a", True),
        ("import not_installed", False),
        ("if True:\n    raise RuntimeError", False),
        ("def f():\n    raise RuntimeError", False),
    ],
)
def test_only_unconditional_errors_prevent_the_import(tmp_path: Path, source: str, *, expected: bool) -> None:
    (tmp_path / "inner.py").write_text("raise RuntimeError", "utf-8")
    (tmp_path / "__init__.py").write_text(source, "utf-8")
    assert cannot_be_imported(SourceTree(tmp_path, frozenset())) is expected


def test_pack_without_init_cannot_be_imported(tmp_path: Path) -> None:
    assert cannot_be_imported(SourceTree(tmp_path, frozenset()))


def test_import_cycle_without_error_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("from .inner import a", "utf-8")
    (tmp_path / "inner.py").write_text("from . import b\nfrom .inner import c", "utf-8")
    assert not cannot_be_imported(SourceTree(tmp_path, frozenset()))
