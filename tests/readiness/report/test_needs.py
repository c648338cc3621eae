from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary
from comfywatchman.readiness.report.needs import (
    ActionKind,
    OpenPoint,
    PlannedAction,
    WorkflowNeeds,
    find_repair,
    list_needs,
    pick_version,
)
from comfywatchman.readiness.states import ModelState, NodeRemedy, SearchDoubt, WorkflowStatus
from comfywatchman.readiness.status import (
    Environment,
    EnvironmentCheck,
    FileProblem,
    MissingInput,
    MissingModel,
    MissingNode,
    ModelCandidate,
    RefusedInput,
    StartProblem,
)
from comfywatchman.readiness.verdicts.compose import COMFYUI_EXITS
from tests.readiness.report.findings import entry, model, newer, node
from tests.readiness.report.sample_reports import status

CANDIDATES = (ModelCandidate("civitai"), ModelCandidate("huggingface"))
CLOSED = Obstacle(ObstacleKind.UNREADABLE, "/mnt/models", "Permission denied")


def needs_of(**changes: Any) -> WorkflowNeeds:
    (needs,) = list_needs(status(entry("/w/a.json", **changes)))
    return needs


def kinds_of(*models: MissingModel, nodes: tuple[MissingNode, ...] = ()) -> tuple[list[ActionKind], list[OpenPoint]]:
    needs = needs_of(missing_models=models, missing_nodes=nodes)
    return [action.kind for action in needs.actions], [point for point, _name in needs.open_points]


def test_ready_workflow_needs_nothing() -> None:
    assert list_needs(status(entry("/w/a.json", status=WorkflowStatus.READY))) == ()


@pytest.mark.parametrize(
    ("missing", "kind"),
    [
        (model(), ActionKind.FIND),
        (model(declared_url="https://x.example/a"), ActionKind.DOWNLOAD),
        (model(answer="FOUND"), ActionKind.DOWNLOAD),
        (model(answer="NOT_FOUND"), ActionKind.FIND),
        (model(answer="ERROR", declared_url="https://x.example/a"), ActionKind.DOWNLOAD),
        (
            model(answer="UNCERTAIN", doubt=SearchDoubt.CANDIDATES_TO_CHOOSE, candidates=CANDIDATES),
            ActionKind.CHOOSE,
        ),
        (model(answer="UNCERTAIN", doubt=SearchDoubt.NO_MATCH), ActionKind.FIND),
        (model(state=ModelState.INVALID), ActionKind.REPLACE),
        (model(state=ModelState.CASE, found_at="/m/A.pt"), ActionKind.LINK),
        (model(state=ModelState.SUBFOLDER, found_at="/m/x/a.pt"), ActionKind.LINK),
        (model(state=ModelState.WRONG_FOLDER, found_at="/m/vae/a.pt"), ActionKind.LINK),
    ],
)
def test_model_is_settled_by_one_action(missing: MissingModel, kind: ActionKind) -> None:
    assert kinds_of(missing) == ([kind], [])


@pytest.mark.parametrize(
    ("missing", "point"),
    [
        (model(folder=None), OpenPoint.UNKNOWN),
        (model(state=ModelState.UNKNOWN, obstacle=CLOSED), OpenPoint.UNKNOWN),
        (model(state=ModelState.FOLDER_UNKNOWN), OpenPoint.UNKNOWN),
        # A link to nowhere, or a file that the running server does not list.
        (model(found_at="/m/a.pt"), OpenPoint.UNKNOWN),
        (model(state=ModelState.WRONG_FOLDER), OpenPoint.UNKNOWN),
        # Files of one name in several subfolders.
        (model(state=ModelState.SUBFOLDER), OpenPoint.EDIT),
        (model(state=ModelState.SEPARATOR, found_at="/m/a.pt"), OpenPoint.EDIT),
        (model(state=ModelState.NORMALISATION, found_at="/m/a.pt"), OpenPoint.EDIT),
        (model(state=ModelState.UNRESOLVABLE), OpenPoint.EDIT),
    ],
)
def test_model_that_no_action_settles_leaves_a_point_open(missing: MissingModel, point: OpenPoint) -> None:
    assert kinds_of(missing) == ([], [point])


def test_name_of_another_system_needs_the_file_and_an_edit() -> None:
    assert kinds_of(model("sub\\a.pt", needs_edit=True)) == ([ActionKind.FIND], [OpenPoint.EDIT])


def test_blocked_download_is_to_be_found_by_a_person() -> None:
    blocked = PlanSummary("/p.json", 0, 0, 0, (BlockedDownload("a.pt", "loras", "pickle"),))
    report = status(entry("/w/a.json", missing_models=(model(answer="FOUND"),)), plan=blocked)
    assert [action.kind for action in list_needs(report)[0].actions] == [ActionKind.FIND]


