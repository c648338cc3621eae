"""The inventory as verdicts see it, and the finding for one model reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from comfywatchman.comfyui.install.reachability import Obstacle, describe_obstacle
from comfywatchman.comfyui.references.reference import Confidence, Reference
from comfywatchman.readiness.models.listing import Absence, CompleteListing
from comfywatchman.readiness.states import UNDECIDED_STATES, ModelState
from comfywatchman.readiness.status import MissingNode


class InstalledModel(Protocol):
    """A model file of the inventory."""

    @property
    def folder(self) -> str:
        """Canonical model folder."""

    @property
    def name(self) -> str:
        """Name below the folder, with `/`."""

    @property
    def path(self) -> str:
        """Absolute path."""

    @property
    def problem(self) -> str | None:
        """Why the file cannot be a model, for people; None for a healthy file."""

    @property
    def problem_code(self) -> str | None:
        """The same for programs."""

    @property
    def obstacle(self) -> Obstacle | None:
        """Why the file could not be looked at; None for one that could."""


class ModelLookup(Protocol):
    """The queries of an inventory that verdicts need."""

    def exact(self, folder: str, name: str) -> InstalledModel | None:
        """Return the file that ComfyUI would open for this name."""

    def by_prefix(self, folder: str, prefix: str) -> InstalledModel | None:
        """Return the first file of a folder whose name begins with a text."""

    def by_basename(self, name_lower: str) -> Sequence[InstalledModel]:
        """Return files of every folder by lower-cased last path segment, whatever their Unicode form."""

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a user would write it."""

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        """Return the proof that folders were listed wherever one of some names may be, or why they were not.

        Args:
            folders: Canonical folder names; all folders when there are none.
            names: Names of models, with `/`.
        """

    @property
    def folders(self) -> Mapping[str, Mapping[str, object]]:
        """The models of the folders that ComfyUI knows, by canonical name and relative name."""


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """The state of one model reference on this host.

    Attributes:
        reference: The reference.
        state: Its state on this host.
        fix: Next step, for people; None when nothing is to be done.
        path: The matching file; None when there is none, or several.
        absence: The proof that it is missing; for `MISSING` only.
        obstacle: Why it could not be looked for; for `UNKNOWN` only.
        is_refused: Whether ComfyUI certainly refuses the value; for `UNRESOLVABLE` only.

    Raises:
        ValueError: A model is called missing without proof, or unknown without a reason.
    """

    reference: Reference
    state: ModelState
    fix: str | None = None
    path: str | None = None
    absence: Absence | None = None
    obstacle: Obstacle | None = None
    is_refused: bool = False

    def __post_init__(self) -> None:
        if (self.state is ModelState.MISSING) != (self.absence is not None):
            raise ValueError("MISSING needs a proof of absence, and no other state has one")
        if (self.state is ModelState.UNKNOWN) != (self.obstacle is not None):
            raise ValueError("UNKNOWN needs an obstacle, and no other state has one")

    @property
    def is_sure(self) -> bool:
        """Whether a reference that is not ready is certainly missing its model."""
        return self.is_refused or is_certain(self.reference.confidence, self.state)


@dataclass(frozen=True, slots=True)
class ClassFinding:
    """The state of one node class on this host.

    Attributes:
        missing: What is wrong with it; None when this host runs it.
        unconfirmed_packs: Folders of the packs that bring it, when only their files show that ComfyUI can import them.
    """

    missing: MissingNode | None = None
    unconfirmed_packs: tuple[str, ...] = ()


def build_missing_finding(reference: Reference, absence: Absence, fix: str, *, path: str | None = None) -> ModelFinding:
    """Build the finding of a model that is proved to be missing."""
    return ModelFinding(reference, ModelState.MISSING, fix, path, absence=absence)


def build_unknown_finding(
    reference: Reference, obstacle: Obstacle, fix: str = "", *, path: str | None = None
) -> ModelFinding:
    """Build the finding of a model that could not be looked for; the next step is that of the obstacle without one."""
    return ModelFinding(reference, ModelState.UNKNOWN, fix or describe_obstacle(obstacle), path, obstacle=obstacle)


def is_certain(confidence: Confidence, state: ModelState) -> bool:
    """Return whether a model in this state is certainly missing.

    A reference of low confidence was guessed from a file extension: it may not be a model at all.
    """
    return confidence != "low" and state not in UNDECIDED_STATES
