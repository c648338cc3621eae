"""The nodes of node packs and of ComfyUI as static analysis finds them, and the packs that the last start rejected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from comfywatchman.base.clock import format_utc
from comfywatchman.base.failpoints import failpoint
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.scan import PackListing, find_packs
from comfywatchman.comfyui.server.start_log import read_last_start
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.nodes.index import PackIndex


@dataclass(frozen=True, slots=True)
class SourceNodes:
    """The nodes that static analysis finds in the source of packs and of ComfyUI.

    Attributes:
        listings: The files of each pack.
        packs: The facts of each pack.
        core: ComfyUI's own classes; None without its source.
        problems: Problems of the index of packs, for people.
    """

    listings: tuple[PackListing, ...]
    packs: tuple[NodePack, ...]
    core: NodePack | None
    problems: tuple[str, ...]

    @property
    def loader_inputs(self) -> tuple[LoaderInput, ...]:
        """Inputs that take a model, of everything that ComfyUI would load."""
        return tuple(loader_input for pack in self.enabled() for loader_input in pack.loader_inputs)

    @property
    def file_inputs(self) -> tuple[FileInput, ...]:
        """Inputs that take a file of the user, of everything that ComfyUI would load."""
        return tuple(file_input for pack in self.enabled() for file_input in pack.file_inputs)

    def fingerprints(self) -> Iterator[str]:
        """Yield texts that change with everything that was read."""
        for listing in self.listings:
            yield f"{listing.path} {listing.enabled} {listing.fingerprint}"
        core = self.core
        if core is not None:
            # Sets are sorted, because their order differs between processes.
            yield f"{core.version} {sorted(core.classes)} {sorted(core.possible_classes)} {sorted(core.own_checks)}"
            yield f"{core.replacements}"

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
    failpoint("cycle.after_nodes")
    return SourceNodes(listings, packs, core, index.problems)


def find_failed_imports(installation: Installation, listings: tuple[PackListing, ...]) -> dict[str, str]:
    """Return the folders of packs that the last start of ComfyUI could not import, with the evidence for people."""
    start = read_last_start(installation.base)
    if start is None:
        return {}
    logged_at = format_utc(datetime.fromtimestamp(start.logged_ns / 1e9, UTC))
    evidence = f"its import failed at the last start of ComfyUI (log of {logged_at})"
    failed = {}
    for listing in listings:
        # A pack that has changed since may well be repaired.
        has_changed = listing.newest_ns >= start.logged_ns
        if listing.folder in start.failed and not has_changed:
            failed[listing.folder] = evidence
    return failed
