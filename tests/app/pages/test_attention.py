from __future__ import annotations

import msgspec

from comfywatchman.app.pages.attention import TROUBLE_BUTTONS, find_wait_begin
from comfywatchman.base.clock import parse_utc
from comfywatchman.readiness.report.troubles import TroubleKind
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import LastAcknowledgement, WorkflowEntry
from tests.readiness.report.sample_reports import entry

EARLY, LATE = "2026-12-01T10:00:00Z", "2026-12-01T11:00:00Z"


def build_entry(name: str, seen: str | None, *, resolved: str | None = None) -> WorkflowEntry:
    intake = None if seen is None else LastAcknowledgement("new", "comfyui", seen)
    return msgspec.structs.replace(
        entry(name, WorkflowStatus.MISSING), path=name, intake=intake, last_resolved_at=resolved
    )


def test_every_kind_of_trouble_has_a_button() -> None:
    assert set(TROUBLE_BUTTONS) == set(TroubleKind)
    assert all(label and page for label, page in TROUBLE_BUTTONS.values())


def test_wait_begins_when_the_first_of_the_workflows_was_seen() -> None:
    workflows = [build_entry("a", LATE), build_entry("b", EARLY), build_entry("c", "2026-12-01T09:00:00Z")]
    assert find_wait_begin(workflows, ("a", "b")) == parse_utc(EARLY)
    assert find_wait_begin(workflows, ("a",)) == parse_utc(LATE)


def test_begin_is_unknown_for_a_workflow_that_was_complete_or_has_no_intake() -> None:
    assert find_wait_begin([build_entry("a", LATE, resolved=EARLY)], ("a",)) is None
    assert find_wait_begin([build_entry("a", None)], ("a",)) is None
