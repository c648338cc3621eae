"""Whether this host runs a node class, and who brings it. Pure: everything known is passed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY, parse_version
from comfywatchman.comfyui.packs.metadata import NodePack, normalize_url, parse_repository
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict, ProviderClaims
from comfywatchman.readiness.status import MissingNode, ProviderPackage
from comfywatchman.sources.class_map import PackageRef

_IMPORT_LOG_HINT: Final = "its log says why, below “Import times for custom nodes”"
_START_HINT: Final = "Start ComfyUI and run the check again: the running server says which classes it has."
_NAMED_PACKS: Final = 3
_SAFE_ADDRESS: Final = re.compile(r"(https://[A-Za-z0-9.-]+/[A-Za-z0-9._/-]+)|([A-Za-z0-9][A-Za-z0-9._-]*)")


def judge_class(
    class_type: str, hints: NodePackHints, facts: HostNodeFacts, claims: ProviderClaims | None = None
) -> NodeVerdict:
    """Judge one node class: the running server first, then ComfyUI, the packs on disk, and catalogues last.

    Args:
        class_type: The class as the workflow writes it.
        hints: What the workflow says of its pack.
        facts: What is known of this host.
        claims: What catalogues say; None when they were not asked. Ask them only when the verdict wants it.
    """
    return (
        _judge_present(class_type, facts)
        or _judge_core_class(class_type, facts)
        or _judge_installed_packs(class_type, facts)
        or _judge_hinted_pack(class_type, hints, facts)
        or _judge_other_core_version(class_type, hints, facts)
        or _judge_absent_pack(class_type, hints, facts)
        or _judge_by_catalogues(class_type, facts, claims)
    )


def build_missing_node(verdict: NodeVerdict, node_paths: Iterable[str]) -> MissingNode | None:
    """Return the report's line for a class; None for one that is there."""
    if verdict.state is NodeState.PRESENT:
        return None
    return MissingNode(
        class_type=verdict.class_type,
        state=verdict.state.value,
        node_paths=tuple(node_paths),
        packages=verdict.packages,
        fix=verdict.fix,
        evidence=verdict.evidence,
    )


