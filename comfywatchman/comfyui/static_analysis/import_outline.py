"""Build the outline of a module: the steps of importing it, and of calling its functions."""

from __future__ import annotations

import ast

from comfywatchman.comfyui.static_analysis.faults.unbound_names import UnboundNames
from comfywatchman.comfyui.static_analysis.import_steps import ReturnStep, Step
from comfywatchman.comfyui.static_analysis.outline_names import build_name_table
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource
from comfywatchman.comfyui.static_analysis.step_builder import Function, StepBuilder


class ModuleOutliner:
    """Builds the steps of importing a module, and of calling its functions.

    Args:
        source: The module.
    """

    def __init__(self, source: OutlineSource) -> None:
        self.source = source
        self._table = build_name_table(source.tree.body, source.names.origins)
        self._unbound = UnboundNames(source.faults, source.names)

    def build_steps(self) -> tuple[Step, ...]:
        """Return the steps of importing the module."""
        return StepBuilder(self.source, self._table, self._unbound).build_block(self.source.tree.body)

    def find_function(self, name: str) -> ast.FunctionDef | None:
        """Return a function of the module, or the constructor of one of its classes; None when there is none."""
        return self._table.find_called_function(ast.Name(name))

    def build_function_steps(self, function: Function) -> tuple[Step, ...]:
        """Return the steps of calling one of its functions; none when nothing in it may fail."""
        steps = StepBuilder(self.source, self._table, self._unbound).build_function(function)
        return () if steps == (ReturnStep(),) else steps
