"""Whether this host runs a node class, and who brings it. Pure: everything known is passed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY, version_key
from comfywatchman.comfyui.packs.metadata import Pack, plain_url, repository_of
from comfywatchman.readiness.nodes.facts import Claims, Hints, NodeFacts, NodeState, NodeVerdict
from comfywatchman.readiness.status import MissingNode, Package
from comfywatchman.sources.class_map import PackageRef

_LOG: Final = "its log says why, below “Import times for custom nodes”"
_START: Final = "Start ComfyUI and run the check again: the running server says which classes it has."
_NAMED_PACKS: Final = 3
_ADDRESS: Final = re.compile(r"(https://[A-Za-z0-9.-]+/[A-Za-z0-9._/-]+)|([A-Za-z0-9][A-Za-z0-9._-]*)")


def judge_class(class_type: str, hints: Hints, facts: NodeFacts, claims: Claims | None = None) -> NodeVerdict:
    """Judge one node class: the running server first, then ComfyUI, the packs on disk, and catalogues last.

    Args:
        class_type: The class as the workflow writes it.
        hints: What the workflow says of its pack.
        facts: What is known of this host.
        claims: What catalogues say; None when they were not asked. Ask them only when the verdict wants it.
    """
    return (
        _present(class_type, facts)
        or _of_core(class_type, facts)
        or _of_packs(class_type, facts)
        or _of_hinted_pack(class_type, hints, facts)
        or _of_later_core(class_type, hints, facts)
        or _of_absent_pack(class_type, hints, facts)
        or _of_catalogues(class_type, facts, claims)
    )


def missing_node(verdict: NodeVerdict, node_paths: Iterable[str]) -> MissingNode | None:
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


def _present(class_type: str, facts: NodeFacts) -> NodeVerdict | None:
    if facts.live is not None and class_type in facts.live:
        return NodeVerdict(class_type, NodeState.PRESENT, "The running ComfyUI lists it.")
    if class_type in facts.replaced:
        return NodeVerdict(class_type, NodeState.PRESENT, "The running ComfyUI replaces it by a newer class.")
    if facts.live is None and facts.core is not None and class_type in facts.core.classes:
        return NodeVerdict(class_type, NodeState.PRESENT, "ComfyUI's own source has it.")
    if class_type in EDITOR_ONLY:
        return NodeVerdict(class_type, NodeState.PRESENT, "Only the editor draws it; the server never sees it.")
    return None


def _of_core(class_type: str, facts: NodeFacts) -> NodeVerdict | None:
    """Judge a class that ComfyUI's source has, but that is not surely there."""
    core = facts.core
    if core is None or class_type not in core.classes | core.possible_classes:
        return None
    if facts.live is None:
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            "ComfyUI's own source has it only under a condition.",
            fix=_START,
        )
    return NodeVerdict(
        class_type,
        NodeState.IMPORT_FAILED,
        "ComfyUI's own source has it, but the running ComfyUI does not list it.",
        fix="Restart ComfyUI without --disable-api-nodes and with its current requirements installed; "
        "its log names node files that could not be imported.",
    )


def _of_packs(class_type: str, facts: NodeFacts) -> NodeVerdict | None:
    """Judge a class that the source of installed packs maps."""
    owners = facts.mapped.get(class_type, ())
    enabled = [pack for pack in owners if pack.enabled]
    if not owners:
        return None
    if not enabled:
        return _disabled(class_type, owners, f"The pack {_names(owners)} maps it, but is disabled.")
    surely = [pack for pack in enabled if class_type in pack.classes]
    if facts.live is not None:
        return _failed(class_type, surely or enabled, is_conditional=not surely)
    broken = [pack for pack in surely if pack.folder in facts.failed]
    if surely and len(broken) == len(surely):
        return _failed_at_last_start(class_type, broken, facts.failed[broken[0].folder])
    if surely:
        evidence = f"The source of the installed pack {_names(surely)} maps it; ComfyUI is not running to confirm it."
        return NodeVerdict(class_type, NodeState.PRESENT, evidence)
    evidence = f"The installed pack {_names(enabled)} maps it only under a condition."
    return _by_owners(class_type, NodeState.UNKNOWN, enabled, evidence, fix=_START)


