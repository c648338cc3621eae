"""Small workflows, one for each feature of the file formats, and the pieces to write more."""

from __future__ import annotations

import json
from typing import Any

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowNode
from comfywatchman.comfyui.workflow.reader import read_workflow

SUB = "11111111-2222-4333-8444-555555555555"
INNER = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"

Json = dict[str, Any]


def node(identity: object, class_type: str, values: object = None, **more: object) -> Json:
    """Write a node of the editor's format."""
    found: Json = {"id": identity, "type": class_type, "mode": 0, "inputs": [], "outputs": [], "properties": {}}
    if values is not None:
        found["widgets_values"] = values
    return found | more


def slot(name: str, link: object = None, *, widget: bool = True, kind: str = "COMBO") -> Json:
    """Write an input of a node."""
    found: Json = {"name": name, "type": kind, "link": link}
    return found | {"widget": {"name": name}} if widget else found


def graph(*nodes: Json, links: list[Any] | None = None, **more: object) -> Json:
    """Write a workflow of the editor's format."""
    return {"version": 0.4, "nodes": list(nodes), "links": links or [], **more}


def link(identity: int, origin: object, target: object, *, origin_slot: int = 0, target_slot: int = 0) -> Json:
    """Write a link as an object, as version 1 and subgraphs have it."""
    return {
        "id": identity,
        "origin_id": origin,
        "origin_slot": origin_slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": "*",
    }


def subgraph(*nodes: Json, inputs: tuple[str, ...] = (), links: list[Json] | None = None, **more: object) -> Json:
    """Write a subgraph definition with the id SUB, whose inputs and outputs list their links."""
    links = links or []
    own_inputs: list[Json] = [{"id": name, "name": name, "type": "COMBO"} for name in inputs]
    for slot_number, own_input in enumerate(own_inputs):
        own_input["linkIds"] = [
            one["id"] for one in links if (one["origin_id"], one["origin_slot"]) == (-10, slot_number)
        ]
    raw: Json = {
        "id": SUB,
        "version": 1,
        "inputs": own_inputs,
        "outputs": [],
        "nodes": list(nodes),
        "links": links,
    } | more
    for slot_number, own_output in enumerate(raw["outputs"]):
        own_output["linkIds"] = [
            one["id"] for one in links if (one["target_id"], one["target_slot"]) == (-20, slot_number)
        ]
    return raw


def with_subgraph(host: Json, *definitions: Json) -> Json:
    """Write a workflow that holds one instance of a subgraph."""
    return graph(host, definitions={"subgraphs": list(definitions)})


def read(raw: object) -> Workflow:
    """Read a workflow written as JSON values."""
    return read_workflow(json.dumps(raw).encode(), table=load_builtin_table())


def nodes_of(raw: object) -> dict[str, WorkflowNode]:
    """Read a workflow and give its nodes by path."""
    return {found.path: found for found in read(raw).nodes}


def promoted_checkpoint(**host: object) -> Json:
    """Write a subgraph whose own input `ckpt` feeds a checkpoint loader that stores `inner.safetensors`."""
    loader = node(5, "CheckpointLoaderSimple", ["inner.safetensors"], inputs=[slot("ckpt_name", 1)])
    definition = subgraph(loader, inputs=("ckpt",), links=[link(1, -10, 5)])
    return with_subgraph(node(2, SUB, **host), definition)


def nested_subgraphs() -> Json:
    """Write a subgraph inside a subgraph, the outer host giving the value."""
    loader = node(7, "LoraLoaderModelOnly", ["deep.safetensors", 1.0], inputs=[slot("lora_name", 1)])
    inner = subgraph(loader, inputs=("lora",), links=[link(1, -10, 7)]) | {"id": INNER}
    middle = node(3, INNER, inputs=[slot("lora", 9)])
    outer = subgraph(middle, inputs=("name",), links=[link(9, -10, 3)])
    return with_subgraph(node(1, SUB, ["outer.safetensors"], inputs=[slot("name")]), outer, inner)


