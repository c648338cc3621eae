"""What is known of this host's nodes, and the shape of a judgement on one class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.status import ProviderPackage
from comfywatchman.sources.class_map import PackageRef

CORE_ID: Final = "comfy-core"


class NodeState(StrEnum):
    """What this host has for a node class; only `PRESENT` runs."""

    PRESENT = "present"
    IMPORT_FAILED = "import_failed"
    MISSING = "missing"
    NEEDS_NEWER = "needs_newer_comfyui"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NodePackHints:
    """What the workflow says of a node's pack.

    Attributes:
        cnr_id: Comfy Registry id; `comfy-core` for ComfyUI itself.
        aux_id: `owner/repository` of packs that are not in the registry.
        version: Version or commit of the pack that saved the workflow.
    """

    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None

    @property
    def is_core(self) -> bool:
        """Say whether the workflow takes the class for ComfyUI's own."""
        return self.cnr_id == CORE_ID

    @property
    def pack(self) -> str | None:
        """Return the pack that the workflow names, ComfyUI itself not counted."""
        return self.aux_id if self.is_core or not self.cnr_id else self.cnr_id


@dataclass(frozen=True, slots=True)
class ProviderClaims:
    """What catalogues say of one class.

    Attributes:
        owners: Packages that are said to bring it.
        asked: Catalogues that answered, in words.
        silent: Catalogues that could not be asked, with the reason.
    """

    owners: tuple[PackageRef, ...] = ()
    asked: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostNodeFacts:
    """What is known of this host's nodes.

    Attributes:
        live: Classes that the running server of this installation lists; None when there is none.
        replaced: Classes that the running server replaces by others.
        core: ComfyUI's own classes as its source has them; None when there is no source.
        known_core: Classes of ComfyUI with the lowest version they were seen in.
        packs: Installed custom node packs, disabled ones too.
        failed: Folders of packs that the last start could not import and that have not changed since, each with the
            evidence; only asked when no server runs.
        governed: Whether `gov` governs the Python environment, so that it is the one to add nodes with.
        mapped: Packs by the classes that they map, filled in by itself.
    """

    live: frozenset[str] | None
    replaced: frozenset[str]
    core: NodePack | None
    known_core: Mapping[str, str]
    packs: tuple[NodePack, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    governed: bool = False
    mapped: Mapping[str, tuple[NodePack, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mapped", _group_by_class(self.packs))

    @property
    def unclear_packs(self) -> tuple[NodePack, ...]:
        """Return enabled packs whose classes are not all known."""
        return tuple(pack for pack in self.packs if pack.enabled and not pack.complete)


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """The judgement on one node class.

    Attributes:
        class_type: The class.
        state: What this host has.
        evidence: What says so, in words.
        fix: What to do; None when nothing is to be done.
        packages: Who brings it.
        certain: Exactly one package is known to bring it.
        wants_claims: Catalogues were not asked yet and may know more.
    """

    class_type: str
    state: NodeState
    evidence: str
    fix: str | None = None
    packages: tuple[ProviderPackage, ...] = ()
    certain: bool = False
    wants_claims: bool = False


def _group_by_class(packs: Iterable[NodePack]) -> dict[str, tuple[NodePack, ...]]:
    mapped: dict[str, tuple[NodePack, ...]] = {}
    for pack in packs:
        for name in pack.classes | pack.possible_classes:
            mapped[name] = (*mapped.get(name, ()), pack)
    return mapped
