"""Models that are named inside texts and lists: embeddings, LoRA tags, entries of LoRA lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.comfyui.loaders.table import NOT_FILES
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Reference
from comfywatchman.comfyui.workflow.document import WorkflowNode

_EMBEDDING: Final = re.compile(r"embedding:([^\s,:()<>\[\]{}\\]+)")
_LORA_TAG: Final = re.compile(r"<(?:lora|lyco|lora_stack):([^:<>\n]+)(?::[^<>\n]*)?>")
_NO_NAME: Final = re.compile(r'[*?"|^$]|^\\')
_PLAIN_TEXT_CLASSES: Final = ("CLIPTextEncode", "PrimitiveString")

WidgetValue = tuple[str, int | None, object]
"""Input name, place among the widgets if known, and value."""


def is_plain_text(node: WorkflowNode) -> bool:
    """Say whether a node takes text that is nothing else than text."""
    return node.class_type.startswith(_PLAIN_TEXT_CLASSES)


def find_embeddings(node: WorkflowNode, name: str, value: str) -> Iterator[Reference]:
    """Give the embeddings that a text names (`embedding:name`)."""
    if "embedding:" not in value:
        return
    for one in dict.fromkeys(match.rstrip(".;") for match in _EMBEDDING.findall(value)):
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=one,
            folder="embeddings",
            active=node.active,
            kind="embedding",
            evidence="embedding: in a text; the server skips one that is missing",
            confidence="high",
            tries=(one, f"{one}.safetensors", f"{one}.pt", f"{one}.bin"),
        )


def find_lora_tags(node: WorkflowNode, name: str, value: str) -> Iterator[Reference]:
    """Give the LoRAs that a text names in tags (`<lora:name:1>`)."""
    if "<l" not in value:
        return
    ignored = is_plain_text(node)
    tags = (match.strip() for match in _LORA_TAG.findall(value))
    for one in dict.fromkeys(tag for tag in tags if not _NO_NAME.search(tag)):
        yield Reference(
            node_path=node.path,
            node_type=node.class_type,
            input=name,
            value=one,
            folder="loras",
            active=node.active,
            kind="lora_tag",
            evidence="<lora:…> in a text, which this class ignores" if ignored else "<lora:…> in a text",
            confidence="low" if ignored else "medium",
            tries=_list_tries(one),
        )


def _list_tries(value: str) -> tuple[str, ...]:
    if value.lower().endswith(MODEL_EXTENSIONS):
        return (value,)
    return tuple(f"{value}{extension}" for extension in MODEL_EXTENSIONS)


def find_listed_loras(node: WorkflowNode, rest: list[WidgetValue]) -> list[Reference]:
    """Give the entries of LoRA lists, as Power Lora Loader and LoRA Manager store them."""
    found: list[Reference] = []
    for name, _, value in rest:
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict):
                found.extend(_read_lora_entry(node, name, item))
    return found


def _read_lora_entry(node: WorkflowNode, name: str, item: Mapping[str, object]) -> Iterator[Reference]:
    lora, switch = item.get("lora"), "on"
    evidence = "an entry of a LoRA list (Power Lora Loader)"
    if not isinstance(lora, str) and "strength" in item and "active" in item:
        lora, switch = item.get("name"), "active"
        evidence = "an entry of a LoRA list (LoRA Manager)"
    if not isinstance(lora, str) or lora in NOT_FILES:
        return
    yield Reference(
        node_path=node.path,
        node_type=node.class_type,
        input=name,
        value=lora,
        folder="loras",
        active=node.active and item.get(switch) is not False,
        kind="lora_list",
        evidence=evidence,
        confidence="high" if "lora" in node.class_type.lower() else "medium",
        tries=(lora,) if switch == "on" else _list_tries(lora),
    )


def is_lora_entry(value: object) -> bool:
    """Say whether a value is an entry of a LoRA list."""
    return isinstance(value, dict) and (isinstance(value.get("lora"), str) or {"strength", "active"} <= value.keys())
