"""Outline the modules that importing a pack executes, as far as import statements lead to them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.static_analysis.import_outline import ModuleOutliner, OutlineSource
from comfywatchman.comfyui.static_analysis.import_steps import (
    BranchStep,
    CallStep,
    ClassNeeds,
    FunctionOutline,
    ImportStep,
    LoopStep,
    ModuleOutline,
    PackOutline,
    Step,
    TryStep,
)
from comfywatchman.comfyui.static_analysis.module_names import (
    OWN,
    ModuleNames,
    build_module_name,
    read_module_names,
)
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import FuncRef, SourceModule, Value

_PATH_CHANGE: Final = (b"sys.path", b"sys.meta_path", b"addsitedir", b"__path__")
_INSTALLATION: Final = re.compile(rb"""\b(?:pip|conda)["', ]+install|\buv["', ]+pip\b|\bpip\.main\b|\bensurepip\b""")
_SET_ATTRIBUTE: Final = re.compile(rb"^[ \t]*(?!self\.|cls\.)[A-Za-z_][\w.]*\.([A-Za-z_]\w*)[ \t]*=(?!=)", re.MULTILINE)
_CALLED_SETATTR: Final = re.compile(rb"""setattr\([^,()]+,[ \t]*["'](\w+)["']""")
_SET_MODULE: Final = re.compile(rb"""sys\.modules(?:\[|\.setdefault\()[ \t]*["']([\w.]+)["']""")
_MAX_MODULES: Final = 2_000


class OutlineCollector:
    """Outlines modules of one pack; each module once.

    Args:
        tree: The pack's source.
        is_file: Whether the pack is one file, which belongs to no package.
    """

    def __init__(self, tree: SourceTree, *, is_file: bool) -> None:
        self._tree = tree
        self._is_file = is_file
        self._modules: dict[str, ModuleOutline | None] = {}
        self._outliners: dict[SourceModule, ModuleOutliner] = {}
        self._classes: dict[str, ClassNeeds] = {}
        self._inputs: dict[str, FunctionOutline] = {}
        self._changes_path = False
        self._installs_packages = False
        self._set_names: set[str] = set()

    def add_needs(self, class_type: str, needs: ClassNeeds) -> None:
        """Record what a class needs. The pack itself is needed anyway."""
        needs = msgspec.structs.replace(needs, module=None if needs.module == OWN else needs.module)
        if needs != ClassNeeds():
            self._classes[class_type] = needs

    def add_function(self, function: Value) -> str | None:
        """Outline a function that lists the inputs of a class, and return its key; None when nothing in it may fail."""
        if not isinstance(function, FuncRef) or isinstance(function.node, ast.Lambda):
            return None
        node, module = function.node, function.scope.module
        key = f"{build_module_name(module.parts)}:{node.lineno}"
        if key not in self._inputs:
            steps = self._get_outliner(module).build_function_steps(node)
            self._inputs[key] = FunctionOutline(self._get_file(module.path), steps)
        return key if self._inputs[key].steps else None

    def add_modules(self) -> None:
        """Outline every module that is parsed at the moment."""
        for module in list(self._tree.modules.values()):
            if module is not None:
                self._add_module(module)
        self._outliners.clear()

    def finish(self) -> PackOutline:
        """Outline the modules that the outlined ones import, and return the whole."""
        self.add_modules()
        root = self._tree.get_module(())
        if root is not None:
            self._add_module(root)
        elif () in self._tree.syntax_errors or not os.path.lexists(self._tree.root / "__init__.py"):
            self._add_absent(())
        waiting = list(self._modules)
        for function in self._inputs.values():
            waiting += self._add_imports(function.steps)
        while waiting and len(self._modules) < _MAX_MODULES:
            outline = self._modules[waiting.pop()]
            waiting += self._add_imports(() if outline is None else outline.steps)
        return PackOutline(
            modules=self._modules,
            classes=self._classes,
            inputs={key: function for key, function in self._inputs.items() if function.steps},
            changes_path=self._changes_path,
            installs_packages=self._installs_packages,
            sets_names=frozenset(self._set_names),
        )

    def _add_imports(self, steps: Iterable[Step]) -> Iterator[str]:
        """Outline the modules that steps import; yield the names of new ones."""
        for step in _iter_imports(steps):
            if not step.module.startswith(OWN):
                continue
            yield from self._add_import(_split(step.module))
            imported = self._modules.get(step.module)
            for name in step.names:
                # A name that the module does not bind may be a module inside it.
                if imported is not None and name != "*" and not imported.names.binds(step.module, name):
                    yield from self._add_import((*_split(step.module), name))

    def _add_import(self, parts: tuple[str, ...]) -> Iterator[str]:
        """Outline a module and the packages around it; yield the names of new ones."""
        for length in range(len(parts) + 1):
            name = build_module_name(parts[:length])
            if name in self._modules:
                continue
            problems = len(self._tree.problems)
            is_held = parts[:length] in self._tree.modules
            module = self._tree.get_module(parts[:length])
            # A module that registers no nodes does not matter for the list of classes.
            del self._tree.problems[problems:]
            if module is None:
                self._add_absent(parts[:length])
                continue
            self._add_module(module)
            yield name
            if not is_held:
                self._tree.release(parts[:length])

    def _add_absent(self, parts: tuple[str, ...]) -> None:
        """Record a module that does not exist or is not valid Python; one that cannot be read stays open."""
        name = build_module_name(parts)
        if parts in self._tree.syntax_errors:
            file = self._get_file(self._tree.find_file(parts))
            self._modules[name] = ModuleOutline(file, syntax_error=self._tree.syntax_errors[parts])
        elif not parts or self._tree.is_missing(parts):
            self._modules[name] = None

    def _add_module(self, module: SourceModule) -> None:
        name = build_module_name(module.parts)
        if name in self._modules:
            return
        if module.path is None:
            self._modules[name] = ModuleOutline("", names=ModuleNames(frozenset()))
            return
        outliner = self._get_outliner(module)
        file = self._get_file(module.path)
        self._modules[name] = ModuleOutline(file, outliner.build_steps(), outliner.source.names)
        self._read_effects(module.content)

    def _get_file(self, path: Path | None) -> str:
        """Return the path of a file below the pack's folder, for people."""
        return printable_path(os.path.relpath(path or self._tree.root, self._tree.root))

    def _get_outliner(self, module: SourceModule) -> ModuleOutliner:
        outliner = self._outliners.get(module)
        if outliner is None:
            package = None if self._is_file else module.package
            names = read_module_names(module.tree, module.content, module.package, prefix=OWN)
            # The analysis adds to both until the steps are built.
            followed = self._tree.followed_imports.setdefault(module.parts, {})
            marks = self._tree.marks.setdefault(module.parts, set())
            source = OutlineSource(module.tree, module.content, names, module.parts, package, followed, marks)
            outliner = self._outliners[module] = ModuleOutliner(source)
        return outliner

    def _read_effects(self, content: bytes) -> None:
        """Note what the source may change outside of itself; text search is enough, since it only weakens verdicts."""
        self._changes_path = self._changes_path or any(code in content for code in _PATH_CHANGE)
        self._installs_packages = self._installs_packages or _INSTALLATION.search(content) is not None
        patterns = [_SET_ATTRIBUTE]
        if b"setattr(" in content:
            patterns.append(_CALLED_SETATTR)
        if b"sys.modules" in content:
            patterns.append(_SET_MODULE)
        for pattern in patterns:
            self._set_names.update(name.decode("ascii", "replace") for name in pattern.findall(content))


def _iter_imports(steps: Iterable[Step]) -> Iterator[ImportStep]:
    for step in steps:
        match step:
            case ImportStep():
                yield step
            case TryStep():
                for block in (step.body, *(handler.body for handler in step.handlers), step.orelse, step.final):
                    yield from _iter_imports(block)
            case BranchStep():
                yield from _iter_imports((*step.body, *step.orelse))
            case LoopStep() | CallStep():
                yield from _iter_imports(step.body)


def _split(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split(".") if part)
