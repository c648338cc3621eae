"""Node classes as a server lists them, and prompts of them."""

from __future__ import annotations

from typing import Any

import msgspec

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.prompt import PromptNode, build_prompt
from comfywatchman.comfyui.validation.rules import ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.validate import validate_prompt
from tests.comfyui.workflow.samples import graph, node, read, slot

SAMPLER: dict[str, Any] = {"model": ["MODEL", {}], "sampler_name": [["euler", "dpm"], {}], "steps": ["INT", {}]}
NEWEST = ServerChecks(new_combos=True, lists_feed_combos=True)


def build_entry(
    *,
    output: object = False,
    module: str = "nodes",
    returns: Any = ("*",),
    optional: Any = None,
    **required: Any,
) -> dict[str, Any]:
    """Return a class as `/object_info` lists it."""
    inputs = {"required": required, "optional": optional or {}}
    return {"input": inputs, "python_module": module, "output_node": output, "output": list(returns)}


OBJECT_INFO: dict[str, Any] = {
    "Load": build_entry(returns=["MODEL", "STRING"]),
    "Sample": build_entry(returns=["IMAGE"], **SAMPLER),
    "Save": build_entry(output=True, returns=[], images=["IMAGE", {}]),
    "Pack": build_entry(module="custom_nodes.pack"),
}


def build_rules(
    *, checks: ServerChecks = NEWEST, own_checks: dict[str, tuple[str, ...] | None] | None = None, **classes: Any
) -> ValidationRules:
    """Return the rules of a server with the classes of `OBJECT_INFO` and more; they check no input themselves."""
    signatures = {}
    for name, signature in read_signatures(OBJECT_INFO | classes).items():
        signatures[name] = msgspec.structs.replace(signature, own_checks=(own_checks or {}).get(name, ()))
    return ValidationRules(signatures, checks, is_live=True)


def build_file_prompt(*nodes: Any, **more: Any) -> tuple[PromptNode, ...]:
    """Return the prompt of a file in the editor's format."""
    return build_prompt(read(graph(*nodes, **more)), ())


def build_api_prompt(**nodes: Any) -> tuple[PromptNode, ...]:
    """Return the prompt of a file in the API format; nodes are named by letters: `a={"class_type": …}`."""
    return build_prompt(read(nodes), ())


def build_chain(sampler: object = "euler", *, steps: object = 20, load_mode: int = 0, **more: Any) -> Any:
    """Return load -> sample -> save, as the editor's file has it."""
    sample = [slot("model", 1, widget=False, kind="MODEL"), slot("sampler_name"), slot("steps")]
    return build_file_prompt(
        node(1, "Load", mode=load_mode, outputs=[{"type": "MODEL"}]),
        node(2, "Sample", [sampler, steps], inputs=sample),
        node(3, "Save", inputs=[slot("images", 2, widget=False, kind="IMAGE")]),
        links=[[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"]],
        **more,
    )


def list_rejected(nodes: tuple[PromptNode, ...], rules: ValidationRules) -> list[tuple[str, str, str]]:
    """Return node, input and reason of each input that is certainly rejected."""
    return [(one.node.path, one.input, one.reason.value) for one in validate_prompt(nodes, rules).inputs]


def list_doubtful(nodes: tuple[PromptNode, ...], rules: ValidationRules) -> list[tuple[str, str, str]]:
    """Return node, input and reason of each input that may be rejected."""
    return [(one.node.path, one.input, one.reason.value) for one in validate_prompt(nodes, rules).doubtful]
