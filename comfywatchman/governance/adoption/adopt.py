"""`gov init --adopt`: govern the environment that ComfyUI uses today, with the same packages and all node packs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.git import read_head, read_origin
from comfywatchman.comfyui.packs.scan import find_node_folders
from comfywatchman.governance.adoption.installed_wheel import MAX_RECORD_BYTES, UnverifiableError, build_wheel
from comfywatchman.governance.adoption.old_environment import OldEnvironment
from comfywatchman.governance.adoption.package_sources import find_indexes, find_unavailable
from comfywatchman.governance.adoption.plan import (
    AdoptionPlan,
    KeptPackage,
    build_plan,
    classify_package,
    compare_packages,
)
from comfywatchman.governance.conflicts.quickxplain import minimal_conflict
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments import init as environment_init
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes.deny_list import build_deny_list
from comfywatchman.governance.nodes.identity import check_existing_id
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.governed import record_governed
from comfywatchman.governance.store.layout import TRUTH_FILES
from comfywatchman.governance.store.records import NodeRegistry, Operation, RegisteredNode
from comfywatchman.governance.uv.requirement_files import read_comfyui_requirements, read_requirements

_MAX_CONFLICTS: Final = 10
_SIZE: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an adoption would do.

    Attributes:
        old: The environment that ComfyUI uses today.
        kept: How each package is kept.
        base: ComfyUI's requirement lines.
        nodes: The folders of the node packs to register, by id.
        refused_nodes: Packs that cannot be registered, each with the reason.
        wheel_bytes: The size of the installed files of which wheels are built.
        indexes: Indexes to configure (`[network.indexes]`), by URL with their packages.
    """

    old: OldEnvironment
    kept: tuple[KeptPackage, ...]
    base: tuple[str, ...]
    nodes: Mapping[str, Path]
    refused_nodes: Mapping[str, str]
    wheel_bytes: int
    indexes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What an adoption did.

    Attributes:
        operation: The operation.
        packages: The packages by what became of them (`compare_packages`).
        unkept: Packages that could not be kept, each with the reason.
        wheels: Packages that were kept as wheels built from their installed files.
        nodes: The ids of the registered node packs.
        unmet_lines: Requirement lines that the old environment did not satisfy, by node pack.
        dropped_lines: Requirement lines that the old environment did not satisfy, by package.
    """

    operation: Operation
    packages: Mapping[str, tuple[str, ...]]
    unkept: Mapping[str, str]
    wheels: tuple[str, ...]
    nodes: tuple[str, ...]
    unmet_lines: Mapping[str, tuple[str, ...]]
    dropped_lines: Mapping[str, tuple[str, ...]]


def inspect_environment(context: GovContext, old: OldEnvironment) -> Inspection:
    """Return how an environment would be adopted; nothing is changed.

    Raises:
        Failure: `comfyui-not-found`, or `gov-lock-failed` when an index cannot be reached.
    """
    environment_init.require_comfyui(context.comfyui)
    context = _use_python(context, old)
    manager = environment_init.has_manager_option(context.settings)
    base = environment_init.read_base_requirements(context.comfyui, with_manager=manager)
    classified = [classify_package(package) for package in old.packages.values()]
    context.uv.progress("Looking up the packages")
    lines = [package.line for package in classified if package.source in {"index", "url"}]
    nodes, refused = _find_nodes(context)
    named = _find_named_indexes(context, nodes)
    configured = context.settings.network.indexes
    with staging.open_staging(context.layout, contents={}) as work:
        missing = set(find_unavailable(context, work.folder, lines, configured))
        pins = [package.line for package in classified if package.source == "index" and package.line in missing]
        indexes = find_indexes(context, work.folder, pins, named=named, installed=tuple(old.packages))
    indexed = {name for names in indexes.values() for name in names}
    kept = []
    for package in classified:
        is_gone = package.source == "editable" and not Path(package.folder).is_dir()
        is_lost = is_gone or (package.line in missing and package.name not in indexed)
        kept.append(replace(package, source="wheel", line="") if is_lost else package)
    sizes = [_measure_files(old.packages[package.name].info) for package in kept if package.source == "wheel"]
    return Inspection(old, tuple(kept), base, nodes, refused, sum(sizes), indexes)


def adopt(context: GovContext, inspection: Inspection) -> Adoption:
    """Build an environment with the packages of the old one, and register all node packs, in one operation.

    The old environment is only read.

    Raises:
        Failure: `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`, `gov-truth-damaged`: production is
            unchanged.
    """
    layout, old = context.layout, inspection.old
    context = _use_python(context, old)
    started_at = format_utc(context.clock.now())
    environment_init.create_layout(layout)
    context = _use_indexes(context, inspection.indexes)
    kept, unkept = _build_wheels(context, inspection)
    lines = {node_id: read_requirements(folder).lines for node_id, folder in inspection.nodes.items()}
    plan = build_plan(old, kept, inspection.base, lines)
    with staging.open_staging(layout) as work:
        before = work.hashes()
        indexes = context.settings.network.indexes
        environment_init.write_truth(work, python=context.python, base=inspection.base, indexes=indexes)
        _declare(work, plan)
        work.write_registry(_register_nodes(work.read_registry(), inspection.nodes, plan, started_at))
        _lock(context, work, plan.pins)
        mark = generation.require_build(context, work.folder)
        record_governed(layout, context.comfyui)
        pre_snapshot = None
        # A root made by hand has no lock yet: no rollback to a snapshot of it would be possible.
        if before.keys() == set(TRUTH_FILES):
            current = generation.current_key(layout)
            pre_snapshot = snapshot.create(layout, context.clock, reason="init_pre", ref="adopt", generation=current).id
        journal = commit.prepare(
            layout,
            context.clock,
            work,
            kind="init",
            ref="adopt",
            key=mark.key,
            pre_snapshot=pre_snapshot,
            note=f"{old.prefix} was adopted",
            started_at=started_at,
        )
        operation = commit.publish(context, journal)
    return Adoption(
        operation=operation,
        packages=compare_packages(
            {name: package.version for name, package in old.packages.items()},
            {package.name: package.version for package in mark.packages},
        ),
        unkept=unkept,
        wheels=tuple(sorted(package.name for package in kept if package.source == "wheel")),
        nodes=tuple(sorted(inspection.nodes)),
        unmet_lines=plan.unmet_lines,
        dropped_lines={package.name: package.dropped for package in plan.metadata},
    )


def _use_python(context: GovContext, old: OldEnvironment) -> GovContext:
    """Return the context with the installation of Python behind the old environment."""
    return replace(context, python=old.python.resolve())


def _find_named_indexes(context: GovContext, nodes: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the indexes that options in the requirement files of ComfyUI and the packs name."""
    base = read_comfyui_requirements(context.comfyui)
    urls = list(base.index_urls) if base is not None else []
    for folder in nodes.values():
        urls += read_requirements(folder).index_urls
    return tuple(dict.fromkeys(urls))


