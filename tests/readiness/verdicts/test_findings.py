from __future__ import annotations

import pytest

from comfywatchman.comfyui.references.reference import Confidence
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.findings import is_certain


@pytest.mark.parametrize(
    ("confidence", "state", "expected"),
    [
        ("high", ModelState.MISSING, True),
        ("medium", ModelState.WRONG_FOLDER, True),
        ("low", ModelState.MISSING, False),
        ("high", ModelState.UNRESOLVABLE, False),
        ("high", ModelState.FOLDER_UNKNOWN, False),
    ],
)
def test_guesses_and_undecided_states_are_not_certain(
    confidence: Confidence, state: ModelState, *, expected: bool
) -> None:
    assert is_certain(confidence, state) is expected
