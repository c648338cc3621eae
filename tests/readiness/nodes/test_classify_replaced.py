"""Node classes that ComfyUI, its editor or a pack replaces by newer ones."""

from __future__ import annotations

import msgspec
import pytest

from comfywatchman.comfyui.packs.replacements import ClassReplacements
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState
from tests.readiness.nodes.test_classify import CORE, host, judge, pack

IN_PROMPTS = ClassReplacements(in_prompts={"Old": "KSampler"})
IN_EDITOR = ClassReplacements(in_editor={"Old": "KSampler"})


@pytest.mark.parametrize("live", [None, {"KSampler"}])
@pytest.mark.parametrize(
    ("replacements", "hints", "state"),
    [
        (IN_PROMPTS, NodePackHints(in_prompt=True), NodeState.UNKNOWN),
        (IN_PROMPTS, NodePackHints(), NodeState.MISSING),
        (IN_EDITOR, NodePackHints(), NodeState.PRESENT),
        (IN_EDITOR, NodePackHints(in_prompt=True), NodeState.UNKNOWN),
    ],
)
def test_replacement_counts_where_it_is_applied(
    replacements: ClassReplacements, hints: NodePackHints, state: NodeState, live: set[str] | None
) -> None:
    assert judge("Old", host(live=live, replacements=replacements), hints).state is state


def test_class_of_an_installed_pack_is_not_replaced() -> None:
    thing = pack(classes=frozenset({"Old"}))
    assert judge("Old", host(thing, replacements=IN_PROMPTS)).state is NodeState.PRESENT
    off = pack(classes=frozenset({"Old"}), enabled=False)
    verdict = judge("Old", host(off, replacements=IN_PROMPTS), NodePackHints(in_prompt=True))
    assert "replaces it by KSampler" in verdict.evidence


def test_class_that_the_server_lacks_is_replaced_whatever_packs_say() -> None:
    thing = pack(classes=frozenset({"Old"}))
    facts = host(thing, live={"KSampler"}, replacements=IN_PROMPTS)
    assert "replaces it by KSampler" in judge("Old", facts, NodePackHints(in_prompt=True)).evidence


NEWER = msgspec.structs.replace(CORE, replacements={})
PROMPT = NodePackHints(in_prompt=True)
REPLACING = pack("Thing", replacements={"Old": "KSampler", "Dead": "Gone", "Mine": "Own"}, classes=frozenset({"Own"}))
COMPUTING = pack("Thing", computes_replacements=True)


@pytest.mark.parametrize("old", ["Old", "Mine"])
def test_replacement_of_a_pack_is_unknown_without_a_server(old: str) -> None:
    verdict = judge(old, host(REPLACING, core=NEWER), PROMPT)
    assert verdict.state is NodeState.UNKNOWN
    assert "the pack thing replaces it by" in verdict.evidence.lower()
    in_file = judge(old, host(REPLACING, core=NEWER))
    assert in_file.state is NodeState.MISSING
    assert "replace the node by" in (in_file.fix or "")


@pytest.mark.parametrize(
    ("class_type", "facts"),
    [
        ("Dead", host(REPLACING, core=NEWER)),
        ("Old", host(REPLACING)),
        ("Old", host(REPLACING, core=None)),
        ("Old", host(REPLACING, core=NEWER, live={"KSampler"})),
        ("Old", host(msgspec.structs.replace(REPLACING, enabled=False), core=NEWER)),
    ],
)
def test_replacement_that_cannot_take_effect_is_not_named(class_type: str, facts: HostNodeFacts) -> None:
    assert "replaces it" not in judge(class_type, facts, PROMPT).evidence


def test_computed_replacements_leave_a_missing_class_unknown() -> None:
    named = NodePackHints("absent", in_prompt=True)
    assert judge("Any", host(REPLACING, core=NEWER), named).state is NodeState.MISSING
    verdict = judge("Any", host(COMPUTING, core=NEWER), named)
    assert (verdict.state, verdict.is_certain) == (NodeState.UNKNOWN, False)
    assert "computes which classes it replaces" in verdict.evidence
    assert judge("Any", host(COMPUTING, core=NEWER), NodePackHints("absent")).state is NodeState.MISSING
    assert judge("KSampler", host(COMPUTING, core=NEWER), named).state is NodeState.PRESENT
