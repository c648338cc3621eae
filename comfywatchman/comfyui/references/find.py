"""Which model files a workflow names, where, and how surely."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput, LoaderTable, load_builtin_table
from comfywatchman.comfyui.references.prompt_text import (
    WidgetValue,
    find_embeddings,
    find_listed_loras,
    find_lora_tags,
    is_lora_entry,
    is_plain_text,
)
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Reference
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowNode, WorkflowProblem

_EXTENSION_HINTS: Final = (*MODEL_EXTENSIONS, ".gguf", ".onnx", ".patch", ".engine", ".task", ".torchscript")
_TINY_VAES: Final = frozenset({"taesd", "taesdxl", "taesd3", "taef1", "taef2"})
_TINY_VIDEO_VAES: Final = ("taehv", "lighttae", "taeltx_2", "taeh3")
_VAE_LOADERS: Final = frozenset({"VAELoader", "VAELoaderKJ"})
_NUMBER_PLACEHOLDER: Final = ".N."
_LONGEST_NAME: Final = 400
_MAX_NESTING: Final = 3


def find_references(workflow: Workflow, table: LoaderTable) -> tuple[Reference, ...]:
    """List every place of a workflow that names a model file, in file order.

    Presets, names that a node fetches by itself, values that a node offers beside files, pickers, notes, addresses
    and prompt text are no references. A loader's value that does not look like a file name is one.

    Args:
        workflow: The workflow.
        table: Loader knowledge, that of packs and of a running server merged in by the caller.
    """
    declared = {model.name: model.directory for model in workflow.declared if model.directory}
    found: list[Reference] = []
    for node in workflow.nodes:
        if (node.values or node.positional) and not table.is_display(node.class_type):
            found.extend(_find_in_node(node, table, declared))
    return tuple(found)


def find_unnamed_models(
    workflow: Workflow, table: LoaderTable, found: Iterable[Reference]
) -> Iterator[WorkflowProblem]:
    """Give the inputs of active loaders for which the file holds no name: left out, or made by another node's run.

    A computed name is passed over where another node of the workflow names a model of the same folder: selectors do,
    and the loader they feed gets that name. The editor fills in what is left out; the server refuses it.

    Args:
        workflow: The workflow.
        table: Loader knowledge.
        found: Its references.
    """
    named = {reference.folder for reference in found if reference.active}
    for node in workflow.nodes:
        if not node.active:
            continue
        for known in table.inputs(node.class_type):
            if known.confidence != "high" or not known.name or _NUMBER_PLACEHOLDER in known.name:
                continue
            if known.name in node.linked and known.folder not in named:
                message = f"Which model of {known.folder} {known.name} gets is known only when the workflow runs."
                yield WorkflowProblem("model-name-computed", message, node.path)
            elif workflow.format is WorkflowFormat.API and _is_left_out(node, known):
                yield WorkflowProblem("model-name-absent", f"Its required input {known.name} is left out.", node.path)


def _is_left_out(node: WorkflowNode, known: LoaderInput) -> bool:
    if known.name in node.values or known.name in node.linked:
        return False
    # Only of the inputs of ComfyUI's own loaders it is known that all are required.
    return any(
        one.name == known.name and one.confidence == "high" for one in load_builtin_table().inputs(node.class_type)
    )


def _find_in_node(node: WorkflowNode, table: LoaderTable, declared: Mapping[str, str | None]) -> Iterator[Reference]:
    class_type = node.class_type
    taken: set[int | str] = set()
    for known in table.inputs(class_type):
        for name, place, value in _find_loader_values(node, known):
            if name in taken or place in taken:
                continue
            taken.update((name,) if place is None else (name, place))
            if not _is_exempt(table, class_type, name, place):
                yield from _build_loader_references(node, known, name, value)
    others = _list_other_values(node, taken, placed=not table.is_plain(class_type))
    rest = [given for given in others if isinstance(given[2], (str, list, dict))]
    if rest:
        unplaced = _find_unplaced_folder(table.inputs(class_type), taken)
        yield from _find_in_other_values(node, table, rest, declared, unplaced)


def _find_in_other_values(
    node: WorkflowNode,
    table: LoaderTable,
    rest: list[WidgetValue],
    declared: Mapping[str, str | None],
    unplaced: str | None,
) -> Iterator[Reference]:
    listed = find_listed_loras(node, rest)
    names_in_lists = {reference.value for reference in listed}
    yield from listed
    for name, place, value in rest:
        if isinstance(value, str):
            in_text = [*find_embeddings(node, name, value), *find_lora_tags(node, name, value)]
            yield from (one for one in in_text if one.value not in names_in_lists)
            if in_text or not _is_file_name(value):
                continue
        if not _is_exempt(table, node.class_type, name, place) and not is_plain_text(node):
            yield from _guess_references(node, name, value, declared, unplaced if name not in node.values else None)


def _is_exempt(table: LoaderTable, class_type: str, name: str, place: int | None) -> bool:
    if table.is_plain(class_type):
        return False
    places: list[str | int] = [name] if place is None else [name, place]
    return table.is_picker(class_type, name) or any(
        table.is_preset(class_type, one) or table.auto_downloads(class_type, one) for one in places
    )


def _find_loader_values(node: WorkflowNode, known: LoaderInput) -> Iterator[WidgetValue]:
    name, place = known.name, known.widget_index
    if name in node.values:
        yield name, place, node.values[name]
    elif _NUMBER_PLACEHOLDER in name:
        start, end = name.split(_NUMBER_PLACEHOLDER, 1)
        pattern = re.compile(rf"{re.escape(start)}\.\d+\.{re.escape(end)}")
        yield from ((one, None, value) for one, value in node.values.items() if pattern.fullmatch(one))
    elif place is not None and place < len(node.positional) and name not in node.linked:
        label = node.widget_names[place] if place < len(node.widget_names) else None
        if label is None:
            yield name or f"#{place}", place, node.positional[place]
        elif not name and label not in node.linked:
            yield label, place, node.positional[place]


def _list_other_values(node: WorkflowNode, taken: set[int | str], *, placed: bool) -> Iterator[WidgetValue]:
    names = node.widget_names
    places = {name: place for place, name in enumerate(names)} if placed else {}
    for name, value in node.values.items():
        if name not in taken:
            yield name, places.get(name), value
    if not names and len(node.values) >= len(node.positional):
        # Every widget without a name is fed from outside; what it stores is stale.
        return
    for place, value in enumerate(node.positional):
        if (place >= len(names) or names[place] is None) and place not in taken:
            yield f"#{place}", place, value


def _build_loader_references(node: WorkflowNode, known: LoaderInput, name: str, value: object) -> Iterator[Reference]:
    exact = known.not_files is not NOT_FILES
    if value in known.not_files if isinstance(value, str) else value is None and not exact:
        return
    shown = value if isinstance(value, str) else _format_value(value)
    for folder, tries in _resolve_files(node.class_type, known.folder, shown):
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=shown,
            folder=folder,
            active=node.active,
            kind="loader",
            evidence=known.evidence,
            confidence=known.confidence,
            tries=tries,
            also_folders=known.also_folders if folder == known.folder else (),
        )


def _resolve_files(class_type: str, folder: str, value: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if class_type in _VAE_LOADERS and value in _TINY_VAES:
        # The server builds these from two files of vae_approx, found by name whatever their extension.
        for part in ("encoder", "decoder"):
            yield "vae_approx", tuple(f"{value}_{part}{extension}" for extension in MODEL_EXTENSIONS)
    elif class_type in _VAE_LOADERS and value.startswith(_TINY_VIDEO_VAES):
        yield "vae_approx", (value,)
    elif folder.startswith("ultralytics_") and value.startswith(("bbox/", "segm/")):
        yield f"ultralytics_{value[:4]}", (value[5:],)
    else:
        yield folder, (value,)


def _format_value(value: object) -> str:
    # Containers are not spelled out: they may be nested deeper than the stack allows.
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)}"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def _is_file_name(value: str) -> bool:
    return (
        len(value) <= _LONGEST_NAME
        and value.lower().endswith(_EXTENSION_HINTS)
        and "\n" not in value
        and "://" not in value
        and "|" not in value
    )


def _find_unplaced_folder(known: tuple[LoaderInput, ...], taken: set[int | str]) -> str | None:
    # The class takes a file of this folder, but neither the file nor the table tells in which place.
    folders = {one.folder for one in known if one.widget_index is None and one.name not in taken}
    return folders.pop() if len(folders) == 1 else None


def _guess_references(
    node: WorkflowNode, name: str, value: object, declared: Mapping[str, str | None], unplaced: str | None
) -> Iterator[Reference]:
    for one in dict.fromkeys(_find_file_names(value)):
        folder = declared.get(one) or declared.get(re.split(r"[\\/]", one)[-1])
        evidence = "declared by the author" if folder else "the file extension alone"
        if folder is None and unplaced is not None:
            folder, evidence = unplaced, f"the file extension, in a class that takes one of {unplaced}"
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=one,
            folder=folder,
            active=node.active,
            kind="heuristic",
            evidence=evidence,
            confidence="medium" if folder else "low",
            tries=(one,),
        )


def _find_file_names(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if _is_file_name(value):
            yield value
    elif depth < _MAX_NESTING and isinstance(value, (list, dict)) and not is_lora_entry(value):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find_file_names(item, depth + 1)
