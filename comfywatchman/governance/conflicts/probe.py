"""Testing with uv which of the declared requirements can be met together, within a budget of time and resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.truth import BASE_GROUP, set_group
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.declared_requirements import DeclaredRequirement, render_subset
from comfywatchman.governance.uv.error_parser import UvErrorKind, classify

MAX_RESOLUTIONS: Final = 60
MAX_SECONDS: Final = 120.0

_UNSOLVABLE: Final[frozenset[UvErrorKind]] = frozenset({"conflict", "not_found"})


class ProbeUndecided(Exception):
    """A test could not be decided; the text is the reason, as the end of a sentence."""


@dataclass
class ResolutionProbe:
    """Resolves parts of a pyproject.toml in staging folders.

    Attributes:
        context: The context; its lock must be held.
        project: The text of pyproject.toml.
        max_resolutions: How many resolutions are allowed.
        max_seconds: How long all of them may take.
    """

    context: GovContext
    project: str
    max_resolutions: int = MAX_RESOLUTIONS
    max_seconds: float = MAX_SECONDS
    _resolutions: int = 0
    _results: dict[frozenset[DeclaredRequirement], dict[str, str] | str] = field(default_factory=dict)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.context.clock.monotonic()

    def fails(self, requirements: Sequence[DeclaredRequirement]) -> bool:
        """Return whether these requirements alone cannot be met together.

        Raises:
            ProbeUndecided: uv failed for another reason, or the budget is used up.
        """
        return self.resolve(requirements) is None

    def resolve(self, requirements: Sequence[DeclaredRequirement]) -> dict[str, str] | None:
        """Return the versions that meet these requirements, by normalised name; None when there are none.

        Raises:
            ProbeUndecided: As for `fails`.
        """
        result = self._resolve_once(requirements)
        return None if isinstance(result, str) else result

    def read_error(self, requirements: Sequence[DeclaredRequirement]) -> str:
        """Return uv's message about requirements that cannot be met; empty when they can.

        Raises:
            ProbeUndecided: As for `fails`.
        """
        result = self._resolve_once(requirements)
        return result if isinstance(result, str) else ""

    def is_nonexistent(self, pin: str) -> bool:
        """Return whether the package or version of a pin does not exist for this Python and platform.

        Raises:
            ProbeUndecided: As for `count_resolution`.
        """
        self.count_resolution()
        project = set_group(render_subset(self.project, ()), BASE_GROUP, [pin])
        result = trial_resolution.resolve_versions(self.context, project)
        return isinstance(result, UvResult) and classify(result.status, result.errors) == "not_found"

    def count_resolution(self) -> None:
        """Take one resolution from the budget.

        Raises:
            ProbeUndecided: The budget is used up, or results would be unreliable without a network.
        """
        network = self.context.settings.network
        if network.offline and not network.no_index:
            # A part may need metadata that is not cached; offline, uv then blames the remaining requirements.
            raise ProbeUndecided("the network is off, so parts of them cannot be resolved")
        seconds = self.context.clock.monotonic() - self._started
        if self._resolutions >= self.max_resolutions or seconds >= self.max_seconds:
            raise ProbeUndecided("that would take too many resolutions")
        self._resolutions += 1

    def _resolve_once(self, requirements: Sequence[DeclaredRequirement]) -> dict[str, str] | str:
        """Return the versions, or uv's message when there are none; each set is resolved only once."""
        key = frozenset(requirements)
        if key not in self._results:
            self.count_resolution()
            self._results[key] = self._resolve(requirements)
        return self._results[key]

    def _resolve(self, requirements: Sequence[DeclaredRequirement]) -> dict[str, str] | str:
        result = trial_resolution.resolve_versions(self.context, render_subset(self.project, requirements))
        if not isinstance(result, UvResult):
            return result
        kind = classify(result.status, result.errors)
        if kind not in _UNSOLVABLE:
            raise ProbeUndecided(f"uv could not resolve a part of them for another reason ({kind.replace('_', ' ')})")
        return result.errors
