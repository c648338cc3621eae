"""The nodes of this host as facts, and the verdict on one node class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from msgspec import structs

from comfywatchman.comfyui.imports.problems import NO_PROBLEMS, ImportProblem, PackImports
from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.replacements import ClassReplacements
from comfywatchman.readiness.states import NodeRemedy
from comfywatchman.readiness.status import ProviderPackage
from comfywatchman.sources.class_map import PackageRef

CORE_ID: Final = "comfy-core"


class NodeState(StrEnum):
    """The state of a node class on this host; only `PRESENT` runs."""

    PRESENT = "present"
    IMPORT_FAILED = "import_failed"
    NOT_LISTED = "not_listed"
    MISSING = "missing"
    NEEDS_NEWER = "needs_newer_comfyui"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NodePackHints:
    """The pack that a workflow names for a node.

    Attributes:
        cnr_id: Comfy Registry id; `comfy-core` for ComfyUI itself.
        aux_id: `owner/repository` of packs that are not in the registry.
        version: Version or commit of the pack when the workflow was saved.
        in_prompt: Whether the nodes stand in a prompt of the API format, where the server replaces classes.
    """

    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None
    in_prompt: bool = False

    @property
    def is_core(self) -> bool:
        """Whether the workflow attributes the class to ComfyUI itself."""
        return self.cnr_id == CORE_ID

    @property
    def pack(self) -> str | None:
        """The pack that the workflow names; ComfyUI itself is not a pack."""
        if self.cnr_id and not self.is_core:
            return self.cnr_id
        return self.aux_id


@dataclass(frozen=True, slots=True)
class ProviderClaims:
    """The providers that catalogues list for one class.

    Attributes:
        providers: The packages.
        queried: Catalogues that answered, for people.
        unavailable: Catalogues that could not be queried, with the reason, for people.
    """

    providers: tuple[PackageRef, ...] = ()
    queried: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostNodeFacts:
    """The nodes of this host.

    Attributes:
        server_classes: Classes that the running server of this installation lists; None without a running server.
        replacements: Replacements of classes that ComfyUI or its editor applies.
        core: ComfyUI's own classes, from its source; None when there is no source.
        known_core: Classes of all known ComfyUI versions, each with the lowest version that has it.
        packs: Installed node packs, disabled ones too.
        failed_imports: Folders of packs that the last start could not import, as far as nothing has changed since, with
            the evidence for people; empty while a server runs.
        proven_imports: Folders of packs that the last start imported, as far as nothing has changed since.
        import_problems: What keeps packs and their classes from being used, as far as files show it, by the path of the
            pack.
        server_packs: Folders of packs of which the running server lists a class.
        governed: Whether `gov` governs the Python environment, so that nodes are to be added with it.
        unlisted: The file or folder because of which not every folder with packs is known; empty when all are.
        hidden_packs: Why packs could not be looked at, by the path of the pack; their facts are those of an earlier
            cycle, if there are any.
        partly_read_packs: Why a part of a pack could not be looked at, by the path of the pack.
        packs_by_class: Packs by the classes that they map; computed from `packs`.
    """

    server_classes: frozenset[str] | None
    replacements: ClassReplacements
    core: NodePack | None
    known_core: Mapping[str, str]
    packs: tuple[NodePack, ...]
    failed_imports: Mapping[str, str] = field(default_factory=dict)
    proven_imports: frozenset[str] = frozenset()
    import_problems: Mapping[str, PackImports] = field(default_factory=dict)
    server_packs: frozenset[str] = frozenset()
    governed: bool = False
    unlisted: str = ""
    hidden_packs: Mapping[str, Obstacle] = field(default_factory=dict)
    partly_read_packs: Mapping[str, Obstacle] = field(default_factory=dict)
    packs_by_class: Mapping[str, tuple[NodePack, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A frozen dataclass refuses plain assignment.
        object.__setattr__(self, "packs_by_class", _group_by_class(self.packs))

    def find_pack_problem(self, pack: NodePack) -> ImportProblem | None:
        """Return why ComfyUI cannot import a pack; None when nothing speaks against it."""
        if pack.folder in self.server_packs:
            return None
        problem = self.import_problems.get(pack.path, NO_PROBLEMS).problem
        if problem is None or pack.folder not in self.proven_imports:
            return problem
        # The last start imported it: that settles a doubt, and leaves one where the files say otherwise.
        return structs.replace(problem, is_certain=False) if problem.is_certain else None

    def find_class_problem(self, pack: NodePack, class_type: str) -> ImportProblem | None:
        """Return why a pack does not bring a class that its source maps; None when nothing speaks against it."""
        pack_problem = self.find_pack_problem(pack)
        if pack_problem is not None and pack_problem.is_certain:
            return pack_problem
        class_problem = self.import_problems.get(pack.path, NO_PROBLEMS).classes.get(class_type)
        if class_problem is not None and class_problem.is_certain:
            return class_problem
        return pack_problem or class_problem

    @property
    def unclear_packs(self) -> tuple[NodePack, ...]:
        """Enabled packs that compute class names, so that static analysis does not know all of them."""
        return tuple(pack for pack in self.packs if pack.enabled and not pack.complete)


@dataclass(frozen=True, slots=True)
class NodeVerdict:
    """The verdict on one node class.

    Attributes:
        class_type: The class.
        state: Its state on this host.
        evidence: Why, for people.
        fix: Next step, for people; None when nothing is to be done.
        packages: Packages that provide it.
        is_certain: Whether its provider is certain.
        needs_catalogues: Whether catalogues were not queried yet and may know more.
        comfyui_version: For `NEEDS_NEWER`, the lowest version of ComfyUI that has it; None when that is not known.
        obstacle: Why a place where the class may be provided could not be looked at; for `UNKNOWN` only.
        unconfirmed_packs: Folders of the packs that map it and of which no ComfyUI has shown that it can import them;
            for `PRESENT` only.
        remedy: What to do about a class that is missing; None when that is not known.
    """

    class_type: str
    state: NodeState
    evidence: str
    fix: str | None = None
    packages: tuple[ProviderPackage, ...] = ()
    is_certain: bool = False
    needs_catalogues: bool = False
    comfyui_version: str | None = None
    obstacle: Obstacle | None = None
    unconfirmed_packs: tuple[str, ...] = ()
    remedy: NodeRemedy | None = None


def _group_by_class(packs: Iterable[NodePack]) -> dict[str, tuple[NodePack, ...]]:
    mapped: dict[str, list[NodePack]] = {}
    for pack in packs:
        for class_type in pack.classes | pack.possible_classes:
            mapped.setdefault(class_type, []).append(pack)
    return {class_type: tuple(owners) for class_type, owners in mapped.items()}
