from __future__ import annotations

from comfywatchman.app.doctor.check import CheckState, DoctorCheck


def test_states_are_ordered_by_urgency() -> None:
    assert list(CheckState) == [CheckState.FAIL, CheckState.WARN, CheckState.SKIP, CheckState.OK]
    assert DoctorCheck("GPU", CheckState.OK, "none").next_step == ""
