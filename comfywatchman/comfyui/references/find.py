"""Find every place of a workflow that names a model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable
from comfywatchman.comfyui.loaders.tiny_vaes import NO_TINY_VAES
from comfywatchman.comfyui.references.heuristics import guess_references, is_file_name
from comfywatchman.comfyui.references.loader_values import build_loader_references, find_loader_values
from comfywatchman.comfyui.references.prompt_text import (
    WidgetValue,
    find_embeddings,
    find_lora_entries,
    find_lora_tags,
    is_plain_text,
)
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowNode

_VALUE_TYPES: Final = (str, list, dict)
"""Types of values that may name a model outside the known loader inputs."""


def find_references(workflow: Workflow, table: LoaderTable) -> tuple[Reference, ...]:
    """Return every place of a workflow that names a model file, in workflow order.

    Not references are: presets, names that a node downloads itself, choices of a node that are not files, pickers,
    notes, addresses and prompt text. A loader's value is a reference even if it does not look like a file name.

    Args:
        workflow: The workflow.
        table: Loader knowledge; the caller has merged in that of packs and of a running server.
    """
    declared: dict[str, str] = {}
    for model in workflow.declared:
        if model.directory:
            declared[model.name] = model.directory

    references: list[Reference] = []
    for node in workflow.nodes:
        has_values = node.values or node.positional
        if has_values and not table.is_display(node.class_type):
            references.extend(_find_in_node(node, table, declared))
    return tuple(references)


def _find_in_node(node: WorkflowNode, table: LoaderTable, declared: Mapping[str, str]) -> Iterator[Reference]:
    # Names and indexes of the widgets that were read; two inputs of a table may mean the same widget.
    taken: set[int | str] = set()
    tiny_vaes = table.tiny_vaes.get(node.class_type, NO_TINY_VAES)
    for loader_input in table.inputs(node.class_type):
        for widget in find_loader_values(node, loader_input):
            if widget.name in taken or widget.index in taken:
                continue
            taken.add(widget.name)
            if widget.index is not None:
                taken.add(widget.index)
            if not _is_exempt(table, node.class_type, widget):
                yield from build_loader_references(node, loader_input, widget, tiny_vaes=tiny_vaes)
    yield from _find_in_other_values(node, table, taken, declared)


def _find_in_other_values(
    node: WorkflowNode, table: LoaderTable, taken: set[int | str], declared: Mapping[str, str]
) -> Iterator[Reference]:
    """Yield references of widgets that no known loader input claims."""
    needs_index = not table.is_plain(node.class_type)
    others = _list_other_values(node, taken, needs_index=needs_index)
    widgets = [widget for widget in others if isinstance(widget.value, _VALUE_TYPES)]
    if not widgets:
        return

    listed = find_lora_entries(node, widgets)
    yield from listed
    listed_names = {reference.value for reference in listed}
    only_folder = _find_only_folder(table.inputs(node.class_type), taken)
    for widget in widgets:
        name, value = widget.name, widget.value
        if isinstance(value, str):
            in_text = [*find_embeddings(node, name, value), *find_lora_tags(node, name, value)]
            # LoRA Manager writes its list into its text as well; the list states which entries are off.
            yield from (reference for reference in in_text if reference.value not in listed_names)
            if in_text or not is_file_name(value):
                continue
        if is_plain_text(node) or _is_exempt(table, node.class_type, widget):
            continue
        # A value with a name is not the input with an unknown index: that one has another name.
        possible_folder = None if name in node.values else only_folder
        yield from guess_references(node, name, value, declared, possible_folder)


def _list_other_values(node: WorkflowNode, taken: set[int | str], *, needs_index: bool) -> Iterator[WidgetValue]:
    names = node.widget_names
    indexes: dict[str | None, int] = {}
    if needs_index:
        indexes = {name: index for index, name in enumerate(names)}
    for name, value in node.values.items():
        if name not in taken:
            yield WidgetValue(name, indexes.get(name), value)
    if not names and len(node.values) >= len(node.positional):
        # Links feed every widget without a name; the values that the file stores for them are stale.
        return
    for index, value in enumerate(node.positional):
        has_name = index < len(names) and names[index] is not None
        if not has_name and index not in taken:
            yield WidgetValue(f"#{index}", index, value)


def _is_exempt(table: LoaderTable, class_type: str, widget: WidgetValue) -> bool:
    """Return whether a widget is a picker, a preset or downloaded by the node itself, and so needs no file."""
    if table.is_plain(class_type):
        return False
    if table.is_picker(class_type, widget.name):
        return True
    places: list[str | int] = [widget.name]
    if widget.index is not None:
        places.append(widget.index)
    return any(table.is_preset(class_type, place) or table.auto_downloads(class_type, place) for place in places)


def _find_only_folder(inputs: tuple[LoaderInput, ...], taken: set[int | str]) -> str | None:
    """Return the model folder of the inputs without a known widget index; None if there are several or none."""
    folders: set[str] = set()
    for loader_input in inputs:
        if loader_input.widget_index is None and loader_input.name not in taken:
            folders.add(loader_input.folder)
    return folders.pop() if len(folders) == 1 else None
