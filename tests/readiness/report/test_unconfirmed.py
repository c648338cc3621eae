"""The sentences about READY verdicts that rest on files alone."""

from __future__ import annotations

from msgspec.structs import replace

from comfywatchman.readiness.report.unconfirmed import (
    describe_unchecked,
    describe_unchecked_choices,
    describe_unconfirmed,
    describe_unconfirmed_packs,
)
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import UncheckedChoice
from tests.readiness.report.sample_reports import entry

CAUSE = "no running ComfyUI, and no log of its last start, shows that it can import"


def test_confirmed_and_other_workflows_are_not_counted() -> None:
    missing = replace(entry("/b.json", WorkflowStatus.MISSING), unconfirmed_packs=("x",))
    assert describe_unconfirmed([entry("/a.json"), missing]) == ""


def test_one_workflow_with_one_pack() -> None:
    entries = [replace(entry("/a.json"), unconfirmed_packs=("x",))]
    assert describe_unconfirmed(entries) == f"1 workflow is ready as far as files show: {CAUSE} the pack x."


def test_packs_of_many_workflows_are_counted_once() -> None:
    entries = [replace(entry(f"/{n}.json"), unconfirmed_packs=("x", f"p{n:02}")) for n in range(14)]
    names = ", ".join(f"p{n:02}" for n in range(12))
    expected = f"14 workflows are ready as far as files show: {CAUSE} 15 of their packs: {names} and 3 more."
    assert describe_unconfirmed(entries) == expected


def test_packs_of_one_workflow() -> None:
    assert describe_unconfirmed_packs(()) == ""
    assert describe_unconfirmed_packs({"b", "a"}) == f"Not confirmed: {CAUSE} the packs a, b."
    assert describe_unconfirmed_packs(("a",)) == f"Not confirmed: {CAUSE} the pack a."


VALUES = "values that only ComfyUI itself can check"


def test_ready_workflows_with_unchecked_choices_are_counted() -> None:
    unread = (UncheckedChoice("Pick", "mode"), UncheckedChoice("Other", ""))
    ready = replace(entry("/a.json"), unchecked_choices=unread)
    missing = replace(entry("/b.json", WorkflowStatus.MISSING), unchecked_choices=unread)
    assert describe_unchecked([ready, missing, entry("/c.json")]) == (
        f"1 ready workflow has {VALUES}: inputs of Other, mode of Pick."
    )
    assert describe_unchecked([missing]) == ""
    assert describe_unchecked([ready, ready]).startswith("2 ready workflows have ")


def test_unchecked_choices_of_one_workflow() -> None:
    assert describe_unchecked_choices(()) == ""
    assert describe_unchecked_choices((UncheckedChoice("Pick", "mode"),)) == f"Not checked: {VALUES}: mode of Pick."
