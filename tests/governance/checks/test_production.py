from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from comfywatchman.governance.checks.production import ProductionFacts, judge
from comfywatchman.governance.checks.runner import run_checks
from tests.fakes import FakeClock
from tests.governance.checks.checked_site import NO_GPU, find_environment, find_site_packages, run_checks_on
from tests.governance.contexts import Site


@pytest.mark.parametrize(
    ("facts", "evidence"),
    [
        (ProductionFacts(generation=None), "points to a missing folder"),
        (ProductionFacts(generation="4f1c"), "never completed"),
        (ProductionFacts(generation="4f1c", is_complete=True), "another lock"),
        (ProductionFacts("4f1c", is_complete=True, matches_lock=True, missing=("numpy 2.2",)), "not there: numpy 2.2"),
        (ProductionFacts("4f1c", is_complete=True, matches_lock=True, incomplete=("scipy",)), "by halves: scipy"),
        (
            ProductionFacts("4f1c", is_complete=True, matches_lock=True, modified_files=("lib/a.py",)),
            "changed files: lib/a.py",
        ),
    ],
)
def test_production_that_differs_from_the_lock_fails(facts: ProductionFacts, evidence: str) -> None:
    result = judge(facts)
    assert result.status == "fail"
    assert evidence in result.evidence
    assert (result.action or "").startswith("gov init")


def test_manually_installed_package_is_a_warning() -> None:
    facts = ProductionFacts(
        "4f1c", is_complete=True, matches_lock=True, unexpected=("six 1.17",), package_count=1, verified_count=1
    )
    result = judge(facts)
    assert (result.status, result.items) == ("warn", ("six 1.17",))


def test_production_without_recent_verification_is_unknown() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, matches_lock=True, package_count=66, verified_count=60)
    result = judge(facts)
    assert (result.status, result.action) == ("unknown", "gov check")
    assert "6 packages" in result.evidence


def test_verified_production_is_ok() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, matches_lock=True, package_count=66, verified_count=66)
    assert judge(facts).status == "ok"


def test_files_that_cannot_be_verified_are_named() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, matches_lock=True, package_count=66, verified_count=66)
    odd = judge(replace(facts, unverifiable=("lib/odd.py",)))
    assert odd.status == "ok"
    assert "no installed file was changed" not in odd.evidence
    assert "1 file cannot be verified" in odd.evidence
    assert odd.items == ("lib/odd.py",)
    shared = judge(replace(facts, shared=("a and b (module m)",), keep="a"))
    assert (shared.status, shared.action) == ("warn", "gov init --keep a")
    assert "a and b (module m) own the same files" in shared.evidence


def test_long_lists_of_faults_are_shortened() -> None:
    modified = tuple(f"lib/{letter}.py" for letter in "edcba")
    result = judge(ProductionFacts("4f1c", is_complete=True, matches_lock=True, modified_files=modified))
    assert "and 2 more" in result.evidence
    assert result.items == tuple(sorted(modified))


def test_only_an_environment_that_may_not_start_is_vital() -> None:
    assert judge(ProductionFacts(generation=None)).vital
    assert not judge(ProductionFacts(generation="4f1c", is_complete=True)).vital


@pytest.mark.slow
def test_modified_file_is_found_when_its_package_is_verified(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    (find_site_packages(site) / "corelet" / "__init__.py").write_text("# changed\n")
    assert run_checks_on(site)["production"].status == "ok"
    assert run_checks_on(site, budget_seconds=None)["production"].status == "fail"
    assert run_checks_on(site)["production"].items == (
        (find_site_packages(site) / "corelet" / "__init__.py").relative_to(find_environment(site)).as_posix(),
    )


def test_overdue_verification_is_unknown(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    (find_site_packages(site) / "corelet" / "__init__.py").write_text("# changed\n")
    site.clock.advance(awake=timedelta(days=8).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["production"].status == "ok"
    site.clock.advance(awake=timedelta(days=8).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["production"].status == "unknown"
    assert run_checks_on(site)["production"].status == "fail"


@pytest.mark.slow
def test_unexpected_and_missing_packages_are_named(site: Site) -> None:
    place = find_site_packages(site)
    (place / "stranger-1.0.dist-info").mkdir()
    (place / "stranger-1.0.dist-info" / "RECORD").write_text("")
    result = run_checks_on(site)["production"]
    assert (result.status, result.items) == ("warn", ("stranger 1.0",))
    (place / "corelet-1.0.dist-info").rename(site.folder / "away")
    assert run_checks_on(site)["production"].items == ("corelet 1.0", "stranger 1.0")


def test_unowned_startup_file_is_found_at_once(site: Site) -> None:
    assert run_checks_on(site)["production"].status == "ok"
    (find_site_packages(site) / "evil.pth").write_text("import os\n")
    assert run_checks_on(site)["production"].items == (
        (find_site_packages(site) / "evil.pth").relative_to(find_environment(site)).as_posix(),
    )


@pytest.mark.parametrize("seconds", [0.0, 5.0, None])
@pytest.mark.slow
def test_missing_package_folder_fails_until_restored(site: Site, seconds: float | None) -> None:
    run_checks_on(site)
    gone = (find_site_packages(site) / "corelet").rename(site.folder / "away")
    for _ in range(2):
        result = run_checks_on(site, budget_seconds=seconds)["production"]
        assert (result.vital, result.status, result.action) == (True, "fail", "gov init")
        assert (find_site_packages(site) / "corelet").relative_to(find_environment(site)).as_posix() in result.items
    gone.rename(find_site_packages(site) / "corelet")
    assert run_checks_on(site, budget_seconds=None)["production"].status == "ok"


def test_interrupted_installation_is_named(site: Site) -> None:
    (find_site_packages(site) / "corelet-1.0.dist-info" / "RECORD").unlink()
    result = run_checks_on(site)["production"]
    assert result.status == "fail"
    assert "by halves: corelet 1.0" in result.evidence


def test_missing_or_incomplete_production_fails(site: Site) -> None:
    (find_environment(site) / ".gov-complete").unlink()
    assert "never completed" in run_checks_on(site)["production"].evidence
    site.layout.production.unlink()
    assert "points to a missing folder" in run_checks_on(site)["production"].evidence


@pytest.mark.slow
def test_unwritten_files_are_read_only_in_a_full_check(site: Site) -> None:
    module = find_site_packages(site) / "corelet" / "__init__.py"
    content = module.read_bytes()
    # Before the clock of the site, which stands still.
    times = (1_600_000_000_000_000_000, 1_600_000_000_000_000_000)

    def check(*, is_full: bool = False) -> str:
        with site.opened() as gov:
            results = run_checks(gov, driver=NO_GPU, budget_seconds=None, is_full=is_full)
        return next(result.status for result in results if result.name == "production")

    assert check() == "ok"
    module.unlink()
    module.write_bytes(content.replace(b"1", b"2"))
    assert check() == "fail"
    os.utime(module, ns=times)
    assert check() == "fail"
    module.write_bytes(content)
    assert check() == "ok"
    module.write_bytes(content.replace(b"1", b"2"))
    os.utime(module, ns=times)
    assert check() == "ok"
    assert check(is_full=True) == "fail"
