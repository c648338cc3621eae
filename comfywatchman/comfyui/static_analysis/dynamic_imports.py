"""Imports of modules that the source computes: `importlib`, `__import__`, files loaded by path, and `sys.path`."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from comfywatchman.comfyui.static_analysis.module_names import BEYOND, OWN, build_module_name, resolve_module
from comfywatchman.comfyui.static_analysis.modules import CallImports
from comfywatchman.comfyui.static_analysis.paths import get_text
from comfywatchman.comfyui.static_analysis.values import (
    ROOT_NAME,
    UNKNOWN,
    AbstractDict,
    AbstractList,
    BoundMethod,
    ExternalName,
    FileSpec,
    ModuleRef,
    NameScope,
    SourceModule,
    Value,
)

if TYPE_CHECKING:
    from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator

NO_IMPORT: Final = object()
"""Returned for calls that load nothing."""

_MAPPINGS_NAME: Final = "NODE_CLASS_MAPPINGS"
_RUN_METHODS: Final = frozenset({"exec_module", "load_module"})


class ImportCall:
    """One call that may load a module.

    Args:
        interpreter: Evaluates the source.
        node: The call.
        scope: Its names.
        arguments: Its positional arguments.
        keywords: Its keyword arguments.
    """

    def __init__(
        self,
        interpreter: ExpressionEvaluator,
        node: ast.Call,
        scope: NameScope,
        arguments: list[Value],
        keywords: dict[str, Value],
    ) -> None:
        self._interpreter = interpreter
        self._tree = interpreter.tree
        self._node = node
        self._scope = scope
        self._arguments = arguments
        self._keywords = keywords

    def follow(self, function: Value) -> Value:
        """Return the call's result, and record the modules that it loads; `NO_IMPORT` for a call that loads none."""
        if isinstance(function, BoundMethod) and isinstance(function.owner, FileSpec):
            if function.name not in _RUN_METHODS:
                return UNKNOWN
            return self._load_file(function.owner)
        if isinstance(function, ExternalName) and function.name in _FUNCTIONS:
            return _FUNCTIONS[function.name](self)
        return NO_IMPORT

    def build_spec(self) -> FileSpec:
        """Follow a call that describes a file to load."""
        location = self._get(1, "location")
        return FileSpec(self._get(0, "name"), self._get(1, "path") if location is UNKNOWN else location)

    def build_module(self) -> Value:
        """Follow `importlib.util.module_from_spec`."""
        return self._build_module(self._get(0, "spec"))

    def load_source(self) -> Value:
        """Follow `imp.load_source`."""
        return self._load_file(self.build_spec())

    def execute_code(self) -> Value:
        """Follow `exec`: the code may do anything."""
        self._tree.has_hidden_names = True
        return self._record(None)

    def _get(self, position: int, name: str, default: Value = UNKNOWN) -> Value:
        if position < len(self._arguments):
            return self._arguments[position]
        return self._keywords.get(name, default)

    def import_module(self) -> Value:
        """Follow `importlib.import_module`."""
        name, package = self._get(0, "name"), self._get(1, "package", None)
        if not isinstance(name, str):
            return self._record(None)
        dotted = name.lstrip(".")
        level = len(name) - len(dotted)
        if level and package is None:
            text = f"the 'package' argument is required to perform a relative import for {name!r}"
            return self._record_error("TypeError", text)
        if not level:
            return self._import_dotted(dotted)
        if not isinstance(package, str) or package.partition(".")[0] != ROOT_NAME:
            return self._record(None)
        # Relative to the package that is passed, not to the module with the call.
        return self._import_relative(tuple(package.split(".")[1:]), dotted, level)

    def import_builtin(self) -> Value:
        """Follow `__import__`."""
        name, level = self._get(0, "name"), self._get(4, "level", 0)
        if not isinstance(name, str) or not isinstance(level, int):
            return self._record(None)
        package = self._scope.module.package
        if level:
            module = self._import_relative(package, name, level)
        else:
            module = self._import_dotted(name)
        names = self._get(3, "fromlist", None)
        if isinstance(names, AbstractList) and names.values:
            return module
        # Without names, `__import__("a.b")` returns `a`.
        if "." in name:
            return self._refer_to(self._resolve(name.partition(".")[0]))
        return module

    def _import_relative(self, package: tuple[str, ...], dotted: str, level: int) -> Value:
        name = resolve_module(package, dotted or None, level, prefix=OWN)
        if name is None:
            return self._record_error("ImportError", BEYOND)
        self._record(name)
        return self._refer_to(self._tree.get_module(_split(name)))

    def _import_dotted(self, dotted: str) -> Value:
        if dotted.partition(".")[0] == ROOT_NAME:
            parts = tuple(dotted.split(".")[1:])
            self._record(build_module_name(parts))
            return self._refer_to(self._tree.get_module(parts))
        self._record(dotted or None)
        return self._refer_to(self._resolve(dotted))

    def _resolve(self, dotted: str) -> SourceModule | None:
        if not dotted:
            return None
        return self._tree.resolve_import(self._scope.module, dotted, 0)

    def _refer_to(self, module: SourceModule | None) -> Value:
        return UNKNOWN if module is None else ModuleRef(module)

    def run_path(self) -> Value:
        """Follow `runpy.run_path`."""
        module = self._load_file(FileSpec("<run_path>", self._get(0, "path_name")))
        if not isinstance(module, ModuleRef):
            return UNKNOWN
        mappings = self._interpreter.get_attribute(module, _MAPPINGS_NAME)
        return AbstractDict({_MAPPINGS_NAME: mappings}, is_open=True)

    def _load_file(self, spec: FileSpec) -> Value:
        parts = self._find_file(spec)
        if parts is None:
            return self._record(None)
        if not os.path.isfile(get_text(spec.location) or ""):
            return self._record_missing_file(f"{'/'.join(parts)}.py")
        module_parts = parts[:-1] if parts[-1] == "__init__" else parts
        own_name = ".".join((ROOT_NAME, *module_parts))
        if spec.name == own_name:
            self._record(build_module_name(module_parts))
        else:
            # Without its package, a module cannot import its neighbours by `from .`.
            is_alone = isinstance(spec.name, str) and "." not in spec.name and module_parts == parts
            separator = ":" if is_alone else "?"
            self._record(f"{build_module_name(module_parts[:-1])}{separator}{''.join(module_parts[-1:])}")
        return self._build_module(spec)

    def _find_file(self, spec: FileSpec) -> tuple[str, ...] | None:
        """Return the file of a spec as parts below the pack's folder, without its ending; None when it is not known."""
        parts = self._tree.files.find_parts(spec.location)
        if not parts or not parts[-1].endswith(".py"):
            return None
        return (*parts[:-1], parts[-1].removesuffix(".py"))

    def _build_module(self, spec: Value) -> Value:
        if not isinstance(spec, FileSpec):
            return UNKNOWN
        parts = self._find_file(spec)
        if parts is None:
            return UNKNOWN
        return self._refer_to(self._tree.get_file_module(parts))

    def insert_path(self) -> Value:
        """Follow `sys.path.insert`."""
        self._tree.add_path_folder(self._get(1, "object"), is_first=self._get(0, "index") == 0)
        return None

    def append_path(self) -> Value:
        """Follow `sys.path.append`, `sys.path.extend` and `site.addsitedir`."""
        folders = self._get(0, "object")
        if not isinstance(folders, AbstractList):
            folders = AbstractList([folders])
        for folder in folders.values:
            self._tree.add_path_folder(folder, is_first=False)
        return None

    def _record(self, module: str | None) -> Value:
        """Record the module that the call loads; None for one that is not known."""
        for record in self._list_records():
            if module is None:
                record.is_known = False
            else:
                record.modules[module] = record.modules.get(module, False) or self._interpreter.is_certain
        return UNKNOWN

    def _record_missing_file(self, path: str) -> Value:
        if self._interpreter.is_certain:
            for record in self._list_records():
                record.missing_files.append(path)
        return UNKNOWN

    def _record_error(self, error: str, text: str) -> Value:
        if self._interpreter.is_certain:
            for record in self._list_records():
                record.errors[error] = text
        return UNKNOWN

    def _list_records(self) -> list[CallImports]:
        """Return where the call is recorded: at its line, and at the call of the function of another module."""
        place, module = self._interpreter.place, self._scope.module
        record = self._tree.get_loads(module.parts).direct.setdefault(self._node.lineno, CallImports())
        site = place.call_site
        if site is None:
            return [record]
        record.sites.add((site.module.parts, site.line))
        record.is_guarded = record.is_guarded or site.is_guarded
        if site.module is module or (place.inner_guards and not site.is_guarded):
            return [record]
        foreign = self._tree.get_loads(site.module.parts).foreign
        return [record, foreign.setdefault(site.line, CallImports())]


_FUNCTIONS: Final[Mapping[str, Callable[[ImportCall], Value]]] = {
    "importlib.import_module": ImportCall.import_module,
    "builtins.__import__": ImportCall.import_builtin,
    "importlib.__import__": ImportCall.import_builtin,
    "importlib.util.spec_from_file_location": ImportCall.build_spec,
    "importlib.machinery.SourceFileLoader": ImportCall.build_spec,
    "importlib.util.module_from_spec": ImportCall.build_module,
    "imp.load_source": ImportCall.load_source,
    "runpy.run_path": ImportCall.run_path,
    "builtins.exec": ImportCall.execute_code,
    "sys.path.insert": ImportCall.insert_path,
    "sys.path.append": ImportCall.append_path,
    "sys.path.extend": ImportCall.append_path,
    "site.addsitedir": ImportCall.append_path,
}
"""The method of `ImportCall` for each function that may load a module."""


def _split(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split(".") if part)
