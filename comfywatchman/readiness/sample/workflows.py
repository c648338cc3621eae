"""Build the workflows of the sample host: one for each kind of result in a report."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

Graph = dict[str, Any]

CHECKPOINT: Final = "sample_model.safetensors"
_MUTED: Final = 2
_OUTPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "CLIPTextEncode": ("CONDITIONING",),
    "EmptyLatentImage": ("LATENT",),
    "KSampler": ("LATENT",),
    "LoadImage": ("IMAGE", "MASK"),
    "LoraLoader": ("MODEL", "CLIP"),
    "UpscaleModelLoader": ("UPSCALE_MODEL",),
    "VAEDecode": ("IMAGE",),
}


@dataclass(frozen=True, slots=True)
class _SampleGraphNode:
    """One node of a graph.

    Attributes:
        kind: Node class.
        values: Widget values in their order.
        inputs: Slot name, number of the node linked to it, and that node's output slot.
        muted: Whether the node is muted.
    """

    kind: str
    values: Sequence[object] = ()
    inputs: Sequence[tuple[str, int, int]] = ()
    muted: bool = False


def build_sample_workflows() -> dict[str, bytes]:
    """Return the contents of the workflow files by file name; the name describes the result."""
    plain = build_text_to_image()
    graphs = {
        "01 ready.json": plain,
        "02 a LoRA is missing.json": build_text_to_image(lora="sample_missing.safetensors"),
        "03 written on Windows.json": build_text_to_image(lora="style\\sample_ink.safetensors"),
        "04 upper and lower case.json": build_text_to_image(lora="sample_painting.safetensors"),
        "05 the model lies in another folder.json": build_text_to_image(lora="sample_misplaced.safetensors"),
        "06 the model is broken.json": build_text_to_image(checkpoint="sample_truncated.safetensors"),
        "07 an unknown node.json": build_text_to_image(last="SampleNodeOfNoPack"),
        "08 a node of an installed pack.json": build_text_to_image(last="SampleNode"),
        "09 ready, with a muted LoRA.json": build_text_to_image(lora="sample_missing.safetensors", lora_muted=True),
    }
    files = {name: _encode_graph(graph) for name, graph in graphs.items()}
    files["10 as sent to the server.json"] = _encode_graph(_build_api_prompt())
    files["11 inside a picture.png"] = build_png_with_text("workflow", orjson.dumps(plain))
    files["12 cut short.json"] = _encode_graph(plain)[:400]
    return files


def build_text_to_image(
    *, checkpoint: str = CHECKPOINT, lora: str | None = None, lora_muted: bool = False, last: str = "SaveImage"
) -> Graph:
    """Return a text-to-image graph as the editor saves it.

    Args:
        checkpoint: Name of its checkpoint.
        lora: Name of a LoRA between checkpoint and sampler; None for no LoRA.
        lora_muted: Whether the LoRA node is muted and not linked to any other node.
        last: Class of the node that receives the image.
    """
    # Number of the node that provides model and CLIP: the LoRA loader (8) or the checkpoint loader (1).
    model_node = 8 if lora and not lora_muted else 1
    nodes = [
        _SampleGraphNode("CheckpointLoaderSimple", [checkpoint]),
        _SampleGraphNode("CLIPTextEncode", ["a lighthouse at dusk"], [("clip", model_node, 1)]),
        _SampleGraphNode("CLIPTextEncode", ["blurry"], [("clip", model_node, 1)]),
        _SampleGraphNode("EmptyLatentImage", [512, 512, 1]),
        _SampleGraphNode("KSampler", [42, "fixed", 20, 7.0, "euler", "normal", 1.0], _list_sampler_inputs(model_node)),
        _SampleGraphNode("VAEDecode", [], [("samples", 5, 0), ("vae", 1, 2)]),
        _SampleGraphNode(last, ["sample"], [("images", 6, 0)]),
    ]
    if lora:
        inputs = [] if lora_muted else [("model", 1, 0), ("clip", 1, 1)]
        nodes.append(_SampleGraphNode("LoraLoader", [lora, 0.8, 0.8], inputs, muted=lora_muted))
    return _build_graph(nodes)


def build_png_with_text(keyword: str, text: bytes) -> bytes:
    """Return a small PNG with a text chunk, as ComfyUI saves a workflow with an image."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(8 * (1 + 8)))
    chunks = ((b"IHDR", header), (b"tEXt", keyword.encode("latin-1") + b"\0" + text), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_encode_chunk(kind, content) for kind, content in chunks)


def _list_sampler_inputs(model: int) -> list[tuple[str, int, int]]:
    return [("model", model, 0), ("positive", 2, 0), ("negative", 3, 0), ("latent_image", 4, 0)]


def _build_graph(nodes: Sequence[_SampleGraphNode]) -> Graph:
    written = [_write_node(number, node) for number, node in enumerate(nodes, start=1)]
    links: list[tuple[int, int, int, int, int, str]] = []
    for number, node in enumerate(nodes, start=1):
        for input_slot, (name, origin, output_slot) in enumerate(node.inputs):
            link = len(links) + 1
            kind = _OUTPUTS[nodes[origin - 1].kind][output_slot]
            # Both ends of a link name it, and the list of links describes it.
            links.append((link, origin, output_slot, number, input_slot, kind))
            written[number - 1]["inputs"].append({"name": name, "type": kind, "link": link})
            written[origin - 1]["outputs"][output_slot]["links"].append(link)
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": written,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _write_node(number: int, node: _SampleGraphNode) -> Graph:
    return {
        "id": number,
        "type": node.kind,
        "pos": [280 * (number - 1), 100],
        "size": [260, 120],
        "flags": {},
        "order": number - 1,
        "mode": _MUTED if node.muted else 0,
        "inputs": [],
        "outputs": [{"name": kind, "type": kind, "links": []} for kind in _OUTPUTS.get(node.kind, ())],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": list(node.values),
    }


def _build_api_prompt() -> Graph:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "sample_upscaler.safetensors"}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["2", 0], "image": ["1", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "sample"}},
    }


def _encode_graph(graph: Graph) -> bytes:
    return orjson.dumps(graph, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _encode_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
