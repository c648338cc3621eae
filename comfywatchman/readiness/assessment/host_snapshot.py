"""Inspect the host once per cycle: models, node packs and a running ComfyUI. Verdicts are made against it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.folders import ModelFolders, find_base_blockers, resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from comfywatchman.comfyui.loaders.table import LoaderTable, load_builtin_table
from comfywatchman.comfyui.packs.core_classes import load_core_classes
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.replacements import NO_REPLACEMENTS, ClassReplacements, choose_replacements
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.readiness.context import CycleContext, CycleRequest
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.models.cache_file import write_model_cache
from comfywatchman.readiness.models.hashing import hash_within_budget
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import Inventory, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from comfywatchman.readiness.nodes.cache_file import write_pack_cache
from comfywatchman.readiness.nodes.facts import HostNodeFacts
from comfywatchman.readiness.nodes.providers import NodeProviders, make_node_judge
from comfywatchman.readiness.nodes.restart_needed import find_restart_reason
from comfywatchman.readiness.nodes.running_server import ServerSnapshot, query_server
from comfywatchman.readiness.nodes.static_analysis import (
    LastImports,
    SourceNodes,
    read_last_imports,
    read_node_sources,
)
from comfywatchman.readiness.nodes.validation_rules import build_validation_rules
from comfywatchman.readiness.status import StartProblem
from comfywatchman.readiness.verdicts.workflow import Choices, NodeJudge
from comfywatchman.readiness.workflow_facts import build_knowledge_key

ABSENT_MODEL_CYCLES: Final = 100
"""Number of cycles for which facts of an absent model (an unplugged disk) are kept."""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """State of the host at one moment.

    Attributes:
        folders: Its model folders.
        inventory: Its models.
        table: Knowledge of loaders, including that of installed packs and of a running server.
        judge_node: Judges one node class against its packs and its ComfyUI.
        choices: Values that a running server offers for an input.
        load_rules: Returns the rules by which ComfyUI validates a prompt, read at the first call.
        packs: Its custom node packs.
        models: Index of model facts.
        fingerprint: Changes with everything that a verdict depends on.
        comfyui_version: Version of the running server, or of the source.
        comfyui_running: Whether a server of this installation responded.
        ignored_server: Why the server that responded is not queried, as text; None when none is ignored.
        start_problems: Faults of the configuration on which ComfyUI exits at its start.
        problems: Parts of the host that could not be read, as text.
        providers: Catalogues used by `judge_node`; close them after the last verdict.
    """

    folders: ModelFolders
    inventory: Inventory
    table: LoaderTable
    judge_node: NodeJudge
    choices: Choices
    load_rules: Callable[[], ValidationRules]
    packs: tuple[NodePack, ...]
    models: ModelIndex
    fingerprint: str
    comfyui_version: str | None
    comfyui_running: bool
    ignored_server: str | None
    start_problems: tuple[StartProblem, ...]
    problems: tuple[str, ...]
    providers: NodeProviders


@dataclass(frozen=True, slots=True)
class _HostModels:
    """The models of a host.

    Attributes:
        folders: The model folders, including those named by loaders of packs and trials.
        targets: Where new models of a folder belong; see `Inventory`.
        inventory: The models.
        index: Index of model facts.
    """

    folders: ModelFolders
    targets: dict[str, str]
    inventory: Inventory
    index: ModelIndex


def inspect_host(cycle: CycleContext, database: Database) -> HostSnapshot:
    """Inspect models, packs and a running server of the request's installation.

    Args:
        cycle: The running cycle.
        database: Cache of earlier cycles.
    """
    request = cycle.request
    comfyui_folders, file_blockers = resolve_folders(request.installation)
    start_blockers = (*file_blockers, *find_base_blockers(request.installation))
    nodes = read_node_sources(cycle, comfyui_folders, database)
    with cycle.phase("models"):
        models = _read_models(request, comfyui_folders, start_blockers, nodes, database)
    failpoint("cycle.after_inventory")
    with cycle.phase("server"):
        host_key = (models.inventory.fingerprint, *nodes.fingerprints())
        server = query_server(cycle, comfyui_folders, models.inventory.folders, host_key)
    if server.nodes is not None:
        versions = {"running_version": server.version, "source_version": request.installation.version}
        cycle.add_problem(find_restart_reason(server.started_at, nodes.listings, **versions))
    table = _build_loader_table(nodes, request.observed_loaders, server)
    node_facts = _collect_node_facts(request, start_blockers, nodes, server)
    providers = NodeProviders(cycle, comfyui_folders.custom_nodes, database)
    problems = [f"{problem.path}: {problem.reason}" for problem in models.inventory.problems]
    problems += [*nodes.problems, *models.index.problems]
    return HostSnapshot(
        folders=models.folders,
        inventory=models.inventory,
        table=table,
        judge_node=make_node_judge(node_facts, providers),
        packs=nodes.packs,
        models=models.index,
        # Every input of a verdict must be in here, or stored verdicts would be used for a changed host.
        fingerprint=_hash_parts(
            models.inventory.fingerprint,
            build_knowledge_key(table, max_bytes=request.settings.workflows.max_file_mb << 20),
            *nodes.fingerprints(),
            repr(models.targets),
            repr(start_blockers),
            repr(sorted(node_facts.failed_imports)),
            repr(sorted(node_facts.proven_imports)),
            server.fingerprint,
            providers.fingerprint,
            "governed" if node_facts.governed else "",
        ),
        choices=server.choices,
        load_rules=cache(lambda: build_validation_rules(server, nodes)),
        comfyui_version=server.version or request.installation.version,
        comfyui_running=server.nodes is not None,
        ignored_server=server.ignored,
        start_problems=tuple(_build_start_problem(blocker) for blocker in (*start_blockers, *nodes.start_blockers)),
        problems=tuple(problems),
        providers=providers,
    )


def _read_models(
    request: CycleRequest,
    comfyui_folders: ModelFolders,
    start_blockers: Sequence[StartBlocker],
    nodes: SourceNodes,
    database: Database,
) -> _HostModels:
    index = ModelIndex(database)
    # Loaders of packs and trials name further folders below `models`.
    loader_folders = [loader.folder for loader in nodes.loader_inputs]
    shipped = [(loader.folder, Path(pack.path)) for pack in nodes.enabled() for loader in pack.loader_inputs]
    folders = request.observed_loaders.extend_folders(comfyui_folders).with_shipped(shipped).with_names(loader_folders)
    targets = _find_target_folders(folders, request.installation)
    inventory = build_inventory(
        scan_models(folders), index, targets=targets, hidden=_find_hidden_folders(start_blockers)
    )
    index.prune(inventory.header_keys, keep_cycles=ABSENT_MODEL_CYCLES)
    return _HostModels(folders, targets, inventory, index)


def _build_start_problem(blocker: StartBlocker) -> StartProblem:
    return StartProblem(printable_path(blocker.path), blocker.line, blocker.reason, blocker.fix)


def _find_hidden_folders(start_blockers: Sequence[StartBlocker]) -> Obstacle | None:
    """Return why not every directory with models is known; None when all are."""
    for blocker in start_blockers:
        if blocker.hides_folders:
            fix = f"Repair {blocker.location} first: until then it is not known which folders hold models."
            return Obstacle(ObstacleKind.CONFIGURATION, printable_path(blocker.path), fix)
    return None


def _collect_node_facts(
    request: CycleRequest, start_blockers: Sequence[StartBlocker], nodes: SourceNodes, server: ServerSnapshot
) -> HostNodeFacts:
    last = LastImports({}, frozenset())
    # A running server itself lists the classes that it could import; without one, its last start log is read.
    if server.nodes is None:
        last = read_last_imports(request.installation, nodes)
    return HostNodeFacts(
        server.classes,
        _find_replacements(nodes, server),
        nodes.core,
        load_core_classes(),
        nodes.packs,
        last.failed,
        last.imported,
        nodes.imports,
        server.packs,
        governed=request.environment_checks is not None,
        unlisted=start_blockers[0].location if start_blockers else "",
        hidden_packs=nodes.find_unread_packs(is_hidden=True),
        partly_read_packs=nodes.find_unread_packs(is_hidden=False),
    )


def _find_replacements(nodes: SourceNodes, server: ServerSnapshot) -> ClassReplacements:
    if server.nodes is not None:
        return server.replacements
    if nodes.core is None:
        return NO_REPLACEMENTS
    return choose_replacements(nodes.core.replacements, nodes.core.classes)


def write_caches(cycle: CycleContext, host: HostSnapshot) -> int:
    """Write the caches for people, then hash models within the time budget; return the number of hashed models.

    Raises:
        Failure: `state-unwritable`.
    """
    request = cycle.request
    layout = request.layout
    with cycle.skip_newer_files():
        write_pack_cache(layout.pack_cache, cycle.comfyui, host.packs)
    with cycle.skip_newer_files():
        write_model_cache(layout.model_cache, cycle.comfyui, host.inventory, host.models)
    budget = request.settings.models.hash_budget_seconds
    if budget <= 0:
        return 0
    with cycle.phase("hashing"):
        files = host.inventory.all_models()
        result = hash_within_budget(files, host.models, budget_seconds=budget, monotonic=request.clock.monotonic)
    if result.skipped:
        cycle.add_problem(_describe_skipped(result.skipped))
    if result.hashed:
        with cycle.skip_newer_files():
            write_model_cache(layout.model_cache, cycle.comfyui, host.inventory, host.models)
    return result.hashed


def _describe_skipped(skipped: Sequence[str]) -> str:
    if len(skipped) == 1:
        return f"A model could not be hashed: {skipped[0]}"
    return f"{len(skipped)} models could not be hashed: {skipped[0]}; …"


def _build_loader_table(nodes: SourceNodes, observed: ObservedLoaders, server: ServerSnapshot) -> LoaderTable:
    """Combine the knowledge of loaders: sources correct the built-in table, trials override both, a server all."""
    tiny_vaes = nodes.core.tiny_vaes if nodes.core is not None else None
    shipped = load_builtin_table().correct(nodes.loader_inputs, nodes.input_names)
    shipped = shipped.merge((), file_inputs=nodes.file_inputs, tiny_vaes=tiny_vaes)
    table = observed.extend_table(shipped)
    live = server.nodes
    if live is None:
        return table
    names = {class_type: [one.name for one in signature.inputs] for class_type, signature in live.signatures.items()}
    table = table.correct((), names)
    return table.merge(live.loader_inputs, override=True, file_inputs=live.file_inputs)


def _find_target_folders(folders: ModelFolders, installation: Installation) -> dict[str, str]:
    """Return the target of new models for each folder where it is not `models/<name>` below the base directory."""
    targets: dict[str, str] = {}
    for name in folders.names():
        target = folders.target_directory(name)
        if target != installation.base / "models" / name:
            targets[name] = printable_path(target)
    return targets


def _hash_parts(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
