"""What statements inside `try` bind: their dict keys exist only if nothing before them in the block fails."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from comfywatchman.comfyui.static_analysis.module_names import build_module_name
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import AbstractDict, Mark, NameScope, Value

DictKeys = dict[str, frozenset[Value]]
"""The keys of the dicts in a scope, by name."""


def list_dict_keys(scope: NameScope) -> DictKeys:
    """Return the keys of the dicts in a scope."""
    keys: DictKeys = {}
    for name, value in scope.names.items():
        if isinstance(value, AbstractDict):
            keys[name] = frozenset(value.entries)
    return keys


def mark_new_keys(scope: NameScope, before: DictKeys, line: int, tree: SourceTree) -> None:
    """Mark the keys that a guarded statement at the top level of a module has added.

    Args:
        scope: The scope of the module.
        before: Its keys before the statement.
        line: Line of the statement.
        tree: The pack's source, which collects the lines.
    """
    parts = scope.module.parts
    if add_marks(scope, before, frozenset({(build_module_name(parts), line)})):
        tree.marks.setdefault(parts, set()).add(line)


def add_marks(scope: NameScope, before: DictKeys, marks: frozenset[Mark]) -> bool:
    """Mark the keys that were added to dicts of a scope, and return whether there are any."""
    has_new = False
    for name, value in scope.names.items():
        if not isinstance(value, AbstractDict):
            continue
        # A statement in an inner `try` has marked its own keys already.
        for key in value.entries.keys() - before.get(name, frozenset()) - value.marks.keys():
            value.marks[key] = marks
            has_new = True
    return has_new


def list_handler_targets(handlers: Sequence[ast.ExceptHandler]) -> set[str]:
    """Return the names that `except` clauses assign."""
    names: set[str] = set()
    for handler in handlers:
        for part in ast.walk(handler):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                names.add(part.id)
    return names
