"""Read the values of known loader inputs, and turn them into references."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from comfywatchman.comfyui.loaders.table import NOT_FILES, LoaderInput
from comfywatchman.comfyui.loaders.tiny_vaes import NO_TINY_VAES, TinyVaes
from comfywatchman.comfyui.references.prompt_text import WidgetValue
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Reference
from comfywatchman.comfyui.workflow.document import WidgetDefault, WorkflowNode

_TINY_VAES_FOLDER: Final = "vae_approx"
NUMBER_PLACEHOLDER: Final = ".N."
"""Stands in an input name for any number (`loras.N.lora_name`)."""


def find_loader_values(node: WorkflowNode, loader_input: LoaderInput) -> Iterator[WidgetValue]:
    """Yield the values that a node holds for a loader input; none that a link, or the default of a class, gives."""
    for widget in _find_widgets(node, loader_input):
        if widget.value is not WidgetDefault.VALUE:
            yield widget


def _find_widgets(node: WorkflowNode, loader_input: LoaderInput) -> Iterator[WidgetValue]:
    name, index = loader_input.name, loader_input.widget_index
    if name in node.values:
        yield WidgetValue(name, index, node.values[name])
    elif NUMBER_PLACEHOLDER in name:
        yield from _find_values_by_number(node, name)
    elif index is not None and index < len(node.positional) and name not in node.linked:
        label = node.widget_names[index] if index < len(node.widget_names) else None
        if label is None:
            yield WidgetValue(name or f"#{index}", index, node.positional[index])
        elif not name and label not in node.linked:
            yield WidgetValue(label, index, node.positional[index])
        # A label of its own and a known name that differ: the widget at this index is another input.


def _find_values_by_number(node: WorkflowNode, name: str) -> Iterator[WidgetValue]:
    start, end = name.split(NUMBER_PLACEHOLDER, 1)
    pattern = re.compile(rf"{re.escape(start)}\.\d+\.{re.escape(end)}")
    for value_name, value in node.values.items():
        if pattern.fullmatch(value_name):
            yield WidgetValue(value_name, None, value)


def build_loader_references(
    node: WorkflowNode, loader_input: LoaderInput, widget: WidgetValue, *, tiny_vaes: TinyVaes = NO_TINY_VAES
) -> Iterator[Reference]:
    """Yield the references that the value of a loader input stands for; none for a choice that is not a file.

    Args:
        node: The node.
        loader_input: Its input.
        widget: The value.
        tiny_vaes: Approximations of a VAE that its class offers beside the files of the folder.
    """
    if _is_not_file(loader_input, widget.value):
        return
    text = _format_value(widget.value)
    for folder, tries, prefix in _resolve_files(loader_input.folder, text, tiny_vaes):
        also_folders = loader_input.also_folders
        if folder != loader_input.folder:
            # ComfyUI lists every file of the folder itself, whatever it is called.
            also_folders = () if prefix or folder != _TINY_VAES_FOLDER else (loader_input.folder,)
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=widget.name,
            value=text,
            folder=folder,
            active=node.active,
            kind="loader",
            evidence=loader_input.evidence,
            confidence=loader_input.confidence,
            tries=tries,
            prefix=prefix,
            also_folders=also_folders,
        )


def _is_not_file(loader_input: LoaderInput, value: object) -> bool:
    if isinstance(value, str):
        return value in loader_input.not_files
    # Where the choices are known exactly, null is not among them: the server refuses it, so it is reported.
    has_exact_choices = loader_input.not_files is not NOT_FILES
    return value is None and not has_exact_choices


def _resolve_files(folder: str, value: str, tiny_vaes: TinyVaes) -> list[tuple[str, tuple[str, ...], str]]:
    """Return folder, file names to try and the beginning of further names of each file that the server opens."""
    if value in tiny_vaes.images:
        # The server builds these from two files, of which only the beginning counts (`taesd_encoder.fp16.safetensors`).
        files: list[tuple[str, tuple[str, ...], str]] = []
        for part in ("encoder", "decoder"):
            tries = tuple(f"{value}_{part}{extension}" for extension in MODEL_EXTENSIONS)
            files.append((_TINY_VAES_FOLDER, tries, f"{value}_{part}."))
        return files
    if value.startswith(tiny_vaes.videos):
        return [(_TINY_VAES_FOLDER, (value,), "")]
    # The nodes of Impact Pack put the subfolder in front of the file name.
    if folder.startswith("ultralytics_") and value.startswith(("bbox/", "segm/")):
        return [(f"ultralytics_{value[:4]}", (value[5:],), "")]
    return [(folder, (value,), "")]


def _format_value(value: object) -> str:
    """Write a value as JSON would; a list or mapping only by its size, as it may be nested beyond the stack."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
