"""Outline the modules that importing a pack executes, as far as import statements lead to them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.packs.submodules import find_unfetched_submodules
from comfywatchman.comfyui.static_analysis.faults.expressions import name_folder, name_variable
from comfywatchman.comfyui.static_analysis.import_outline import ModuleOutliner
from comfywatchman.comfyui.static_analysis.import_steps import (
    BranchStep,
    CallStep,
    ClassNeeds,
    FaultStep,
    FunctionOutline,
    ImportStep,
    LoopStep,
    ModuleOutline,
    OwnCallStep,
    PackOutline,
    RaiseStep,
    Step,
    TryStep,
)
from comfywatchman.comfyui.static_analysis.module_names import (
    OWN,
    ModuleNames,
    build_module_name,
    iter_packages,
    join_dotted,
    read_module_names,
    split_location,
    split_module_name,
)
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource
from comfywatchman.comfyui.static_analysis.values import AbstractList, FuncRef, SourceModule, Value

_PATH_CHANGE: Final = (b"sys.path", b"sys.meta_path", b"addsitedir", b"__path__")
_INSTALLATION: Final = re.compile(rb"""\b(?:pip|conda)["', ]+install|\buv["', ]+pip\b|\bpip\.main\b|\bensurepip\b""")
_LOADING: Final = (
    b"import_module",
    b"__import__",
    b"exec_module",
    b"load_module",
    b"run_path",
    b"load_source",
    b"exec(",
)
_SET_ATTRIBUTE: Final = re.compile(rb"^[ \t]*(?!self\.|cls\.)[A-Za-z_][\w.]*\.([A-Za-z_]\w*)[ \t]*=(?!=)", re.MULTILINE)
_CALLED_SETATTR: Final = re.compile(rb"""setattr\([^,()]+,[ \t]*["'](\w+)["']""")
_SET_MODULE: Final = re.compile(rb"""sys\.modules(?:\[|\.setdefault\()[ \t]*["']([\w.]+)["']""")
_SET_VARIABLE: Final = re.compile(rb"""environ(?:\.setdefault\(|\[)[ \t]*["'](\w+)["'][ \t]*(?:,|\][ \t]*=(?!=))""")
_FOLDER_CODE: Final = b"folder_path"
_READ_FOLDER: Final = re.compile(
    rb"""(?:get_filename_list|get_folder_paths|get_full_path\w*)\([ \t]*["'][^"']*["']"""
    rb"""|folder_names_and_paths\[[ \t]*["'][^"']*["'][ \t]*\](?![ \t]*=[^=])"""
)
_QUOTED: Final = re.compile(rb"""["'](\w+)["']""")
_MAX_MODULES: Final = 2_000
_MAX_FUNCTIONS: Final = 500


class OutlineCollector:
    """Outlines modules of one pack; each module once.

    Args:
        tree: The pack's source.
        run: Analyses a module, which records the modules that its calls load.
        is_file: Whether the pack is one file, which belongs to no package.
    """

    def __init__(self, tree: SourceTree, run: Callable[[SourceModule], object], *, is_file: bool) -> None:
        self._tree = tree
        self._run = run
        self._is_file = is_file
        self._modules: dict[str, ModuleOutline | None] = {}
        self._outliners: dict[str, ModuleOutliner] = {}
        self._classes: dict[str, ClassNeeds] = {}
        self._inputs: dict[str, FunctionOutline] = {}
        self._entries: list[FunctionOutline] = []
        self._listing: list[FunctionOutline] = []
        self._functions: dict[str, FunctionOutline] = {}
        self._changes_path = False
        self._installs_packages = False
        self._set_names: set[str] = set()

    def add_needs(self, class_type: str, needs: ClassNeeds) -> None:
        """Record what a class needs. The pack itself is needed anyway."""
        needs = msgspec.structs.replace(needs, module=None if needs.module == OWN else needs.module)
        if needs != ClassNeeds():
            self._classes[class_type] = needs

    def add_fault(self, module: SourceModule, fault: FaultStep) -> str:
        """Record the error that ComfyUI gets when it lists a class, and return its key."""
        key = f"{build_module_name(module.parts)}:{fault.line}:{fault.error}"
        self._inputs[key] = FunctionOutline(self._get_file(module.path), (fault,))
        return key

    def add_function(self, function: Value) -> str | None:
        """Outline a function that lists the inputs of a class, and return its key; None when nothing in it may fail."""
        if not isinstance(function, FuncRef) or isinstance(function.node, ast.Lambda):
            return None
        node, module = function.node, function.scope.module
        key = f"{build_module_name(module.parts)}:{node.lineno}"
        if key not in self._inputs:
            steps = self._get_outliner(module, build_module_name(module.parts)).build_function_steps(node)
            self._inputs[key] = FunctionOutline(self._get_file(module.path), steps)
        return key if self._inputs[key].steps else None

    def add_entry(self, function: Value, error: RaiseStep | None = None) -> None:
        """Outline a function that a pack of the V3 API runs when it is imported, with an error at its end."""
        self._entries.append(self._outline_function(function, error))

    def add_listed_class(self, function: Value, error: RaiseStep | None = None) -> int:
        """Outline what lists a class of a pack of the V3 API; return how many functions run until it is listed."""
        self._listing.append(self._outline_function(function, error))
        return len(self._listing)

    def _outline_function(self, function: Value, error: RaiseStep | None) -> FunctionOutline:
        end = () if error is None else (error,)
        if not isinstance(function, FuncRef) or isinstance(function.node, ast.Lambda):
            return FunctionOutline("", end)
        module = function.scope.module
        outliner = self._get_outliner(module, build_module_name(module.parts))
        steps = outliner.build_function_steps(function.node)
        # What the function returns is looked at after its end.
        return FunctionOutline(self._get_file(module.path), (CallStep(steps), *end) if end else steps)

    def add_modules(self) -> None:
        """Outline every module that is parsed at the moment."""
        for module in list(self._tree.modules.values()):
            if module is not None:
                self._add_module(module, build_module_name(module.parts))
        self._outliners.clear()

    def _has_no_init(self) -> bool:
        """Return whether the pack surely has no file that Python could read; a folder of that name is none."""
        path = self._tree.root / "__init__.py"
        return not os.path.lexists(path) or os.path.isdir(path)

    def finish(self) -> PackOutline:
        """Outline the modules that the outlined ones import, and return the whole."""
        self.add_modules()
        root = self._tree.get_module(())
        if root is not None:
            self._add_module(root, OWN)
        elif () in self._tree.syntax_errors or self._has_no_init():
            self._add_absent(OWN)
        waiting = list(self._modules)
        for function in (*self._inputs.values(), *self._entries, *self._listing):
            waiting += self._add_imports(function.steps)
        while waiting and len(self._modules) < _MAX_MODULES:
            outline = self._modules[waiting.pop()]
            waiting += self._add_imports(() if outline is None else outline.steps)
        return PackOutline(
            modules=self._modules,
            classes=self._classes,
            inputs={key: function for key, function in self._inputs.items() if function.steps},
            entries=tuple(self._entries),
            listing=tuple(self._listing),
            functions=self._functions,
            changes_path=self._changes_path,
            installs_packages=self._installs_packages,
            sets_names=frozenset(self._set_names),
            submodules=find_unfetched_submodules(self._tree.root) if not self._is_file else (),
            path_folders={_build_prefix(parts): is_first for parts, is_first in self._tree.path_folders.items()},
        )

    def _add_imports(self, steps: Iterable[Step]) -> Iterator[str]:
        """Outline the modules that steps import, and the functions that they call; yield the names of new modules."""
        for step in _iter_imports(steps):
            if isinstance(step, OwnCallStep):
                yield from self._add_called_function(step.name)
                continue
            for module in self._list_targets(step.module):
                yield from self._add_import(module)
                imported = self._modules.get(module)
                if imported is not None:
                    for name in step.names:
                        yield from self._add_imported_name(module, imported.names, name)

    def _add_called_function(self, dotted: str) -> Iterator[str]:
        """Outline a function that another module of the pack calls; yield the names of the modules that it imports."""
        if dotted in self._functions or len(self._functions) >= _MAX_FUNCTIONS:
            return
        # Recursive functions end here.
        self._functions[dotted] = FunctionOutline("")
        module, _, name = dotted.rpartition(".")
        parts = split_location(module)
        is_held, problems = parts in self._tree.modules, len(self._tree.problems)
        found = self._tree.get_file_module(parts) if parts else self._tree.get_module(parts)
        del self._tree.problems[problems:]
        if found is None or found.path is None:
            return
        outliner = self._get_outliner(found, module or OWN)
        function = outliner.find_function(name)
        origin = outliner.source.names.origins.get(name, "")
        if function is not None:
            outline = FunctionOutline(self._get_file(found.path), outliner.build_function_steps(function))
            self._functions[dotted] = outline
            yield from self._add_imports(outline.steps)
        elif origin.startswith(OWN):
            yield from self._add_called_function(origin)
        if not is_held:
            self._outliners.pop(module or OWN, None)
            self._tree.release(parts)

    def _list_targets(self, module: str) -> list[str]:
        """Return the modules of the pack that an import may mean."""
        if module.startswith(OWN):
            return [module]
        top = module.partition(".")[0]
        folders = [parts for parts in self._tree.path_folders if not self._tree.is_missing((*parts, top))]
        return [_build_prefix(parts) + module for parts in folders]

    def _add_imported_name(self, module: str, names: ModuleNames, name: str) -> Iterator[str]:
        """Outline the modules that a name of `from … import` may mean: a name of the module, or a module inside it."""
        inner = sorted(names.public or ()) if name == "*" else [name]
        for part in inner:
            if part.isidentifier() and not names.binds(module, part):
                yield from self._add_import(join_dotted(module, part))

    def _add_import(self, module: str) -> Iterator[str]:
        """Outline a module and the packages around it; yield the names of new ones."""
        for name in iter_packages(module):
            if name in self._modules:
                continue
            parts = split_location(name)
            problems = len(self._tree.problems)
            is_held = parts in self._tree.modules
            found = self._tree.get_file_module(parts) if parts else self._tree.get_module(parts)
            # A module that registers no nodes does not matter for the list of classes.
            del self._tree.problems[problems:]
            if found is None:
                self._add_absent(name)
                continue
            self._add_module(found, name)
            yield name
            if not is_held:
                self._tree.release(parts)

    def _add_absent(self, name: str) -> None:
        """Record a module that does not exist or is not valid Python; one that cannot be read stays open."""
        parts = split_location(name)
        if parts in self._tree.syntax_errors:
            file = self._get_file(self._tree.find_file(parts))
            self._modules[name] = ModuleOutline(file, syntax_error=self._tree.syntax_errors[parts])
        elif not parts or self._tree.is_missing(parts):
            self._modules[name] = None

    def _add_module(self, module: SourceModule, name: str) -> None:
        if name in self._modules:
            return
        if module.path is None:
            self._modules[name] = ModuleOutline("", names=ModuleNames(frozenset()))
            return
        if any(word in module.content for word in (*_LOADING, *_PATH_CHANGE)):
            self._run(module)
        outliner = self._get_outliner(module, name)
        file = self._get_file(module.path)
        names = self._complete_names(module, outliner.source.names)
        self._modules[name] = ModuleOutline(file, outliner.build_steps(), names)
        self._read_effects(module.content)

    def _complete_names(self, module: SourceModule, names: ModuleNames) -> ModuleNames:
        """Return the names of a module, with an `__all__` that its source computes."""
        if names.public is not None or b"__all__" not in module.content:
            return names
        self._run(module)
        value = module.scope.names.get("__all__")
        if not isinstance(value, AbstractList) or value.is_open or not all(isinstance(v, str) for v in value.values):
            return names
        return msgspec.structs.replace(names, public=frozenset(value.values))

    def _get_file(self, path: Path | None) -> str:
        """Return the path of a file below the pack's folder, for people."""
        return printable_path(os.path.relpath(path or self._tree.root, self._tree.root))

    def _get_outliner(self, module: SourceModule, name: str) -> ModuleOutliner:
        outliner = self._outliners.get(name)
        if outliner is None:
            prefix = split_module_name(name)[0]
            package = module.package[len(split_location(prefix)) :]
            names = read_module_names(module.tree, module.content, package, prefix=prefix)
            # The analysis adds to these until the steps are built.
            source = OutlineSource(
                tree=module.tree,
                content=module.content,
                names=names,
                parts=module.parts,
                package=None if self._is_file else package,
                prefix=prefix,
                loads=self._tree.get_loads(module.parts),
                marks=self._tree.marks.setdefault(module.parts, set()),
                path=module.path,
                root=self._tree.root,
            )
            outliner = self._outliners[name] = ModuleOutliner(source)
        return outliner

    def _read_effects(self, content: bytes) -> None:
        """Note what the source may change outside of itself; text search is enough, since it only weakens verdicts."""
        self._changes_path = self._changes_path or any(code in content for code in _PATH_CHANGE)
        self._set_names.update(_list_set_facts(content))
        self._installs_packages = self._installs_packages or _INSTALLATION.search(content) is not None
        patterns = [_SET_ATTRIBUTE]
        if b"setattr(" in content:
            patterns.append(_CALLED_SETATTR)
        if b"sys.modules" in content:
            patterns.append(_SET_MODULE)
        for pattern in patterns:
            self._set_names.update(name.decode("ascii", "replace") for name in pattern.findall(content))


def _list_set_facts(content: bytes) -> Iterator[str]:
    """Yield the environment variables and model folders that a module may set."""
    if b"environ" in content:
        for name in _SET_VARIABLE.findall(content):
            yield name_variable(name.decode())
    if _FOLDER_CODE in content:
        # Which of its texts names a folder is not looked at.
        for name in _QUOTED.findall(_READ_FOLDER.sub(b"", content)):
            yield name_folder(name.decode("utf-8", "replace"))


def _iter_imports(steps: Iterable[Step]) -> Iterator[ImportStep | OwnCallStep]:
    for step in steps:
        match step:
            case ImportStep() | OwnCallStep():
                yield step
            case TryStep():
                for block in (step.body, *(handler.body for handler in step.handlers), step.orelse, step.final):
                    yield from _iter_imports(block)
            case BranchStep():
                yield from _iter_imports((*step.body, *step.orelse))
            case LoopStep() | CallStep():
                yield from _iter_imports(step.body)


def _build_prefix(folder: tuple[str, ...]) -> str:
    """Return how names of modules begin that Python finds through a folder of the pack on its path."""
    return f"{build_module_name(folder)}:"
