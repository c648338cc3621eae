"""Guess references from file extensions, for widgets that no loader knowledge covers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.comfyui.packs.core_classes import load_core_classes
from comfywatchman.comfyui.references.prompt_text import is_lora_entry
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Confidence, Reference
from comfywatchman.comfyui.workflow.document import WorkflowNode

_EXTENSION_HINTS: Final = (*MODEL_EXTENSIONS, ".gguf", ".onnx", ".patch", ".engine", ".task", ".torchscript")
_LONGEST_NAME: Final = 400
_MAX_NESTING: Final = 3
_PREFIX_WORD: Final = "prefix"
"""Part of the names of inputs that say how the names of saved files begin (`filename_prefix`)."""

_SAVE_WORD: Final = "Save"
"""Part of the names of ComfyUI's classes that write files; what they name need not exist yet."""

_NOT_IN_NAMES: Final = ("\n", "://", "|")
"""Signs of prompt text, addresses, and choices such as `repository|file` that the node downloads itself."""


def is_file_name(text: str) -> bool:
    """Return whether a text looks like the name of a model file."""
    if len(text) > _LONGEST_NAME or not text.lower().endswith(_EXTENSION_HINTS):
        return False
    return not any(sign in text for sign in _NOT_IN_NAMES)


def guess_references(
    node: WorkflowNode, name: str, value: object, declared: Mapping[str, str], possible_folder: str | None
) -> Iterator[Reference]:
    """Yield a reference for each file name in a value.

    Args:
        node: The node.
        name: Input name of the value.
        value: A text, or a list or mapping that may hold texts.
        declared: Folders by file name, as the workflow's author declared them.
        possible_folder: The folder of an input of the class that may be this one; None when there is none.
    """
    is_saver = _SAVE_WORD in node.class_type and node.class_type in load_core_classes()
    is_written = is_saver or _PREFIX_WORD in name.lower()
    for file_name in dict.fromkeys(_find_file_names(value)):
        base_name = re.split(r"[\\/]", file_name)[-1]
        folder = declared.get(file_name) or declared.get(base_name)
        confidence: Confidence = "medium"
        if folder is not None:
            evidence = "declared by the author"
        elif is_written:
            continue
        elif possible_folder is not None:
            folder = possible_folder
            evidence = f"the file extension, in a class that takes one of {possible_folder}"
        else:
            confidence = "low"
            evidence = "the file extension alone"
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=file_name,
            folder=folder,
            active=node.active,
            kind="heuristic",
            evidence=evidence,
            confidence=confidence,
            tries=(file_name,),
        )


def _find_file_names(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if is_file_name(value):
            yield value
        return
    # Entries of LoRA lists have been read already.
    if depth >= _MAX_NESTING or is_lora_entry(value):
        return
    elements: list[object] = []
    if isinstance(value, dict):
        elements = list(value.values())
    elif isinstance(value, list):
        elements = value
    for element in elements:
        yield from _find_file_names(element, depth + 1)
