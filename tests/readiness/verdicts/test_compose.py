from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.states import NO_RESULT_DOUBTS, ModelState, SearchDoubt, WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    Answer,
    Environment,
    EnvironmentCheck,
    MissingInput,
    MissingModel,
    StartProblem,
    WorkflowEntry,
)
from comfywatchman.readiness.verdicts.compose import compose_entry, compose_verdict, describe_start_problem
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from tests.hosts import Host, graph
from tests.readiness.report.sample_reports import entry

PRODUCTION_FAILS = EnvironmentCheck("production", "fail", "numpy is not there.", "gov init", vital=True)
BROKEN = Environment("fail", (PRODUCTION_FAILS,))
ODD = Environment("fail", (EnvironmentCheck("deny-list", "fail", "x 1.0: steals keys", "gov node remove x"),))
WARNED = Environment("warn", (replace(PRODUCTION_FAILS, status="warn"),))
BROKEN_FILE = StartProblem("/c/extra_model_paths.yaml", 3, "'vae' is a list", "Write a folder there.")
LOAD_IMAGE = json.dumps({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}).encode()


def picture(*, required: bool) -> MissingInput:
    return MissingInput("a.png", "input", "picture", "LoadImage", "1", "image", "Put it there.", required)


def searched(answer: Answer | None) -> MissingModel:
    return MissingModel("a.pt", "loras", "L", "1", "name", ModelState.MISSING, None, "", "high", answer=answer)


def status_of(host: WorkflowStatus, environment: Environment = NOT_GOVERNED, *inputs: MissingInput) -> WorkflowStatus:
    return compose_verdict(entry("/w/a.json", host), inputs, environment=environment).status


def test_ready_in_a_broken_environment_is_uncertain() -> None:
    final = compose_verdict(entry("/w/a.json"), (), environment=BROKEN)
    assert (final.status, final.uncertain_count) == (WorkflowStatus.UNCERTAIN, 1)
    (problem,) = final.problems
    assert problem.code == "environment-failed"
    assert "numpy is not there." in problem.message


@pytest.mark.parametrize("environment", [NOT_GOVERNED, ODD, WARNED])
def test_only_vital_failed_checks_change_the_verdict(environment: Environment) -> None:
    ready = entry("/w/a.json")
    assert compose_entry(ready, environment, is_server_running=False) == ready


def test_check_of_a_pack_concerns_only_workflows_that_no_start_has_proved() -> None:
    check = EnvironmentCheck("pack-requirements", "fail", "depth declares scipy.", packs=("depth",))
    environment = Environment("fail", (check,))
    assert status_of(WorkflowStatus.READY, environment) == WorkflowStatus.READY
    user = replace(entry("/w/a.json"), unconfirmed_packs=("depth", "other"))
    assert compose_verdict(user, (), environment=environment).status == WorkflowStatus.UNCERTAIN
    other = replace(user, unconfirmed_packs=("other",))
    assert compose_verdict(other, (), environment=environment).status == WorkflowStatus.READY
    warned = Environment("warn", (replace(check, status="warn"),))
    assert compose_verdict(user, (), environment=warned).status == WorkflowStatus.READY


def test_running_server_overrules_failed_checks() -> None:
    ready = entry("/w/a.json")
    assert compose_entry(ready, BROKEN, is_server_running=True) == ready


def test_ready_for_a_comfyui_that_exits_is_uncertain() -> None:
    final = compose_verdict(entry("/w/a.json"), (), environment=BROKEN, start_problems=[BROKEN_FILE])
    assert (final.status, final.uncertain_count) == (WorkflowStatus.UNCERTAIN, 1)
    (problem,) = final.problems
    assert problem.code == "comfyui-exits"
    assert problem.message.endswith("ComfyUI cannot start with /c/extra_model_paths.yaml, line 3: 'vae' is a list.")


def test_running_server_overrules_start_problems() -> None:
    ready = entry("/w/a.json")
    assert compose_entry(ready, NOT_GOVERNED, [BROKEN_FILE], is_server_running=True) == ready


def test_folder_has_no_line() -> None:
    assert describe_start_problem(replace(BROKEN_FILE, line=None)) == (
        "ComfyUI cannot start with /c/extra_model_paths.yaml: 'vae' is a list."
    )


