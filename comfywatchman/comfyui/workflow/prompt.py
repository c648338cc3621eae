"""The server's own format (API format): nodes by id, values and links by input name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.comfyui.workflow.document import LinkSource, WorkflowNode, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import as_id
from comfywatchman.comfyui.workflow.links import TEXT_PRIMITIVES

_MAX_HOPS: Final = 64
_LINK_FIELDS: Final = 2


def is_prompt(raw: object) -> TypeGuard[dict[str, object]]:
    """Return whether a JSON value looks like a prompt: at least one entry names its class."""
    return isinstance(raw, dict) and any(_get_class_type(entry) is not None for entry in raw.values())


def parse_prompt_nodes(raw: Mapping[str, object], problems: list[WorkflowProblem]) -> list[WorkflowNode]:
    """Return the nodes of a prompt; it contains no muted or bypassed ones.

    Args:
        raw: The prompt.
        problems: Entries that are not nodes, and links to missing nodes, are appended here: the server refuses both.
    """
    nodes: list[WorkflowNode] = []
    for node_id, entry in raw.items():
        class_type = _get_class_type(entry)
        if class_type is None:
            problems.append(WorkflowProblem("node-unreadable", f"The entry {node_id!r:.80} is not a node.", node_id))
            continue
        nodes.append(_parse_node(node_id, class_type, as_mapping(entry), raw))
        problems.extend(_find_dangling_links(node_id, as_mapping(entry), raw))
    return nodes


def _find_dangling_links(
    node_id: str, entry: Mapping[str, object], prompt: Mapping[str, object]
) -> Iterator[WorkflowProblem]:
    for name, value in as_mapping(entry.get("inputs")).items():
        if not isinstance(value, list) or not _get_link_origin(value):
            continue
        # The server looks the id up as written, so a number finds no node.
        if _get_class_type(prompt.get(value[0])) is None:
            message = f"The input {name!r:.80} is linked to a node that is not in the prompt."
            yield WorkflowProblem("link-to-nowhere", message, node_id)


def _get_class_type(entry: object) -> str | None:
    return as_text(as_mapping(entry).get("class_type"))


def _parse_node(
    node_id: str, class_type: str, entry: Mapping[str, object], prompt: Mapping[str, object]
) -> WorkflowNode:
    values: dict[str, object] = {}
    linked: set[str] = set()
    links: dict[str, LinkSource] = {}
    malformed: set[str] = set()
    for name, value in as_mapping(entry.get("inputs")).items():
        link = _parse_link(value)
        if link is not None:
            links[name] = link
        elif isinstance(value, list) and not _has_link_shape(value):
            malformed.add(name)
        is_known, resolved = _resolve_value(value, prompt)
        if is_known:
            values[name] = resolved
        else:
            linked.add(name)
    meta = as_mapping(entry.get("_meta"))
    title = as_text(meta.get("title"))
    return WorkflowNode(
        path=node_id,
        class_type=class_type,
        active=True,
        values=values,
        linked=frozenset(linked),
        cnr_id=as_text(meta.get("cnr_id")),
        aux_id=as_text(meta.get("aux_id")),
        version=as_text(meta.get("ver")),
        has_meta=isinstance(entry.get("_meta"), dict),
        title=title if title != class_type else None,
        links=links,
        malformed=frozenset(malformed),
    )


def _resolve_value(value: object, prompt: Mapping[str, object]) -> tuple[bool, object]:
    """Return True and the value of an input, also through links to text primitives; False if only a run gives it."""
    for _ in range(_MAX_HOPS):
        origin = _get_link_origin(value)
        if origin is None:
            return True, _unwrap_list(value)
        source = as_mapping(prompt.get(origin))
        inputs = as_mapping(source.get("inputs"))
        if _get_class_type(source) not in TEXT_PRIMITIVES or "value" not in inputs:
            return False, None
        value = inputs["value"]
    return False, None


def _parse_link(value: object) -> LinkSource | None:
    """Return a link that the server can follow."""
    if not isinstance(value, list) or not _has_link_shape(value) or _get_link_origin(value) is None:
        return None
    return LinkSource(value[0], value[1])


def _has_link_shape(value: list[object]) -> bool:
    # The server looks the node up as written, so a number finds no node.
    return len(value) == _LINK_FIELDS and isinstance(value[0], str) and isinstance(value[1], int)


def _get_link_origin(value: object) -> str | None:
    """Return the node id of a link, which is `[node id, output position]`; None for any other value."""
    if not isinstance(value, list) or len(value) != _LINK_FIELDS:
        return None
    origin, output = value
    if not isinstance(output, int) or isinstance(output, bool):
        return None
    return as_id(origin)


def _unwrap_list(value: object) -> object:
    # The editor wraps list values, so that the server does not take them for links.
    if isinstance(value, dict) and "__value__" in value:
        return value["__value__"]
    return value
