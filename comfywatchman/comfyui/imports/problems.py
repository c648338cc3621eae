"""Why an import fails, or may fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec


class ProblemKind(StrEnum):
    """What is wrong; the next step depends on it."""

    PYTHON_PACKAGE = "python_package"
    COMFYUI_VERSION = "comfyui_version"
    PACK_FILES = "pack_files"
    RAISED = "raised"


@dataclass(frozen=True, slots=True)
class Absence:
    """A module or name that was not found.

    Attributes:
        kind: What is missing.
        explanation: Where it was looked for, for people.
        is_certain: Whether nothing that is not known here can provide it.
    """

    kind: ProblemKind
    explanation: str
    is_certain: bool


class ImportProblem(msgspec.Struct, frozen=True):
    """Why ComfyUI cannot import a pack, or use one of its classes.

    Attributes:
        kind: What is wrong.
        error: Name of the Python error.
        file: Path of the file below the pack's folder, for people; empty when there is none.
        line: Its line; None when it has none.
        statement: The statement that fails, as source; empty when it is not a statement.
        explanation: Why it fails, for people.
        is_certain: Whether it certainly fails.
    """

    kind: ProblemKind
    error: str
    file: str
    line: int | None
    statement: str
    explanation: str
    is_certain: bool

    @property
    def place(self) -> str:
        """File and line, for people."""
        return self.file if self.line is None else f"{self.file}, line {self.line}"

    @property
    def summary(self) -> str:
        """The problem in one clause, for people."""
        if not self.statement:
            return f"{self.place}: {self.explanation}" if self.file else self.explanation
        verb = "fails" if self.is_certain else "may fail"
        return f"`{self.statement}` {verb} ({self.place}): {self.explanation}"


class PackImports(msgspec.Struct, frozen=True):
    """What keeps a pack and its classes from being used.

    Attributes:
        problem: Why the pack cannot be imported; None when it can.
        classes: Why single classes are not mapped although the pack is imported, or cannot be used.
    """

    problem: ImportProblem | None = None
    classes: dict[str, ImportProblem] = {}


NO_PROBLEMS: Final = PackImports()
