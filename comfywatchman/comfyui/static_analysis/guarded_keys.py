"""What statements inside `try` bind: their dict keys exist only if nothing before them in the block fails."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

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


def mark_emptied_keys(
    node: ast.Try | ast.TryStar, scope: NameScope, tree: SourceTree, force: Callable[[NameScope, str], Value]
) -> None:
    """Mark the keys that a `try` statement at the top level of a module takes away again when its body fails.

    The mark stands for the end of the body: its line is that of the statement, as a negative number.

    Args:
        node: The statement.
        scope: The scope of the module, after its body.
        tree: The pack's source, which collects the lines.
        force: Returns the value of a name.
    """
    emptied = [_list_emptied(handler) for handler in node.handlers if not _always_raises(handler)]
    mark = (build_module_name(scope.module.parts), -node.lineno)
    for name in sorted({name for keys in emptied for name, _ in keys}):
        value = force(scope, name)
        if not isinstance(value, AbstractDict):
            continue
        # Where one of several clauses keeps a key, it depends on the error.
        for key in value.entries:
            if all((name, None) in keys or (name, key) in keys for keys in emptied):
                value.marks[key] = value.marks.get(key, frozenset()) | {mark}
                tree.marks.setdefault(scope.module.parts, set()).add(-node.lineno)


def _always_raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(statement, ast.Raise) for statement in handler.body)


def _list_emptied(handler: ast.ExceptHandler) -> set[tuple[str, Value]]:
    """Return the dicts that a clause empties, each with the key that it takes away; None for all keys."""
    emptied: set[tuple[str, Value]] = set()
    for statement in handler.body:
        match statement:
            case ast.Assign(targets=targets, value=ast.Dict(keys=[])):
                emptied.update((target.id, None) for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict(keys=[])):
                emptied.add((name, None))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="clear"))):
                emptied.add((name, None))
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="pop"), args=[key, *_])):
                if isinstance(key, ast.Constant):
                    emptied.add((name, key.value))
            case ast.Delete(targets=[ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key))]):
                emptied.add((name, key))
    return emptied


def list_handler_targets(handlers: Sequence[ast.ExceptHandler]) -> set[str]:
    """Return the names that `except` clauses assign."""
    names: set[str] = set()
    for handler in handlers:
        for part in ast.walk(handler):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                names.add(part.id)
    return names
