from __future__ import annotations

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.references.reference import Confidence
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.report.action_builders import Action
from comfywatchman.readiness.report.actions import list_actions
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    FOLDER_UNAVAILABLE,
    NOTHING_TO_RUN,
    BlockedDownload,
    Environment,
    EnvironmentCheck,
    FileProblem,
    MissingInput,
    MissingModel,
    MissingNode,
    ModelCandidate,
    PlanSummary,
    ProviderPackage,
    RefusedInput,
    StartProblem,
    WorkflowEntry,
)


def model(
    name: str = "a.pt",
    *,
    folder: str | None = "loras",
    state: ModelState = ModelState.MISSING,
    confidence: Confidence = "high",
    fix: str | None = "Put it there.",
    candidates: tuple[ModelCandidate, ...] = (),
) -> MissingModel:
    return MissingModel(name, folder, "LoraLoader", "1", "lora_name", state, fix, "table", confidence, candidates)


def node(
    class_type: str,
    *packages: str,
    state: str = "missing",
    fix: str | None = "Install it.",
    comfyui_version: str | None = None,
) -> MissingNode:
    providers = tuple(ProviderPackage(id=package) for package in packages)
    return MissingNode(class_type, state, ("1",), providers, fix, comfyui_version=comfyui_version)


def entry(
    path: str,
    *,
    status: WorkflowStatus = WorkflowStatus.MISSING,
    models: tuple[MissingModel, ...] = (),
    nodes: tuple[MissingNode, ...] = (),
    problems: tuple[FileProblem, ...] = (),
    inputs: tuple[MissingInput, ...] = (),
    refused: tuple[RefusedInput, ...] = (),
) -> WorkflowEntry:
    return WorkflowEntry(
        path=path,
        source="mine",
        format="ui-1",
        container="json",
        sha256="0" * 64,
        status=status,
        models=len(models),
        missing_models=models,
        missing_nodes=nodes,
        inactive_models=(),
        uncertain_count=0,
        problems=problems,
        last_resolved_at=None,
        intake=None,
        missing_inputs=inputs,
        refused_inputs=refused,
    )


def test_ready_workflows_need_no_action() -> None:
    assert list_actions([]) == ()
    assert list_actions([entry("/a", status=WorkflowStatus.READY)]) == ()


def test_model_of_several_workflows_is_one_action() -> None:
    (action,) = list_actions([entry("/a", models=(model(), model())), entry("/b", models=(model(),))])
    assert (action.kind, action.what, action.instruction) == ("model", "a.pt", "Put it there.")
    assert action.because == "a model of loras, missing"
    assert action.workflows == ("/a", "/b")


def test_same_name_in_another_folder_is_another_action() -> None:
    actions = list_actions([entry("/a", models=(model(), model(folder="vae"), model(fix=None, folder=None)))])
    assert {action.because for action in actions} == {
        "a model of loras, missing",
        "a model of vae, missing",
        "a model of an unknown folder, missing",
    }
    assert "" in {action.instruction for action in actions}


def test_classes_of_one_package_are_one_action() -> None:
    (action,) = list_actions(
        [entry("/a", nodes=(node("B", "pack"), node("A", "pack"))), entry("/b", nodes=(node("A", "pack"),))]
    )
    assert (action.kind, action.what, action.because) == ("node", "pack", "missing node classes: A, B")
    assert action.workflows == ("/a", "/b")


def test_class_of_several_packages_is_an_action_of_its_own() -> None:
    actions = list_actions([entry("/a", nodes=(node("A", "p", "q"), node("B", "p", "q")))])
    assert [action.what for action in actions] == ["A", "B"]
    assert [package.id for package in actions[0].packages] == ["p", "q"]


def test_classes_of_a_newer_comfyui_are_one_action() -> None:
    state = "needs_newer_comfyui"
    (action,) = list_actions([entry("/a", nodes=(node("A", state=state), node("B", state=state)))])
    assert (action.what, action.because) == ("ComfyUI", "node classes of a newer ComfyUI: A, B")


