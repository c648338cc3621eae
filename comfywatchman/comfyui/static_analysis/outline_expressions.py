"""The parts of an expression that may keep a module from being imported, as far as they are certainly evaluated."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from comfywatchman.comfyui.static_analysis.api_calls import build_api_steps
from comfywatchman.comfyui.static_analysis.faults.expressions import FaultFinder
from comfywatchman.comfyui.static_analysis.import_steps import (
    AttributeStep,
    CallStep,
    ImportStep,
    MissingFileStep,
    OwnCallStep,
    RaiseStep,
    SetStep,
    Step,
    UnresolvedStep,
)
from comfywatchman.comfyui.static_analysis.module_names import OWN, resolve_module
from comfywatchman.comfyui.static_analysis.modules import CallImports, ModuleImports
from comfywatchman.comfyui.static_analysis.outline_names import NameTable

CORE_NAMES: Final = frozenset(
    {"api_server", "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras"}
    | {"comfyui_version", "cuda_malloc", "execution", "folder_paths", "latent_preview", "main", "middleware", "nodes"}
    | {"node_helpers", "protocol", "server", "utils"}
)
"""Modules and packages of ComfyUI that node packs import."""

_NUMPY: Final = "numpy."
_EXITS: Final = frozenset({"sys.exit", "os._exit", "os.abort"})
_BUILTIN_EXITS: Final = frozenset({"exit", "quit"})
_BUILTIN_LOADERS: Final = frozenset({"__import__", "exec"})
_IMPORT_MODULE: Final = "importlib.import_module"
_LOADERS: Final = frozenset({_IMPORT_MODULE, "importlib.__import__", "runpy.run_path", "runpy.run_module"})
_LOADER_METHODS: Final = frozenset({"exec_module", "load_module", "load_source"})
_MAX_STATEMENT: Final = 80

_Nodes = Sequence[ast.AST | None]


class ExpressionScanner:
    """Finds the steps in the expressions of a module or function.

    Args:
        table: What its names stand for.
        parts: Name of the module, in parts.
        package: The package that one leading dot of an import means.
        loads: What its calls load.
        build_call: Returns the steps of a function of the module; None when it is not followed.
        faults: Finds the errors that expressions raise.
    """

    def __init__(
        self,
        table: NameTable,
        parts: Sequence[str],
        package: Sequence[str],
        loads: ModuleImports,
        build_call: Callable[[ast.FunctionDef], tuple[Step, ...] | None],
        *,
        faults: FaultFinder,
    ) -> None:
        self._table = table
        self._parts = parts
        self._package = package
        self._loads = loads
        self._build_call = build_call
        self._faults = faults
        self.used_names: set[str] = set()
        self.used_members: set[str] = set()

    def scan(self, node: ast.AST, *, is_annotation: bool = False) -> Iterator[Step]:
        """Yield the steps of an expression, and collect the names that it uses."""
        match node:
            case ast.Constant():
                return
            case ast.Name(id=name, ctx=context):
                if isinstance(context, ast.Load):
                    self.used_names.add(name)
                return
            case ast.Attribute(ctx=ast.Load()):
                dotted = self._table.get_dotted_name(node)
                if dotted is not None:
                    self._use_names(node)
                    if dotted.partition(".")[0] in CORE_NAMES or _is_of_numpy(dotted):
                        yield AttributeStep(node.lineno, dotted, is_annotation=is_annotation)
                    return
                self._use_member(node)
        for child in _list_certain_children(node):
            if child is not None:
                yield from self.scan(child, is_annotation=is_annotation)
        if not is_annotation:
            yield from self._scan_evaluated(node)

    def _scan_evaluated(self, node: ast.AST) -> Iterator[Step]:
        """Yield the steps of an expression itself, whose parts have been evaluated."""
        yield from self._faults.find(node)
        if isinstance(node, ast.Call):
            yield from self._scan_call(node)
            yield from build_api_steps(node, self._table)

    def _use_member(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self.used_members.add(node.value.id)

    def _use_names(self, node: ast.AST) -> None:
        self.used_names.update(part.id for part in ast.walk(node) if isinstance(part, ast.Name))

    def _scan_call(self, node: ast.Call) -> Iterator[Step]:
        dotted = self._table.get_dotted_name(node.func)
        function = self._table.find_called_function(node.func) if dotted is None else None
        if function is not None or (dotted is not None and dotted.startswith(OWN)):
            yield from self._follow_call(node, function, dotted)
            if function is not None:
                return
        if isinstance(node.func, ast.Name) and dotted is None:
            name = node.func.id
            if name in _BUILTIN_EXITS and name not in self._table.solid | self._table.fragile:
                yield RaiseStep(node.lineno, "SystemExit", f"{name}()")
            if name in _BUILTIN_LOADERS and name not in self._table.solid | self._table.fragile:
                yield from self._scan_import(node)
                return
        if dotted in _EXITS:
            yield RaiseStep(node.lineno, "SystemExit", f"{dotted}()")
        elif dotted in _LOADERS or (isinstance(node.func, ast.Attribute) and node.func.attr in _LOADER_METHODS):
            yield from self._scan_import(node)
        else:
            # `load = importlib.import_module` gives it another name.
            for record in (self._loads.direct.get(node.lineno), self._loads.foreign.get(node.lineno)):
                if record is not None:
                    yield from _list_loads(record, node)

    def _follow_call(self, node: ast.Call, function: ast.FunctionDef | None, dotted: str | None) -> Iterator[Step]:
        """Yield the step of a call of a function of the pack."""
        if function is not None:
            body = self._build_call(function)
            if body:
                yield CallStep(body)
        elif dotted is not None:
            yield OwnCallStep(node.lineno, dotted)

    def _scan_import(self, node: ast.Call) -> Iterator[Step]:
        record = self._loads.direct.get(node.lineno)
        if record is not None:
            yield from _list_loads(record, node)
            return
        # The analysis did not reach the call; a constant says enough.
        module = None
        name = node.args[0] if node.args else None
        is_import = self._table.get_dotted_name(node.func) == _IMPORT_MODULE
        if is_import and isinstance(name, ast.Constant) and isinstance(name.value, str):
            module = self._resolve_dynamic(name.value, node)
        yield _build_unresolved(node) if module is None else ImportStep(node.lineno, module)

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


def _is_of_numpy(dotted: str) -> bool:
    """Return whether a dotted name is one of numpy itself, which has removed some of its names."""
    return dotted.startswith(_NUMPY) and "." not in dotted.removeprefix(_NUMPY)


def list_set_names(statement: ast.stmt, table: NameTable) -> Iterator[SetStep]:
    """Yield the attributes of modules of ComfyUI that an assignment sets."""
    for target in statement.targets if isinstance(statement, ast.Assign) else ():
        dotted = table.get_dotted_name(target) if isinstance(target, ast.Attribute) else None
        if dotted is not None and dotted.partition(".")[0] in CORE_NAMES:
            yield SetStep(dotted)


def _list_loads(record: CallImports, node: ast.Call) -> Iterator[Step]:
    """Yield the steps of a call that loads modules."""
    # The line stands for every call of its function: which of them a guard surrounds is not known.
    is_doubtful = len(record.sites) > 1 and record.is_guarded
    for module, is_certain in record.modules.items():
        yield ImportStep(node.lineno, module, is_certain=is_certain, is_doubtful=is_doubtful)
    if not record.is_known or (is_doubtful and (record.errors or record.missing_files)):
        yield _build_unresolved(node)
    elif record.missing_files:
        yield MissingFileStep(node.lineno, record.missing_files[0])
    elif record.errors:
        error, text = next(iter(record.errors.items()))
        yield RaiseStep(node.lineno, error, text)


def _build_unresolved(node: ast.Call) -> UnresolvedStep:
    text = " ".join(ast.unparse(node).split())
    return UnresolvedStep(node.lineno, text if len(text) <= _MAX_STATEMENT else f"{text[:_MAX_STATEMENT]}…")


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
