"""Read the node classes and model inputs that a pack defines from its source; nothing is imported or run."""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.extensions import find_class_error, find_entry_error, find_listing_error
from comfywatchman.comfyui.packs.inherited_inputs import list_inherited_inputs
from comfywatchman.comfyui.packs.outline import OutlineCollector
from comfywatchman.comfyui.static_analysis.faults.class_faults import find_class_fault
from comfywatchman.comfyui.static_analysis.import_steps import NO_OUTLINE, ClassNeeds, PackOutline
from comfywatchman.comfyui.static_analysis.inputs import evaluate_input_types, read_inputs
from comfywatchman.comfyui.static_analysis.module_names import build_module_name
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, SourceTree
from comfywatchman.comfyui.static_analysis.node_classes.signatures import read_signature
from comfywatchman.comfyui.static_analysis.statements import AbstractInterpreter
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassInstance,
    ClassRef,
    DeferredImport,
    DeferredValue,
    FuncRef,
    Mark,
    NodeSchema,
    SourceModule,
    Value,
)
from comfywatchman.comfyui.validation.signature import NodeSignature

_MAPPINGS_NAME: Final = "NODE_CLASS_MAPPINGS"
_ENTRYPOINT_NAME: Final = "comfy_entrypoint"
_NODE_NAMES_PATTERN: Final = re.compile(rb"NODE_CLASS_MAPPINGS|comfy_entrypoint")
_COMFYUI_NAMES: Final = frozenset(
    {"nodes", "folder_paths", "comfy", "comfy_api", "comfy_extras", "server", "execution"}
)
"""Modules of ComfyUI: an absolute import of them never means a file of the pack."""

CORE_FOLDERS: Final = ("comfy_extras", "comfy_api_nodes")
"""Folders of ComfyUI with files of its own nodes beside `nodes.py`."""

_MAX_PROBLEMS: Final = 20
_MAX_HELD_BYTES: Final = 1 << 20
_MAX_CHOICES: Final = 1_000_000
"""Of all classes of a pack together: a thousand classes may share one list of ten thousand choices."""


@dataclass(slots=True)
class NodeDefinitions:
    """The nodes that a pack defines, as far as its source shows.

    Attributes:
        classes: Names that it certainly maps, provided that what `outline` lists succeeds.
        possible_classes: Names that it maps under a condition that static analysis cannot decide.
        loader_inputs: Inputs that take a model name.
        file_inputs: Inputs that take a file of the input folder.
        signatures: What ComfyUI checks of each class, as far as the source shows it.
        complete: Whether there are no further classes; False when names are computed.
        outline: What must succeed for the pack to be imported, and for its classes to be mapped.
        problems: Files that could not be read, for people.
    """

    classes: set[str] = field(default_factory=set)
    possible_classes: set[str] = field(default_factory=set)
    loader_inputs: list[LoaderInput] = field(default_factory=list)
    file_inputs: list[FileInput] = field(default_factory=list)
    signatures: dict[str, NodeSignature] = field(default_factory=dict)
    complete: bool = True
    outline: PackOutline = NO_OUTLINE
    problems: list[str] = field(default_factory=list)


def read_pack_definitions(root: Path, sources: Iterable[str], *, label: str) -> NodeDefinitions:
    """Read the source of a pack.

    Args:
        root: The pack's folder, or the one file of a one-file pack.
        sources: Paths of its Python files, relative to the folder.
        label: The pack's name in the evidence of its inputs.
    """
    if os.path.isfile(root):
        tree = SourceTree(root.parent, frozenset())
        tree.add_file((), root)
        return _read_pack(tree, [], label, is_file=True)
    names = sorted(name for name in sources if name.endswith(".py"))
    top_names = {name.partition("/")[0].removesuffix(".py") for name in names}
    tree = SourceTree(root, frozenset(top_names - _COMFYUI_NAMES - sys.stdlib_module_names))
    return _read_pack(tree, names, label, is_file=False)


def list_core_files(comfyui_root: Path) -> list[Path]:
    """Return the files that define ComfyUI's own classes; empty where there is no ComfyUI."""
    nodes = comfyui_root / "nodes.py"
    if not os.path.isfile(nodes):
        return []
    files = [nodes]
    for folder in CORE_FOLDERS:
        files.extend(sorted((comfyui_root / folder).glob("nodes_*.py")))
    return files


def read_core_definitions(comfyui_root: Path) -> NodeDefinitions:
    """Read the classes of ComfyUI itself: `nodes.py`, `comfy_extras` and `comfy_api_nodes`."""
    tree = SourceTree(comfyui_root, frozenset({"nodes", "comfy_extras", "comfy_api_nodes", "comfy"}))
    nodes = ("nodes",)
    roots = [path.relative_to(comfyui_root).with_suffix("").parts for path in list_core_files(comfyui_root)]
    reader = _DefinitionReader(tree, "ComfyUI", AbstractInterpreter(tree))
    with _closing(tree):
        for root in roots or [nodes]:
            reader.read_root(root)
            # Each file stands alone but for `nodes.py`, from which the others import.
            tree.forget({nodes})
            # Every ComfyUI has classes in nodes.py; an empty or unreadable one does not show which are installed.
            if root == nodes and not reader.definitions.classes:
                reader.definitions.complete = False
    return _finish(reader.definitions, tree)


