"""Changes to a prompt that make ComfyUI run its output nodes again instead of answering from its cache. Pure."""

from __future__ import annotations

from typing import Any, Final

from comfywatchman.comfyui.server.prompts import Prompt

PREFIX_INPUT: Final = "filename_prefix"
FORCED_INPUT: Final = "comfywatchman_run"
"""An input that no node class has: ComfyUI makes it part of the cache key, and does not pass it to the node."""

_LINK_LENGTH: Final = 2


def set_unique_prefixes(prompt: Prompt, token: str) -> Prompt:
    """Return a copy of a prompt in which each file name prefix ends with a token.

    The name of each output file then belongs to one run, and nodes that save files are never answered from the cache.

    Args:
        prompt: The prompt.
        token: A text that no other run uses, safe in file names.
    """
    changed: Prompt = {}
    for node_id, node in prompt.items():
        prefix = _inputs(node).get(PREFIX_INPUT)
        if isinstance(prefix, str):
            separator = "" if not prefix or prefix.endswith(("/", "_")) else "_"
            changed[node_id] = _with_input(node, PREFIX_INPUT, f"{prefix}{separator}{token}")
        else:
            changed[node_id] = node
    return changed


def force_outputs(prompt: Prompt, token: str) -> Prompt:
    """Return a copy of a prompt whose last nodes are run again, whatever the cache holds.

    A node without a file name prefix would otherwise be answered from the cache when nothing else has changed; some
    versions of ComfyUI then report success without any output.

    Args:
        prompt: The prompt.
        token: A text that no other run uses.
    """
    last = find_last_nodes(prompt)
    return {
        node_id: _with_input(node, FORCED_INPUT, token) if node_id in last else node for node_id, node in prompt.items()
    }


def find_last_nodes(prompt: Prompt) -> frozenset[str]:
    """Return the ids of the nodes whose outputs no other node uses."""
    used: set[str] = set()
    for node in prompt.values():
        for value in _inputs(node).values():
            if _is_link(value):
                used.add(str(value[0]))
    return frozenset(prompt) - used


def _inputs(node: dict[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _is_link(value: object) -> bool:
    # As `comfy_execution.graph_utils.is_link` decides: [node id, index of the output].
    return (
        isinstance(value, list)
        and len(value) == _LINK_LENGTH
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


def _with_input(node: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    return {**node, "inputs": {**_inputs(node), name: value}}
