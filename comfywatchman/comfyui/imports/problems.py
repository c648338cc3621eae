"""Why an import fails, or may fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.static_analysis.import_steps import ImportStep
from comfywatchman.comfyui.static_analysis.module_names import OWN, split_module_name


class ProblemKind(StrEnum):
    """What is wrong; the next step depends on it."""

    PYTHON_PACKAGE = "python_package"
    COMFYUI_VERSION = "comfyui_version"
    PACK_FILES = "pack_files"
    SUBMODULE = "submodule"
    RAISED = "raised"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class Absence:
    """A module or name that was not found.

    Attributes:
        kind: What is missing.
        explanation: Where it was looked for, for people.
        is_certain: Whether nothing that is not known here can provide it.
        obstacle: Why a place where it may be could not be looked at; None when all were.
    """

    kind: ProblemKind
    explanation: str
    is_certain: bool
    obstacle: Obstacle | None = None


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
        obstacle: Why a place where the missing module may be could not be looked at; None when all were.
    """

    kind: ProblemKind
    error: str
    file: str
    line: int | None
    statement: str
    explanation: str
    is_certain: bool
    obstacle: Obstacle | None = None

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

_MAX_SHOWN_NAMES: Final = 3


def format_import(step: ImportStep) -> str:
    """Return an import statement as source text."""
    prefix, parts = split_module_name(step.module)
    module = step.module if prefix == OWN else ".".join(parts)
    if not step.names:
        return f"import {module}"
    names = ", ".join(step.names[:_MAX_SHOWN_NAMES])
    if len(step.names) > _MAX_SHOWN_NAMES:
        names += ", …"
    return f"from {module} import {names}"