def list_file_classes(comfyui_root: Path, file: str) -> frozenset[str]:
    """Return the classes that one file of ComfyUI's own nodes maps, or may map.

    Args:
        comfyui_root: The folder of `main.py`.
        file: Path of the file below it.
    """
    tree = SourceTree(comfyui_root, frozenset({"nodes", "comfy_extras", "comfy_api_nodes", "comfy"}))
    reader = _DefinitionReader(tree, "ComfyUI", AbstractInterpreter(tree))
    with _closing(tree):
        reader.read_root(Path(file).with_suffix("").parts)
    return frozenset(reader.definitions.classes | reader.definitions.possible_classes)


def _read_pack(tree: SourceTree, sources: list[str], label: str, *, is_file: bool) -> NodeDefinitions:
    interpreter = AbstractInterpreter(tree)
    collector = OutlineCollector(tree, interpreter.run, is_file=is_file)
    reader = _DefinitionReader(tree, label, interpreter, collector)
    definitions = reader.definitions
    with _closing(tree):
        reader.read_root(())
        definitions.complete = definitions.complete and not tree.has_hidden_names
        if not definitions.complete:
            reader.read_loose_modules(sources)
        definitions.outline = collector.finish()
    return _finish(definitions, tree)


def _finish(definitions: NodeDefinitions, tree: SourceTree) -> NodeDefinitions:
    definitions.complete = definitions.complete and not tree.problems
    definitions.possible_classes -= definitions.classes
    definitions.problems = tree.problems[:_MAX_PROBLEMS]
    return definitions


@contextlib.contextmanager
def _closing(tree: SourceTree) -> Iterator[None]:
    """Report a source that is nested too deep, and free all syntax trees at the end."""
    try:
        with _pause_garbage_collection():
            yield
    except RecursionError:
        tree.problems.append("the source is nested too deep to be read in full")
    finally:
        tree.forget(())


