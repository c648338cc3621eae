from __future__ import annotations

import pytest

from comfywatchman.governance.checks.comfyui_requirements import judge
from comfywatchman.governance.checks.unmet_requirements import UnmetRequirement
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site

pytestmark = pytest.mark.slow


def test_unmet_requirement_fails() -> None:
    result = judge([UnmetRequirement("numpy>=2", "1.26")], ["numpy>=2"])
    assert (result.status, result.vital, result.action, result.items) == ("fail", True, "gov init", ("numpy>=2",))
    assert "numpy>=2 (installed: 1.26)" in result.evidence


@pytest.mark.slow
def test_update_of_comfyui_shows_until_init(site: Site) -> None:
    requirements = site.comfyui / "requirements.txt"
    requirements.write_text("corelet>=0.5\n")
    result = run_checks_on(site)["comfyui-requirements"]
    assert (result.status, result.items) == ("warn", ("corelet==1.0", "corelet>=0.5"))
    requirements.write_text("corelet==2.0\nplainlet\n")
    result = run_checks_on(site)["comfyui-requirements"]
    assert (result.status, result.items) == ("fail", ("corelet==2.0", "plainlet"))
    site.init()
    assert run_checks_on(site)["comfyui-requirements"].status == "ok"


def test_missing_or_invalid_file_is_no_change(site: Site) -> None:
    requirements = site.comfyui / "requirements.txt"
    requirements.write_text("corelet ==== 1\n")
    assert run_checks_on(site)["comfyui-requirements"].status == "unknown"
    requirements.unlink()
    assert run_checks_on(site)["comfyui-requirements"].status == "ok"
