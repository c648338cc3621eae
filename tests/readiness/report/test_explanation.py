from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.report.explanation import Explanation, explain_workflow, merge_answers
from comfywatchman.readiness.report.step_text import HostFacts
from comfywatchman.readiness.states import ModelState, NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import FileProblem, MissingInput, ModelCandidate, RefusedInput
from tests.readiness.report.findings import entry, model, newer, node

HOST = HostFacts("0.3.64", is_governed=True)


def explain(classes: int = 4, **changes: Any) -> Explanation:
    return explain_workflow(entry("/w/a.json", **changes), classes, HOST)


def test_missing_model_has_one_command() -> None:
    found = explain(missing_models=(model(answer="FOUND"),))
    assert found.problem == "1 of 1 models is missing. All 4 node classes are installed."
    assert found.lead == "Do this, and it is ready:"
    assert [part.command for part in found.parts] == [("comfywatchman", "download", "a.pt")]
    assert found.fixes == ()


def test_missing_packs_and_comfyui_are_named() -> None:
    nodes = (node("Tea", "tea", remedy=NodeRemedy.INSTALL_PACK), newer("0.99.0"))
    found = explain(missing_nodes=nodes, missing_models=(model(), model("b.pt")))
    assert found.problem == (
        "2 of 2 models are missing. 1 node pack is missing: tea. It needs ComfyUI 0.99.0 or newer."
    )
    assert len(found.parts) == 4
    several = (*nodes, node("Ink", "ink", remedy=NodeRemedy.INSTALL_PACK), newer(None))
    assert explain(missing_nodes=several).problem == "2 node packs are missing: tea, ink. It needs a newer ComfyUI."


def test_name_of_another_system_is_to_be_chosen_again() -> None:
    found = explain(missing_models=(model("x\\a.pt", needs_edit=True), model("b.pt")))
    assert found.lead == "Do this first; the rest is below:"
    assert found.fixes == ("Then choose x\\a.pt again in its node: the name is written for another system.",)


def test_what_a_person_settles_is_listed_once() -> None:
    refused = RefusedInput("seed", "x", "KSampler", "3", RejectionReason.NOT_A_NUMBER, "Write a number.")
    picture = MissingInput("a.png", "input", "picture", "LoadImage", "1", "image", "Add it.", required=True)
    failed = node("Tea", "tea", state="import_failed")
    found = explain(
        missing_nodes=(failed, failed, node("Ink", "p", "q", remedy=NodeRemedy.CHOOSE_PACK)),
        missing_models=(model(folder=None, fix="See its page."),),
        refused_inputs=(refused,),
        missing_inputs=(picture,),
    )
    assert found.lead == "Do this, then check again:"
    assert found.fixes == ("Do it.", "See its page.", "Write a number.", "Add it.")
    assert found.problem == (
        "Installed, but not usable: tea. Several packs provide Ink. Not known yet: a.pt. "
        "To be changed in the workflow: KSampler: seed. A file of yours is missing: a.png."
    )


def test_pack_that_is_to_be_installed_is_no_fix_of_its_own() -> None:
    nodes = (node("Tea", "tea", remedy=NodeRemedy.INSTALL_PACK), node("Odd", state="unknown"))
    assert explain(missing_nodes=nodes).fixes == ("Do it.",)


def test_invalid_file_says_why() -> None:
    problem = FileProblem("workflow-not-json", "The file is empty.")
    found = explain(0, status=WorkflowStatus.INVALID, problems=(problem,))
    assert (found.problem, found.fixes) == (
        "The file is empty.",
        ("Repair the file, or move it out of the workflow folder.",),
    )


def test_ready_workflow_says_what_there_is() -> None:
    found = explain(1, status=WorkflowStatus.READY)
    assert found == Explanation("Nothing is missing: 0 models and 1 node class are here.")


def test_answers_of_the_last_report_are_used() -> None:
    fresh = entry("/w/a.json", missing_models=(model(), model("b.pt"), model("c.pt", state=ModelState.CASE)))
    answered = model(answer="FOUND", size_bytes=5, candidates=(ModelCandidate("civitai"),))
    old = entry("/w/a.json", missing_models=(answered, model("c.pt", answer="FOUND")))
    merged = merge_answers(fresh, old)
    assert [(found.answer, found.size_bytes) for found in merged.missing_models] == [
        ("FOUND", 5),
        (None, None),
        (None, None),
    ]
    assert merge_answers(fresh, None) is fresh


def test_comfyui_that_does_not_start_is_named() -> None:
    from comfywatchman.readiness.report.explanation import _describe_comfyui
    from comfywatchman.readiness.report.needs import ActionKind, PlannedAction

    repair = PlannedAction(ActionKind.REPAIR, "/c/extra.yaml")
    assert _describe_comfyui(repair) == "ComfyUI does not start properly: /c/extra.yaml."


@pytest.mark.parametrize("name", ["", "why."])
def test_nameless_points_are_left_out(name: str) -> None:
    problems = (FileProblem("node-unreadable", name),) if name else ()
    found = explain(0, status=WorkflowStatus.UNCERTAIN, problems=problems)
    assert found.problem == ("Not known yet: why." if name else "")
