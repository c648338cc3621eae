"""What this host has, looked at once: models, node packs, a running ComfyUI. Verdicts are held against it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import show_path
from comfywatchman.comfyui.install.folders import ModelFolders, resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderTable, builtin_table
from comfywatchman.comfyui.packs.core_classes import known_core_classes
from comfywatchman.comfyui.packs.metadata import Pack
from comfywatchman.comfyui.references.observed import TriedLoaders
from comfywatchman.comfyui.server.validation import ServerRules
from comfywatchman.readiness.context import Run
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.models.cache_file import write_model_cache
from comfywatchman.readiness.models.hashing import hash_some
from comfywatchman.readiness.models.index import ModelIndex
from comfywatchman.readiness.models.inventory import Inventory, build_inventory
from comfywatchman.readiness.models.scan import walk_models
from comfywatchman.readiness.nodes.cache_file import write_pack_cache
from comfywatchman.readiness.nodes.facts import NodeFacts
from comfywatchman.readiness.nodes.providers import Owners, node_judge
from comfywatchman.readiness.nodes.running_server import LiveView, ask_server
from comfywatchman.readiness.nodes.static_analysis import SourceNodes, failed_imports, read_nodes
from comfywatchman.readiness.verdicts.workflow import Choices, NodeJudge
from comfywatchman.readiness.workflow_facts import knowledge_key

KEPT_CYCLES = 100
"""Cycles for which what is known of a model outlives its absence (an unplugged disk)."""


@dataclass(frozen=True, slots=True)
class HostView:
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
    rules: ServerRules
    packs: tuple[Pack, ...]
    models: ModelIndex
    fingerprint: str
    comfyui_version: str | None
    comfyui_running: bool
    problems: tuple[str, ...]
    owners: Owners


def look_at_host(run: Run, database: Database) -> HostView:
    """Look at models, packs and a running server of the request's installation.

    Args:
        run: The cycle under way.
        database: What earlier cycles read.
    """
    installation, tried = run.request.installation, run.request.tried_loaders
    folders, failures = resolve_folders(installation)
    nodes = read_nodes(run, folders, database)
    models = ModelIndex(database)
    with run.phase("models"):
        known_folders = tried.added_folders(folders).with_names(one.folder for one in nodes.loader_inputs)
        targets = _targets(known_folders, installation)
        inventory = build_inventory(walk_models(known_folders), models, targets=targets)
        models.prune(inventory.header_keys, keep_cycles=KEPT_CYCLES)
    failpoint("cycle.after_inventory")
    with run.phase("server"):
        live = ask_server(run, inventory.folders)
    table = _loader_table(nodes, tried, live)
    failed = failed_imports(installation, nodes.listings) if live.nodes is None else {}
    governed = run.request.environment_checks is not None
    facts = NodeFacts(
        live.classes, live.replaced, nodes.core, known_core_classes(), nodes.packs, failed, governed=governed
    )
    owners = Owners(run, folders.custom_nodes, database)
    return HostView(
        folders=known_folders,
        inventory=inventory,
        table=table,
        judge_node=node_judge(facts, owners),
        packs=nodes.packs,
        models=models,
        fingerprint=_fingerprint(
            inventory.fingerprint,
            knowledge_key(table),
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


def write_caches(run: Run, host: HostView) -> int:
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
        outcome = hash_some(files, host.models, budget_seconds=budget, monotonic=request.clock.monotonic)
    run.note(_not_hashed(outcome.skipped))
    if outcome.hashed:
        write_model_cache(layout.model_cache, host.inventory, host.models)
    return outcome.hashed


def _not_hashed(skipped: Sequence[str]) -> str | None:
    if not skipped:
        return None
    models = "A model" if len(skipped) == 1 else f"{len(skipped)} models"
    return f"{models} could not be hashed: {skipped[0]}{'; …' if len(skipped) > 1 else ''}"


def _loader_table(nodes: SourceNodes, tried: TriedLoaders, live: LiveView) -> LoaderTable:
    """Return the knowledge of loaders: the shipped table and what sources say, above it trials, above all a server."""
    table = tried.added_to(builtin_table().extended(nodes.loader_inputs, file_inputs=nodes.file_inputs))
    if live.nodes is None:
        return table
    return table.extended(live.nodes.loader_inputs, override=True, file_inputs=live.nodes.file_inputs)


def _targets(folders: ModelFolders, installation: Installation) -> dict[str, str]:
    """Return where new models belong, in folders that are not `models/<name>` below the base directory."""
    usual = installation.base / "models"
    places = {name: folders.target_directory(name) for name in folders.names()}
    return {name: show_path(place) for name, place in places.items() if place != usual / name}


def _fingerprint(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
