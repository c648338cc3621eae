"""Asking uv whether parts of the declared requirements can be met, within a budget of time and of questions."""

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
    """A question could not be answered; the text says why, as the end of a sentence."""


@dataclass
class ResolutionProbe:
    """Resolves parts of a text of pyproject.toml in private folders.

    Attributes:
        context: The context; its lock must be held.
        project: The text.
        most_resolutions: How often uv may be asked.
        most_seconds: How long all of it may take.
    """

    context: GovContext
    project: str
    most_resolutions: int = MAX_RESOLUTIONS
    most_seconds: float = MAX_SECONDS
    _asked: int = 0
    _known: dict[frozenset[DeclaredRequirement], dict[str, str] | str] = field(default_factory=dict)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.context.clock.monotonic()

    def fails(self, lines: Sequence[DeclaredRequirement]) -> bool:
        """Say whether these lines alone cannot be met together.

        Raises:
            Undecided: uv had other trouble than that, or the budget is used up.
        """
        return self.versions(lines) is None

    def versions(self, lines: Sequence[DeclaredRequirement]) -> dict[str, str] | None:
        """Return the versions that meet these lines, by normalised name; None when there are none.

        Raises:
            Undecided: As for `fails`.
        """
        found = self._answer(lines)
        return None if isinstance(found, str) else found

    def words(self, lines: Sequence[DeclaredRequirement]) -> str:
        """Return what uv says of lines that cannot be met; nothing of ones that can.

        Raises:
            Undecided: As for `fails`.
        """
        found = self._answer(lines)
        return found if isinstance(found, str) else ""

    def is_nonexistent(self, pin: str) -> bool:
        """Say whether there is no such version, or no such package, for this Python and platform.

        Raises:
            Undecided: As for `spend`.
        """
        self.count_resolution()
        found = trial_resolution.resolve_versions(
            self.context, set_group(render_subset(self.project, ()), BASE_GROUP, [pin])
        )
        return isinstance(found, UvResult) and classify(found.status, found.errors) == "not_found"

    def count_resolution(self) -> None:
        """Count one resolution.

        Raises:
            Undecided: The budget is used up, or without a network no answer could be trusted.
        """
        network = self.context.settings.network
        if network.offline and not network.no_index:
            # A part may need metadata that nobody fetched; offline, uv then blames whoever is left.
            raise ProbeUndecided("the network is off, so parts of them cannot be resolved")
        seconds = self.context.clock.monotonic() - self._began
        if self._asked >= self.most_resolutions or seconds >= self.most_seconds:
            raise ProbeUndecided("that would take too many resolutions")
        self._asked += 1

    def _answer(self, lines: Sequence[DeclaredRequirement]) -> dict[str, str] | str:
        key = frozenset(lines)
        if key not in self._known:
            self.count_resolution()
            self._known[key] = self._asked_of_uv(lines)
        return self._known[key]

    def _asked_of_uv(self, lines: Sequence[DeclaredRequirement]) -> dict[str, str] | str:
        found = trial_resolution.resolve_versions(self.context, render_subset(self.project, lines))
        if not isinstance(found, UvResult):
            return found
        kind = classify(found.status, found.errors)
        if kind not in _UNSOLVABLE:
            raise ProbeUndecided(f"uv could not resolve a part of them for another reason ({kind.replace('_', ' ')})")
        return found.errors