def _disabled(class_type: str, owners: Sequence[Pack], evidence: str) -> NodeVerdict:
    fix = f"Enable {_names(owners)} (ComfyUI-Manager, or take “.disabled” away) and restart ComfyUI."
    return _by_owners(class_type, NodeState.MISSING, owners, evidence, fix=fix)


def _failed(class_type: str, owners: Sequence[Pack], *, is_conditional: bool) -> NodeVerdict:
    condition = " under a condition" if is_conditional else ""
    evidence = f"The installed pack {_names(owners)} maps it{condition}, but the running ComfyUI does not list it."
    fix = f"Restart ComfyUI. If the class is still absent, {_names(owners)} could not be imported: {_LOG}."
    return _by_owners(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _failed_at_last_start(class_type: str, owners: Sequence[Pack], why: str) -> NodeVerdict:
    evidence = f"The installed pack {_names(owners)} maps it, but {why}."
    fix = f"Start ComfyUI and see why {_names(owners)} cannot be imported: {_LOG}. Often a Python package lacks."
    return _by_owners(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)


def _by_owners(class_type: str, state: NodeState, owners: Sequence[Pack], evidence: str, *, fix: str) -> NodeVerdict:
    """Judge a class by the installed packs that have it; of several, nobody knows whose the workflow means."""
    return NodeVerdict(class_type, state, evidence, fix=fix, packages=_installed(owners), certain=len(owners) == 1)


def _of_hinted_pack(class_type: str, hints: Hints, facts: NodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is installed, but does not map the class."""
    named = [pack for pack in facts.packs if hints.pack and pack.is_called(hints.pack)]
    return _of_installed(class_type, named, facts, said_by="the workflow", version=hints.version) if named else None


def _of_installed(
    class_type: str, owners: list[Pack], facts: NodeFacts, *, said_by: str, version: str | None = None
) -> NodeVerdict:
    """Judge a class that somebody says an installed pack brings, though its source does not show it."""
    enabled = [pack for pack in owners if pack.enabled]
    if not enabled:
        evidence = f"It belongs to the pack {_names(owners)} ({said_by} says so), which is disabled."
        return _disabled(class_type, owners, evidence)
    unclear = any(not pack.complete for pack in enabled)
    if unclear and facts.live is None:
        evidence = (
            f"It belongs to the installed pack {_names(enabled)} ({said_by} says so), which computes its class names."
        )
        return _by_owners(class_type, NodeState.UNKNOWN, enabled, evidence, fix=_START)
    if unclear:
        return _failed(class_type, enabled, is_conditional=False)
    evidence = f"It belongs to {_names(enabled)} ({said_by} says so), but the installed version does not have it."
    evidence += f" The workflow was saved with version {version}." if version else ""
    fix = f"Update {_names(enabled)} and restart ComfyUI."
    return _by_owners(class_type, NodeState.MISSING, enabled, evidence, fix=fix)


def _of_later_core(class_type: str, hints: Hints, facts: NodeFacts) -> NodeVerdict | None:
    """Judge a class of another version of ComfyUI itself; catalogues claim many of these for unrelated packs."""
    seen_in = facts.known_core.get(class_type)
    if hints.pack or not (seen_in or hints.is_core):
        return None
    needed = seen_in or hints.version
    said = f"ComfyUI {needed} has it" if version_key(needed) else "The workflow says that it is ComfyUI's own"
    core = facts.core
    if facts.live is None and (core is None or not core.complete):
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            f"{said}; which classes the installed ComfyUI has could not be read.",
            fix="Start ComfyUI and run the check again, or set [comfyui] root to its folder.",
        )
    installed = core.version if core is not None else None
    wanted, have = version_key(needed), version_key(installed)
    if wanted is not None and have is not None and wanted < have:
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"{said}, but the installed {installed} does not: it was removed or renamed.",
            fix="Open the workflow in the editor and replace the node.",
        )
    return _needs_newer(class_type, needed, installed, said)


def _needs_newer(class_type: str, needed: str | None, installed: str | None, said: str) -> NodeVerdict:
    target = f"{needed} or later" if version_key(needed) and needed != installed else "the newest version"
    has_not = f"the installed {installed} does not" if installed else "the installed ComfyUI does not"
    return NodeVerdict(
        class_type, NodeState.NEEDS_NEWER, f"{said}; {has_not}.", fix=f"Update ComfyUI to {target}.", certain=True
    )


def _of_absent_pack(class_type: str, hints: Hints, facts: NodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is not installed."""
    if not hints.pack:
        return None
    is_repository = "/" in hints.pack
    package = Package(
        id=hints.pack,
        url=plain_url(f"https://github.com/{hints.pack}") if is_repository else None,
        evidence="named by the workflow",
    )
    also = facts.known_core.get(class_type)
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        f"The workflow names the pack {hints.pack}, which is not installed."
        + (f" ComfyUI {also} has a class of this name too." if also else ""),
        fix=_install(hints.pack, package.url or hints.pack, governed=facts.governed and also is None)
        + (" A newer ComfyUI may do instead." if also else ""),
        packages=(package,),
        certain=also is None,
    )


def _of_catalogues(class_type: str, facts: NodeFacts, claims: Claims | None) -> NodeVerdict:
    if claims is None or not claims.owners:
        return _unclaimed(class_type, facts, claims)
    installed = [pack for pack in facts.packs if any(_is_same(pack, owner) for owner in claims.owners)]
    if installed:
        return _of_installed(class_type, installed, facts, said_by=claims.owners[0].evidence or "a catalogue")
    packages = tuple(Package(owner.id, owner.url, owner.evidence) for owner in claims.owners)
    if len(packages) == 1:
        name = claims.owners[0].title or packages[0].id
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"No installed pack has it; {name} does ({packages[0].evidence}).",
            fix=_install(name, packages[0].url or packages[0].id, governed=facts.governed),
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


def _install(name: str, address: str, *, governed: bool) -> str:
    """Say how a pack is installed; where `gov` governs, by the command that tries it aside first.

    The address comes from a workflow or a catalogue and is meant to be pasted into a shell, so that only what can be
    nothing but an address or an id stands in a command.
    """
    if governed and _ADDRESS.fullmatch(address):
        return f"Try it aside: gov node add {address}"
    return f"Install {name} with ComfyUI-Manager and restart ComfyUI."


def _unclaimed(class_type: str, facts: NodeFacts, claims: Claims | None) -> NodeVerdict:
    """Judge a class that nobody is known to bring."""
    unclear = facts.unclear_packs if facts.live is None else ()
    said = [f"{', '.join(claims.asked)}: nobody brings it."] if claims and claims.asked else []
    said += [f"Could not be asked: {', '.join(claims.silent)}."] if claims and claims.silent else []
    if unclear:
        said.append(f"It may come from {_names(unclear)}, whose class names are computed.")
    if facts.live is not None:
        said.insert(0, "The running ComfyUI does not list it.")
    fix = (
        _START
        if unclear
        else "Search for the class name in ComfyUI-Manager or ask the workflow's author for the package."
    )
    evidence = " ".join(said) or "No installed pack has it."
    return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=fix, wants_claims=claims is None)


def _is_same(pack: Pack, owner: PackageRef) -> bool:
    repository = repository_of(owner.url) if owner.url else None
    if repository is not None and pack.repository is not None:
        return repository == pack.repository
    return pack.is_called(owner.id)


def _installed(packs: Iterable[Pack]) -> tuple[Package, ...]:
    return tuple(Package(pack.id, pack.url, f"installed in custom_nodes/{pack.folder}") for pack in packs)


def _names(packs: Iterable[Pack]) -> str:
    names = list(dict.fromkeys(pack.display_name or pack.folder for pack in packs))
    more = f" and {len(names) - _NAMED_PACKS} more" if len(names) > _NAMED_PACKS else ""
    return ", ".join(names[:_NAMED_PACKS]) + more
