from __future__ import annotations

import pytest

from comfywatchman.governance.checks.lock import LockFacts, judge
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site


def test_unchanged_lock_is_ok_without_running_uv() -> None:
    result = judge(LockFacts(has_pyproject=True, has_lock=True))
    assert (result.name, result.status, result.action) == ("lock", "ok", None)


@pytest.mark.parametrize(
    ("facts", "evidence"),
    [
        (LockFacts(has_pyproject=True, has_lock=False), "uv.lock is not there"),
        (LockFacts(has_pyproject=False, has_lock=True), "pyproject.toml is not there"),
        (LockFacts(has_pyproject=False, has_lock=False), "pyproject.toml and uv.lock are not there"),
        (LockFacts(has_pyproject=True, has_lock=True, is_fresh=False), "does not match"),
    ],
)
def test_missing_or_stale_lock_fails_with_a_command(facts: LockFacts, evidence: str) -> None:
    result = judge(facts)
    assert result.status == "fail"
    assert evidence in result.evidence
    assert result.action == ("gov init" if facts.has_pyproject else "gov snapshot list")


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (("pyproject.toml",), "pyproject.toml changed"),
        (("plugins.json", "uv.lock"), "plugins.json and uv.lock changed"),
        (("plugins.json", "pyproject.toml", "uv.lock"), "plugins.json, pyproject.toml and uv.lock changed"),
    ],
)
def test_manual_change_that_still_matches_is_a_warning(changed: tuple[str, ...], names: str) -> None:
    result = judge(LockFacts(has_pyproject=True, has_lock=True, changed_files=changed, is_fresh=True))
    assert result.status == "warn"
    assert result.items == changed
    assert result.evidence.startswith(names)


@pytest.mark.parametrize("reason", ["", "uv was not found"])
def test_manual_change_without_a_result_of_uv_is_unknown(reason: str) -> None:
    facts = LockFacts(has_pyproject=True, has_lock=True, changed_files=("uv.lock",), reason_not_run=reason)
    result = judge(facts)
    assert (result.status, result.action) == ("unknown", "gov check")
    assert (reason or "no time") in result.evidence


@pytest.mark.parametrize(("name", "action"), [("pyproject.toml", "gov snapshot list"), ("uv.lock", "gov init")])
def test_missing_truth_file_fails_with_a_command(site: Site, name: str, action: str) -> None:
    site.layout.truth_file(name).rename(site.folder / "away")
    results = run_checks_on(site)
    assert results["lock"].status == "fail"
    assert (results["lock"].action or "").startswith(action)
    assert not results["production"].vital or results["production"].status == "ok"


@pytest.mark.slow
def test_manual_edit_is_unknown_until_uv_was_run(site: Site) -> None:
    path = site.layout.pyproject
    path.write_text(path.read_text("utf-8") + "\n# a remark\n", "utf-8")
    assert run_checks_on(site)["lock"].status == "unknown"
    assert run_checks_on(site, budget_seconds=None)["lock"].status == "warn"
    assert run_checks_on(site)["lock"].status == "warn"
    path.write_text(path.read_text("utf-8").replace("corelet==1.0", "corelet==2.0"), "utf-8")
    assert run_checks_on(site, budget_seconds=None)["lock"].status == "fail"