@pytest.mark.parametrize(
    ("missing", "kinds", "points"),
    [
        (node("Tea", "pack", remedy=NodeRemedy.INSTALL_PACK), [ActionKind.INSTALL], []),
        (newer("0.4.0"), [ActionKind.UPDATE], []),
        (node("Tea", "p", "q", remedy=NodeRemedy.CHOOSE_PACK), [], [OpenPoint.CHOOSE_PACK]),
        (node("Tea", "p", remedy=NodeRemedy.UPDATE_PACK), [], [OpenPoint.REPAIR_PACK]),
        (node("Tea", "p", remedy=NodeRemedy.ENABLE_PACK), [], [OpenPoint.REPAIR_PACK]),
        (node("Tea", "p", state="import_failed"), [], [OpenPoint.REPAIR_PACK]),
        (node("Tea", state="not_listed"), [], [OpenPoint.REPAIR_PACK]),
        (node("Tea", remedy=NodeRemedy.REPLACE_NODE), [], [OpenPoint.EDIT]),
        (node("Tea", state="unknown"), [], [OpenPoint.UNKNOWN]),
    ],
)
def test_node_class_is_an_action_or_an_open_point(
    missing: MissingNode, kinds: list[ActionKind], points: list[OpenPoint]
) -> None:
    assert kinds_of(nodes=(missing,)) == (kinds, points)


def test_pack_to_repair_is_named_not_the_class() -> None:
    needs = needs_of(missing_nodes=(node("Tea", "pack", state="import_failed"), node("Ink", state="not_listed")))
    assert needs.open_points == ((OpenPoint.REPAIR_PACK, "pack"), (OpenPoint.REPAIR_PACK, "Ink"))


def test_actions_of_the_same_thing_are_one() -> None:
    classes = (node("A", "Pack", remedy=NodeRemedy.INSTALL_PACK), node("B", "pack", remedy=NodeRemedy.INSTALL_PACK))
    needs = needs_of(missing_models=(model(), model()), missing_nodes=classes)
    assert [action.id for action in needs.actions] == ["install:pack", "find:models/loras/a.pt"]


def test_update_is_enough_for_all_classes_of_a_workflow() -> None:
    needs = needs_of(missing_nodes=(newer("0.4.0", "A"), newer("0.3.9", "B")))
    assert [action.version for action in needs.actions] == ["0.4.0"]


def test_inputs_and_files_leave_points_open() -> None:
    refused = RefusedInput("seed", "x", "KSampler", "3", RejectionReason.NOT_A_NUMBER, "Change it.")
    picture = MissingInput("a.png", "input", "picture", "LoadImage", "1", "image", "Add it.", required=True)
    hidden = MissingInput("b.png", "input", "picture", "LoadImage", "1", "image", "", required=True, obstacle=CLOSED)
    optional = MissingInput("c.png", "input", "picture", "LoadImage", "1", "image", "Add it.", required=False)
    needs = needs_of(refused_inputs=(refused,), missing_inputs=(picture, hidden, optional))
    assert needs.open_points == (
        (OpenPoint.EDIT, "KSampler: seed"),
        (OpenPoint.INPUT, "a.png"),
        (OpenPoint.UNKNOWN, "b.png"),
    )
    assert needs_of(status=WorkflowStatus.INVALID).open_points == ((OpenPoint.FILE, ""),)
    assert needs_of(obstacle=CLOSED).open_points == ((OpenPoint.UNKNOWN, "/mnt/models"),)


@pytest.mark.parametrize(
    ("code", "point"),
    [
        ("model-name-absent", (OpenPoint.EDIT, "It is so.")),
        ("node-unreadable", (OpenPoint.UNKNOWN, "It is so.")),
        ("text-not-utf8", (OpenPoint.UNKNOWN, "")),
    ],
)
def test_problems_that_hide_needs_leave_a_point_open(code: str, point: tuple[OpenPoint, str]) -> None:
    needs = needs_of(status=WorkflowStatus.UNCERTAIN, problems=(FileProblem(code, "It is so."),))
    assert needs.open_points == (point,)


def test_comfyui_that_does_not_start_is_repaired_first() -> None:
    problem = FileProblem(COMFYUI_EXITS, "It does not start.")
    doubtful = entry("/w/a.json", status=WorkflowStatus.UNCERTAIN, problems=(problem,))
    report = status(doubtful, start_problems=(StartProblem("/c/extra.yaml", 3, "no value", "Write one."),))
    (needs,) = list_needs(report)
    assert (needs.actions, needs.open_points) == ((PlannedAction(ActionKind.REPAIR, "/c/extra.yaml"),), ())


def test_failed_check_is_a_repair_only_when_comfyui_may_not_run() -> None:
    def repair(name: str, *, vital: bool) -> PlannedAction | None:
        check = EnvironmentCheck(name, "fail", "Gone.", "gov repair", vital=vital)
        return find_repair(status(environment=Environment("fail", (check,), "/env")))

    assert repair("lock", vital=False) is None
    assert repair("production", vital=True) == PlannedAction(ActionKind.REPAIR, "production", url="gov repair")


@pytest.mark.parametrize(
    ("versions", "expected"),
    [([], None), (["0.3.9", "0.3.10"], "0.3.10"), (["0.4.0", None], None)],
)
def test_lowest_version_that_is_enough_for_all(versions: list[str | None], expected: str | None) -> None:
    actions = [PlannedAction(ActionKind.UPDATE, "", version=version) for version in versions]
    assert pick_version(actions) == expected
