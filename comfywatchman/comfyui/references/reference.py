"""A place in a workflow that names a model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.comfyui.loaders.name_resolution import NameResolution

Confidence = Literal["high", "medium", "low"]
ReferenceKind = Literal["loader", "embedding", "lora_tag", "lora_list", "heuristic"]

MODEL_EXTENSIONS: Final = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
"""Extensions that ComfyUI lists in its own model folders (`folder_paths.supported_pt_extensions`)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One place in a workflow that names a model file.

    Attributes:
        node_path: Path of the node (`12:5`), as the server writes it.
        node_type: Its class.
        input: Input name; `text` parts (embeddings, LoRA tags) carry the name of the text input.
        value: The name exactly as the workflow writes it.
        folder: Canonical model folder (`loras`); None when only the file extension shows that it is a model.
        active: Whether the node runs, neither muted nor bypassed.
        kind: How the reference was recognised.
        evidence: Why this input names a model, for people.
        confidence: How certain that is; `low` for the file-extension heuristic.
        tries: File names that the server tries in turn; for most references the value alone.
        also_folders: Further folders that the server lists for the same input.
        prefix: How the names of other files begin that the server takes as well; empty for none.
        resolution: How the node finds a file by these names.
    """

    node_path: str
    node_type: str
    input: str
    value: str
    folder: str | None
    active: bool
    kind: ReferenceKind
    evidence: str
    confidence: Confidence
    tries: tuple[str, ...]
    also_folders: tuple[str, ...] = ()
    prefix: str = ""
    resolution: NameResolution = NameResolution.LISTED
