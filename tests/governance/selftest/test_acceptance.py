from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import write_atomic
from comfywatchman.governance.selftest.acceptance import run_selftest


@pytest.mark.slow
def test_every_step_succeeds_on_a_scratch_copy(tmp_path: Path) -> None:
    names: list[str] = []
    steps = run_selftest(tmp_path, clock=SystemClock(), progress=names.append)
    assert [step for step in steps if step.ok is not True] == []
    assert names == [step.name for step in steps]
    assert len(steps) == 13


def test_steps_after_a_failed_one_are_not_run(tmp_path: Path) -> None:
    write_atomic(tmp_path / "env" / "config.toml", b'[runtime]\npython = "/nowhere/python"\n[network]\n[policy]\n')
    first, *rest = run_selftest(tmp_path, clock=SystemClock())
    assert first.ok is False
    assert "/nowhere/python" in first.detail
    assert {step.ok for step in rest} == {None}
