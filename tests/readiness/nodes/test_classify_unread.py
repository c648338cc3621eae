from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.comfyui.imports.problems import ImportProblem, PackImports, ProblemKind
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.classify_unread import judge_hidden_pack, judge_possible_pack, withhold_verdict
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict, ProviderClaims
from tests.readiness.nodes.test_classify import NOBODY, host, judge, owner, pack

AWAY = Obstacle(ObstacleKind.BROKEN_LINK, "/p/Thing", "/mnt/thing")
THING = NodePackHints(cnr_id="thing")
READ_BEFORE = pack(classes=frozenset({"X"}))
NEVER_READ = pack()


def hide(*packs: NodePack, live: set[str] | None = None) -> HostNodeFacts:
    return replace(host(*packs, live=live), hidden_packs={"/p/Thing": AWAY})


def read_partly(*packs: NodePack, live: set[str] | None = None) -> HostNodeFacts:
    return replace(host(*packs, live=live), partly_read_packs={"/p/Thing": AWAY})


def is_withheld(verdict: NodeVerdict | None) -> bool:
    return verdict is not None and (verdict.state, verdict.obstacle) == (NodeState.UNKNOWN, AWAY)


@pytest.mark.parametrize("live", [None, {"KSampler"}])
def test_class_of_a_hidden_pack_is_unknown_with_and_without_a_server(live: set[str] | None) -> None:
    assert is_withheld(judge("X", hide(READ_BEFORE, live=live)))
    assert is_withheld(judge("New", hide(READ_BEFORE, live=live), THING))
    assert is_withheld(judge("New", hide(NEVER_READ, live=live), NodePackHints(cnr_id="another")))
    assert is_withheld(judge("New", hide(NEVER_READ, live=live), claims=ProviderClaims((owner("Other"),))))


def test_server_that_lists_the_class_overrules() -> None:
    assert judge("X", hide(READ_BEFORE, live={"X"})).state is NodeState.PRESENT


def test_readable_pack_with_the_class_is_enough() -> None:
    both = hide(READ_BEFORE, pack("Other", classes=frozenset({"X"})))
    assert judge_hidden_pack("X", NOBODY, both) is None
    assert judge("X", both).state is NodeState.PRESENT


def test_disabled_pack_hides_nothing() -> None:
    disabled = hide(pack(enabled=False), pack("Other", enabled=False))
    assert judge_hidden_pack("X", THING, disabled) is None
    assert judge_possible_pack("X", disabled) is None


def test_pack_that_was_read_before_hides_only_its_own_classes() -> None:
    assert judge_possible_pack("Y", hide(READ_BEFORE)) is None
    assert judge_possible_pack("Y", hide(pack("Other"))) is None
    assert is_withheld(judge_possible_pack("Y", hide(pack(classes=frozenset({"X"}), complete=False))))


def test_verdict_against_a_partly_read_pack_is_withheld() -> None:
    broken = PackImports(ImportProblem(ProblemKind.PACK_FILES, "E", "", None, "", "no module", is_certain=True))
    facts = replace(read_partly(READ_BEFORE), import_problems={"/p/Thing": broken})
    assert is_withheld(judge("X", facts))
    assert judge("X", replace(facts, partly_read_packs={})).state is NodeState.IMPORT_FAILED
    assert is_withheld(judge("New", read_partly(READ_BEFORE), THING))
    assert judge("X", read_partly(READ_BEFORE)).state is NodeState.PRESENT


def test_other_verdicts_are_not_withheld() -> None:
    missing = NodeVerdict("X", NodeState.MISSING, "It is gone.")
    unknown = NodeVerdict("X", NodeState.UNKNOWN, "It is not known.")
    facts = read_partly(READ_BEFORE, pack("Other", classes=frozenset({"Y"})))
    assert withhold_verdict(None, NOBODY, facts) is None
    assert withhold_verdict(unknown, NOBODY, facts) is unknown
    assert is_withheld(withhold_verdict(missing, NOBODY, facts))
    other = replace(missing, class_type="Y")
    assert withhold_verdict(other, NOBODY, facts) is other
