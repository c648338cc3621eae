"""The verdict on node classes whose pack cannot be imported, or may not be, as far as files show it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from comfywatchman.comfyui.imports.problems import ImportProblem, ProblemKind
from comfywatchman.comfyui.install.reachability import describe_obstacle
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodeState, NodeVerdict
from comfywatchman.readiness.nodes.pack_verdicts import START_HINT, build_provider_verdict, join_pack_names

_IMPORT_LOG_HINT: Final = "its log says why, below “Import times for custom nodes”"


def judge_by_imports(class_type: str, owners: Sequence[NodePack], facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that installed packs map, without a running server; None when nothing speaks against its packs."""
    problems: list[tuple[NodePack, ImportProblem]] = []
    for pack in owners:
        problem = facts.find_class_problem(pack, class_type)
        if problem is not None:
            problems.append((pack, problem))
        elif pack.folder not in facts.failed_imports:
            return None
    failed = [pack for pack in owners if pack.folder in facts.failed_imports]
    if len(failed) == len(owners):
        return _build_last_start_verdict(class_type, owners, facts.failed_imports[owners[0].folder], problems)
    doubtful = [entry for entry in problems if not entry[1].is_certain]
    if doubtful:
        pack, problem = doubtful[0]
        evidence = f"The installed pack {join_pack_names([pack])} maps it, but {problem.summary}."
        if problem.obstacle is not None:
            fix = describe_obstacle(problem.obstacle)
            return NodeVerdict(class_type, NodeState.UNKNOWN, evidence, fix=fix, obstacle=problem.obstacle)
        fix = START_HINT
        if problem.kind is not ProblemKind.UNRESOLVED:
            fix += f" {build_fix(pack, problem, facts)}"
        return build_provider_verdict(class_type, NodeState.UNKNOWN, owners, evidence, fix=fix)
    return _build_certain_verdict(class_type, owners, *problems[0], facts)


def judge_claim_by_imports(class_type: str, owners: Sequence[NodePack], facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that is listed under installed packs which certainly cannot be imported; None otherwise."""
    problems: list[tuple[NodePack, ImportProblem]] = []
    for pack in owners:
        problem = facts.find_pack_problem(pack)
        if problem is None or not problem.is_certain:
            return None
        problems.append((pack, problem))
    return _build_certain_verdict(class_type, owners, *problems[0], facts)


def find_broken_pack(packs: Sequence[NodePack], facts: HostNodeFacts) -> tuple[NodePack, ImportProblem] | None:
    """Return the first pack that cannot be imported, or else may not be, with the reason; None when there is none."""
    problems = [(pack, facts.find_pack_problem(pack)) for pack in packs]
    found = [(pack, problem) for pack, problem in problems if problem is not None]
    return min(found, key=lambda entry: not entry[1].is_certain, default=None)


def describe_broken_pack(pack: NodePack, problem: ImportProblem) -> str:
    """Describe a pack that cannot be imported, as a noun."""
    verb = "cannot import" if problem.is_certain else "may not be able to import"
    return f"the installed pack {join_pack_names([pack])}, which ComfyUI {verb}: {problem.summary}"


def build_unlisted_verdict(
    class_type: str, owners: Sequence[NodePack], facts: HostNodeFacts, *, is_conditional: bool
) -> NodeVerdict:
    """Build the verdict on a class that installed packs map and the running server does not list."""
    names = join_pack_names(owners)
    condition = " under a condition" if is_conditional else ""
    imported = [pack for pack in owners if pack.folder in facts.server_packs]
    evidence = f"The installed pack {names} maps it{condition}, but the running ComfyUI does not list it"
    state = NodeState.IMPORT_FAILED
    fix = f"Restart ComfyUI. If the class is still absent, {names} could not be imported: {_IMPORT_LOG_HINT}."
    if imported:
        # The server lists other classes of the pack, so its import succeeded.
        state = NodeState.NOT_LISTED
        evidence += ", although it has imported the pack"
        fix = f"Restart ComfyUI if {names} has changed since its start; else its log says what this class lacks."
    for pack in imported or owners:
        problem = facts.find_class_problem(pack, class_type)
        if problem is not None:
            evidence += f": {problem.summary}"
            fix = build_fix(pack, problem, facts)
            break
    return build_provider_verdict(class_type, state, owners, f"{evidence}.", fix=fix)


def build_fix(pack: NodePack, problem: ImportProblem, facts: HostNodeFacts) -> str:
    """Return the next step against an import problem, for people."""
    name = join_pack_names([pack])
    match problem.kind:
        case ProblemKind.PYTHON_PACKAGE:
            return _build_package_fix(pack, name, facts)
        case ProblemKind.COMFYUI_VERSION:
            return f"Update {name}; if it is the newest version already, update ComfyUI."
        case ProblemKind.SUBMODULE if pack.git_commit is not None:
            path = shlex.quote(pack.path)
            return f"Fetch the submodules of {name}: git -C {path} submodule update --init --recursive"
        case ProblemKind.SUBMODULE:
            return f"Install {name} again with git clone --recurse-submodules: archives lack its submodules."
        case ProblemKind.PACK_FILES:
            return (
                f"Install {name} again, so that its __init__.py and all of its files lie in custom_nodes/{pack.folder}."
            )
    return f"Follow that message; updating {name} or ComfyUI may help."


def _build_package_fix(pack: NodePack, name: str, facts: HostNodeFacts) -> str:
    if facts.governed:
        return f"Install what {name} needs: gov node add --adopt {shlex.quote(pack.folder)}"
    if pack.requirements:
        requirements = shlex.quote(f"{pack.path}/requirements.txt")
        return f"Install what {name} needs with ComfyUI's Python: python -m pip install -r {requirements}"
    return f"Install the missing package with ComfyUI's Python, or update {name}."


def _build_certain_verdict(
    class_type: str, owners: Sequence[NodePack], pack: NodePack, problem: ImportProblem, facts: HostNodeFacts
) -> NodeVerdict:
    name = join_pack_names([pack])
    if problem == facts.find_pack_problem(pack):
        state, evidence = (
            NodeState.IMPORT_FAILED,
            f"ComfyUI cannot import the installed pack {name}: {problem.summary}.",
        )
    else:
        state = NodeState.NOT_LISTED
        evidence = f"The installed pack {name} maps it, but ComfyUI cannot list it: {problem.summary}."
    return build_provider_verdict(class_type, state, owners, evidence, fix=build_fix(pack, problem, facts))


def _build_last_start_verdict(
    class_type: str,
    owners: Sequence[NodePack],
    reason: str,
    problems: Sequence[tuple[NodePack, ImportProblem]],
) -> NodeVerdict:
    names = join_pack_names(owners)
    evidence = f"The installed pack {names} maps it, but {reason}."
    if problems:
        evidence = f"{evidence.removesuffix('.')}: {problems[0][1].summary}."
    fix = (
        f"Start ComfyUI and see why {names} cannot be imported: {_IMPORT_LOG_HINT}. Often a Python package is missing."
    )
    return build_provider_verdict(class_type, NodeState.IMPORT_FAILED, owners, evidence, fix=fix)
