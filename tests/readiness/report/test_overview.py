from __future__ import annotations

from comfywatchman.readiness.report.overview import MissingKind, MissingRow, build_overview
from comfywatchman.readiness.states import ModelState, NodeRemedy, WorkflowStatus
from comfywatchman.readiness.status import ProviderPackage
from tests.readiness.report.findings import entry, model, newer, node
from tests.readiness.report.sample_reports import status

PACK = node("Tea", "pack", remedy=NodeRemedy.INSTALL_PACK)


def test_workflow_that_also_needs_an_edit_is_never_promised() -> None:
    edited = model("x\\a.pt", target="models/loras/x/a.pt", needs_edit=True)
    report = status(
        entry("/w/a.json", missing_models=(edited,)),
        entry("/w/b.json", missing_models=(model("x/a.pt"),)),
        entry("/w/c.json", missing_models=(model("x/a.pt"),), missing_nodes=(node("Nobody", state="unknown"),)),
    )
    (step,) = build_overview(report).steps
    assert step.unlocks == ("/w/b.json",)
    assert step.actions[0].name == "x/a.pt"


def test_update_is_to_the_lowest_version_that_gives_all_gains() -> None:
    report = status(
        entry("/w/a.json", missing_nodes=(newer("0.3.9"),)),
        entry("/w/b.json", missing_nodes=(newer("0.4.0"),), missing_models=(model(),)),
        entry("/w/c.json", missing_nodes=(newer("9.0.0"), node("Nobody", state="unknown"))),
    )
    overview = build_overview(report)
    assert [(step.actions[0].kind.value, step.after, step.ready_after) for step in overview.steps] == [
        ("update", (), 1),
        ("find", (1,), 2),
    ]
    assert overview.steps[0].actions[0].version == "0.4.0"
    assert (overview.count_gain(1), overview.count_gain(5)) == (1, 2)


def test_steps_can_be_limited() -> None:
    entries = [entry(f"/w/{n}.json", missing_models=(model(f"{n}.pt"),)) for n in range(9)]
    assert len(build_overview(status(*entries)).steps) == 5
    assert len(build_overview(status(*entries), max_steps=2).steps) == 2


def test_address_of_a_pack_is_kept_wherever_it_is_known() -> None:
    known = node("B", "pack", remedy=NodeRemedy.INSTALL_PACK)
    url = "https://github.com/o/pack"
    known = type(known)("B", "missing", ("1",), (ProviderPackage("pack", url),), remedy=NodeRemedy.INSTALL_PACK)
    for nodes in ((PACK, known), (known, PACK)):
        entries = [entry(f"/w/{n}.json", missing_nodes=(one,)) for n, one in enumerate(nodes)]
        (step,) = build_overview(status(*entries)).steps
        assert (step.actions[0].url, step.gain) == (url, 2)


def test_name_with_the_separator_of_this_system_is_shown() -> None:
    windows = model("x\\a.pt", target="models/loras/x/a.pt", needs_edit=True)
    here = model("x/a.pt")
    for models in ((windows, here), (here, windows)):
        entries = [entry(f"/w/{n}.json", missing_models=(one,)) for n, one in enumerate(models)]
        assert build_overview(status(*entries)).actions[0].name == "x/a.pt"


def test_workflows_with_the_fewest_needs_come_first() -> None:
    report = status(
        entry("/w/a.json", missing_models=(model(), model("b.pt"))), entry("/w/b.json", missing_models=(model(),))
    )
    overview = build_overview(report)
    assert [needs.entry.path for needs in overview.needs] == ["/w/b.json", "/w/a.json"]
    assert overview.usage == {"find:models/loras/a.pt": 2, "find:models/loras/b.pt": 1}


def test_missing_things_are_counted_by_kind() -> None:
    folders = ("checkpoints", "clip", "loras", "upscale_models", "vae")
    report = status(
        entry("/w/1.json", missing_models=tuple(model(folder=folder) for folder in folders)),
        entry("/w/2.json", missing_models=(model(folder="vae"),), missing_nodes=(PACK, newer("1.0"))),
        entry("/w/3.json", missing_models=(model(state=ModelState.UNRESOLVABLE), model(folder=None))),
        entry("/w/4.json", missing_nodes=(node("A", "p", "q", remedy=NodeRemedy.CHOOSE_PACK),)),
        entry("/w/5.json", status=WorkflowStatus.INVALID),
    )
    assert build_overview(report).missing == (
        MissingRow(MissingKind.MODELS, 5, 2),
        MissingRow(MissingKind.FOLDER, 1, 2, "vae"),
        MissingRow(MissingKind.FOLDER, 1, 1, "checkpoints"),
        MissingRow(MissingKind.FOLDER, 1, 1, "clip"),
        MissingRow(MissingKind.OTHER_FOLDERS, 2, 1, "2"),
        MissingRow(MissingKind.PACKS, 1, 1),
        MissingRow(MissingKind.COMFYUI, 1, 1),
        MissingRow(MissingKind.PACKS_TO_CHOOSE, 1, 1),
        MissingRow(MissingKind.EDITS, 1, 1),
        MissingRow(MissingKind.FILES, 1, 1),
        MissingRow(MissingKind.UNKNOWN, 1, 1),
    )


def test_single_other_folder_is_named() -> None:
    models = tuple(model(folder=folder) for folder in ("checkpoints", "clip", "loras", "vae"))
    rows = build_overview(status(entry("/w/1.json", missing_models=models))).missing
    assert [row.folder for row in rows] == ["", "checkpoints", "clip", "loras", "vae"]


def test_comfyui_that_does_not_start_is_no_row() -> None:
    from comfywatchman.readiness.status import StartProblem

    report = status(entry("/w/1.json", missing_models=(model(),)), start_problems=(StartProblem("/x", None, "y", "z"),))
    assert [row.kind for row in build_overview(report).missing] == [MissingKind.MODELS, MissingKind.FOLDER]
