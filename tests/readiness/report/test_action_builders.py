from __future__ import annotations

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.report.action_builders import (
    build_choice_action,
    build_download_action,
    build_environment_action,
    build_file_action,
    build_folder_action,
    build_input_action,
    build_model_action,
    build_node_action,
    plan_command,
)
from comfywatchman.readiness.states import LOCALLY_FIXABLE_STATES, ModelState, WorkflowStatus
from comfywatchman.readiness.status import EnvironmentCheck, FileProblem, MissingInput, PlanSummary, RefusedInput
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


def test_each_builder_makes_its_kind() -> None:
    missing_input = MissingInput("a.png", "input", "picture", "LoadImage", "1", "image", "Put it there.", True)
    input_action = build_input_action(missing_input)
    assert (input_action.kind, input_action.what, input_action.instruction) == ("input", "a.png", "Put it there.")
    assert "picture" in input_action.because
    folder_action = build_folder_action(entry("/disk/w/a.json"))
    assert (folder_action.kind, folder_action.what) == ("folder", "/disk/w")
    refused = RefusedInput("model", None, "KSampler", "3", RejectionReason.NOT_GIVEN, "Link it.", "gets nothing")
    choice_action = build_choice_action(refused)
    assert (choice_action.kind, choice_action.what) == ("choice", "KSampler: model")
    assert (choice_action.because, choice_action.instruction) == ("this input gets nothing", "Link it.")
    assert build_choice_action(replace(refused, problem="")).because == "this input is refused"


def test_download_shows_its_size_and_command() -> None:
    plan = PlanSummary("/home/plans/p1.json", 2, 0, 0)
    assert build_download_action(plan).instruction == "Fetch all of them: comfywatchman download --plan p1.json"
    sized = build_download_action(replace(plan, total_bytes=3 << 30)).instruction
    assert "GB as far as sizes are known): " in sized or "GiB as far as sizes are known): " in sized


def test_plan_command_names_the_file_alone() -> None:
    assert plan_command(PlanSummary("/home/plans/p1.json", 1, 2, 0)) == "comfywatchman download --plan p1.json"
