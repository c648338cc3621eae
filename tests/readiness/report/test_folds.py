from __future__ import annotations

from comfywatchman.readiness.host_summary import RecentAcknowledgement
from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary
from comfywatchman.readiness.report.folds import MAX_LISTED, build_folds
from comfywatchman.readiness.report.overview import build_overview
from comfywatchman.readiness.report.render import shorten_paths
from comfywatchman.readiness.states import ModelState, NodeRemedy, SearchDoubt, WorkflowStatus
from comfywatchman.readiness.status import (
    Environment,
    EnvironmentCheck,
    FileProblem,
    MasterStatus,
    MissingInput,
    ModelCandidate,
    StartProblem,
)
from tests.readiness.report.findings import entry, model, newer, node
from tests.readiness.report.sample_reports import TIME, status


def folds_of(report: MasterStatus) -> dict[str, list[str]]:
    names = shorten_paths(workflow.path for workflow in report.workflows)
    return {fold.title: list(fold.lines) for fold in build_folds(report, build_overview(report), names)}


def test_empty_report_has_no_folds() -> None:
    assert folds_of(status(intake=(), problems=())) == {}


def test_workflows_are_grouped_by_their_distance() -> None:
    broken = FileProblem("workflow-not-json", "The file is empty.")
    report = status(
        entry("/w/bad.json", status=WorkflowStatus.INVALID, problems=(broken,)),
        entry("/w/one.json", missing_models=(model(),)),
        entry("/w/three.json", missing_models=(model(), model("b.pt"), model("c.pt"))),
        entry("/w/four.json", missing_models=(model(),), missing_nodes=(newer("1.0"), newer(None), node("Tea"))),
        entry("/w/five.json", missing_models=tuple(model(f"{n}.pt") for n in range(5))),
        entry("/w/odd.json", status=WorkflowStatus.UNCERTAIN),
    )
    lines = folds_of(report)["Not ready: 6 workflows"]
    assert lines == [
        "**Damaged (1)**",
        "",
        "- `bad.json`: The file is empty",
        "",
        "**One step away (2)**",
        "",
        "- `odd.json`: see explain",
        "- `one.json`: a.pt",
        "",
        "**2 or 3 steps (2)**",
        "",
        "- `four.json`: newer ComfyUI, a.pt and 1 more",
        "- `three.json`: a.pt, b.pt and 1 more",
        "",
        "**4 or more (1)**",
        "",
        "- `five.json`: 0.pt, 1.pt and 3 more",
        "",
    ]


def test_each_model_says_where_it_may_come_from() -> None:
    found = model("found.pt", answer="FOUND", size_bytes=2_500_000_000)
    proved = model("proved.pt", answer="FOUND")
    declared = model("declared.pt", declared_url="https://x.example/a")
    choices = (ModelCandidate("civitai"), ModelCandidate("huggingface"))
    chosen = model("choose.pt", answer="UNCERTAIN", doubt=SearchDoubt.CANDIDATES_TO_CHOOSE, candidates=choices)
    here = model("here.pt", state=ModelState.SUBFOLDER, found_at="/x")
    bad = model("bad.pt", state=ModelState.INVALID)
    models = (found, proved, declared, chosen, here, bad, model("none.pt"))
    lines = folds_of(status(entry("/w/a.json", missing_models=models)))["Models: 7 to get"]
    assert [line.split(" | ")[-1] for line in lines[2:]] == [
        "damaged |",
        "2 to choose from |",
        "declared |",
        "found, 2.5 GB |",
        "on disk |",
        "none |",
        "found |",
    ]


def test_candidates_are_listed_with_their_pages() -> None:
    some = (ModelCandidate("civitai", "https://x.example/a", "a.pt", reason="other size"), ModelCandidate("x"))
    uncertain = model("a b.pt", answer="UNCERTAIN", candidates=some)
    lines = folds_of(status(entry("/w/a.json", missing_models=(uncertain,))))["Candidates: 1 model to look at"]
    assert lines == [
        "- `a b.pt`: `comfywatchman resolve --choose 'a b.pt' NUMBER`",
        "    - 1: Civitai, `a.pt` [https\\://x.example/a](https://x.example/a) (other size)",
        "    - 2: x",
    ]


