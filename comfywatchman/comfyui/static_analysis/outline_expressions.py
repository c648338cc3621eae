"""The parts of an expression that may keep a module from being imported, as far as they are certainly evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from comfywatchman.comfyui.static_analysis.import_steps import (
    AttributeStep,
    CallStep,
    ImportStep,
    RaiseStep,
    Step,
)
from comfywatchman.comfyui.static_analysis.module_names import OWN, resolve_module
from comfywatchman.comfyui.static_analysis.outline_names import NameTable

CORE_NAMES: Final = frozenset(
    {"api_server", "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras"}
    | {"comfyui_version", "cuda_malloc", "execution", "folder_paths", "latent_preview", "main", "middleware", "nodes"}
    | {"node_helpers", "protocol", "server", "utils"}
)
"""Modules and packages of ComfyUI that node packs import."""

_EXITS: Final = frozenset({"sys.exit", "os._exit", "os.abort"})
_BUILTIN_EXITS: Final = frozenset({"exit", "quit"})
_IMPORT_FUNCTIONS: Final = frozenset({"importlib.import_module", "importlib.__import__"})

_Nodes = Sequence[ast.AST | None]


class ExpressionScanner:
    """Finds the steps in the expressions of a module or function.

    Args:
        table: What its names stand for.
        parts: Name of the module, in parts.
        package: The package that one leading dot of an import means.
        followed: Modules that dynamic imports load, by the line of the call.
        build_call: Returns the steps of a function of the module; None when it is not followed.
    """

    def __init__(
        self,
        table: NameTable,
        parts: Sequence[str],
        package: Sequence[str],
        followed: Mapping[int, Sequence[str]],
        build_call: Callable[[ast.FunctionDef], tuple[Step, ...] | None],
    ) -> None:
        self._table = table
        self._parts = parts
        self._package = package
        self._followed = followed
        self._build_call = build_call
        self.used_names: set[str] = set()

    def scan(self, node: ast.AST, *, is_annotation: bool = False) -> Iterator[Step]:
        """Yield the steps of an expression, and collect the names that it uses."""
        if isinstance(node, ast.Constant):
            return
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            dotted = self._table.get_dotted_name(node)
            if dotted is not None:
                self._use_names(node)
                if dotted.partition(".")[0] in CORE_NAMES:
                    yield AttributeStep(node.lineno, dotted, is_annotation=is_annotation)
                return
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.used_names.add(node.id)
            return
        for child in _list_certain_children(node):
            if child is not None:
                yield from self.scan(child, is_annotation=is_annotation)
        if isinstance(node, ast.Call):
            yield from self._scan_call(node)

    def _use_names(self, node: ast.AST) -> None:
        self.used_names.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name))

    def _scan_call(self, node: ast.Call) -> Iterator[Step]:
        dotted = self._table.get_dotted_name(node.func)
        if isinstance(node.func, ast.Name) and dotted is None:
            name = node.func.id
            if name in self._table.functions:
                body = self._build_call(self._table.functions[name])
                if body:
                    yield CallStep(body)
                return
            if name in _BUILTIN_EXITS and name not in self._table.solid | self._table.fragile:
                yield RaiseStep(node.lineno, "SystemExit", f"{name}()")
            if name == "__import__":
                dotted = "importlib.__import__"
        if dotted in _EXITS:
            yield RaiseStep(node.lineno, "SystemExit", f"{dotted}()")
        elif dotted in _IMPORT_FUNCTIONS:
            yield from self._scan_import(node)

    def _scan_import(self, node: ast.Call) -> Iterator[Step]:
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            module = self._resolve_dynamic(name.value, node)
            if module is not None:
                yield ImportStep(node.lineno, module)
            return
        for module in self._followed.get(node.lineno, ()):
            yield ImportStep(node.lineno, module, is_certain=True)

    def _resolve_dynamic(self, name: str, node: ast.Call) -> str | None:
        dotted = name.lstrip(".")
        level = len(name) - len(dotted)
        if level == 0:
            return dotted or None
        package = node.args[1] if len(node.args) > 1 else None
        for keyword in node.keywords:
            package = keyword.value if keyword.arg == "package" else package
        # Relative to the package that is passed, whatever module makes the call.
        match package:
            case ast.Name(id="__name__"):
                return resolve_module(self._parts, dotted, level, prefix=OWN)
            case ast.Name(id="__package__"):
                return resolve_module(self._package, dotted, level, prefix=OWN)
        return None


def _list_certain_children(node: ast.AST) -> _Nodes:
    """Return the parts of an expression that are evaluated in any case."""
    match node:
        case ast.Lambda():
            return [*node.args.defaults, *node.args.kw_defaults]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return [node.generators[0].iter]
        case ast.IfExp():
            return [node.test]
        case ast.BoolOp():
            return node.values[:1]
        case ast.Compare():
            return [node.left, node.comparators[0]]
    return list(ast.iter_child_nodes(node))
