"""The verdict on node classes of ComfyUI itself, of the installed version and of others. Pure."""

from __future__ import annotations

import dataclasses
from typing import Final

from comfywatchman.comfyui.imports.problems import ImportProblem
from comfywatchman.comfyui.install.reachability import describe_obstacle
from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.comfyui.packs.metadata import NodePack, parse_repository
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict, ProviderClaims
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT
from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.sources.class_map import PackageRef

_REPOSITORIES: Final = frozenset({"comfyanonymous/comfyui", "comfy-org/comfyui"})
"""Repositories of ComfyUI itself, which catalogues list beside those of packs."""


def judge_core_class(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that the source of the installed ComfyUI has, but that may not be available."""
    core = facts.core
    if core is None or class_type not in core.classes | core.possible_classes:
        return None
    problem = facts.find_class_problem(core, class_type)
    if problem is not None:
        return _build_import_verdict(class_type, problem, facts)
    if facts.server_classes is None:
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            "ComfyUI's own source has it only under a condition.",
            fix=START_HINT,
        )
    return NodeVerdict(
        class_type,
        NodeState.IMPORT_FAILED,
        "ComfyUI's own source has it, but the running ComfyUI does not list it.",
        fix="Restart ComfyUI without --disable-api-nodes and with its current requirements installed; "
        "its log names node files that could not be imported.",
    )


def has_importable_class(core: NodePack, class_type: str, facts: HostNodeFacts) -> bool:
    """Return whether the source of ComfyUI has a class, and nothing speaks against the import of its file."""
    return class_type in core.classes and facts.find_class_problem(core, class_type) is None


def _build_import_verdict(class_type: str, problem: ImportProblem, facts: HostNodeFacts) -> NodeVerdict:
    """Build the verdict on a class in a file that ComfyUI cannot import, or may not be able to."""
    is_certain = problem.is_certain or facts.server_classes is not None
    has = "ComfyUI's own source has it, but"
    if facts.server_classes is not None:
        has = "ComfyUI's own source has it, but the running ComfyUI does not list it:"
    fix = "In ComfyUI's folder, install its requirements with its Python: python -m pip install -r requirements.txt."
    if problem.obstacle is not None and not is_certain:
        fix = describe_obstacle(problem.obstacle)
    elif not is_certain:
        fix = f"{START_HINT} {fix}"
    return NodeVerdict(
        class_type,
        NodeState.IMPORT_FAILED if is_certain else NodeState.UNKNOWN,
        f"{has} {problem.summary}.",
        fix=fix,
        obstacle=None if is_certain else problem.obstacle,
    )


def judge_other_core_version(
    class_type: str, hints: NodePackHints, facts: HostNodeFacts, claims: ProviderClaims | None = None
) -> NodeVerdict | None:
    """Judge a class that another version of ComfyUI has.

    This comes before the catalogues, which list many classes of ComfyUI under packs that have nothing to do with it.
    Only where a workflow alone says that a class is ComfyUI's own, the packs of the catalogues go before.

    Args:
        class_type: The class.
        hints: The pack that the workflow names for it.
        facts: The nodes of this host.
        claims: The providers that catalogues list; None when they were not queried.
    """
    known_version = facts.known_core.get(class_type)
    is_listed = claims is not None and any(_is_comfyui(package) for package in claims.providers)
    if hints.pack or not (known_version or hints.is_core or is_listed):
        return None
    if known_version is None and not is_listed and claims is not None and claims.providers:
        return None
    verdict = _judge_version(class_type, hints, facts, is_listed=is_listed and not hints.is_core)
    return dataclasses.replace(verdict, needs_catalogues=known_version is None and claims is None)


def _is_comfyui(package: PackageRef) -> bool:
    return package.url is not None and parse_repository(package.url) in _REPOSITORIES


def _judge_version(class_type: str, hints: NodePackHints, facts: HostNodeFacts, *, is_listed: bool) -> NodeVerdict:
    known_version = facts.known_core.get(class_type)
    needed = known_version or (None if is_listed else hints.version)
    origin = "A catalogue says that it is ComfyUI's own" if is_listed else "The workflow says that it is ComfyUI's own"
    if parse_version(needed):
        origin = f"ComfyUI {needed} has it"
    core = facts.core
    if facts.server_classes is None and (core is None or not core.complete):
        return NodeVerdict(
            class_type,
            NodeState.UNKNOWN,
            f"{origin}; which classes the installed ComfyUI has could not be read.",
            fix="Start ComfyUI and run the check again, or set [comfyui] root to its folder.",
        )
    installed = core.version if core is not None else None
    if _is_older(needed, installed):
        return NodeVerdict(
            class_type,
            NodeState.MISSING,
            f"{origin}, but the installed {installed} does not: it was removed or renamed.",
            fix="Open the workflow in the editor and replace the node.",
            remedy=NodeRemedy.REPLACE_NODE,
        )
    return _build_needs_newer_verdict(class_type, needed, installed, origin)


def _is_older(version: str | None, other: str | None) -> bool:
    key, other_key = parse_version(version), parse_version(other)
    return key is not None and other_key is not None and key < other_key


def _build_needs_newer_verdict(class_type: str, needed: str | None, installed: str | None, origin: str) -> NodeVerdict:
    # The installed version lacks the class although it should have it: only "the newest" is a safe answer then.
    # Without the installed version it is not even known that a named one is newer.
    is_newer = parse_version(needed) and parse_version(installed) and needed != installed
    required = needed if is_newer else None
    target = f"{required} or later" if required else "the newest version"
    has_not = f"the installed {installed} does not"
    if not installed:
        has_not = "the installed ComfyUI, whose version is unknown, does not"
    return NodeVerdict(
        class_type,
        NodeState.NEEDS_NEWER,
        f"{origin}; {has_not}.",
        fix=f"Update ComfyUI to {target}.",
        is_certain=True,
        comfyui_version=required,
        remedy=NodeRemedy.UPDATE_COMFYUI,
    )
