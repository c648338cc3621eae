"""The verdict on one node class, and who provides it. Pure: the host's facts and catalogues are passed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY
from comfywatchman.comfyui.packs.metadata import NodePack, normalize_url, parse_repository
from comfywatchman.readiness.nodes.classify_core import has_importable_class, judge_core_class, judge_other_core_version
from comfywatchman.readiness.nodes.classify_imports import build_fix, describe_broken_pack, find_broken_pack
from comfywatchman.readiness.nodes.classify_installed import judge_by_claim, judge_by_hints, judge_by_packs
from comfywatchman.readiness.nodes.classify_replaced import judge_replaced_class, withhold_for_replacements
from comfywatchman.readiness.nodes.classify_unread import judge_hidden_pack, judge_possible_pack, withhold_verdict
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict, ProviderClaims
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT, join_pack_names
from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.readiness.status import MissingNode, ProviderPackage
from comfywatchman.sources.class_map import PackageRef

_SAFE_ADDRESS: Final = re.compile(r"(https://[A-Za-z0-9.-]+/[A-Za-z0-9._/-]+)|([A-Za-z0-9][A-Za-z0-9._-]*)")


def judge_class(
    class_type: str, hints: NodePackHints, facts: HostNodeFacts, claims: ProviderClaims | None = None
) -> NodeVerdict:
    """Judge one node class by the first source that knows it.

    The order is that of trust: the running server, ComfyUI's source, installed packs, the hints of the workflow, and
    catalogues last.

    Args:
        class_type: The class as the workflow writes it.
        hints: The pack that the workflow names for it.
        facts: The nodes of this host.
        claims: The providers that catalogues list. None when they were not queried; only a verdict with
            `needs_catalogues` needs them.
    """
    verdict = (
        _judge_present(class_type, facts)
        or judge_core_class(class_type, facts)
        or judge_replaced_class(class_type, hints, facts)
        or judge_hidden_pack(class_type, hints, facts)
        or withhold_verdict(judge_by_packs(class_type, facts), hints, facts)
        or withhold_verdict(judge_by_hints(class_type, hints, facts), hints, facts)
        or judge_other_core_version(class_type, hints, facts, claims)
        or _judge_unlisted_pack(class_type, facts)
        or judge_possible_pack(class_type, facts)
        or _judge_absent_pack(class_type, hints, facts)
        or _judge_by_catalogues(class_type, facts, claims)
    )
    return withhold_for_replacements(verdict, hints, facts)


def build_missing_node(verdict: NodeVerdict, node_paths: Iterable[str]) -> MissingNode | None:
    """Build the report's entry of a class; None for one that this host runs."""
    if verdict.state is NodeState.PRESENT:
        return None
    return MissingNode(
        class_type=verdict.class_type,
        state=verdict.state.value,
        node_paths=tuple(node_paths),
        packages=verdict.packages,
        fix=verdict.fix,
        evidence=verdict.evidence,
        comfyui_version=verdict.comfyui_version,
        obstacle=verdict.obstacle,
        remedy=verdict.remedy,
    )