def _judge_present(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    if facts.live is not None and class_type in facts.live:
        return NodeVerdict(class_type, NodeState.PRESENT, "The running ComfyUI lists it.")
    if class_type in facts.replaced:
        return NodeVerdict(class_type, NodeState.PRESENT, "The running ComfyUI replaces it by a newer class.")
    if facts.live is None and facts.core is not None and class_type in facts.core.classes:
        return NodeVerdict(class_type, NodeState.PRESENT, "ComfyUI's own source has it.")
    if class_type in EDITOR_ONLY:
        return NodeVerdict(class_type, NodeState.PRESENT, "Only the editor draws it; the server never sees it.")
    return None


def _judge_core_class(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that ComfyUI's source has, but that is not surely there."""
    core = facts.core
    if core is None or class_type not in core.classes | core.possible_classes:
        return None
    if facts.live is None:
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            "ComfyUI's own source has it only under a condition.",
            fix=_START_HINT,
        )
    return NodeVerdict(
        class_type,
        NodeState.IMPORT_FAILED,
        "ComfyUI's own source has it, but the running ComfyUI does not list it.",
        fix="Restart ComfyUI without --disable-api-nodes and with its current requirements installed; "
        "its log names node files that could not be imported.",
    )


def _judge_installed_packs(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that the source of installed packs maps."""
    owners = facts.mapped.get(class_type, ())
    enabled = [pack for pack in owners if pack.enabled]
    if not owners:
        return None
    if not enabled:
        return _build_disabled_verdict(
            class_type, owners, f"The pack {_join_pack_names(owners)} maps it, but is disabled."
        )
    surely = [pack for pack in enabled if class_type in pack.classes]
    if facts.live is not None:
        return _build_import_failed_verdict(class_type, surely or enabled, is_conditional=not surely)
    broken = [pack for pack in surely if pack.folder in facts.failed]
    if surely and len(broken) == len(surely):
        return _build_last_start_verdict(class_type, broken, facts.failed[broken[0].folder])
    if surely:
        evidence = (
            f"The source of the installed pack {_join_pack_names(surely)} maps it; ComfyUI "
            "is not running to confirm it."
        )
        return NodeVerdict(class_type, NodeState.PRESENT, evidence)
    evidence = f"The installed pack {_join_pack_names(enabled)} maps it only under a condition."
    return _build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=_START_HINT)


def _build_disabled_verdict(class_type: str, owners: Sequence[NodePack], evidence: str) -> NodeVerdict:
    fix = f"Enable {_join_pack_names(owners)} (ComfyUI-Manager, or take “.disabled” away) and restart ComfyUI."
    return _build_provider_verdict(class_type, NodeState.MISSING, owners, evidence, fix=fix)


def _build_import_failed_verdict(class_type: str, owners: Sequence[NodePack], *, is_conditional: bool) -> NodeVerdict:
    condition = " under a condition" if is_conditional else ""
    evidence = (
        f"The installed pack {_join_pack_names(owners)} maps it{condition}, but the running ComfyUI does not list it."
    )
    fix = (
        f"Restart ComfyUI. If the class is still absent, {_join_pack_names(owners)} could not "
        f"be imported: {_IMPORT_LOG_HINT}."
    )
    return _build_provider_verdict(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _build_last_start_verdict(class_type: str, owners: Sequence[NodePack], why: str) -> NodeVerdict:
    evidence = f"The installed pack {_join_pack_names(owners)} maps it, but {why}."
    fix = (
        f"Start ComfyUI and see why {_join_pack_names(owners)} cannot be imported: "
        f"{_IMPORT_LOG_HINT}. Often a Python package lacks."
    )
    return _build_provider_verdict(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _build_provider_verdict(
    class_type: str, state: NodeState, owners: Sequence[NodePack], evidence: str, *, fix: str
) -> NodeVerdict:
    """Judge a class by the installed packs that have it; of several, nobody knows whose the workflow means."""
    return NodeVerdict(
        class_type, state, evidence, fix=fix, packages=_list_installed_packages(owners), certain=len(owners) == 1
    )


def _judge_hinted_pack(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is installed, but does not map the class."""
    named = [pack for pack in facts.packs if hints.pack and pack.is_called(hints.pack)]
    return (
        _judge_claimed_pack(class_type, named, facts, said_by="the workflow", version=hints.version) if named else None
    )


def _judge_claimed_pack(
    class_type: str, owners: list[NodePack], facts: HostNodeFacts, *, said_by: str, version: str | None = None
) -> NodeVerdict:
    """Judge a class that somebody says an installed pack brings, though its source does not show it."""
    enabled = [pack for pack in owners if pack.enabled]
    if not enabled:
        evidence = f"It belongs to the pack {_join_pack_names(owners)} ({said_by} says so), which is disabled."
        return _build_disabled_verdict(class_type, owners, evidence)
    unclear = any(not pack.complete for pack in enabled)
    if unclear and facts.live is None:
        evidence = (
            f"It belongs to the installed pack {_join_pack_names(enabled)} ({said_by} says "
            "so), which computes its class names."
        )
        return _build_provider_verdict(class_type, NodeState.UNKNOWN, enabled, evidence, fix=_START_HINT)
    if unclear:
        return _build_import_failed_verdict(class_type, enabled, is_conditional=False)
    evidence = (
        f"It belongs to {_join_pack_names(enabled)} ({said_by} says so), but the installed version does not have it."
    )
    evidence += f" The workflow was saved with version {version}." if version else ""
    fix = f"Update {_join_pack_names(enabled)} and restart ComfyUI."
    return _build_provider_verdict(class_type, NodeState.MISSING, enabled, evidence, fix=fix)


def _judge_other_core_version(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class of another version of ComfyUI itself; catalogues claim many of these for unrelated packs."""
    seen_in = facts.known_core.get(class_type)
    if hints.pack or not (seen_in or hints.is_core):
        return None
    needed = seen_in or hints.version
    said = f"ComfyUI {needed} has it" if parse_version(needed) else "The workflow says that it is ComfyUI's own"
    core = facts.core
    if facts.live is None and (core is None or not core.complete):
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            f"{said}; which classes the installed ComfyUI has could not be read.",
            fix="Start ComfyUI and run the check again, or set [comfyui] root to its folder.",
        )
    installed = core.version if core is not None else None
    wanted, have = parse_version(needed), parse_version(installed)
    if wanted is not None and have is not None and wanted < have:
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"{said}, but the installed {installed} does not: it was removed or renamed.",
            fix="Open the workflow in the editor and replace the node.",
        )
    return _build_needs_newer_verdict(class_type, needed, installed, said)


def _build_needs_newer_verdict(class_type: str, needed: str | None, installed: str | None, said: str) -> NodeVerdict:
    target = f"{needed} or later" if parse_version(needed) and needed != installed else "the newest version"
    has_not = f"the installed {installed} does not" if installed else "the installed ComfyUI does not"
    return NodeVerdict(
        class_type, NodeState.NEEDS_NEWER, f"{said}; {has_not}.", fix=f"Update ComfyUI to {target}.", certain=True
    )


def _judge_absent_pack(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is not installed."""
    if not hints.pack:
        return None
    is_repository = "/" in hints.pack
    package = ProviderPackage(
        id=hints.pack,
        url=normalize_url(f"https://github.com/{hints.pack}") if is_repository else None,
        evidence="named by the workflow",
    )
    also = facts.known_core.get(class_type)
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        f"The workflow names the pack {hints.pack}, which is not installed."
        + (f" ComfyUI {also} has a class of this name too." if also else ""),
        fix=_describe_installation(hints.pack, package.url or hints.pack, governed=facts.governed and also is None)
        + (" A newer ComfyUI may do instead." if also else ""),
        packages=(package,),
        certain=also is None,
    )


def _judge_by_catalogues(class_type: str, facts: HostNodeFacts, claims: ProviderClaims | None) -> NodeVerdict:
    if claims is None or not claims.owners:
        return _judge_unclaimed(class_type, facts, claims)
    installed = [pack for pack in facts.packs if any(_is_same_package(pack, owner) for owner in claims.owners)]
    if installed:
        return _judge_claimed_pack(class_type, installed, facts, said_by=claims.owners[0].evidence or "a catalogue")
    packages = tuple(ProviderPackage(owner.id, owner.url, owner.evidence) for owner in claims.owners)
    if len(packages) == 1:
        name = claims.owners[0].title or packages[0].id
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"No installed pack has it; {name} does ({packages[0].evidence}).",
            fix=_describe_installation(name, packages[0].url or packages[0].id, governed=facts.governed),
            packages=packages,
            certain=True,
        )
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        f"No installed pack has it; {len(packages)} packages are said to bring a class of this name.",
        fix="Find out which of them the workflow's author used, install that one and restart ComfyUI.",
        packages=packages,
    )


