"""The inventory as verdicts see it, and the finding for one model reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from comfywatchman.comfyui.references.reference import Confidence, Reference
from comfywatchman.readiness.states import UNDECIDED_STATES, ModelState


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


class ModelLookup(Protocol):
    """The queries of an inventory that verdicts need."""

    def exact(self, folder: str, name: str) -> InstalledModel | None:
        """Return the file that ComfyUI would open for this name."""

    def by_basename(self, name_lower: str) -> Sequence[InstalledModel]:
        """Return files of every folder by lower-cased last path segment, whatever their Unicode form."""

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a user would write it."""

    def incomplete_reason(self) -> str | None:
        """Return why models of any folder may be missing from this listing, with what to do; None when it is whole."""

    @property
    def folders(self) -> Mapping[str, object]:
        """The model folders that ComfyUI knows, by canonical name."""


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """The state of one model reference on this host.

    Attributes:
        reference: The reference.
        state: Its state on this host.
        fix: Next step, for people; None when nothing is to be done.
        path: The matching file; None when there is none, or several.
    """

    reference: Reference
    state: ModelState
    fix: str | None = None
    path: str | None = None

    @property
    def is_sure(self) -> bool:
        """Whether a reference that is not ready is certainly missing its model."""
        return is_certain(self.reference.confidence, self.state)


def is_certain(confidence: Confidence, state: ModelState) -> bool:
    """Return whether a model in this state is certainly missing.

    A reference of low confidence was guessed from a file extension: it may not be a model at all.
    """
    return confidence != "low" and state not in UNDECIDED_STATES
