"""Node classes and model inputs of a pack, read from its source; nothing of it is imported or run."""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.static_analysis.import_errors import cannot_be_imported
from comfywatchman.comfyui.static_analysis.inputs import has_input_checks, read_inputs
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, SourceTree
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
    NodeSchema,
    SourceModule,
    Value,
)

_MAPPINGS_NAME: Final = "NODE_CLASS_MAPPINGS"
_ENTRYPOINT_NAME: Final = "comfy_entrypoint"
_NODE_NAMES_PATTERN: Final = re.compile(rb"NODE_CLASS_MAPPINGS|comfy_entrypoint")
_COMFYUI_NAMES: Final = frozenset(
    {"nodes", "folder_paths", "comfy", "comfy_api", "comfy_extras", "server", "execution"}
)
_CORE_FOLDERS: Final = ("comfy_extras", "comfy_api_nodes")
_MAX_PROBLEMS: Final = 20
_MAX_HELD_BYTES: Final = 1 << 20


@dataclass(slots=True)
class NodeDefinitions:
    """What a pack's source says about its nodes.

    Attributes:
        classes: Names it surely maps, if it can be imported; none when its source shows that it cannot.
        possible_classes: Names it maps only under a condition that reading cannot decide.
        loader_inputs: Inputs that take a model name.
        file_inputs: Inputs that take a file of the input folder.
        own_checks: Those of the classes that check some input by themselves, or may.
        complete: `classes` and `possible_classes` are all there are; False when names are computed.
        problems: Files that could not be read, in words.
    """

    classes: set[str] = field(default_factory=set)
    possible_classes: set[str] = field(default_factory=set)
    loader_inputs: list[LoaderInput] = field(default_factory=list)
    file_inputs: list[FileInput] = field(default_factory=list)
    own_checks: set[str] = field(default_factory=set)
    complete: bool = True
    problems: list[str] = field(default_factory=list)


def read_pack_definitions(root: Path, sources: Iterable[str], *, label: str) -> NodeDefinitions:
    """Read the source of one pack.

    Args:
        root: The pack's folder, or the one file of a one-file pack.
        sources: Paths of its Python files, relative to the folder.
        label: How the pack is named in the evidence of its inputs.
    """
    if os.path.isfile(root):
        tree = SourceTree(root.parent, frozenset())
        tree.add_file((), root)
        return _read_definitions(tree, [()], [], label)
    names = sorted(name for name in sources if name.endswith(".py"))
    tops = {name.partition("/")[0].removesuffix(".py") for name in names}
    tree = SourceTree(root, frozenset(tops - _COMFYUI_NAMES - sys.stdlib_module_names))
    return _read_definitions(tree, [()], names, label)


def list_core_files(comfyui_root: Path) -> list[Path]:
    """Return the files that define ComfyUI's own classes; empty where there is no ComfyUI."""
    nodes = comfyui_root / "nodes.py"
    if not os.path.isfile(nodes):
        return []
    return [nodes, *(path for folder in _CORE_FOLDERS for path in sorted((comfyui_root / folder).glob("nodes_*.py")))]


def read_core_definitions(comfyui_root: Path) -> NodeDefinitions:
    """Read the classes of ComfyUI itself: `nodes.py`, `comfy_extras` and `comfy_api_nodes`."""
    tree = SourceTree(comfyui_root, frozenset({"nodes", "comfy_extras"}))
    roots = [path.relative_to(comfyui_root).with_suffix("").parts for path in list_core_files(comfyui_root)]
    return _read_definitions(tree, roots or [("nodes",)], [], "ComfyUI", keep=frozenset({("nodes",)}))


def _read_definitions(
    tree: SourceTree,
    roots: list[tuple[str, ...]],
    sources: list[str],
    label: str,
    *,
    keep: Collection[tuple[str, ...]] | None = None,
) -> NodeDefinitions:
    specs = NodeDefinitions(problems=tree.problems)
    reader = AbstractInterpreter(tree)
    fails = False
    try:
        with _pause_garbage_collection():
            for root in roots:
                _read_root(tree, root, reader, specs, label)
                if keep is not None:
                    tree.forget(keep)
            fails = keep is None and cannot_be_imported(tree)
            if not specs.complete:
                _read_loose_modules(tree, reader, specs, label, sources)
    except RecursionError:
        tree.problems.append("the source is nested too deep to be read in full")
    finally:
        tree.forget(())
    if fails:
        specs.possible_classes |= specs.classes
        specs.classes.clear()
        tree.problems.append("its own source shows that it cannot be imported")
    specs.complete = specs.complete and not tree.problems
    specs.possible_classes -= specs.classes
    del tree.problems[_MAX_PROBLEMS:]
    return specs


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