def newer(class_type: str, fix: str, comfyui_version: str | None) -> MissingNode:
    return node(class_type, state="needs_newer_comfyui", fix=fix, comfyui_version=comfyui_version)


def test_greatest_update_of_comfyui_is_enough_for_all_classes() -> None:
    nodes = (newer("A", "small", "0.3.28"), newer("B", "great", "0.33.0"), newer("C", "middle", "0.3.75"))
    assert list_actions([entry("/a", nodes=nodes)])[0].instruction == "great"
    newest = newer("Z", "newest", None)
    assert list_actions([entry("/a", nodes=(newest, *nodes))])[0].instruction == "newest"
    assert list_actions([entry("/a", nodes=(*nodes, newest))])[0].instruction == "newest"


def test_class_of_unknown_origin_is_not_sure() -> None:
    (action,) = list_actions([entry("/a", nodes=(node("A", state="unknown", fix=None),))])
    assert (action.what, action.instruction, action.is_sure) == ("A", "Find the package that provides it.", False)
    assert action.because == "node classes of unknown origin: A"


def test_failed_import_is_named_as_the_reason() -> None:
    (action,) = list_actions([entry("/a", nodes=(node("A", "pack", state="import_failed"),))])
    assert action.because == "its import failed: A"


def test_action_is_sure_when_one_workflow_is() -> None:
    unsure = entry("/a", models=(model(confidence="low"),))
    assert [action.is_sure for action in list_actions([unsure])] == [False]
    sure = entry("/b", models=(model(),))
    assert [action.is_sure for action in list_actions([unsure, sure])] == [True]
    assert [action.is_sure for action in list_actions([sure, unsure])] == [True]
    unresolvable = model(state=ModelState.UNRESOLVABLE)
    assert [action.is_sure for action in list_actions([entry("/a", models=(unresolvable,))])] == [False]


def test_invalid_file_is_an_action_with_its_first_problem() -> None:
    problems = (FileProblem("workflow-not-json", "It is no JSON."), FileProblem("x", "y"))
    actions = list_actions(
        [entry("/a", status=WorkflowStatus.INVALID, problems=problems), entry("/b", status=WorkflowStatus.INVALID)]
    )
    assert [(action.kind, action.what, action.because) for action in actions] == [
        ("file", "/a", "It is no JSON."),
        ("file", "/b", "cannot be read"),
    ]


def test_actions_are_sorted_by_certainty_kind_and_workflows() -> None:
    actions = list_actions(
        [
            entry("/1", models=(model("once"), model("twice"), model("guess", confidence="low"))),
            entry("/2", models=(model("twice"),), nodes=(node("N", "pack"), node("U", state="unknown"))),
            entry("/3", status=WorkflowStatus.INVALID),
        ]
    )
    assert [action.what for action in actions] == ["pack", "twice", "once", "/3", "U", "guess"]


def test_action_holds_the_candidates() -> None:
    candidate = ModelCandidate(source="civitai", url="https://civitai.com/1")
    (action,) = list_actions([entry("/a", models=(model(candidates=(candidate,)),))])
    assert action.candidates == (candidate,)


def picture(name: str, *, required: bool) -> MissingInput:
    return MissingInput(name, "input", "picture", "LoadImage", "1", "image", "Put it into input.", required=required)


def test_required_picture_is_one_action_after_the_models() -> None:
    actions = list_actions(
        [
            entry("/1", inputs=(picture("a.png", required=True),)),
            entry("/2", inputs=(picture("a.png", required=True),), models=(model(),)),
            entry("/3", status=WorkflowStatus.INVALID),
        ]
    )
    assert [action.kind for action in actions] == ["model", "input", "file"]
    assert (actions[1].what, actions[1].instruction, actions[1].because, actions[1].workflows) == (
        "a.png",
        "Put it into input.",
        "a picture that is not in ComfyUI's input folder",
        ("/1", "/2"),
    )


