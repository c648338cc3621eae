"""Import statements of a node pack's source."""

from __future__ import annotations

import ast

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractList,
    DeferredImport,
    ExternalName,
    ModuleRef,
    NameScope,
    SourceModule,
    Value,
)


def visit_import(interpreter: ExpressionEvaluator, node: ast.Import, scope: NameScope) -> bool:
    """Bind the names of `import a.b` and `import a.b as c`."""
    for alias in node.names:
        name, dotted = alias.asname, alias.name
        if name is None:
            # Without a new name, `import a.b` binds `a`.
            name = dotted = alias.name.partition(".")[0]
        module = interpreter.tree.resolve_import(scope.module, dotted, 0)
        if module is None:
            scope.names[name] = ExternalName(dotted)
        else:
            scope.names[name] = ModuleRef(module)
    return False


def visit_import_from(interpreter: ExpressionEvaluator, node: ast.ImportFrom, scope: NameScope) -> bool:
    """Bind the names of `from a import b`; those of the pack are resolved at their first use."""
    dotted = node.module or ""
    module = interpreter.tree.resolve_import(scope.module, dotted, node.level)
    for alias in node.names:
        name = alias.asname or alias.name
        if module is None:
            scope.names[name] = _import_external(dotted, alias.name, node.level)
        elif alias.name == "*":
            _import_star(interpreter, module, scope)
        else:
            scope.names[name] = DeferredImport(module, alias.name)
    return False


def _import_external(dotted: str, name: str, level: int) -> Value:
    if level > 0:
        # A relative import means a module of the pack, and this one does not exist.
        return UNKNOWN
    return ExternalName(f"{dotted}.{name}")


def _import_star(interpreter: ExpressionEvaluator, module: SourceModule, scope: NameScope) -> None:
    module_scope = interpreter.run(module)
    public = interpreter.force(module_scope, "__all__")
    names: list[Value] = list(module_scope.names)
    if isinstance(public, AbstractList) and not public.is_open:
        names = public.values
    for name in names:
        if isinstance(name, str) and (public is not UNKNOWN or not name.startswith("_")):
            scope.names[name] = DeferredImport(module, name)