@pytest.mark.parametrize("status", [status for status in WorkflowStatus if status is not WorkflowStatus.READY])
def test_broken_environment_changes_only_ready(status: WorkflowStatus) -> None:
    other = entry("/w/a.json", status)
    assert compose_entry(other, BROKEN, is_server_running=False) == other


@pytest.mark.parametrize("status", list(WorkflowStatus))
def test_only_required_inputs_change_the_verdict(status: WorkflowStatus) -> None:
    optional, required = picture(required=False), picture(required=True)
    expected = WorkflowStatus.INVALID if status is WorkflowStatus.INVALID else WorkflowStatus.MISSING
    assert status_of(status, NOT_GOVERNED, optional) is status
    assert status_of(status, NOT_GOVERNED, optional, required) is expected


def test_required_input_that_could_not_be_looked_for_is_never_missing() -> None:
    unknown = replace(picture(required=True), obstacle=Obstacle(ObstacleKind.UNREADABLE, "/input", "Denied"))
    final = compose_verdict(entry("/w/a.json"), [unknown, replace(unknown, required=False)])
    assert (final.status, final.uncertain_count) == (WorkflowStatus.UNCERTAIN, 1)
    for status in WorkflowStatus:
        expected = WorkflowStatus.UNCERTAIN if status is WorkflowStatus.READY else status
        assert status_of(status, NOT_GOVERNED, unknown) is expected
    assert status_of(WorkflowStatus.READY, NOT_GOVERNED, unknown, picture(required=True)) is WorkflowStatus.MISSING


def test_missing_input_goes_before_a_broken_environment() -> None:
    final = compose_verdict(entry("/w/a.json"), [picture(required=True)], environment=BROKEN)
    assert (final.status, final.uncertain_count, final.problems) == (WorkflowStatus.MISSING, 0, ())


def test_each_uncertain_search_result_counts() -> None:
    nothing = [replace(searched("UNCERTAIN"), doubt=doubt) for doubt in NO_RESULT_DOUBTS]
    choice = replace(searched("UNCERTAIN"), doubt=SearchDoubt.CANDIDATES_TO_CHOOSE)
    models = (choice, searched("UNCERTAIN"), searched("NOT_FOUND"), *nothing)
    host = WorkflowVerdict(WorkflowStatus.MISSING, "json", missing_models=models, uncertain_count=2)
    final = compose_verdict(host, ())
    assert (final.status, final.uncertain_count) == (WorkflowStatus.MISSING, 4)


def test_entry_keeps_everything_but_its_verdict() -> None:
    before = replace(entry("/w/a.json"), missing_inputs=(picture(required=True),))
    after: WorkflowEntry = compose_entry(before, NOT_GOVERNED, is_server_running=False)
    assert after == replace(before, status=WorkflowStatus.MISSING)


def test_ready_needs_every_part_to_be_ready() -> None:
    parts = itertools.product(WorkflowStatus, (NOT_GOVERNED, BROKEN), ((), (picture(required=True),)))
    ready = [part for part in parts if status_of(part[0], part[1], *part[2]) is WorkflowStatus.READY]
    assert ready == [(WorkflowStatus.READY, NOT_GOVERNED, ())]


@pytest.mark.parametrize(
    ("content", "require_inputs", "expected"),
    [
        (graph(), True, "READY"),
        (graph(checkpoint="absent.safetensors"), True, "MISSING"),
        (graph(last="UnknownNode"), False, "UNCERTAIN"),
        (LOAD_IMAGE, False, "READY"),
        (LOAD_IMAGE, True, "MISSING"),
        (b"{", True, "INVALID"),
    ],
)
@pytest.mark.slow
def test_cycle_scan_and_explain_agree(tmp_path: Path, content: bytes, expected: str, *, require_inputs: bool) -> None:
    host = Host(tmp_path, workflows__require_inputs=require_inputs)
    path = host.write("a.json", content)
    scanned = json.loads(host.invoke("scan", "--json", path).stdout)
    explained = json.loads(host.invoke("explain", "--json", path).stdout)
    verdicts = [host.entry("a.json").status, scanned["workflows"][0]["status"], explained["judged"]["status"]]
    assert verdicts == [expected] * 3