def _use_indexes(context: GovContext, indexes: Mapping[str, tuple[str, ...]]) -> GovContext:
    """Write indexes into `config.toml`, and return the context with them."""
    if not indexes:
        return context
    settings = context.settings
    merged = {**settings.network.indexes, **indexes}
    environment_init.store_indexes(context.layout.config, merged)
    network = msgspec.structs.replace(settings.network, indexes=merged)
    return replace(context, settings=msgspec.structs.replace(settings, network=network))


def _find_nodes(context: GovContext) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the enabled node packs that can be registered, and the others with the reason."""
    nodes: dict[str, Path] = {}
    refused: dict[str, str] = {}
    deny_list = build_deny_list(context.settings.policy.deny, context.settings.policy.allow)
    for folder, listing in sorted(find_node_folders(context.custom_nodes).items()):
        if not listing.enabled:
            continue
        try:
            check_existing_id(folder, is_file=listing.path.is_file())
        except Failure as failure:
            refused[folder] = failure.message
            continue
        entry = deny_list.find_pack(folder, read_origin(listing.path) or "")
        if entry is not None and entry.level == "blocked":
            refused[folder] = f"It is on the deny list: {entry.reason}"
            continue
        nodes[folder] = listing.path
    return nodes, refused


def _build_wheels(context: GovContext, inspection: Inspection) -> tuple[list[KeptPackage], dict[str, str]]:
    """Build the wheels of packages that no index has; return the packages that are kept, and why others are not."""
    kept: list[KeptPackage] = []
    unkept: dict[str, str] = {}
    for package in inspection.kept:
        if package.source != "wheel":
            kept.append(package)
            continue
        context.uv.progress(f"Building a wheel of {package.name}")
        try:
            wheel = build_wheel(inspection.old.packages[package.name], context.layout.wheels)
        except UnverifiableError as error:
            unkept[package.name] = str(error)
            continue
        kept.append(replace(package, line=f"{package.name} @ {wheel.absolute().as_uri()}"))
    return kept, unkept


def _declare(work: StagingDir, plan: AdoptionPlan) -> None:
    """Write the groups, the requirements that count, and the folders of editable packages into pyproject.toml."""

    def edit(text: str) -> str:
        text = truth.set_group(text, truth.ADOPTED_GROUP, plan.adopted)
        for node_id, lines in plan.node_lines.items():
            if lines:
                text = truth.set_group(text, truth.node_group(node_id), lines)
        entries = [
            {
                "name": package.name,
                "version": package.version,
                "requires-dist": list(package.requires),
                "provides-extra": list(package.extras),
            }
            for package in plan.metadata
        ]
        return truth.set_editables(truth.set_dependency_metadata(text, entries), plan.editables)

    work.edit_project(edit)


def _register_nodes(registry: NodeRegistry, nodes: Mapping[str, Path], plan: AdoptionPlan, now: str) -> NodeRegistry:
    registered = dict(registry.plugins)
    for node_id, folder in nodes.items():
        if node_id in registered:
            continue
        registered[node_id] = RegisteredNode(
            id=node_id,
            git_url=read_origin(folder) or "",
            ref="",
            path=str(folder),
            group=truth.node_group(node_id),
            managed_deps=plan.node_lines.get(node_id, ()),
            commit=read_head(folder),
            tree=hash_code_tree(folder),
            created_at=now,
            updated_at=now,
        )
    return NodeRegistry(plugins=registered)


def _lock(context: GovContext, work: StagingDir, pins: Sequence[str]) -> None:
    """Lock the old versions; versions that contradict each other are given up, as few as possible."""
    lock = work.folder / "uv.lock"
    remaining = list(pins)

    def fails(subset: Sequence[str]) -> bool:
        lock.unlink(missing_ok=True)
        return not work.lock(context.uv, context.python, pins=subset).is_success

    for _attempt in range(_MAX_CONFLICTS):
        # Versions of an earlier lock must not count: the old environment's do.
        lock.unlink(missing_ok=True)
        result = work.lock(context.uv, context.python, pins=remaining)
        if result.is_success:
            return
        if not remaining or fails(()):
            break
        clash = minimal_conflict(remaining, fails)
        remaining.remove(clash[-1])
    raise Failure(
        "gov-lock-failed",
        f"uv could not resolve the packages of the old environment: {result.errors.strip()}",
        hint="Nothing changed. Correct the requirement that uv names, then run: gov init --adopt",
    )


def _measure_files(info: Path) -> int:
    """Return the size of the files of an installed package, by its RECORD."""
    total = 0
    try:
        content = read_regular(info / "RECORD", max_bytes=MAX_RECORD_BYTES)
    except Failure:
        return 0
    for row in content.decode("utf-8", "replace").splitlines():
        size = row.rpartition(",")[2]
        # int() refuses thousands of digits, and str.isdigit accepts digits that int() does not.
        total += int(size) if _SIZE.fullmatch(size) else 0
    return total
