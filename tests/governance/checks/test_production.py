from __future__ import annotations

import pytest

from comfywatchman.governance.checks.production import ProductionFacts, judge


@pytest.mark.parametrize(
    ("facts", "evidence"),
    [
        (ProductionFacts(generation=None), "leads nowhere"),
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


def test_long_lists_of_faults_are_shortened() -> None:
    modified = tuple(f"lib/{letter}.py" for letter in "edcba")
    result = judge(ProductionFacts("4f1c", is_complete=True, matches_lock=True, modified_files=modified))
    assert "and 2 more" in result.evidence
    assert result.items == tuple(sorted(modified))


def test_only_an_environment_that_may_not_start_is_vital() -> None:
    assert judge(ProductionFacts(generation=None)).vital
    assert not judge(ProductionFacts(generation="4f1c", is_complete=True)).vital
