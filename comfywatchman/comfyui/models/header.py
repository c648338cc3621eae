"""Types that the header checks of all model formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ReadBytes = Callable[[int, int], bytes]
"""Read bytes of a file, given the first byte's position and how many to read; fewer come back at its end."""


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """Why a header makes its file unusable.

    Attributes:
        code: For programs; the values are those of `HeaderFacts.problem_code`.
        reason: For people.
    """

    code: str
    reason: str
