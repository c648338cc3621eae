"""The nodes of node packs and of ComfyUI as static analysis finds them, and the packs that the last start rejected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from comfywatchman.base.clock import format_utc
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.imports.environment import PythonEnvironment, find_environment_folder, read_environment
from comfywatchman.comfyui.imports.problems import PackImports
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import Obstacle, describe_problem
from comfywatchman.comfyui.install.start_blockers import StartBlocker
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.scan import PackListing, find_packs
from comfywatchman.comfyui.server.start_log import read_last_start
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.nodes.import_check import ImportCheck
from comfywatchman.readiness.nodes.index import PackIndex

_CORE_PATHS: Final = ("main.py", "nodes.py", "execution.py", "comfyui_version.py", "comfy", "comfy_extras")
"""Files and folders of ComfyUI of which at least one changes with every update."""


@dataclass(frozen=True, slots=True)
class SourceNodes:
    """The nodes that static analysis finds in the source of packs and of ComfyUI.

    Attributes:
        listings: The files of each pack.
        packs: The facts of each pack.
        core: ComfyUI's own classes; None without its source.
        problems: Problems of the index of packs, and what could not be looked at, for people.
        imports: What keeps packs and their classes from being used, by the path of the pack.
        environments: The Python environments that may be ComfyUI's.
        start_blockers: Imports on which ComfyUI exits at its start.
    """

    listings: tuple[PackListing, ...]
    packs: tuple[NodePack, ...]
    core: NodePack | None
    problems: tuple[str, ...]
    imports: Mapping[str, PackImports] = field(default_factory=dict)
    environments: tuple[PythonEnvironment, ...] = ()
    start_blockers: tuple[StartBlocker, ...] = ()

    @property
    def loader_inputs(self) -> tuple[LoaderInput, ...]:
        """Inputs that take a model, of everything that ComfyUI would load."""
        return tuple(loader_input for pack in self.enabled() for loader_input in pack.loader_inputs)

    @property
    def input_names(self) -> dict[str, frozenset[str]]:
        """The names of all inputs of classes that the loader table knows; of a class with several owners, of all."""
        names: dict[str, frozenset[str]] = {}
        for pack in self.enabled():
            for class_type, inputs in pack.input_names.items():
                names[class_type] = names.get(class_type, frozenset()) | frozenset(inputs)
        return names

    @property
    def file_inputs(self) -> tuple[FileInput, ...]:
        """Inputs that take a file of the user, of everything that ComfyUI would load."""
        return tuple(file_input for pack in self.enabled() for file_input in pack.file_inputs)

    def find_unread_packs(self, *, is_hidden: bool) -> dict[str, Obstacle]:
        """Return why packs could not be looked at, by the path of the pack.

        Args:
            is_hidden: Whether to return the packs of which nothing could be looked at, or the others.
        """
        obstacles: dict[str, Obstacle] = {}
        for listing in self.listings:
            if listing.obstacle is not None and listing.is_hidden is is_hidden:
                obstacles[printable_path(listing.path)] = listing.obstacle
        return obstacles

    def fingerprints(self) -> Iterator[str]:
        """Yield texts that change with everything that was read."""
        for listing in self.listings:
            yield f"{listing.path} {listing.enabled} {listing.fingerprint}"
            if listing.obstacle is not None:
                yield repr(listing.obstacle)
        core = self.core
        if core is not None:
            # Sets are sorted, because their order differs between processes.
            yield f"{core.version} {sorted(core.classes)} {sorted(core.possible_classes)} {core.replacements}"
            yield hashlib.blake2b(core.signatures, digest_size=16).hexdigest()
            yield repr(core.server_checks)

        for path, imports in sorted(self.imports.items()):
            yield f"{path} {imports!r}"

    def enabled(self) -> Iterator[NodePack]:
        """Yield ComfyUI itself and the packs that it would load."""
        if self.core is not None:
            yield self.core
        for pack in self.packs:
            if pack.enabled:
                yield pack


def read_node_sources(cycle: CycleContext, folders: ModelFolders, database: Database) -> SourceNodes:
    """Read the source of changed packs and of ComfyUI itself.

    Args:
        cycle: The cycle.
        folders: The folders of the installation, those of node packs included.
        database: Holds the facts of unchanged packs.
    """
    installation = cycle.request.installation
    with cycle.phase("nodes"):
        listings = find_packs(folders.custom_nodes)
        index = PackIndex(database)
        packs = index.read_packs(listings)
        core = index.read_core(installation.root, installation.version)
        check = ImportCheck(installation, _find_python_folder(cycle), database, folders.names())
        imports = check.run(listings, packs)
    failpoint("cycle.after_nodes")
    unread = [listing.obstacle for listing in listings if listing.enabled and listing.obstacle is not None]
    unread += [environment.obstacle for environment in check.environments if environment.obstacle is not None]
    unread_problems = dict.fromkeys(f"{obstacle.path}: {describe_problem(obstacle)}" for obstacle in unread)
    problems = (*index.problems, *check.problems, *unread_problems)
    return SourceNodes(
        listings, packs, core, problems, imports.problems, check.environments, start_blockers=imports.blockers
    )


def _find_python_folder(cycle: CycleContext) -> Path | None:
    """Return the Python environment that is known to be ComfyUI's; None when it has to be looked for."""
    configured = cycle.request.settings.comfyui.python
    if not configured:
        return cycle.request.production
    folder = find_environment_folder(Path(configured))
    if read_environment(folder) is None:
        cycle.add_problem(f"[comfyui] python names {configured}, which is no interpreter with packages of its own.")
    return folder


class LastImports(NamedTuple):
    """The packs that the last start of ComfyUI failed to import, with the evidence for people, and those it imported.

    A pack counts only if nothing that its import depends on has changed since.
    """

    failed: Mapping[str, str]
    imported: frozenset[str]


def read_last_imports(installation: Installation, nodes: SourceNodes) -> LastImports:
    """Return what the last start of ComfyUI tells about the packs as they are now."""
    start = read_last_start(installation.base)
    if start is None or start.logged_ns <= _find_newest_change(installation, nodes.environments):
        return LastImports({}, frozenset())
    logged_at = format_utc(datetime.fromtimestamp(start.logged_ns / 1e9, UTC))
    evidence = f"its import failed at the last start of ComfyUI (log of {logged_at})"
    # A pack that has changed since may well be repaired.
    unchanged = {listing.folder for listing in nodes.listings if listing.newest_ns < start.logged_ns}
    return LastImports(dict.fromkeys(sorted(unchanged & start.failed), evidence), frozenset(unchanged & start.imported))


def _find_newest_change(installation: Installation, environments: Iterable[PythonEnvironment]) -> int:
    """Return when ComfyUI or the packages of its Python changed last, in nanoseconds."""
    paths = [installation.root / name for name in _CORE_PATHS]
    for environment in environments:
        paths += environment.paths
    newest = 0
    for path in paths:
        try:
            newest = max(newest, path.stat().st_mtime_ns)
        except OSError:
            continue  # that part does not exist here
    return newest