def test_candidates_of_one_name_differ_by_base_model_version_and_hash() -> None:
    some = tuple(
        ModelCandidate("civitai", name="a.pt", reason="version v2", base_model=base, version=version, sha256=sha256)
        for base, version, sha256 in (("SDXL_1", "101", "a" * 64), ("Flux", "102", "b" * 64))
    )
    uncertain = model("a.pt", answer="UNCERTAIN", candidates=some)
    lines = folds_of(status(entry("/w/a.json", missing_models=(uncertain,))))["Candidates: 1 model to look at"]
    assert lines[1:] == [
        "    - 1: Civitai, `a.pt` (version v2; base model SDXL_1; version id 101; SHA-256 aaaaaaaaaaaa…)",
        "    - 2: Civitai, `a.pt` (version v2; base model Flux; version id 102; SHA-256 bbbbbbbbbbbb…)",
    ]


def test_blocked_downloads_have_their_reason() -> None:
    plan = PlanSummary("/p.json", 0, 0, 0, (BlockedDownload("a.pt", "loras", "A pickle."),))
    assert folds_of(status(plan=plan))["Found, but blocked: 1 model"] == ["- `a.pt`: A pickle."]


def test_long_lists_of_classes_are_cut() -> None:
    nodes = tuple(node(f"N{n}", "Pack", remedy=NodeRemedy.INSTALL_PACK) for n in range(64))
    lines = folds_of(status(entry("/w/a.json", missing_nodes=nodes)))["Node packs: 1 to install"]
    assert lines[2] == "| Pack | 1 | N0, N1, N10 and 61 more |"


def test_packs_to_choose_and_to_repair_are_listed() -> None:
    report = status(
        entry("/w/a.json", missing_nodes=(node("Tea", "p", "q", remedy=NodeRemedy.CHOOSE_PACK),)),
        entry("/w/b.json", missing_nodes=(node("Ink", "r", state="import_failed"), node("Jug", state="not_listed"))),
    )
    folds = folds_of(report)
    assert folds["Packs to choose: 1 node class"] == ["- `Tea`: p, q"]
    assert folds["Packs to repair: 2"] == ["- `Jug`: Do it.", "- `r`: Do it."]


def picture(name: str) -> MissingInput:
    return MissingInput(name, "input", "picture", "LoadImage", "1", "image", "Add it.", required=False)


def test_own_files_are_cut_with_the_command_that_lists_all() -> None:
    inputs = tuple(picture(f"{n:02}.png") for n in range(MAX_LISTED + 3))
    report = status(
        entry("/w/a.json", status=WorkflowStatus.READY, missing_inputs=(*inputs, picture(""))),
        entry("/w/b.json", status=WorkflowStatus.READY, missing_inputs=inputs[:1]),
    )
    lines = folds_of(report)["Your own files: 24 missing (READY does not wait for them)"]
    assert lines[2] == "| `00.png` | 2 |"
    assert lines[-1] == "| 4 more: `comfywatchman status --only inputs` |  |"
    assert len(lines) == MAX_LISTED + 3


def test_many_ready_workflows_are_cut() -> None:
    report = status(*[entry(f"/w/{n}.json", status=WorkflowStatus.READY) for n in range(53)])
    assert folds_of(report)["Ready: 53 workflows"][-1] == "- 3 more: `comfywatchman status --only ready`"


def test_checks_that_need_something_come_first() -> None:
    checks = (
        EnvironmentCheck("lock", "ok", "The lock is well."),
        EnvironmentCheck("production", "fail", "numpy is not there.", "gov init"),
        EnvironmentCheck("storage", "unknown", "An uncounted size.", "Ask your administrator."),
    )
    report = status(environment=Environment("fail", checks, "/env"))
    assert folds_of(report)["Environment: 1 of 3 checks ok"][2:] == [
        "| production | fail | numpy is not there. | `gov init` |",
        "| storage | unknown | An uncounted size. | Ask your administrator. |",
        "| lock | ok |  |  |",
    ]


def test_changes_and_problems_are_listed() -> None:
    intake = (RecentAcknowledgement(TIME, "renamed", "/w/b.json", "mine", "/w/a.json"),)
    report = status(entry("/w/b.json", status=WorkflowStatus.READY), intake=intake, problems=("A disk is gone.",))
    folds = folds_of(report)
    assert folds["Changed lately: 1 file"] == ["- renamed: `b.json`, before `/w/a.json`"]
    assert folds["Problems: 1"] == ["- A disk is gone."]


def test_workflow_that_waits_for_comfyui_says_so() -> None:
    problems = (StartProblem("/c/x.yaml", 1, "no value", "Write one."),)
    report = status(entry("/w/a.json", missing_models=(model(),)), start_problems=problems)
    assert "- `a.json`: a.pt, a ComfyUI that starts" in folds_of(report)["Not ready: 1 workflow"]
