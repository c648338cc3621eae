from __future__ import annotations

import pytest

from comfywatchman.governance.store.records import Finding, Judgement
from comfywatchman.governance.trial.outcome import StartOutcome
from comfywatchman.governance.trial.verdict import build_judgement
from tests.governance.trial.programs import details, statuses

CORE = {"KSampler": "nodes", "Canny": "comfy_extras.nodes_canny"}


def server(packs: dict[str, str], **changes: object) -> StartOutcome:
    return StartOutcome(how="server", exit_code=0, packs={**CORE, **packs}, **changes)  # type: ignore[arg-type]


def verdict(after: StartOutcome, before: StartOutcome | None = None) -> Judgement:
    return build_judgement("mine", after, before or server({"Theirs": "custom_nodes.other"}))


def test_worst_comes_first() -> None:
    after = server({}, failures={"mine": "", "third": "no"}, imported=frozenset({"other"}))
    found = [finding.status for finding in verdict(after).findings]
    assert found == sorted(found, key=["fail", "warn", "unknown", "ok"].index)
    assert "its log does not say why" in details(verdict(after), "import")


def test_a_pack_that_brings_nothing_is_a_warning() -> None:
    after = server({"Theirs": "custom_nodes.other"}, imported=frozenset({"mine"}))
    assert (verdict(after).exit_code, statuses(verdict(after))["classes"]) == (0, "warn")


def test_one_that_the_log_does_not_name_is_unknown() -> None:
    after = server({"Theirs": "custom_nodes.other", "Own": "custom_nodes.mine"})
    assert statuses(verdict(after))["import"] == "unknown"


def test_taking_the_place_of_another_packs_class_is_a_warning() -> None:
    after = server({"Theirs": "custom_nodes.mine"}, imported=frozenset({"mine"}))
    judgement = verdict(after)
    assert (judgement.exit_code, judgement.classes_lost) == (0, {})
    assert "mine takes the place of others: 1 node class (Theirs)" in details(judgement, "classes")


def test_many_lost_classes_are_counted_and_some_named() -> None:
    many = {f"Class{number}": "custom_nodes.other" for number in range(9)}
    judgement = verdict(server({"Own": "custom_nodes.mine"}), server(many))
    assert "9 node classes (Class0, Class1, Class2, Class3, Class4 and 4 more)" in details(judgement, "classes")


def test_a_class_of_comfyui_itself_that_is_lost_is_a_fail() -> None:
    after = StartOutcome(how="server", exit_code=0, packs={"Own": "custom_nodes.mine"})
    assert verdict(after).classes_lost["ComfyUI"] == ("Canny", "KSampler")
    assert verdict(after).exit_code == 1


@pytest.mark.parametrize("before", [None, StartOutcome(how="exit", exit_code=1, trouble="it ended")])
def test_without_a_comparison_nothing_counts_as_new_or_lost(before: StartOutcome | None) -> None:
    after = server({"Own": "custom_nodes.mine"}, failures={"other": "no"}, imported=frozenset({"mine"}))
    judgement = build_judgement("mine", after, before)
    assert (judgement.classes_added, judgement.classes_lost) == ({}, {})
    assert "no start of production to compare with" in details(judgement, "classes")


def test_failure_of_another_pack_without_baseline_is_a_warning() -> None:
    after = server({"Own": "custom_nodes.mine"}, failures={"other": "no"}, imported=frozenset({"mine"}))
    assert build_judgement("mine", after, None).exit_code == 0
    assert "whether it could before is not known" in details(build_judgement("mine", after, None), "import")


def test_a_prompt_that_fails_only_now_is_a_fail() -> None:
    failed = Finding(name="probe", status="fail", detail="no numpy.")
    worked = server({}, probe=Finding(name="probe", status="ok", detail="well"))
    assert verdict(server({}, probe=failed), worked).exit_code == 1
    assert verdict(server({}, probe=failed), server({}, probe=failed)).exit_code == 0
