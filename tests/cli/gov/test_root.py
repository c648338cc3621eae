from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from tests.cli.gov.calls import TXID, Gov

pytestmark = pytest.mark.slow


def test_status_json_keeps_the_fields_of_the_first_gov(gov_on: Gov) -> None:
    gov_on.record("completed")
    found = gov_on.json("status")
    assert (found["prod_env_exists"], found["lock_exists"]) == (True, True)
    assert (found["transactions_total"], found["pending"]) == (1, 1)
    assert [one["txid"] for one in found["recent"]] == [TXID]
    text = gov_on("status").stdout
    assert "Nodes:      none registered. Register one: gov node add URL" in text
    assert TXID in text


def test_status_without_production_suggests_init(gov_on: Gov) -> None:
    gov_on.site.layout.production.unlink()
    gov_on.site.layout.uv_lock.unlink()
    assert gov_on("status").stdout.count("Run: gov init") == 2
    comfyui = str(gov_on.site.comfyui)
    assert gov_on("--comfyui", comfyui, "status").stdout.count(f"Run: gov --comfyui {comfyui} init") == 2


def test_check_exits_with_1_only_after_a_failure(gov_on: Gov) -> None:
    assert gov_on.json("check")["state"] == "ok"
    assert "What to do" not in gov_on("check").stdout
    gov_on.record("needs_resolution")
    result = gov_on("check")
    assert (result.exit_code, f"gov resolve {TXID}" in result.stdout) == (0, True)
    gov_on.site.layout.uv_lock.unlink()
    assert gov_on.json("check", code=1)["state"] == "fail"


def test_migrate_prints_its_changes(gov_on: Gov) -> None:
    assert "Every file has the current format." in gov_on("migrate").stdout
    gov_on.site.layout.plugins.write_text('{"plugins": []}')
    assert "gov undo" in gov_on("migrate").stdout
    assert gov_on.json("migrate")["changed"] == []


def test_step_of_a_check_keeps_the_options(tmp_path: Path) -> None:
    session = Session(None, None, governed_option=tmp_path)
    assert session.complete_commands("gov init") == f"gov --root {tmp_path} init"
    assert session.complete_commands("Free disk space.") == "Free disk space."