def test_optional_picture_needs_no_action() -> None:
    assert list_actions([entry("/1", status=WorkflowStatus.READY, inputs=(picture("a.png", required=False),))]) == ()


def found_model(name: str, *, folder: str | None = "loras", state: ModelState = ModelState.MISSING) -> MissingModel:
    return msgspec.structs.replace(model(name, folder=folder, state=state, fix=f"Fetch {name}."), answer="FOUND")


def test_found_models_are_one_download() -> None:
    plan = PlanSummary("/home/plans/c1.json", 2, 5 << 30, 0)
    entries = [
        entry("/a", models=(found_model("a.pt"), found_model("b.pt"), model("c.pt"))),
        entry("/b", models=(found_model("a.pt"),)),
    ]
    together, alone = list_actions(entries, plan)
    assert (together.kind, together.what, together.models) == ("download", "2 models", ("a.pt", "b.pt"))
    assert together.instruction == (
        "Fetch all of them (5.00 GiB as far as sizes are known): comfywatchman download --plan c1.json"
    )
    assert (together.because, together.workflows) == ("found, each proved by its hash", ("/a", "/b"))
    assert (alone.what, alone.kind) == ("c.pt", "model")


def test_download_of_unknown_size_shows_no_size() -> None:
    entries = [entry("/a", models=(found_model("a.pt"), found_model("b.pt")))]
    (together,) = list_actions(entries, PlanSummary("/c1.json", 2, 0, 0))
    assert together.instruction == "Fetch all of them: comfywatchman download --plan c1.json"


def test_single_blocked_or_broken_model_gets_its_own_action() -> None:
    blocked = PlanSummary("/c1.json", 2, 0, 0, (BlockedDownload("b.pt", "loras", "no"),))
    two = [entry("/a", models=(found_model("a.pt"), found_model("b.pt")))]
    assert [action.what for action in list_actions(two)] == ["a.pt", "b.pt"]
    assert [action.what for action in list_actions(two, blocked)] == ["a.pt", "b.pt"]
    broken = [entry("/a", models=(found_model("a.pt"), found_model("b.pt", state=ModelState.INVALID)))]
    assert {action.what for action in list_actions(broken, PlanSummary("/c1.json", 2, 0, 0))} == {"a.pt", "b.pt"}


def test_failed_environment_checks_come_first_without_warnings() -> None:
    checks = (
        EnvironmentCheck("nodes", "warn", "x moved.", "gov tx run x"),
        EnvironmentCheck("production", "fail", "numpy is not there.", "gov init"),
        EnvironmentCheck("journal", "fail", "A commit was cut off."),
    )
    actions = list_actions([entry("/a", models=(model(),))], environment=Environment("fail", checks))
    assert [action.kind for action in actions] == ["environment", "environment", "model"]
    assert [action.instruction for action in actions[:2]] == ["gov init", "gov check says more."]
    assert actions[0].because == "numpy is not there."


def test_kinds_are_sorted_whatever_their_number() -> None:
    away = FileProblem(FOLDER_UNAVAILABLE, "Its folder is away.")
    together = (found_model("first.pt"), found_model("second.pt"))
    entries = [
        entry("/broken", status=WorkflowStatus.INVALID),
        *(entry(f"/{n}", inputs=(picture("a.png", required=True),)) for n in range(6)),
        *(entry(f"/{n}", models=(model("alone.pt"),)) for n in range(5)),
        *(entry(f"/{n}", models=together) for n in range(4)),
        *(entry(f"/{n}", nodes=(node("Lacking", "pack"),)) for n in range(3)),
        *(entry(f"/away/{n}", problems=(away,)) for n in range(2)),
        entry("/1", models=(model("misspelt.pt", state=ModelState.CASE),)),
    ]
    listed = list_actions(entries, PlanSummary("/c1.json", 2, 0, 0))
    assert [action.kind for action in listed] == ["folder", "mend", "node", "download", "model", "input", "file"]
    assert all(action.is_sure for action in listed)