def _describe_installation(name: str, address: str, *, governed: bool) -> str:
    """Say how a pack is installed; where `gov` governs, by the command that tries it aside first.

    The address comes from a workflow or a catalogue and is meant to be pasted into a shell, so that only what can be
    nothing but an address or an id stands in a command.
    """
    if governed and _SAFE_ADDRESS.fullmatch(address):
        return f"Try it aside: gov node add {address}"
    return f"Install {name} with ComfyUI-Manager and restart ComfyUI."


def _judge_unclaimed(class_type: str, facts: HostNodeFacts, claims: ProviderClaims | None) -> NodeVerdict:
    """Judge a class that nobody is known to bring."""
    unclear = facts.unclear_packs if facts.live is None else ()
    said = [f"{', '.join(claims.asked)}: nobody brings it."] if claims and claims.asked else []
    said += [f"Could not be asked: {', '.join(claims.silent)}."] if claims and claims.silent else []
    if unclear:
        said.append(f"It may come from {_join_pack_names(unclear)}, whose class names are computed.")
    if facts.live is not None:
        said.insert(0, "The running ComfyUI does not list it.")
    fix = (
        _START_HINT
        if unclear
        else "Search for the class name in ComfyUI-Manager or ask the workflow's author for the package."
    )
    evidence = " ".join(said) or "No installed pack has it."
    return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=fix, wants_claims=claims is None)


def _is_same_package(pack: NodePack, owner: PackageRef) -> bool:
    repository = parse_repository(owner.url) if owner.url else None
    if repository is not None and pack.repository is not None:
        return repository == pack.repository
    return pack.is_called(owner.id)


def _list_installed_packages(packs: Iterable[NodePack]) -> tuple[ProviderPackage, ...]:
    return tuple(ProviderPackage(pack.id, pack.url, f"installed in custom_nodes/{pack.folder}") for pack in packs)


def _join_pack_names(packs: Iterable[NodePack]) -> str:
    names = list(dict.fromkeys(pack.display_name or pack.folder for pack in packs))
    more = f" and {len(names) - _NAMED_PACKS} more" if len(names) > _NAMED_PACKS else ""
    return ", ".join(names[:_NAMED_PACKS]) + more
