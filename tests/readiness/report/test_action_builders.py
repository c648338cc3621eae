from __future__ import annotations

import pytest
from msgspec.structs import replace

from comfywatchman.readiness.report.action_builders import (
    build_environment_action,
    build_file_action,
    build_model_action,
    build_node_action,
    plan_command,
)
from comfywatchman.readiness.states import LOCALLY_FIXABLE_STATES, ModelState, WorkflowStatus
from comfywatchman.readiness.status import EnvironmentCheck, FileProblem, PlanSummary
from tests.readiness.report.test_actions import entry, model, node


@pytest.mark.parametrize("state", [state for state in ModelState if state is not ModelState.EXACT])
def test_model_that_is_here_in_another_form_is_mended(state: ModelState) -> None:
    assert build_model_action(model(state=state)).kind == ("mend" if state in LOCALLY_FIXABLE_STATES else "model")


def test_node_of_one_package_is_named_by_it() -> None:
    assert build_node_action(node("A", "p")).what == "p"
    assert build_node_action(node("A", "p", "q")).what == "A"
    assert build_node_action(node("A", "p", state="needs_newer_comfyui")).what == "ComfyUI"


def test_check_without_an_action_refers_to_gov_check() -> None:
    check = EnvironmentCheck("lock", "fail", "It is gone.", "gov init")
    assert build_environment_action(check).instruction == "gov init"
    assert build_environment_action(replace(check, action=None)).instruction == "gov check says more."


def test_invalid_file_without_a_problem_still_has_a_reason() -> None:
    invalid = entry("/w/a.json", status=WorkflowStatus.INVALID)
    assert build_file_action(replace(invalid, problems=())).because == "cannot be read"
    named = replace(invalid, problems=(FileProblem("workflow-invalid", "It is not JSON."),))
    assert build_file_action(named).because == "It is not JSON."


def test_plan_command_names_the_file_alone() -> None:
    assert plan_command(PlanSummary("/home/plans/p1.json", 1, 2, 0)) == "comfywatchman download --plan p1.json"
