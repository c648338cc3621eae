from __future__ import annotations

import pytest

from comfywatchman.governance.store.records import Finding, Judgement
from comfywatchman.governance.trial.outcome import StartOutcome
from comfywatchman.governance.trial.verdict import build_judgement
from tests.governance.trial.programs import details, statuses

CORE = {"KSampler": "nodes", "Canny": "comfy_extras.nodes_canny"}


def server(packs: dict[str, str], **changes: object) -> StartOutcome:
    return StartOutcome(how="server", exit_code=0, packs={**CORE, **packs}, **changes)  # type: ignore[arg-type]


def judge(after: StartOutcome, before: StartOutcome | None = None) -> Judgement:
    return build_judgement("mine", after, before or server({"Theirs": "custom_nodes.other"}))


def test_worst_finding_comes_first() -> None:
    after = server({}, failures={"mine": "", "third": "no"}, imported=frozenset({"other"}))
    found = [finding.status for finding in judge(after).findings]
    assert found == sorted(found, key=["fail", "warn", "unknown", "ok"].index)
    assert "no reason in its log" in details(judge(after), "import")


def test_node_without_classes_is_a_warning() -> None:
    after = server({"Theirs": "custom_nodes.other"}, imported=frozenset({"mine"}))
    assert (judge(after).exit_code, statuses(judge(after))["classes"]) == (0, "warn")


def test_node_missing_in_the_log_is_unknown() -> None:
    after = server({"Theirs": "custom_nodes.other", "Own": "custom_nodes.mine"})
    assert statuses(judge(after))["import"] == "unknown"


def test_replacing_a_class_of_another_pack_is_a_warning() -> None:
    after = server({"Theirs": "custom_nodes.mine"}, imported=frozenset({"mine"}))
    judgement = judge(after)
    assert (judgement.exit_code, judgement.classes_lost) == (0, {})
    assert "mine replaces classes of other packs: 1 node class (Theirs)" in details(judgement, "classes")


def test_long_lists_of_lost_classes_are_shortened() -> None:
    many = {f"Class{number}": "custom_nodes.other" for number in range(9)}
    judgement = judge(server({"Own": "custom_nodes.mine"}), server(many))
    assert "9 node classes (Class0, Class1, Class2, Class3, Class4 and 4 more)" in details(judgement, "classes")


def test_lost_class_of_comfyui_fails() -> None:
    after = StartOutcome(how="server", exit_code=0, packs={"Own": "custom_nodes.mine"})
    assert judge(after).classes_lost["ComfyUI"] == ("Canny", "KSampler")
    assert judge(after).exit_code == 1


@pytest.mark.parametrize("before", [None, StartOutcome(how="exit", exit_code=1, trouble="it ended")])
def test_without_baseline_no_class_is_new_or_lost(before: StartOutcome | None) -> None:
    after = server({"Own": "custom_nodes.mine"}, failures={"other": "no"}, imported=frozenset({"mine"}))
    judgement = build_judgement("mine", after, before)
    assert (judgement.classes_added, judgement.classes_lost) == ({}, {})
    assert "no baseline start of production to compare with" in details(judgement, "classes")


def test_failure_of_another_pack_without_baseline_is_a_warning() -> None:
    after = server({"Own": "custom_nodes.mine"}, failures={"other": "no"}, imported=frozenset({"mine"}))
    assert build_judgement("mine", after, None).exit_code == 0
    assert "unknown whether it could be imported before" in details(build_judgement("mine", after, None), "import")


@pytest.mark.parametrize(
    ("before", "status", "words"),
    [
        (server({}), "warn", "(it is unknown whether it could be imported before)"),
        (server({}, imported=frozenset({"other"})), "fail", "(it could before)"),
        (server({}, failures={"other": "no"}), "warn", "(as before)"),
        (StartOutcome(how="none", exit_code=124, trouble="It hung."), "warn", "(it is unknown"),
    ],
)
def test_failure_of_another_pack_is_new_only_with_evidence(before: StartOutcome, status: str, words: str) -> None:
    after = server({"Own": "custom_nodes.mine"}, failures={"other": "no"}, imported=frozenset({"mine"}))
    judgement = build_judgement("mine", after, before)
    found = next(finding for finding in judgement.findings if finding.detail.startswith("other could not"))
    assert (found.status, words in found.detail) == (status, True)
    assert judgement.exit_code == (status == "fail")


def test_production_that_does_not_start_is_a_warning() -> None:
    before = StartOutcome(how="exit", exit_code=3)
    judgement = build_judgement("mine", server({}, imported=frozenset({"mine"})), before)
    assert judgement.exit_code == 0
    found = [finding for finding in judgement.findings if finding.name == "start"]
    assert [finding.status for finding in found] == ["warn", "ok"]
    assert found[0].detail == "Production does not start without mine: It exited with status 3."


def test_prompt_that_only_fails_now_fails() -> None:
    failed = Finding(name="probe", status="fail", detail="no numpy.")
    worked = server({}, probe=Finding(name="probe", status="ok", detail="well"))
    assert judge(server({}, probe=failed), worked).exit_code == 1
    assert judge(server({}, probe=failed), server({}, probe=failed)).exit_code == 0


@pytest.mark.parametrize(
    ("model_folders", "detail"),
    [
        ({"Loader": {"name": "vae"}}, "1 input of 1 node class lists model folders."),
        ({"A": {"x": "vae", "y": "loras"}, "B": {"z": "vae"}}, "3 inputs of 2 node classes list model folders."),
    ],
)
def test_model_inputs_are_counted(model_folders: dict[str, dict[str, str]], detail: str) -> None:
    judgement = judge(server({}, model_folders=model_folders))
    assert details(judgement, "models") == detail
    assert statuses(judgement)["models"] == "ok"
