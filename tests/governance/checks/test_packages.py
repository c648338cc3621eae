from __future__ import annotations

import pytest

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.packages import (
    DeniedItem,
    ProductionFacts,
    find_cuda_version,
    judge_deny_list,
    judge_driver,
    judge_production,
)
from comfywatchman.governance.store.records import InstalledPackage

HERE = GpuDriver(present=True, version="570.86.15", cuda=(12, 8))


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
def test_production_that_differs_from_the_lock_fails(facts: ProductionFacts, said: str) -> None:
    result = judge_production(facts)
    assert result.status == "fail"
    assert said in result.evidence
    assert (result.action or "").startswith("gov init")


def test_a_package_that_was_installed_by_hand_is_a_warning() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, strange=("six 1.17",), packages=1, verified=1)
    result = judge_production(facts)
    assert (result.status, result.items) == ("warn", ("six 1.17",))


def test_production_whose_files_were_not_verified_in_time_is_unknown() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, packages=66, verified=60)
    result = judge_production(facts)
    assert (result.status, result.action) == ("unknown", "gov check")
    assert "6 packages" in result.evidence


def test_production_as_it_was_installed_is_well() -> None:
    facts = ProductionFacts("4f1c", is_complete=True, is_of_lock=True, packages=66, verified=66)
    assert judge_production(facts).status == "ok"


def test_faults_are_named_up_to_three_of_each_and_counted_beyond() -> None:
    modified = tuple(f"lib/{letter}.py" for letter in "edcba")
    result = judge_production(ProductionFacts("4f1c", is_complete=True, is_of_lock=True, modified=modified))
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
def test_cuda_version_is_read_from_torch_or_its_runtime(
    versions: dict[str, str], build: tuple[int, int] | None
) -> None:
    assert find_cuda_version(versions) == build


@pytest.mark.parametrize(
    ("torch", "driver", "status"),
    [
        (None, HERE, "ok"),
        ("2.9.1+cu128", GpuDriver(present=False), "ok"),
        ("2.9.1+cu128", HERE, "ok"),
        ("2.9.1+cu130", HERE, "fail"),
        ("2.9.1+cu128", GpuDriver(present=None), "unknown"),
        ("2.9.1+cu129", HERE, "ok"),
        ("2.9.1+cu130", GpuDriver(present=True, cuda=(13, 0)), "ok"),
        ("2.9.1+cpu", HERE, "warn"),
        ("2.9.1+cpu", GpuDriver(present=None), "unknown"),
        ("2.9.1", HERE, "unknown"),
    ],
)
def test_torch_is_held_against_the_driver(torch: str | None, driver: GpuDriver, status: str) -> None:
    packages = [InstalledPackage("torch", torch)] if torch else []
    assert judge_driver(packages, driver).status == status


def test_denied_package_fails_with_reason_and_command() -> None:
    found = [DeniedItem(f"pack-{n}", "steals keys", "gov node remove pack --purge-code") for n in range(4)]
    result = judge_deny_list(found)
    assert result.status == "fail"
    assert "pack-0: steals keys" in result.evidence
    assert "and 1 more" in result.evidence
    assert result.action == "gov node remove pack --purge-code"
    assert judge_deny_list([]).status == "ok"
    flagged = DeniedItem("pack-x", "asks for keys", "gov node remove pack-x", is_blocked=False)
    assert judge_deny_list([flagged]).status == "warn"
    assert judge_deny_list([flagged, found[0]]).status == "fail"
    assert "more" not in judge_deny_list(found[:1]).evidence


def test_only_an_environment_that_may_not_start_is_vital() -> None:
    assert judge_production(ProductionFacts(generation=None)).vital
    assert not judge_production(ProductionFacts(generation="4f1c", is_complete=True)).vital
