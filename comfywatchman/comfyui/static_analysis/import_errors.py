"""Find out from its source whether ComfyUI cannot import a pack."""

from __future__ import annotations

import ast
from typing import Final

from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import SourceModule

_EXITS: Final = frozenset({"exit", "quit", "sys.exit", "os._exit"})


def cannot_be_imported(tree: SourceTree) -> bool:
    """Return whether importing the pack certainly ends in an error.

    It does without a readable `__init__.py`, and with a statement there, or in a module that it imports, that no
    condition guards: a `raise`, a failing `assert`, an exit, or a relative import of a module that does not exist.
    Packages that may not be installed are not looked for.
    """
    root = tree.get_module(())
    return root is None or _module_raises(root, tree, set())


def _module_raises(module: SourceModule, tree: SourceTree, seen: set[tuple[str, ...]]) -> bool:
    # An import cycle alone is not an error.
    if module.parts in seen:
        return False
    seen.add(module.parts)
    return any(_statement_raises(statement, module, tree, seen) for statement in module.tree.body)


def _statement_raises(statement: ast.stmt, module: SourceModule, tree: SourceTree, seen: set[tuple[str, ...]]) -> bool:
    match statement:
        case ast.Raise():
            return True
        case ast.Assert(test=ast.Constant(value=value)):
            return not value
        case ast.Expr(value=ast.Call(func=ast.Name() | ast.Attribute() as function)):
            return ast.unparse(function) in _EXITS
        case ast.ImportFrom(module=str() as dotted, level=level) if level > 0:
            imported = tree.resolve_import(module, dotted, level)
            if imported is None:
                return tree.is_missing(module, dotted, level)
            return _module_raises(imported, tree, seen)
        case _:
            return False
