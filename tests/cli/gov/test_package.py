from __future__ import annotations

import pytest

from tests.cli.gov.calls import Gov

pytestmark = pytest.mark.slow


def test_packages_are_added_listed_pinned_and_removed(gov_on: Gov) -> None:
    assert "gov package add" in gov_on("package", "list").stdout
    added = gov_on("package", "add", "deeplet")
    assert added.exit_code == 0, added.output
    assert "+ plainlet==1.0" in added.stdout
    assert "To undo this: gov undo" in added.stdout
    assert gov_on.json("package", "pin", "numlet==1.0")["operation"]["kind"] == "package"
    assert gov_on.json("package", "list") == {"added": ["deeplet"], "pins": ["numlet==1.0"], "overrides": []}
    assert "numlet==1.0" in gov_on("package", "list").stdout
    assert gov_on("package", "remove", "deeplet", "numlet").exit_code == 0
    assert gov_on.json("package", "list")["added"] == []
    assert gov_on.json("package", "remove", "corelet", code=1)["code"] == "gov-package-unknown"


def test_package_that_breaks_the_start_exits_with_one(gov_on: Gov) -> None:
    (gov_on.site.comfyui / "main.py").write_text(
        "import importlib.util, sys\nsys.exit(importlib.util.find_spec('plainlet') and 'broken')\n"
    )
    result = gov_on("package", "add", "plainlet")
    assert result.exit_code == 1
    assert "Not added: production is unchanged." in result.stderr
