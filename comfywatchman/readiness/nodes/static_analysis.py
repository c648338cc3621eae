"""What the source of node packs and of ComfyUI itself says of nodes, and which packs the last start did not import."""

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
    """What the source of packs and of ComfyUI itself says of nodes.

    Attributes:
        listings: The packs as they lie there.
        packs: What was read of them.
        core: ComfyUI's own classes; None without its source.
        problems: What went wrong with the index of packs, in words.
    """

    listings: tuple[PackListing, ...]
    packs: tuple[NodePack, ...]
    core: NodePack | None
    problems: tuple[str, ...]

    @property
    def loader_inputs(self) -> tuple[LoaderInput, ...]:
        """Inputs of all that ComfyUI would load which take a model."""
        return tuple(one for pack in self.enabled() for one in pack.loader_inputs)

    @property
    def file_inputs(self) -> tuple[FileInput, ...]:
        """Inputs of all that ComfyUI would load which take a file of the person's own."""
        return tuple(one for pack in self.enabled() for one in pack.file_inputs)

    def fingerprints(self) -> Iterator[str]:
        """Yield texts that change with anything that was read."""
        for listing in self.listings:
            yield f"{listing.path} {listing.enabled} {listing.fingerprint}"
        core = self.core
        if core is not None:
            yield f"{core.version} {sorted(core.classes)} {sorted(core.possible_classes)} {sorted(core.own_checks)}"

    def enabled(self) -> Iterator[NodePack]:
        """Yield ComfyUI itself and the packs that it would load."""
        if self.core is not None:
            yield self.core
        yield from (pack for pack in self.packs if pack.enabled)


def read_node_sources(run: CycleContext, folders: ModelFolders, database: Database) -> SourceNodes:
    """Read the source of the packs that changed, and of ComfyUI itself."""
    installation = run.request.installation
    with run.phase("nodes"):
        listings = find_packs(folders.custom_nodes)
        index = PackIndex(database)
        packs = index.packs(listings)
        core = index.core(installation.root, installation.version)
    failpoint("cycle.after_nodes")
    return SourceNodes(listings, packs, core, index.problems)


def find_failed_imports(installation: Installation, listings: tuple[PackListing, ...]) -> dict[str, str]:
    """Return packs that the last start could not import, unless they have changed since."""
    start = read_last_start(installation.base)
    if start is None:
        return {}
    when = format_utc(datetime.fromtimestamp(start.logged_ns / 1e9, UTC))
    evidence = f"its import failed at the last start of ComfyUI (log of {when})"
    return {one.folder: evidence for one in listings if one.folder in start.failed and one.newest_ns < start.logged_ns}
