from __future__ import annotations

from pathlib import Path

from comfywatchman.governance.checks.unregistered_nodes import find_unregistered, judge


def test_unregistered_nodes_are_a_warning_with_a_command() -> None:
    assert judge([]).status == "ok"
    assert judge(["b", "a"]).action == "gov node add --adopt a"


def test_only_folders_count_as_unregistered(tmp_path: Path) -> None:
    for name in ("depth", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "single_file.py").touch()
    assert find_unregistered(tmp_path, ["depth"]) == ("other",)