def _judge_present(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    if facts.server_classes is not None and class_type in facts.server_classes:
        evidence = "The running ComfyUI lists it."
    elif (
        facts.server_classes is None and facts.core is not None and has_importable_class(facts.core, class_type, facts)
    ):
        # With a running server its list decides: it may have been started with some classes switched off.
        evidence = "ComfyUI's own source has it."
    elif class_type in EDITOR_ONLY:
        evidence = "Only the editor draws it; the server never sees it."
    else:
        return None
    return NodeVerdict(class_type, NodeState.PRESENT, evidence)


def _judge_unlisted_pack(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class of no known pack while not every folder with packs is known; a running server lists them all."""
    if not facts.unlisted or facts.server_classes is not None:
        return None
    evidence = f"No pack that could be read has it, but ComfyUI may find more packs once {facts.unlisted} is repaired."
    return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=f"Repair {facts.unlisted} first.")


def _judge_absent_pack(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class whose pack the workflow names and which is not installed."""
    if not hints.pack:
        return None
    url = None
    if "/" in hints.pack:
        url = normalize_url(f"https://github.com/{hints.pack}")
    evidence = f"The workflow names the pack {hints.pack}, which is not installed."
    core_version = facts.known_core.get(class_type)
    # Packs are merged into ComfyUI now and then; then either the pack or a newer ComfyUI brings the class.
    is_certain = core_version is None
    fix = _describe_installation(hints.pack, url or hints.pack, governed=facts.governed and is_certain)
    if core_version is not None:
        evidence += f" ComfyUI {core_version} has a class of this name too."
        fix += " A newer ComfyUI may do instead."
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        evidence,
        fix=fix,
        packages=(ProviderPackage(id=hints.pack, url=url, evidence="named by the workflow"),),
        is_certain=is_certain,
        remedy=NodeRemedy.INSTALL_PACK,
    )


def _judge_by_catalogues(class_type: str, facts: HostNodeFacts, claims: ProviderClaims | None) -> NodeVerdict:
    if claims is None or not claims.providers:
        return _judge_without_provider(class_type, facts, claims)
    installed = [pack for pack in facts.packs if _is_any_of(pack, claims.providers)]
    if installed:
        claimed_by = claims.providers[0].evidence or "a catalogue"
        return judge_by_claim(class_type, installed, facts, claimed_by=claimed_by)
    packages = tuple(
        ProviderPackage(provider.id, provider.url, provider.evidence, provider.title) for provider in claims.providers
    )
    if len(packages) > 1:
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"No installed pack has it; {len(packages)} packages are said to bring a class of this name.",
            fix="Find out which of them the workflow's author used, install that one and restart ComfyUI.",
            packages=packages,
            remedy=NodeRemedy.CHOOSE_PACK,
        )
    (package,) = packages
    name = claims.providers[0].title or package.id
    return NodeVerdict(
        class_type,
        NodeState.MISSING,
        f"No installed pack has it; {name} does ({package.evidence}).",
        fix=_describe_installation(name, package.url or package.id, governed=facts.governed),
        packages=packages,
        is_certain=True,
        remedy=NodeRemedy.INSTALL_PACK,
    )


def _describe_installation(name: str, address: str, *, governed: bool) -> str:
    """Describe how a pack is installed; in a governed environment by a command that tries it first."""
    # The address comes from a workflow or a catalogue and is meant to be pasted into a shell.
    if governed and _SAFE_ADDRESS.fullmatch(address):
        return f"Try it aside: gov node add {address}"
    return f"Install {name} with ComfyUI-Manager and restart ComfyUI."


def _judge_without_provider(class_type: str, facts: HostNodeFacts, claims: ProviderClaims | None) -> NodeVerdict:
    """Judge a class without any known provider."""
    # A running server has imported every pack, so computed class names are no explanation any more.
    unclear_packs = facts.unclear_packs if facts.server_classes is None else ()
    if claims is not None and claims.queried and not claims.unavailable:
        # Catalogues list the classes of published packs, also those whose names are computed.
        unclear_packs = tuple(pack for pack in unclear_packs if pack.repository is None)
    evidence = []
    if facts.server_classes is not None:
        evidence.append("The running ComfyUI does not list it.")
    if claims and claims.queried:
        evidence.append(f"{', '.join(claims.queried)}: nobody brings it.")
    if claims and claims.unavailable:
        evidence.append(f"Could not be asked: {', '.join(claims.unavailable)}.")
    broken = find_broken_pack(unclear_packs, facts)
    if broken is not None:
        evidence.append(f"It may come from {describe_broken_pack(*broken)}.")
        fix = build_fix(*broken, facts)
    elif unclear_packs:
        evidence.append(f"It may come from {join_pack_names(unclear_packs)}, whose class names are computed.")
        fix = START_HINT
    else:
        fix = "Search for the class name in ComfyUI-Manager or ask the workflow's author for the package."
    return NodeVerdict(
        class_type,
        NodeState.UNKNOWN,
        " ".join(evidence) or "No installed pack has it.",
        fix=fix,
        needs_catalogues=claims is None,
    )


def _is_any_of(pack: NodePack, providers: Sequence[PackageRef]) -> bool:
    return any(_is_same_package(pack, provider) for provider in providers)


def _is_same_package(pack: NodePack, provider: PackageRef) -> bool:
    repository = parse_repository(provider.url) if provider.url else None
    if repository is not None and pack.repository is not None:
        return repository == pack.repository
    # Forks keep the name of the original, so names count only where a repository is not known.
    return pack.is_called(provider.id)
