"""Which nodes of a prompt no output needs: ComfyUI neither checks nor runs them. Pure."""

from __future__ import annotations

from collections.abc import Collection

from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rules import ValidationRules


def find_unneeded_nodes(nodes: Collection[PromptNode], rules: ValidationRules) -> frozenset[str]:
    """Return the paths of the nodes that certainly no output needs; none while a link or a class is in doubt.

    Args:
        nodes: The nodes of the prompt.
        rules: The rules of ComfyUI; a class without a signature may be an output.
    """
    by_path = {node.path: node for node in nodes}
    outputs: list[str] = []
    for node in nodes:
        signature = rules.classes.get(node.class_type)
        if node.given is None and (signature is None or signature.has_editor_code):
            # Code of a pack may link nodes when the editor sends the workflow.
            return frozenset()
        if signature is None or signature.is_output is not False:
            outputs.append(node.path)
    needed = set(outputs)
    waiting = list(outputs)
    while waiting:
        node = by_path[waiting.pop()]
        if node.linked:
            # The source of a further link is not known.
            return frozenset()
        sources = {link.path for link in node.links.values()} & by_path.keys()
        waiting.extend(sources - needed)
        needed |= sources
    return frozenset(by_path.keys() - needed)