def grouped(instance_values: list[object]) -> Json:
    """Write a group node of a checkpoint loader, a sampler and a LoRA loader."""
    inner = [
        node(0, "CheckpointLoaderSimple", ["old.safetensors"], index=0),
        node(0, "KSampler", [1, "fixed", 20, 8, "euler", "normal", 1], index=1),
        node(0, "LoraLoader", ["old-lora.safetensors", 1, 1], index=2),
    ]
    definition = {"nodes": inner, "links": [[0, 0, 2, 0, 1, "MODEL"]], "external": []}
    host = node(4, "workflow>Loaders", instance_values)
    return graph(host, extra={"groupNodes": {"Loaders": definition}})


def primitive_into_loader() -> Json:
    """Write a PrimitiveNode that leads to a loader through a Reroute: the editor does not apply its value."""
    return graph(
        node(1, "PrimitiveNode", ["from-primitive.safetensors", "fixed"]),
        node(2, "Reroute", inputs=[slot("", 1, widget=False, kind="*")]),
        node(3, "CheckpointLoaderSimple", ["stored.safetensors"], inputs=[slot("ckpt_name", 2)]),
        links=[[1, 1, 0, 2, 0, "COMBO"], [2, 2, 0, 3, 0, "COMBO"]],
    )


def get_and_set() -> Json:
    """Write a text that reaches a loader through a SetNode and a GetNode."""
    return graph(
        node(1, "PrimitiveString", ["published.safetensors"]),
        node(2, "SetNode", ["name"], inputs=[slot("STRING", 1, widget=False)]),
        node(3, "GetNode", ["name"]),
        node(4, "VAELoader", ["stored.safetensors"], inputs=[slot("vae_name", 2)]),
        links=[[1, 1, 0, 2, 0, "STRING"], [2, 3, 0, 4, 0, "STRING"]],
    )


def prompt() -> Json:
    """Write a workflow of the server's format."""
    return {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "a.safetensors"},
            "_meta": {"title": "A"},
        },
        "2:7": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "lora_name": "b.safetensors"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat, embedding:easy", "clip": ["2:7", 1]}},
        "4": {"class_type": "PrimitiveString", "inputs": {"value": "c.safetensors"}},
        "5": {"class_type": "VAELoader", "inputs": {"vae_name": ["4", 0]}},
        "6": {
            "class_type": "Lora Loader (LoraManager)",
            "inputs": {"loras": {"__value__": [lora("d"), lora("e", on=False)]}},
        },
    }


def lora(name: str, *, on: bool = True) -> Json:
    """Write an entry of a LoRA Manager list."""
    return {"name": name, "strength": 1.0, "active": on}


def power_loras() -> Json:
    """Write a Power Lora Loader with one LoRA on and one off."""
    values = [
        {},
        {"type": "PowerLoraLoaderHeaderWidget"},
        {"on": True, "lora": "on.safetensors", "strength": 1, "strengthTwo": None},
        {"on": False, "lora": "off.safetensors", "strength": 1, "strengthTwo": None},
        {"on": True, "lora": "None", "strength": 1},
        {},
        "",
    ]
    return graph(node(1, "Power Lora Loader (rgthree)", values))


ALL: dict[str, Json] = {
    "plain": graph(
        node(1, "CheckpointLoaderSimple", ["a.safetensors"]),
        node(2, "CLIPTextEncode", ["a cat (embedding:bad:1.2)"]),
        node(3, "Note", ["https://example.org/a.safetensors"]),
        node("4", "UnknownLoader", ["b.gguf", 1], mode=4),
        models=[{"name": "a.safetensors", "url": "https://example.org/a", "directory": "checkpoints"}],
    ),
    "promoted by name": promoted_checkpoint(widgets_values_named={"ckpt": "host.safetensors"}),
    "promoted by proxy": promoted_checkpoint(
        widgets_values=["host.safetensors"], properties={"proxyWidgets": [["5", "ckpt_name"]]}
    ),
    "promoted by place": promoted_checkpoint(widgets_values=["host.safetensors"]),
    "nested": nested_subgraphs(),
    "group": grouped(["new.safetensors", 1, "fixed", 20, 8, "euler", "normal", 1, "new-lora.safetensors", 1, 1]),
    "primitive": primitive_into_loader(),
    "get and set": get_and_set(),
    "prompt": prompt(),
    "wrapped prompt": {"prompt": prompt(), "client_id": "x"},
    "power": power_loras(),
    "video": graph(node(1, "VHS_LoadVideo", {"video": "a.mp4", "model": "x.pth", "videopreview": {"hidden": False}})),
}
"""Every sample by what it shows."""
