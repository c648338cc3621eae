"""The verdict on node classes of installed packs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.classify_imports import (
    build_unlisted_verdict,
    judge_by_imports,
    judge_claim_by_imports,
)
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT, build_provider_verdict, join_pack_names
from comfywatchman.readiness.states import NodeRemedy


def judge_by_packs(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that static analysis finds in the source of installed packs."""
    owners = facts.packs_by_class.get(class_type, ())
    if not owners:
        return None
    # A disabled pack is a fallback only: an enabled one with the same class is the one that ComfyUI loads.
    enabled = [pack for pack in owners if pack.enabled]
    if not enabled:
        return _build_disabled_verdict(
            class_type, owners, f"The pack {join_pack_names(owners)} maps it, but is disabled."
        )
    certain = [pack for pack in enabled if class_type in pack.classes]
    if facts.server_classes is not None:
        # The running server does not list the class, or an earlier step would have found it.
        return build_unlisted_verdict(class_type, certain or enabled, facts, is_conditional=not certain)
    verdict = judge_by_imports(class_type, certain or enabled, facts)
    if verdict is not None:
        return verdict
    if not certain:
        names = join_pack_names(enabled)
        evidence = f"The source of the installed pack {names} has it, but may map it only under a condition."
        return build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=START_HINT)
    return _build_mapped_verdict(class_type, certain, facts)


def judge_by_hints(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is installed, but does not map the class."""
    if not hints.pack:
        return None
    named = [pack for pack in facts.packs if pack.is_called(hints.pack)]
    if not named:
        return None
    return judge_by_claim(class_type, named, facts, claimed_by="the workflow", version=hints.version)


def judge_by_claim(
    class_type: str,
    owners: Sequence[NodePack],
    facts: HostNodeFacts,
    *,
    claimed_by: str,
    version: str | None = None,
) -> NodeVerdict:
    """Judge a class that is listed under installed packs whose source does not show it.

    Args:
        class_type: The class.
        owners: The packs.
        facts: The nodes of this host.
        claimed_by: Who lists it there, for people.
        version: The version of the pack with which the workflow was saved.
    """
    enabled = [pack for pack in owners if pack.enabled]
    if not enabled:
        evidence = f"It belongs to the pack {join_pack_names(owners)} ({claimed_by} says so), which is disabled."
        return _build_disabled_verdict(class_type, owners, evidence)
    names = join_pack_names(enabled)
    has_computed_names = any(not pack.complete for pack in enabled)
    verdict = judge_claim_by_imports(class_type, enabled, facts) if facts.server_classes is None else None
    if verdict is not None:
        return verdict
    if has_computed_names and facts.server_classes is None:
        evidence = f"It belongs to the installed pack {names} ({claimed_by} says so), which computes its class names."
        return build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=START_HINT)
    if has_computed_names and not any(pack.folder in facts.server_packs for pack in enabled):
        # Names are computed at import, so a class that the server does not list was not registered.
        return build_unlisted_verdict(class_type, enabled, facts, is_conditional=True)
    evidence = f"It belongs to {names} ({claimed_by} says so), but the installed version does not have it."
    if version:
        evidence += f" The workflow was saved with version {version}."
    fix = f"Update {names} and restart ComfyUI."
    return build_provider_verdict(
        class_type, NodeState.MISSING, enabled, evidence, fix=fix, remedy=NodeRemedy.UPDATE_PACK
    )


def _build_mapped_verdict(class_type: str, owners: Sequence[NodePack], facts: HostNodeFacts) -> NodeVerdict:
    """Build the verdict on a class that the source of enabled packs maps and that nothing speaks against."""
    unconfirmed: list[str] = []
    for pack in owners:
        if pack.folder in facts.failed_imports or facts.find_class_problem(pack, class_type) is not None:
            continue
        if pack.folder in facts.proven_imports:
            name = join_pack_names([pack])
            evidence = f"The source of the installed pack {name} maps it; the last start of ComfyUI imported it."
            return NodeVerdict(class_type, NodeState.PRESENT, evidence)
        unconfirmed.append(pack.folder)
    evidence = f"The source of the installed pack {join_pack_names(owners)} maps it; no ComfyUI has confirmed it."
    return NodeVerdict(class_type, NodeState.PRESENT, evidence, unconfirmed_packs=tuple(dict.fromkeys(unconfirmed)))


def _build_disabled_verdict(class_type: str, owners: Sequence[NodePack], evidence: str) -> NodeVerdict:
    fix = f"Enable {join_pack_names(owners)} (ComfyUI-Manager, or take “.disabled” away) and restart ComfyUI."
    return build_provider_verdict(
        class_type, NodeState.MISSING, owners, evidence, fix=fix, remedy=NodeRemedy.ENABLE_PACK
    )
