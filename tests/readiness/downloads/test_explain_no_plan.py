from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import format_local, parse_utc
from comfywatchman.readiness.downloads.explain_no_plan import PlanAbsence, explain_no_plan
from comfywatchman.readiness.states import ModelState, SearchDoubt
from comfywatchman.readiness.status import MasterStatus
from tests.hosts import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def report(tmp_path: Path) -> MasterStatus:
    host = Host(tmp_path)
    host.write("a.json", lora="absent.safetensors")
    host.write("b.json", lora="absent.safetensors")
    host.write("c.json", checkpoint="nowhere.safetensors")
    return host.status()


def describe_check(report: MasterStatus) -> str:
    assert report.checked_at is not None
    return f"The check of {format_local(parse_utc(report.checked_at))}"


def answered(report: MasterStatus, *answers: str | None, status: ModelState = ModelState.MISSING) -> MasterStatus:
    told = iter(answers)
    entries = []
    for entry in report.workflows:
        models = tuple(
            msgspec.structs.replace(model, answer=next(told), status=status) for model in entry.missing_models
        )
        entries.append(msgspec.structs.replace(entry, missing_models=models))
    return msgspec.structs.replace(report, workflows=tuple(entries))


def test_before_the_first_cycle_nobody_has_searched(report: MasterStatus) -> None:
    said = PlanAbsence("No cycle has checked this host yet, so no model was searched for.", is_final=False)
    assert explain_no_plan(None) == said
    assert explain_no_plan(msgspec.structs.replace(report, checked_at=None)) == said


def test_a_host_that_lacks_nothing_has_nothing_to_download(report: MasterStatus) -> None:
    said = f"{describe_check(report)} found no missing model, so there is nothing to download."
    assert explain_no_plan(msgspec.structs.replace(report, workflows=())) == PlanAbsence(said, is_final=True)
    mended_here = answered(report, None, None, None, status=ModelState.WRONG_FOLDER)
    assert explain_no_plan(mended_here) == PlanAbsence(said, is_final=True)


def test_missing_models_that_nobody_has_searched_for_are_no_answer(report: MasterStatus) -> None:
    found = explain_no_plan(answered(report, None, None, None))
    assert not found.is_final
    assert "found 2 missing models, but no cycle has searched for them yet" in found.reason


def test_what_a_search_said_is_counted_once_for_each_model(report: MasterStatus) -> None:
    found = explain_no_plan(answered(report, "NOT_FOUND", "NOT_FOUND", "UNCERTAIN"))
    assert found.is_final
    said = "searched for 2 missing models and found nothing to download (1 NOT_FOUND, 1 UNCERTAIN)."
    assert found.reason == f"{describe_check(report)} {said}"


def test_not_found_under_words_is_counted_apart_from_a_choice(report: MasterStatus) -> None:
    doubts = iter([SearchDoubt.NO_MATCH, SearchDoubt.NO_MATCH, SearchDoubt.CANDIDATES_TO_CHOOSE])
    searched = answered(report, "UNCERTAIN", "UNCERTAIN", "UNCERTAIN")
    entries = []
    for entry in searched.workflows:
        models = tuple(msgspec.structs.replace(model, doubt=next(doubts)) for model in entry.missing_models)
        entries.append(msgspec.structs.replace(entry, missing_models=models))
    reason = explain_no_plan(msgspec.structs.replace(searched, workflows=tuple(entries))).reason
    counts = "1 UNCERTAIN (candidates to choose from), 1 UNCERTAIN (not found under these words)"
    assert reason.endswith(f"found nothing to download ({counts}).")


def test_where_a_site_did_not_answer_the_next_step_is_said(report: MasterStatus) -> None:
    found = explain_no_plan(answered(report, "NOT_FOUND", "NOT_FOUND", "ERROR"))
    assert found.reason.endswith(
        "(1 ERROR, 1 NOT_FOUND). ERROR: a site did not respond; comfywatchman resolve --all searches again."
    )


def test_a_plan_that_somebody_deleted_is_no_answer(report: MasterStatus) -> None:
    found = explain_no_plan(answered(report, "FOUND", "FOUND", "NOT_FOUND"))
    assert (found.is_final, found.reason.endswith("wrote a plan, but the file no longer exists.")) == (False, True)
