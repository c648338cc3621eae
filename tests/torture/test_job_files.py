"""10,000 mutated job files, and as many mutated configuration files: no crash, no lost job, one answer each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.files.attack import attack_configuration, attack_intake

pytestmark = pytest.mark.torture

COUNT = 10_000


@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_job_files(tmp_path: Path) -> None:
    outcome = attack_intake(tmp_path, count=COUNT, seed=7)
    assert sum(outcome.statuses.values()) == COUNT
    print(f"{dict(outcome.statuses)}, {outcome.scan_seconds:.1f} s for the scan")  # noqa: T201 - the figure of the run


@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_configuration_files(tmp_path: Path) -> None:
    outcomes = attack_configuration(tmp_path, count=COUNT, seed=7)
    assert sum(outcomes.values()) == COUNT
    print(dict(outcomes))  # noqa: T201 - the figure of the run