def _read_root(
    tree: SourceTree, root: tuple[str, ...], reader: AbstractInterpreter, specs: NodeDefinitions, label: str
) -> None:
    module = tree.module(root)
    if module is None:
        specs.complete = False
    else:
        _read_module(module, reader, specs, label)


def _read_module(module: SourceModule, reader: AbstractInterpreter, specs: NodeDefinitions, label: str) -> None:
    names = reader.run(module).names
    _force_calls(module, reader)
    if _MAPPINGS_NAME in names:
        _read_mappings(reader.force(module.scope, _MAPPINGS_NAME), reader, specs, label)
    if _ENTRYPOINT_NAME in names:
        _read_entrypoint(reader.force(module.scope, _ENTRYPOINT_NAME), reader, specs, label)


def _force_calls(module: SourceModule, reader: AbstractInterpreter) -> None:
    """Follow waiting calls of the pack's own functions: what they put into the mapping counts, not what they give."""
    names = module.scope.names
    for name, value in list(names.items()):
        if isinstance(value, DeferredValue) and isinstance(value.expression, ast.Call):
            function = value.expression.func
            own = names.get(function.id) if isinstance(function, ast.Name) else None
            if isinstance(own, FuncRef | DeferredImport):
                reader.force(module.scope, name)


def _read_mappings(mappings: Value, reader: AbstractInterpreter, specs: NodeDefinitions, label: str) -> None:
    if not isinstance(mappings, AbstractDict):
        specs.complete = False
        return
    specs.complete = specs.complete and not mappings.is_open
    for name, value in mappings.entries.items():
        if isinstance(name, str):
            _add_class(name, value, reader, specs, label=label, is_doubtful=name in mappings.doubtful)


def _add_class(
    name: str, value: Value, reader: AbstractInterpreter, specs: NodeDefinitions, *, label: str, is_doubtful: bool
) -> None:
    is_new = name not in specs.classes and name not in specs.possible_classes
    (specs.possible_classes if is_doubtful else specs.classes).add(name)
    if not isinstance(value, ClassRef) or has_input_checks(value, reader):
        specs.own_checks.add(name)
    if is_new and isinstance(value, ClassRef):
        schema = _read_schema(value, reader)
        found = read_inputs(name, value, schema, reader, f"source of {label}")
        specs.loader_inputs.extend(found.models)
        specs.file_inputs.extend(found.files)


def _read_schema(owner: ClassRef, reader: AbstractInterpreter) -> NodeSchema | None:
    function = reader.get_attribute(owner, "define_schema")
    if not isinstance(function, FuncRef):
        return None
    schema = reader.call(function, [] if function.is_bound else [owner], {})
    return schema if isinstance(schema, NodeSchema) else None


def _read_entrypoint(entry: Value, reader: AbstractInterpreter, specs: NodeDefinitions, label: str) -> None:
    extension = reader.call(entry, [], {}) if isinstance(entry, FuncRef) else UNKNOWN
    listing = reader.get_attribute(extension, "get_node_list") if isinstance(extension, ClassInstance) else UNKNOWN
    classes = reader.call(listing, [], {}) if isinstance(listing, FuncRef) else UNKNOWN
    if not isinstance(classes, AbstractList):
        specs.complete = False
        return
    specs.complete = specs.complete and not classes.is_open
    seen: set[str] = set()
    for value in classes.values:
        schema = _read_schema(value, reader) if isinstance(value, ClassRef) else None
        if schema is None or not isinstance(schema.node_id, str) or schema.node_id in seen:
            specs.complete = False
        else:
            seen.add(schema.node_id)
            _add_class(schema.node_id, value, reader, specs, label=label, is_doubtful=False)


def _read_loose_modules(
    tree: SourceTree, reader: AbstractInterpreter, specs: NodeDefinitions, label: str, sources: list[str]
) -> None:
    """Read the mappings of files that the pack loads in a way reading cannot follow."""
    followed = {parts for parts, module in tree.modules.items() if module is not None and module.has_run}
    for name in sources:
        parts = tuple(name.removesuffix(".py").removesuffix("/__init__").split("/"))
        if parts == ("__init__",) or parts in followed or not _mentions_nodes(tree.root / name):
            continue
        if tree.held_bytes > _MAX_HELD_BYTES:
            tree.forget(())
        module = tree.module(parts) or tree.add_file(parts, tree.root / name)
        if module is not None:
            _read_module(module, reader, specs, label)


def _mentions_nodes(path: Path) -> bool:
    try:
        return _NODE_NAMES_PATTERN.search(read_regular(path, max_bytes=MAX_SOURCE_BYTES)) is not None
    except Failure:
        return False
