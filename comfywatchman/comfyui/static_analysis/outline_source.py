"""The module whose import is outlined."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from comfywatchman.comfyui.static_analysis.faults.expressions import FaultSource
from comfywatchman.comfyui.static_analysis.module_names import OWN, ModuleNames
from comfywatchman.comfyui.static_analysis.modules import ModuleImports


@dataclass(frozen=True)
class OutlineSource:
    """The module to outline.

    Attributes:
        tree: Its syntax tree.
        content: Its source.
        names: The names that it binds.
        parts: Its dotted name, in parts.
        package: The package that one leading dot of an import means; None where there is no package.
        prefix: How names of modules begin that one leading dot leads to.
        loads: What its calls load.
        marks: Lines of guarded statements that register nodes.
        path: Its file; None when it has none.
        root: The folder of the pack, or the folder that holds a one-file pack.
    """

    tree: ast.Module
    content: bytes
    names: ModuleNames
    parts: tuple[str, ...]
    package: tuple[str, ...] | None
    prefix: str = OWN
    loads: ModuleImports = field(default_factory=ModuleImports)
    marks: Collection[int] = ()
    path: Path | None = None
    root: Path = field(default_factory=Path)

    @cached_property
    def faults(self) -> FaultSource:
        """The module as faults are looked for in it."""
        return FaultSource(self.tree, self.content, self.path, self.root, self.names.is_open)
