from __future__ import annotations

from typing import Any

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.host_summary import CycleSummary, HostSummary
from comfywatchman.readiness.report.troubles import Trouble, TroubleKind, list_troubles
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import Environment, EnvironmentCheck, StartProblem, UncheckedChoice, UnreadFolder
from tests.readiness.report.findings import entry, model, node
from tests.readiness.report.sample_reports import TIME, status

CLOSED = Obstacle(ObstacleKind.UNREADABLE, "/mnt/models", "Permission denied")
SKIPPED = CycleSummary("c", "cron", TIME, 0.1, success=False, skipped_reason="vram-low", message="3 GiB are free.")


def troubles_of(*entries: Any, **changes: Any) -> list[Trouble]:
    return list(list_troubles(status(*entries, **{"problems": (), **changes})))


def checks(*statuses: str) -> Environment:
    found = tuple(
        EnvironmentCheck(f"check{n}", state, "It is so.", "gov init" if n == 0 else None)  # type: ignore[arg-type]
        for n, state in enumerate(statuses)
    )
    return Environment("warn", found, "/env")


def test_healthy_host_has_no_trouble() -> None:
    assert troubles_of(entry("/w/a.json"), environment=checks("ok")) == []


def test_skipped_check_says_what_the_report_shows() -> None:
    (trouble,) = troubles_of(cycle=SKIPPED)
    assert (trouble.detail, trouble.next_step) == ("3 GiB are free", "What follows is from the check before.")
    silent = msgspec.structs.replace(SKIPPED, message=None)
    (first,) = troubles_of(cycle=silent, checked_at=None)
    assert (first.detail, first.next_step) == ("vram-low", "")


def test_start_problem_names_file_and_line() -> None:
    problems = (StartProblem("/c/x.yaml", 3, "no value.", "Write one."), StartProblem("/c/nodes", None, "gone", "Add."))
    assert [trouble.detail for trouble in troubles_of(start_problems=problems)] == [
        "/c/x.yaml, line 3: no value",
        "/c/nodes: gone",
    ]


def test_place_is_named_once_for_all_workflows_and_models() -> None:
    hidden = model(state=ModelState.UNKNOWN, obstacle=CLOSED)
    other = Obstacle(ObstacleKind.NOT_MOUNTED, "/mnt/flows", "it is empty")
    unknown = Obstacle(ObstacleKind.FOLDER_NOT_KNOWN, "models/x")
    troubles = troubles_of(
        entry("/w/a.json", missing_models=(hidden, model(obstacle=unknown))),
        entry("/w/b.json", missing_models=(hidden, hidden)),
        unread_folders=(UnreadFolder(other), UnreadFolder(CLOSED, 2)),
    )
    assert [(trouble.place, trouble.workflows, trouble.detail) for trouble in troubles] == [
        ("/mnt/models", 2, "2 workflows use it; what it holds is unknown, not missing"),
        ("/mnt/flows", 0, "what it holds is unknown, not missing"),
    ]
    assert troubles[0].next_step.startswith("Permit this user to read it")


def test_failed_imports_are_one_line() -> None:
    failed = [node(str(n), f"pack{n}", state="import_failed") for n in range(4)]
    (trouble,) = troubles_of(
        entry("/w/a.json", missing_nodes=(*failed, node("x", state="import_failed"))),
        entry("/w/b.json", missing_nodes=(failed[0],)),
    )
    assert (trouble.title, trouble.detail) == (
        "4 installed packs cannot be imported",
        "pack0, pack1 and 2 more; 2 workflows use them",
    )
    (single,) = troubles_of(entry("/w/a.json", missing_nodes=(failed[0],)))
    assert (single.title, single.detail) == (
        "1 installed pack cannot be imported",
        "pack0; 1 workflow uses it",
    )


def test_environment_is_one_line_with_its_first_command() -> None:
    (failed,) = troubles_of(environment=checks("fail", "warn"))
    assert (failed.title, failed.next_step) == ("1 of 2 environment checks failed", "Run gov init.")
    (warned,) = troubles_of(environment=checks("ok", "warn", "unknown"))
    assert (warned.title, warned.next_step) == ("2 of 3 environment checks need attention", "Run gov check.")
    (one,) = troubles_of(environment=checks("warn"))
    assert one.title == "1 of 1 environment checks needs attention"
    (foreign,) = troubles_of(environment=Environment("not governed", root="/e", cause="other-comfyui", governs="/c"))
    assert foreign.detail == "not governed: root /e governs /c"
    (unchecked,) = troubles_of(environment=Environment("unknown"))
    assert unchecked.title == "The Python environment could not be checked"
    assert troubles_of(environment=Environment("unknown"), checked_at=None) == []


def test_sites_are_named_once_not_for_each_model() -> None:
    lost = [model(f"{n}.pt", unreachable=("civitai", "huggingface"), retry_at=TIME) for n in range(3)]
    (trouble,) = troubles_of(entry("/w/a.json", missing_models=tuple(lost)))
    assert (trouble.title, trouble.detail, trouble.retry_at) == (
        "Couldn't reach Civitai or Hugging Face",
        "3 models not looked up",
        TIME,
    )


def test_unchecked_choices_have_a_next_step_with_and_without_a_server() -> None:
    ready = entry(
        "/w/a.json", status=WorkflowStatus.READY, unchecked_choices=(UncheckedChoice("VHS_LoadVideo", "video"),)
    )
    (offline,) = troubles_of(ready, host=HostSummary((), "none", "/c", "0.33.0", comfyui_running=False, sample=False))
    assert offline.next_step.startswith("Start ComfyUI and check again")
    (live,) = troubles_of(ready, host=HostSummary((), "none", "/c", "0.33.0", comfyui_running=True, sample=False))
    assert live.next_step == "Code of their node packs checks them when a workflow is queued."


def test_other_problems_come_last_and_are_one_line() -> None:
    troubles = troubles_of(problems=("a.json was damaged.", "b"), cycle=SKIPPED)
    assert [trouble.kind for trouble in troubles] == [TroubleKind.SKIPPED, TroubleKind.PROBLEM]
    assert (troubles[1].title, troubles[1].detail) == ("2 other problems", "a.json was damaged")
    assert troubles[1].next_step == "The report lists all of them."
    (one,) = troubles_of(problems=("b",))
    assert (one.title, one.next_step, one.place) == ("1 other problem", "", "")
