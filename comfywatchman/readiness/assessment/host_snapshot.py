"""What this host has, looked at once: models, node packs, a running ComfyUI. Verdicts are held against it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.folders import ModelFolders, resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderTable, load_builtin_table
from comfywatchman.comfyui.packs.core_classes import load_core_classes
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.comfyui.server.validation import ValidationRules
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.models.cache_file import write_model_cache
from comfywatchman.readiness.models.hashing import hash_within_budget
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import Inventory, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from comfywatchman.readiness.nodes.cache_file import write_pack_cache
from comfywatchman.readiness.nodes.facts import HostNodeFacts
from comfywatchman.readiness.nodes.providers import NodeProviders, make_node_judge
from comfywatchman.readiness.nodes.running_server import ServerSnapshot, query_server
from comfywatchman.readiness.nodes.static_analysis import SourceNodes, find_failed_imports, read_node_sources
from comfywatchman.readiness.verdicts.workflow import Choices, NodeJudge
from comfywatchman.readiness.workflow_facts import build_knowledge_key

KEPT_CYCLES = 100
"""Cycles for which what is known of a model outlives its absence (an unplugged disk)."""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """One look at the host.

    Attributes:
        folders: Where its models are.
        inventory: Its models.
        table: Knowledge of loaders, what installed packs and a running server say included.
        judge_node: Judges one node class against its packs and its ComfyUI.
        choices: What a running server offers for an input.
        rules: What a running server refuses in a prompt.
        packs: Its custom node packs.
        models: The store of what is known of models.
        fingerprint: Changes with anything that a verdict depends on.
        comfyui_version: What a running server or the source says.
        comfyui_running: Whether a server of this installation answered.
        problems: What could not be looked at, in words.
        owners: The catalogues that `judge_node` asks; to be closed after the last judgement.
    """

    folders: ModelFolders
    inventory: Inventory
    table: LoaderTable
    judge_node: NodeJudge
    choices: Choices
    rules: ValidationRules
    packs: tuple[NodePack, ...]
    models: ModelIndex
    fingerprint: str
    comfyui_version: str | None
    comfyui_running: bool
    problems: tuple[str, ...]
    owners: NodeProviders


def inspect_host(run: CycleContext, database: Database) -> HostSnapshot:
    """Look at models, packs and a running server of the request's installation.

    Args:
        run: The cycle under way.
        database: What earlier cycles read.
    """
    installation, tried = run.request.installation, run.request.tried_loaders
    folders, failures = resolve_folders(installation)
    nodes = read_node_sources(run, folders, database)
    models = ModelIndex(database)
    with run.phase("models"):
        known_folders = tried.extend_folders(folders).with_names(one.folder for one in nodes.loader_inputs)
        targets = _find_target_folders(known_folders, installation)
        inventory = build_inventory(scan_models(known_folders), models, targets=targets)
        models.prune(inventory.header_keys, keep_cycles=KEPT_CYCLES)
    failpoint("cycle.after_inventory")
    with run.phase("server"):
        live = query_server(run, inventory.folders)
    table = _build_loader_table(nodes, tried, live)
    failed = find_failed_imports(installation, nodes.listings) if live.nodes is None else {}
    governed = run.request.environment_checks is not None
    facts = HostNodeFacts(
        live.classes, live.replaced, nodes.core, load_core_classes(), nodes.packs, failed, governed=governed
    )
    owners = NodeProviders(run, folders.custom_nodes, database)
    return HostSnapshot(
        folders=known_folders,
        inventory=inventory,
        table=table,
        judge_node=make_node_judge(facts, owners),
        packs=nodes.packs,
        models=models,
        fingerprint=_hash_parts(
            inventory.fingerprint,
            build_knowledge_key(table),
            *nodes.fingerprints(),
            repr(targets),
            repr(sorted(failed)),
            live.fingerprint,
            owners.fingerprint,
            "governed" if governed else "",
        ),
        choices=live.choices,
        rules=live.rules(nodes.enabled()),
        comfyui_version=live.version or installation.version,
        comfyui_running=live.nodes is not None,
        problems=(
            *(failure.message for failure in failures),
            *(f"{problem.path}: {problem.reason}" for problem in inventory.problems),
            *nodes.problems,
            *models.problems,
        ),
        owners=owners,
    )


def write_caches(run: CycleContext, host: HostSnapshot) -> int:
    """Write the caches for people, then hash models within the time budget; say how many were hashed.

    Raises:
        Failure: `state-unwritable`.
    """
    layout, request = run.request.layout, run.request
    write_pack_cache(layout.pack_cache, host.packs)
    write_model_cache(layout.model_cache, host.inventory, host.models)
    budget = request.settings.models.hash_budget_seconds
    if budget <= 0:
        return 0
    with run.phase("hashing"):
        files = host.inventory.all_models()
        outcome = hash_within_budget(files, host.models, budget_seconds=budget, monotonic=request.clock.monotonic)
    run.note(_describe_skipped(outcome.skipped))
    if outcome.hashed:
        write_model_cache(layout.model_cache, host.inventory, host.models)
    return outcome.hashed


def _describe_skipped(skipped: Sequence[str]) -> str | None:
    if not skipped:
        return None
    models = "A model" if len(skipped) == 1 else f"{len(skipped)} models"
    return f"{models} could not be hashed: {skipped[0]}{'; …' if len(skipped) > 1 else ''}"


def _build_loader_table(nodes: SourceNodes, tried: ObservedLoaders, live: ServerSnapshot) -> LoaderTable:
    """Return the knowledge of loaders: the shipped table and what sources say, above it trials, above all a server."""
    table = tried.extend_table(load_builtin_table().merge(nodes.loader_inputs, file_inputs=nodes.file_inputs))
    if live.nodes is None:
        return table
    return table.merge(live.nodes.loader_inputs, override=True, file_inputs=live.nodes.file_inputs)


def _find_target_folders(folders: ModelFolders, installation: Installation) -> dict[str, str]:
    """Return where new models belong, in folders that are not `models/<name>` below the base directory."""
    usual = installation.base / "models"
    places = {name: folders.target_directory(name) for name in folders.names()}
    return {name: printable_path(place) for name, place in places.items() if place != usual / name}


def _hash_parts(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
