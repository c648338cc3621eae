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
        # Without a new name, `import a.b` binds `a`.
        top_name = alias.name.partition(".")[0]
        dotted = alias.name if alias.asname else top_name
        module = interpreter.tree.resolve_import(scope.module, dotted, 0)
        scope.names[alias.asname or top_name] = ExternalName(dotted) if module is None else ModuleRef(module)
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
    # A relative import that leads nowhere names nothing that is known.
    return ExternalName(f"{dotted}.{name}") if level == 0 else UNKNOWN


def _import_star(interpreter: ExpressionEvaluator, module: SourceModule, scope: NameScope) -> None:
    module_scope = interpreter.run(module)
    public = interpreter.force(module_scope, "__all__") if "__all__" in module_scope.names else UNKNOWN
    names: list[Value] = list(module_scope.names)
    if isinstance(public, AbstractList) and not public.is_open:
        names = public.values
    for name in names:
        if isinstance(name, str) and (public is not UNKNOWN or not name.startswith("_")):
            scope.names[name] = DeferredImport(module, name)
