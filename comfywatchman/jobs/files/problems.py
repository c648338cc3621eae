"""Problems of job files and of the YAML files beside them, each with its line and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize

_MAX_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class JobFileProblem:
    """One reason why a file is refused.

    Attributes:
        message: The reason and the correction, as one or two sentences.
        line: The line it concerns, from 1; None when it concerns no single line.
        field: The field it concerns (`inputs.prompt`); empty when it concerns the whole file.
    """

    message: str
    line: int | None = None
    field: str = ""

    def __str__(self) -> str:
        place = f"Line {self.line}: " if self.line else ""
        name = f"{self.field}: " if self.field else ""
        return f"{place}{name}{self.message}"


class JobFileError(Failure, ValueError):
    """A file that cannot be used, with all its problems.

    It is a `ValueError` too, which the original functions of these names raise.

    Args:
        problems: At least one.
        source: The file, for people; empty when the caller knows it.
        is_incomplete: Whether the file ends too early, as while it is being written.
        hint: What to do.
    """

    def __init__(
        self,
        problems: Sequence[JobFileProblem],
        *,
        source: str = "",
        is_incomplete: bool = False,
        hint: str = "docs/reference/jobs.md describes each field.",
    ) -> None:
        text = " ".join(str(problem) for problem in problems[:_MAX_SHOWN])
        if len(problems) > _MAX_SHOWN:
            text += f" {pluralize(len(problems) - _MAX_SHOWN, 'more problem')}."
        super().__init__(
            "jobs-file-invalid",
            f"{source} cannot be used. {text}" if source else text,
            hint=hint,
            facts={"problems": [{"message": p.message, "line": p.line, "field": p.field} for p in problems]},
        )
        self.problems = tuple(problems)
        self.is_incomplete = is_incomplete