@contextlib.contextmanager
def _pause_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: it walks every new syntax tree and makes parsing 2.7 times as slow."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _DefinitionReader:
    """Reads modules of a pack and collects the nodes that they define.

    Args:
        tree: The pack's source.
        label: The pack's name in the evidence of its inputs.
        interpreter: Evaluates it.
        collector: Outlines the modules of a pack; None for ComfyUI itself.
    """

    def __init__(
        self,
        tree: SourceTree,
        label: str,
        interpreter: AbstractInterpreter,
        collector: OutlineCollector | None = None,
    ) -> None:
        self._tree = tree
        self._collector = collector
        self._interpreter = interpreter
        self._is_loose = False
        self._evidence = f"source of {label}"
        self._choice_count = 0
        self.definitions = NodeDefinitions()

    def read_root(self, parts: tuple[str, ...]) -> None:
        """Read a module that ComfyUI itself imports."""
        module = self._tree.get_module(parts)
        if module is None:
            self.definitions.complete = False
        else:
            self._read_module(module)

    def read_loose_modules(self, sources: list[str]) -> None:
        """Read the mappings of files that the pack loads in a way that static analysis cannot follow."""
        # Whether the pack imports them, and maps what they map, is not known.
        self._is_loose = True
        followed = {parts for parts, module in self._tree.modules.items() if module is not None and module.has_run}
        for source in sources:
            parts = tuple(source.removesuffix(".py").removesuffix("/__init__").split("/"))
            path = self._tree.root / source
            if parts == ("__init__",) or parts in followed or not _mentions_nodes(path):
                continue
            if self._tree.held_bytes > _MAX_HELD_BYTES:
                if self._collector is not None:
                    self._collector.add_modules()
                self._tree.forget(())
            # Its folder may have no name that Python could import; then only its path leads to it.
            module = self._tree.get_module(parts) or self._tree.add_file(parts, path)
            if module is not None:
                self._read_module(module)

    def _read_module(self, module: SourceModule) -> None:
        names = self._interpreter.run(module).names
        self._force_calls(module)
        mappings = self._interpreter.force(module.scope, _MAPPINGS_NAME) if _MAPPINGS_NAME in names else None
        # ComfyUI does not look for an entry point in a pack that has mappings, even empty ones.
        if mappings is not None:
            self._read_mappings(mappings)
        elif _ENTRYPOINT_NAME in names:
            self._read_entrypoint(self._interpreter.force(module.scope, _ENTRYPOINT_NAME))

    def _force_calls(self, module: SourceModule) -> None:
        """Evaluate deferred calls of the pack's own functions, since they may add to the mapping."""
        names = module.scope.names
        for name, value in list(names.items()):
            if not isinstance(value, DeferredValue) or not isinstance(value.expression, ast.Call):
                continue
            function = value.expression.func
            if isinstance(function, ast.Name) and isinstance(names.get(function.id), FuncRef | DeferredImport):
                self._interpreter.force(module.scope, name)

    def _read_mappings(self, mappings: Value) -> None:
        if not isinstance(mappings, AbstractDict):
            self.definitions.complete = False
            return
        if mappings.is_open:
            self.definitions.complete = False
        for name, value in mappings.entries.items():
            if isinstance(name, str):
                self._add_class(name, value, is_certain=name not in mappings.possible_keys)
                self._add_needs(name, value, mappings.marks.get(name, frozenset()))

    def _read_entrypoint(self, entrypoint: Value) -> None:
        """Read a V3 extension: `comfy_entrypoint()` returns an object whose `get_node_list()` returns the classes."""
        extension = self._call(entrypoint)
        listing = UNKNOWN
        if isinstance(extension, ClassInstance):
            listing = self._interpreter.get_attribute(extension, "get_node_list")
        classes = self._call(listing)
        if self._collector is not None and not self._is_loose:
            self._collector.add_entry(entrypoint, find_entry_error(extension, self._interpreter))
            self._collector.add_entry(listing, find_listing_error(listing, classes))
        if not isinstance(classes, AbstractList):
            self.definitions.complete = False
            return
        if classes.is_open:
            self.definitions.complete = False
        seen: set[str] = set()
        for value in classes.values:
            schema = self._read_schema(value) if isinstance(value, ClassRef) else None
            listed = self._add_listed_class(value)
            node_id = schema.node_id if schema is not None else UNKNOWN
            # A second node with the same id means that the id was not understood: ComfyUI would refuse it.
            if not isinstance(node_id, str) or node_id in seen:
                self.definitions.complete = False
                continue
            seen.add(node_id)
            self._add_class(node_id, value, is_certain=True)
            self._add_needs(node_id, value, frozenset(), listed)

    def _add_listed_class(self, value: Value) -> int:
        if self._collector is None or self._is_loose or not isinstance(value, ClassRef):
            return 0
        function = self._interpreter.get_attribute(value, "define_schema")
        return self._collector.add_listed_class(function, find_class_error(value, self._interpreter))

    def _call(self, function: Value) -> Value:
        if not isinstance(function, FuncRef):
            return UNKNOWN
        return self._interpreter.call(function, [], {})

    def _read_schema(self, node_class: ClassRef) -> NodeSchema | None:
        function = self._interpreter.get_attribute(node_class, "define_schema")
        if not isinstance(function, FuncRef):
            return None
        schema = self._interpreter.call(function, [] if function.is_bound else [node_class], {})
        return schema if isinstance(schema, NodeSchema) else None

    def _add_class(self, name: str, value: Value, *, is_certain: bool) -> None:
        definitions = self.definitions
        is_new = name not in definitions.classes and name not in definitions.possible_classes
        if is_certain and not self._is_loose:
            definitions.classes.add(name)
        else:
            definitions.possible_classes.add(name)
        if not isinstance(value, ClassRef):
            definitions.signatures.pop(name, None)
            return
        description = self._read_schema(value)
        if description is None:
            description = evaluate_input_types(value, self._interpreter)
        # A later mapping of the same name replaces an earlier one.
        definitions.signatures.pop(name, None)
        if self._choice_count < _MAX_CHOICES:
            signature = read_signature(name, value, description, self._interpreter, is_core=self._collector is None)
            self._choice_count += sum(len(each.choices or each.known_choices or ()) for each in signature.inputs)
            definitions.signatures[name] = signature
        if is_new:
            inputs = read_inputs(name, description, self._evidence)
            definitions.loader_inputs.extend(inputs.models)
            if not inputs.models:
                inherited = list_inherited_inputs(name, value, self._interpreter, self._evidence)
                definitions.loader_inputs.extend(inherited)
            definitions.file_inputs.extend(inputs.files)

    def _add_needs(self, name: str, value: Value, marks: frozenset[Mark], listed: int = 0) -> None:
        """Record what must succeed for a class to be mapped."""
        if self._collector is None:
            return
        module, inputs = None, None
        if isinstance(value, ClassRef):
            module = build_module_name(value.scope.module.parts)
            inputs = None if listed else self._find_inputs(value)
        self._collector.add_needs(name, ClassNeeds(module, tuple(sorted(marks)), inputs, listed))

    def _find_inputs(self, node_class: ClassRef) -> str | None:
        """Return the key of what may fail when ComfyUI lists a class; None when nothing may."""
        if self._collector is None:
            return None
        fault = find_class_fault(node_class, self._interpreter)
        if fault is not None:
            return self._collector.add_fault(node_class.scope.module, fault)
        return self._collector.add_function(self._find_inputs_function(node_class))

    def _find_inputs_function(self, node_class: ClassRef) -> Value:
        for name in ("define_schema", "INPUT_TYPES"):
            function = self._interpreter.get_attribute(node_class, name)
            if isinstance(function, FuncRef):
                return function
        return UNKNOWN


def _mentions_nodes(path: Path) -> bool:
    try:
        return _NODE_NAMES_PATTERN.search(read_regular(path, max_bytes=MAX_SOURCE_BYTES)) is not None
    except Failure:
        return False
