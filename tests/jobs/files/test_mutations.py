from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.jobs.files.intake import ScanStatus
from tests.jobs.files.attack import attack_configuration, attack_intake

pytestmark = pytest.mark.slow


def test_mutated_job_files_are_answered_and_none_is_lost(tmp_path: Path) -> None:
    outcome = attack_intake(tmp_path, count=40, seed=1)
    assert outcome.statuses[ScanStatus.REJECTED] > 5
    assert outcome.statuses[ScanStatus.ACCEPTED] > 5


def test_mutated_configuration_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = attack_configuration(tmp_path, count=40, seed=1)
    assert outcomes["read"] > 2
    assert outcomes["refused"] > 5
