from __future__ import annotations

import pytest

from comfywatchman.supervisor.states import ProofKind, SupervisorState, describe_state

UNEVENTFUL = {
    SupervisorState.STARTING,
    SupervisorState.SETTLING,
    SupervisorState.READY,
    SupervisorState.BUSY,
    SupervisorState.SWITCHING,
    SupervisorState.STOPPING,
}


@pytest.mark.parametrize("state", SupervisorState)
def test_every_state_is_one_sentence(state: SupervisorState) -> None:
    sentence = describe_state(state).sentence
    assert sentence.endswith(".")
    assert sentence.count(".") == 1


@pytest.mark.parametrize("state", SupervisorState)
def test_states_that_need_a_person_name_the_next_step(state: SupervisorState) -> None:
    assert (describe_state(state).next_step == "") == (state in UNEVENTFUL)


def test_evidence_follows_the_sentence() -> None:
    text = describe_state(SupervisorState.STALLED, "The browser at 10.0.0.9 stopped reading.")
    assert text.sentence.endswith("makes progress. The browser at 10.0.0.9 stopped reading.")


@pytest.mark.parametrize("state", [SupervisorState.READY, SupervisorState.SETTLING])
def test_proof_by_connections_claims_no_test_prompt(state: SupervisorState) -> None:
    sentence = describe_state(state, proof=ProofKind.CONNECTION).sentence
    assert "connections" in sentence
    assert "prompt" not in sentence
