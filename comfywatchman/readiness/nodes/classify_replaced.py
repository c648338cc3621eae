"""The verdict on node classes that ComfyUI, its editor or a pack replaces by newer ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT
from comfywatchman.readiness.states import NodeRemedy

_DECIDED: Final = frozenset({NodeState.PRESENT, NodeState.UNKNOWN})


def judge_replaced_class(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that ComfyUI does not have any more, and that it or its editor replaces by another."""
    if facts.server_classes is None and any(pack.enabled for pack in facts.packs_by_class.get(class_type, ())):
        return None  # ComfyUI replaces only classes that it does not have
    replacements = facts.replacements
    if not hints.in_prompt and class_type in replacements.in_editor:
        evidence = f"The editor opens it as {replacements.in_editor[class_type]}."
        return NodeVerdict(class_type, NodeState.PRESENT, evidence)
    successor = replacements.in_prompts.get(class_type)
    if successor is None:
        return _judge_by_packs(class_type, hints, facts)
    if hints.in_prompt:
        # It drops all inputs for which the replacement names none of the new class, so the new node may lack some.
        evidence = f"ComfyUI replaces it by {successor}, and only a run shows whether that accepts the inputs it gets."
        return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=_describe_replacement(successor))
    return _build_editor_verdict(class_type, successor, replacer="ComfyUI")


def withhold_for_replacements(verdict: NodeVerdict, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict:
    """Return UNKNOWN in place of a verdict against a class that a pack may replace, because it computes the names."""
    if verdict.state in _DECIDED or not hints.in_prompt:
        return verdict
    for pack in _list_replacing_packs(facts):
        if pack.computes_replacements:
            evidence = f"{verdict.evidence} The pack {pack.id} may replace it: it computes which classes it replaces."
            return NodeVerdict(
                verdict.class_type, NodeState.UNKNOWN, evidence, fix=START_HINT, packages=verdict.packages
            )
    return verdict


def _judge_by_packs(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that a pack wants to have replaced; a running server lists the replacements that take effect."""
    for pack in _list_replacing_packs(facts):
        successor = (pack.replacements or {}).get(class_type)
        if successor is None or not _has_class(successor, facts):
            continue
        if not hints.in_prompt:
            return _build_editor_verdict(class_type, successor, replacer=f"The pack {pack.id}")
        # Its source does not show whether, and when, it registers the replacement.
        evidence = f"The pack {pack.id} replaces it by {successor}, but only a running ComfyUI shows whether it does."
        return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=START_HINT)
    return None


def _list_replacing_packs(facts: HostNodeFacts) -> Iterator[NodePack]:
    """Yield the packs that may have classes replaced, as far as only their source is known."""
    core = facts.core
    # The server of an older ComfyUI replaces nothing, and its editor renames only the classes of ComfyUI.
    if facts.server_classes is None and core is not None and core.replacements is not None:
        yield from (pack for pack in facts.packs if pack.enabled)


def _has_class(class_type: str, facts: HostNodeFacts) -> bool:
    of_core = facts.core is not None and class_type in facts.core.classes
    return of_core or any(pack.enabled for pack in facts.packs_by_class.get(class_type, ()))


def _build_editor_verdict(class_type: str, successor: str, *, replacer: str) -> NodeVerdict:
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        f"{replacer} replaces it by {successor} only in prompts of the API format that carry _meta; the editor sends "
        "the old node without a class.",
        fix=_describe_replacement(successor),
        remedy=NodeRemedy.REPLACE_NODE,
    )


def _describe_replacement(successor: str) -> str:
    return f"Open the workflow in the editor, replace the node by {successor}, and save it."
