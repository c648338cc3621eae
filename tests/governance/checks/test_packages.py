from __future__ import annotations

import pytest

from comfywatchman.base.gpu.driver import Driver
from comfywatchman.governance.checks.packages import (
    Denied,
    ProductionFacts,
    cuda_of,
    deny_result,
    driver_result,
    production_result,
)
from comfywatchman.governance.store.records import Package

HERE = Driver(present=True, version="570.86.15", cuda=(12, 8))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (ProductionFacts(generation=None), "leads nowhere"),
        (ProductionFacts(generation="4f1c"), "never completed"),
        (ProductionFacts(generation="4f1c", is_complete=True), "another lock"),
        (ProductionFacts("4f1c", is_complete=True, is_of_lock=True, absent=("numpy 2.2",)), "not there: numpy 2.2"),
        (ProductionFacts("4f1c", is_complete=True, is_of_lock=True, broken=("scipy",)), "by halves: scipy"),
        (ProductionFacts("4f1c", is_complete=True, is_of_lock=True, modified=("lib/a.py",)), "changed files: lib/a.py"),
    ],
)
def test_production_that_is_not_what_the_lock_says_fails_with_the_way_to_build_it_anew(
    facts: ProductionFacts, said: str
) -> None:
    result = production_result(facts)
    assert result.status == "fail"
    assert said in result.evidence
    assert (result.action or "").startswith("gov init")


def test_a_package_that_was_installed_by_hand_is_a_warning() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, strange=("six 1.17",), packages=1, verified=1)
    result = production_result(facts)
    assert (result.status, result.items) == ("warn", ("six 1.17",))


def test_production_whose_files_were_not_verified_in_time_is_unknown() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, packages=66, verified=60)
    result = production_result(facts)
    assert (result.status, result.action) == ("unknown", "gov check")
    assert "6 packages" in result.evidence


def test_production_as_it_was_installed_is_well() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, packages=66, verified=66)
    assert production_result(facts).status == "ok"


def test_faults_are_named_up_to_three_of_each_and_counted_beyond() -> None:
    modified = tuple(f"lib/{letter}.py" for letter in "edcba")
    result = production_result(ProductionFacts("4f1c", is_complete=True, is_of_lock=True, modified=modified))
    assert "and 2 more" in result.evidence
    assert result.items == tuple(sorted(modified))


@pytest.mark.parametrize(
    ("versions", "build"),
    [
        ({"torch": "2.9.1+cu128"}, (12, 8)),
        ({"torch": "2.9.1+cu130"}, (13, 0)),
        ({"torch": "2.9.1+cpu", "nvidia-cuda-runtime-cu12": "12.8.90"}, None),
        ({"torch": "2.9.1", "nvidia-cuda-runtime-cu12": "12.8.90"}, (12, 8)),
        ({"torch": "2.9.1", "nvidia-cuda-runtime": "13.0.96"}, (13, 0)),
        ({"torch": "2.9.1"}, None),
        ({}, None),
    ],
)
def test_the_cuda_of_torch_is_read_from_its_version_or_from_nvidias_runtime(
    versions: dict[str, str], build: tuple[int, int] | None
) -> None:
    assert cuda_of(versions) == build


@pytest.mark.parametrize(
    ("torch", "driver", "status"),
    [
        (None, HERE, "ok"),
        ("2.9.1+cu128", Driver(present=False), "ok"),
        ("2.9.1+cu128", HERE, "ok"),
        ("2.9.1+cu130", HERE, "fail"),
        ("2.9.1+cu128", Driver(present=None), "unknown"),
        ("2.9.1+cu129", HERE, "ok"),
        ("2.9.1+cu130", Driver(present=True, cuda=(13, 0)), "ok"),
        ("2.9.1+cpu", HERE, "warn"),
        ("2.9.1+cpu", Driver(present=None), "unknown"),
        ("2.9.1", HERE, "unknown"),
    ],
)
def test_torch_is_held_against_the_driver(torch: str | None, driver: Driver, status: str) -> None:
    packages = [Package("torch", torch)] if torch else []
    assert driver_result(packages, driver).status == status


def test_what_is_on_the_deny_list_fails_with_the_reason_and_the_command() -> None:
    found = [Denied(f"pack-{n}", "steals keys", "gov node remove pack --purge-code") for n in range(4)]
    result = deny_result(found)
    assert result.status == "fail"
    assert "pack-0: steals keys" in result.evidence
    assert "and 1 more" in result.evidence
    assert result.action == "gov node remove pack --purge-code"
    assert deny_result([]).status == "ok"
    flagged = Denied("pack-x", "asks for keys", "gov node remove pack-x", is_blocked=False)
    assert deny_result([flagged]).status == "warn"
    assert deny_result([flagged, found[0]]).status == "fail"
    assert "more" not in deny_result(found[:1]).evidence


def test_only_an_environment_that_may_not_start_is_vital() -> None:
    assert production_result(ProductionFacts(generation=None)).vital
    assert not production_result(ProductionFacts(generation="4f1c", is_complete=True)).vital
