"""One finding of `comfywatchman doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """The state of a check, the most serious first."""

    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One finding.

    Attributes:
        name: What was checked, for people; stable.
        state: The state.
        finding: What was found, in a few words.
        next_step: A command or a sentence; empty when there is nothing to do.
    """

    name: str
    state: CheckState
    finding: str
    next_step: str = ""
