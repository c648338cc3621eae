"""The verdict on node classes of installed packs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict
from comfywatchman.readiness.status import ProviderPackage

START_HINT: Final = "Start ComfyUI and run the check again: the running server says which classes it has."
_IMPORT_LOG_HINT: Final = "its log says why, below “Import times for custom nodes”"
_MAX_NAMED_PACKS: Final = 3


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
        return _build_import_failed_verdict(class_type, certain or enabled, is_conditional=not certain)
    if not certain:
        evidence = f"The installed pack {join_pack_names(enabled)} maps it only under a condition."
        return _build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=START_HINT)
    if all(pack.folder in facts.failed_imports for pack in certain):
        return _build_last_start_verdict(class_type, certain, facts.failed_imports[certain[0].folder])
    evidence = (
        f"The source of the installed pack {join_pack_names(certain)} maps it; ComfyUI is not running to confirm it."
    )
    return NodeVerdict(class_type, NodeState.PRESENT, evidence)


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
    if has_computed_names and facts.server_classes is None:
        evidence = f"It belongs to the installed pack {names} ({claimed_by} says so), which computes its class names."
        return _build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=START_HINT)
    if has_computed_names:
        # Names are computed at import, so a class that the server does not list was not registered.
        return _build_import_failed_verdict(class_type, enabled, is_conditional=False)
    evidence = f"It belongs to {names} ({claimed_by} says so), but the installed version does not have it."
    if version:
        evidence += f" The workflow was saved with version {version}."
    fix = f"Update {names} and restart ComfyUI."
    return _build_provider_verdict(class_type, NodeState.MISSING, enabled, evidence, fix=fix)


def join_pack_names(packs: Iterable[NodePack]) -> str:
    """Return the names of packs for people; of many, the first few and a count."""
    names = list(dict.fromkeys(pack.display_name or pack.folder for pack in packs))
    return shorten_list(names, most=_MAX_NAMED_PACKS)


def _build_disabled_verdict(class_type: str, owners: Sequence[NodePack], evidence: str) -> NodeVerdict:
    fix = f"Enable {join_pack_names(owners)} (ComfyUI-Manager, or take “.disabled” away) and restart ComfyUI."
    return _build_provider_verdict(class_type, NodeState.MISSING, owners, evidence, fix=fix)


def _build_import_failed_verdict(class_type: str, owners: Sequence[NodePack], *, is_conditional: bool) -> NodeVerdict:
    names = join_pack_names(owners)
    condition = " under a condition" if is_conditional else ""
    evidence = f"The installed pack {names} maps it{condition}, but the running ComfyUI does not list it."
    fix = f"Restart ComfyUI. If the class is still absent, {names} could not be imported: {_IMPORT_LOG_HINT}."
    return _build_provider_verdict(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _build_last_start_verdict(class_type: str, owners: Sequence[NodePack], reason: str) -> NodeVerdict:
    names = join_pack_names(owners)
    evidence = f"The installed pack {names} maps it, but {reason}."
    fix = f"Start ComfyUI and see why {names} cannot be imported: {_IMPORT_LOG_HINT}. Often a Python package lacks."
    return _build_provider_verdict(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _build_provider_verdict(
    class_type: str, state: NodeState, owners: Sequence[NodePack], evidence: str, *, fix: str
) -> NodeVerdict:
    packages = tuple(ProviderPackage(pack.id, pack.url, f"installed in custom_nodes/{pack.folder}") for pack in owners)
    # With several packs it is not known whose class the workflow means.
    return NodeVerdict(class_type, state, evidence, fix=fix, packages=packages, is_certain=len(owners) == 1)
