from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfywatchman.governance.selftest import acceptance
from tests.cli.gov.calls import Gov

pytestmark = pytest.mark.slow


def test_selftest_passes_and_leaves_the_root_unchanged(gov_on: Gov) -> None:
    result = gov_on("test", "--keep")
    rows = [line.split("\t") for line in result.stdout.splitlines()[1:-1]]
    folder = Path(result.stdout.splitlines()[-1].removeprefix("The scratch copy is in ").removesuffix("."))
    assert (result.exit_code, [row for row in rows if row[1] != "ok"]) == (0, [])
    assert len(rows) == 13
    assert (folder / "env" / "uv.lock").exists()
    shutil.rmtree(folder)
    assert list(gov_on.site.layout.transactions.iterdir()) == []


def test_failed_selftest_exits_with_1_and_leaves_no_folder(shared: Gov, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fail(folder: Path, **_facts: object) -> tuple[acceptance.SelftestStep, ...]:
        folders.append(folder)
        return (
            acceptance.SelftestStep("init", ok=False, detail="no disk"),
            acceptance.SelftestStep("tx run", ok=None, detail=""),
        )

    monkeypatch.setattr(acceptance, "run_selftest", fail)
    assert [step["ok"] for step in shared.json("test", code=1)["steps"]] == [False, None]
    assert "not run" in shared("test").stdout
    assert [folder for folder in folders if folder.exists()] == []
