from __future__ import annotations

from comfywatchman.readiness.states import (
    LOCALLY_FIXABLE_STATES,
    MODEL_STATE_TEXT,
    SEARCHED_STATES,
    UNDECIDED_STATES,
    ModelState,
)


def test_every_state_but_exact_has_one_kind_of_fix() -> None:
    kinds = [LOCALLY_FIXABLE_STATES, SEARCHED_STATES, UNDECIDED_STATES]
    assert sorted(state for kind in kinds for state in kind) == sorted(set(ModelState) - {ModelState.EXACT})


def test_every_state_has_a_text() -> None:
    assert MODEL_STATE_TEXT.keys() == set(ModelState)
