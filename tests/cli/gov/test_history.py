from __future__ import annotations

import shutil

import pytest

from tests.cli.gov.calls import Gov

pytestmark = pytest.mark.slow


def test_rollback_prints_how_to_undo_it(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    first = gov_on.json("snapshot", "list")["snapshots"][-1]["id"]
    result = gov_on("rollback", first)
    assert result.exit_code == 0, result.output
    (operation,) = (one for one in gov_on.json("op", "list")["operations"] if one["kind"] == "rollback")
    assert f"gov undo {operation['op_id']}" in result.stdout
    assert "plugins.json: changed" in gov_on("op", "inspect", operation["op_id"]).stdout
    assert gov_on.json("op", "inspect", operation["op_id"])["kind"] == "rollback"
    assert gov_on.json("undo", operation["op_id"])["kind"] == "undo"
    assert gov_on.json("undo", operation["op_id"], code=1)["code"] == "gov-undo-refused"
    assert first in gov_on("snapshot", "list").stdout
    assert operation["op_id"] in gov_on("op", "list").stdout


def test_rollback_over_damaged_files_names_no_undo(gov_on: Gov) -> None:
    (snapshot,) = gov_on.json("snapshot", "list")["snapshots"]
    gov_on.site.layout.plugins.unlink()
    result = gov_on("rollback", snapshot["id"])
    assert result.exit_code == 0, result.output
    assert "gov undo" not in result.stdout
    assert "cannot be undone" in result.stdout


def test_inspecting_a_damaged_snapshot_reports_it(gov_on: Gov) -> None:
    (snapshot,) = gov_on.json("snapshot", "list")["snapshots"]
    assert "unchanged" in gov_on("snapshot", "inspect", snapshot["id"]).stdout
    (gov_on.site.layout.snapshots / snapshot["id"] / "uv.lock").write_text("changed")
    assert "uv.lock changed" in gov_on.json("snapshot", "inspect", snapshot["id"], code=1)["trouble"]


@pytest.mark.slow
def test_undo_of_the_first_operation_names_the_folder(gov_on: Gov) -> None:
    op_id = gov_on.json("op", "list")["operations"][-1]["op_id"]
    result = gov_on("undo", op_id)
    assert result.exit_code == 0, result.output
    assert f"undone-{op_id}" in result.stdout
    assert "gov init --adopt" in result.stdout
    assert gov_on("status").exit_code != 0


def test_dry_run_shows_the_difference_and_changes_nothing(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    first = gov_on.json("snapshot", "list")["snapshots"][-1]["id"]
    operations = gov_on.json("op", "list")
    difference = gov_on.json("rollback", first, "--dry-run")
    assert (difference["nodes"], difference["packages"]) == ({"depth": ["", None]}, {})
    shown = gov_on("rollback", first, "--dry-run").stdout
    assert "not registered" in shown
    assert "Nothing was changed." in shown
    assert "those of the snapshot" in gov_on("rollback", "latest", "--dry-run").stdout
    assert gov_on.json("op", "list") == operations


def test_rollback_with_code_restores_a_folder_without_git(gov_on: Gov) -> None:
    gov_on.pack("depth")
    gov_on("node", "add", "--adopt", "depth")
    gov_on("tx", "run", "depth")
    assert gov_on("tx", "promote", "latest").exit_code == 0
    code = gov_on.site.comfyui / "custom_nodes" / "depth" / "__init__.py"
    before = code.read_text()
    code.write_text("NEW = 1\n")
    result = gov_on("rollback", "latest", "--with-code")
    assert (result.exit_code, "Code of depth: " in result.stdout) == (0, True)
    assert code.read_text() == before
    first = gov_on.json("snapshot", "list")["snapshots"][-1]["id"]
    assert gov_on.json("rollback", first, "--with-code")["code"] == []
    adopted = next(
        one["id"] for one in gov_on.json("snapshot", "list")["snapshots"] if one["reason"] == "node_add_post"
    )
    shutil.rmtree(gov_on.site.layout.code)
    code.write_text("NEW = 2\n")
    assert gov_on.json("rollback", adopted, "--with-code", code=1)["code"] == "gov-code-refused"
