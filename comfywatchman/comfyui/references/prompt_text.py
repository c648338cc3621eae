"""Find models that are named inside texts and lists: embeddings, LoRA tags, entries of LoRA lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.loaders.name_resolution import NameResolution, get_resolution
from comfywatchman.comfyui.loaders.table import NOT_FILES
from comfywatchman.comfyui.packs.core_classes import load_core_classes
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Confidence, Reference
from comfywatchman.comfyui.workflow.document import WorkflowNode

_EMBEDDING: Final = re.compile(r"embedding:([^\s,:()<>\[\]{}\\]+)")
_LORA_TAG: Final = re.compile(r"<(?:lora|lyco|lora_stack):([^:<>\n]+)(?::[^<>\n]*)?>")
_NOT_A_NAME: Final = re.compile(r'[*?"|^$]|^\\')
"""Parts of search patterns: some nodes take a regular expression or wildcard between the brackets of a tag."""

_PLAIN_TEXT_CLASSES: Final = ("CLIPTextEncode", "PrimitiveString")
_ENCODER_CLASS: Final = "CLIPTextEncode"

_HIGH: Final[Confidence] = "high"
_MEDIUM: Final[Confidence] = "medium"
_LOW: Final[Confidence] = "low"


@dataclass(frozen=True, slots=True)
class WidgetValue:
    """The value of one widget of a node.

    Attributes:
        name: Input name, or `#4` where only the widget index is known.
        index: Index in the editor's `widgets_values`; None where it is unknown.
        value: The value.
    """

    name: str
    index: int | None
    value: object


def is_plain_text(node: WorkflowNode) -> bool:
    """Return whether a node takes text in which LoRA tags and file names mean nothing."""
    return node.class_type.startswith(_PLAIN_TEXT_CLASSES)


def _encodes_tags(node: WorkflowNode) -> bool:
    """Return whether a node is an encoder of ComfyUI itself, for which a LoRA tag is text as any other."""
    return node.class_type.startswith(_ENCODER_CLASS) and node.class_type in load_core_classes()


def find_embeddings(node: WorkflowNode, name: str, text: str) -> Iterator[Reference]:
    """Yield the embeddings that a text names (`embedding:name`)."""
    if "embedding:" not in text:
        return
    # Punctuation at the end of a sentence is not part of the name.
    names = [match.rstrip(".;") for match in _EMBEDDING.findall(text)]
    for embedding in dict.fromkeys(names):
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=embedding,
            folder="embeddings",
            active=node.active,
            kind="embedding",
            evidence="embedding: in a text; the server skips one that is missing",
            confidence="high",
            tries=(embedding, f"{embedding}.safetensors", f"{embedding}.pt", f"{embedding}.bin"),
            resolution=NameResolution.ANY_FOLDER,
        )


def find_lora_tags(node: WorkflowNode, name: str, text: str) -> Iterator[Reference]:
    """Yield the LoRAs that a text names in tags (`<lora:name:1>`)."""
    if "<l" not in text or _encodes_tags(node):
        return
    evidence, confidence = "<lora:…> in a text", _MEDIUM
    if is_plain_text(node):
        evidence, confidence = "<lora:…> in a text, which this class ignores", _LOW
    resolution = get_resolution(node.class_type)
    names = [match.strip() for match in _LORA_TAG.findall(text)]
    for lora in dict.fromkeys(names):
        if _NOT_A_NAME.search(lora):
            continue
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=lora,
            folder="loras",
            active=node.active,
            kind="lora_tag",
            evidence=evidence,
            confidence=confidence,
            tries=_list_tries(lora, resolution),
            resolution=resolution,
        )


def _list_tries(name: str, resolution: NameResolution) -> tuple[str, ...]:
    """Return the file names that a name without its suffix may stand for."""
    if resolution is NameResolution.BARE_NAME:
        name = name.replace("\\", "/")
    if name.lower().endswith(MODEL_EXTENSIONS):
        return (name,)
    if resolution is NameResolution.ENDING:
        return (f"{name}.safetensors",)
    if resolution is NameResolution.SIMILAR:
        return (name, *(f"{name}{extension}" for extension in MODEL_EXTENSIONS))
    return tuple(f"{name}{extension}" for extension in MODEL_EXTENSIONS)


def find_lora_entries(node: WorkflowNode, values: Iterable[WidgetValue]) -> list[Reference]:
    """Return the entries of LoRA lists, as Power Lora Loader and LoRA Manager store them."""
    references: list[Reference] = []
    for widget in values:
        # Power Lora Loader stores each entry in a widget of its own, LoRA Manager all of them in one list.
        entries = as_list(widget.value) or [widget.value]
        for entry in entries:
            reference = _read_lora_entry(node, widget.name, as_mapping(entry))
            if reference is not None:
                references.append(reference)
    return references


def _read_lora_entry(node: WorkflowNode, name: str, entry: Mapping[str, object]) -> Reference | None:
    lora, is_on = entry.get("lora"), entry.get("on") is not False
    evidence = "an entry of a LoRA list (Power Lora Loader)"
    resolution = get_resolution(node.class_type)
    needs_extension = resolution is not NameResolution.LISTED
    if not isinstance(lora, str) and "strength" in entry and "active" in entry:
        lora, is_on = entry.get("name"), entry["active"] is not False
        evidence = "an entry of a LoRA list (LoRA Manager)"
        # LoRA Manager stores names without their extension.
        needs_extension, resolution = True, NameResolution.BARE_NAME
    if not isinstance(lora, str) or lora in NOT_FILES:
        return None
    tries: tuple[str, ...] = (lora,)
    if needs_extension:
        tries = _list_tries(lora, resolution)
    # Other nodes store entries of the same shape that may mean something else.
    confidence = _MEDIUM
    if "lora" in node.class_type.lower():
        confidence = _HIGH
    return Reference(
        node_path=node.path,
        node_type=node.class_type,
        input=name,
        value=lora,
        folder="loras",
        active=node.active and is_on,
        kind="lora_list",
        evidence=evidence,
        confidence=confidence,
        tries=tries,
        resolution=resolution,
    )


def is_lora_entry(value: object) -> bool:
    """Return whether a value is an entry of a LoRA list."""
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("lora"), str) or {"strength", "active"} <= value.keys()
