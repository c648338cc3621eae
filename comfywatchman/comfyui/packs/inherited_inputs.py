"""Model inputs that a pack's class inherits from a loader of ComfyUI (`class Mine(nodes.LoraLoader)`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from comfywatchman.comfyui.loaders.table import LoaderInput, load_builtin_table
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import ClassRef, ExternalName, FuncRef

_CORE_MODULE: Final = "nodes."
_FUNCTION: Final = "INPUT_TYPES"


def list_inherited_inputs(
    class_type: str, owner: ClassRef, interpreter: ExpressionEvaluator, evidence: str
) -> Iterator[LoaderInput]:
    """Yield the model inputs that a class has from its base, by name: the pack's source does not show them.

    Args:
        class_type: The class's name for workflows.
        owner: The class.
        interpreter: Evaluates the source.
        evidence: Source of this knowledge, for people.
    """
    function = interpreter.get_class_attribute(owner, _FUNCTION)
    if isinstance(function, FuncRef) and not _calls_base(function):
        return
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if isinstance(value, ExternalName) and value.name.startswith(_CORE_MODULE):
            for row in load_builtin_table().inputs(value.name.removeprefix(_CORE_MODULE)):
                yield replace(row, class_type=class_type, widget_index=None, evidence=evidence, confidence="medium")


def _calls_base(function: FuncRef) -> bool:
    """Return whether a function calls `super().INPUT_TYPES()` or `LoraLoader.INPUT_TYPES()`."""
    return any(isinstance(part, ast.Attribute) and part.attr == _FUNCTION for part in ast.walk(function.node))