def test_refused_input_value_is_one_action_for_all_workflows() -> None:
    refused_input = RefusedInput("name", "a", "KSampler", "3", RejectionReason.NOT_OFFERED, "Choose another.", "is 'a'")
    bare = RefusedInput("model", None, "KSampler", "3", RejectionReason.NOT_GIVEN, "Link it.", "gets nothing")
    first, second = list_actions([entry("/a", refused=(refused_input, bare)), entry("/b", refused=(refused_input,))])
    assert (first.kind, first.what, first.instruction) == ("choice", "KSampler: name", "Choose another.")
    assert (first.because, first.workflows) == ("this input is 'a'", ("/a", "/b"))
    assert (second.because, second.workflows) == ("this input gets nothing", ("/a",))


def test_workflow_with_nothing_to_run_needs_an_output() -> None:
    problem = FileProblem(NOTHING_TO_RUN, "There is nothing to run: it holds no node.")
    (action,) = list_actions([entry("/a", status=WorkflowStatus.INVALID, problems=(problem,))])
    assert (action.kind, action.because) == ("file", problem.message)
    assert action.instruction.startswith("Add a node that saves or shows")


def test_each_refused_value_is_an_action_of_its_own() -> None:
    first = RefusedInput("name", "a", "KSampler", "3", RejectionReason.NOT_OFFERED, "Choose another.", "is 'a'")
    second = RefusedInput("name", "b", "KSampler", "3", RejectionReason.NOT_OFFERED, "Choose another.", "is 'b'")
    assert len(list_actions([entry("/a", refused=(first,)), entry("/b", refused=(second,))])) == 2


def test_start_problem_comes_before_everything_else() -> None:
    failed = EnvironmentCheck("production", "fail", "numpy is not there.", "gov init", vital=True)
    problem = StartProblem("/c/extra.yaml", 3, "'vae' is a list", "Write a folder there.")
    folder = StartProblem("/c/custom_nodes", None, "The folder does not exist", "Create the folder.")
    actions = list_actions([entry("/a", models=(model(),))], None, Environment("fail", (failed,)), (problem, folder))
    assert [action.kind for action in actions] == ["start", "start", "environment", "model"]
    assert actions[0].instruction == "Line 3: Write a folder there."
    assert actions[1].instruction == "Create the folder."
    assert actions[0].because == "ComfyUI cannot start with it: 'vae' is a list"


def unknown_model(kind: ObstacleKind, path: str = "/disk") -> MissingModel:
    return msgspec.structs.replace(model(state=ModelState.UNKNOWN), fix="Do it.", obstacle=Obstacle(kind, path, "why"))


def list_unknown_actions(*models: MissingModel) -> tuple[Action, ...]:
    return list_actions([entry("/a", status=WorkflowStatus.UNCERTAIN, models=models)])


def test_model_of_folders_that_are_not_known_has_no_action_of_its_own() -> None:
    assert list_unknown_actions(unknown_model(ObstacleKind.CONFIGURATION)) == ()


def test_closed_folder_is_one_action_for_all_its_models() -> None:
    first, second = list_unknown_actions(
        unknown_model(ObstacleKind.NOT_MOUNTED),
        msgspec.structs.replace(unknown_model(ObstacleKind.NOT_MOUNTED), name="b.pt"),
        unknown_model(ObstacleKind.UNREADABLE, "/other"),
    )
    assert (first.kind, first.what, first.is_sure, first.workflows) == ("folder", "/disk", True, ("/a",))
    assert first.instruction.startswith("Mount its disk")
    assert (second.what, second.instruction.startswith("Permit this user")) == ("/other", True)


def test_model_of_a_folder_that_comfyui_lacks_keeps_its_own_instruction() -> None:
    (action,) = list_unknown_actions(unknown_model(ObstacleKind.FOLDER_NOT_KNOWN))
    assert (action.kind, action.instruction, action.is_sure) == ("model", "Do it.", False)
