from __future__ import annotations

import pytest

from comfywatchman.governance.checks.deny_list import DeniedItem, judge
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site


def test_denied_package_fails_with_reason_and_command() -> None:
    items = [DeniedItem(f"pack-{n}", "steals keys", "gov node remove pack --purge-code") for n in range(4)]
    result = judge(items)
    assert result.status == "fail"
    assert "pack-0: steals keys" in result.evidence
    assert "and 1 more" in result.evidence
    assert result.action == "gov node remove pack --purge-code"
    assert "more" not in judge(items[:1]).evidence
    assert judge([]).status == "ok"


def test_flagged_item_is_a_warning() -> None:
    flagged = DeniedItem("pack-x", "asks for keys", "gov node remove pack-x", is_blocked=False)
    blocked = DeniedItem("pack-y", "steals keys", "gov node remove pack-y")
    assert judge([flagged]).status == "warn"
    assert judge([flagged, blocked]).status == "fail"


@pytest.mark.slow
def test_denied_packages_and_nodes_are_found(site: Site) -> None:
    site.configure(policy={"deny": ["corelet==1.0", "pack:evil"]})
    (site.comfyui / "custom_nodes" / "evil.disabled").mkdir()
    result = run_checks_on(site)["deny-list"]
    assert (result.status, result.items) == ("fail", ("corelet 1.0", "node evil"))
    assert "Delete custom_nodes/evil.disabled." in (result.action or "")
