from __future__ import annotations

from pathlib import Path

from comfywatchman.app.pages.environment import (
    PackageChange,
    choose_init_command,
    list_package_changes,
    name_references,
)
from comfywatchman.app.session import Session
from comfywatchman.governance.store.records import Operation, PackageDiff, Transaction


def test_packages_are_added_changed_and_removed() -> None:
    diff = PackageDiff(
        added=("lark==1.2", "accelerate==1.10", "tool @ git+https://example.org/tool"),
        removed=("accelerate==1.2", "old==1"),
    )
    changes = list_package_changes(diff)
    assert changes == (
        PackageChange("accelerate", "1.2", "1.10"),
        PackageChange("lark", "", "1.2"),
        PackageChange("old", "1", ""),
        PackageChange("tool", "", "git+https://example.org/tool"),
    )
    assert [change.kind for change in changes] == ["changed", "added", "removed", "added"]


def test_new_root_adopts_the_environment_of_comfyui(tmp_path: Path) -> None:
    comfyui = tmp_path / "ComfyUI"
    comfyui.mkdir()
    session = Session(tmp_path / "home", None, comfyui)
    new = session.format_command("env", "init")
    assert choose_init_command(session, is_new=True) == new
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    assert choose_init_command(session, is_new=True) == f"{new} --adopt"
    assert choose_init_command(session, is_new=False) == new


def test_changes_are_named_after_nodes_and_earlier_changes() -> None:
    transactions = [Transaction(txid="tx-1", node_id="depth", started_at="", status="promoted")]
    promoted = Operation(op_id="op-1", kind="promote", ref="tx-1", started_at="")
    deleted = Operation(op_id="op-2", kind="promote", ref="tx-0", started_at="")
    undone = Operation(op_id="op-3", kind="undo", ref="op-1", started_at="")
    names = name_references(transactions, [promoted, deleted, undone])
    assert (names["tx-1"], names["op-1"]) == ("depth", "promote of depth")
    assert names["op-2"] == "promote of tx-0"
    assert names["op-3"] == "undo of promote of depth"
