"""The server's own format (API format): nodes by id, values and links by input name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from comfywatchman.comfyui.workflow.document import WorkflowNode, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import as_id, as_mapping, as_text
from comfywatchman.comfyui.workflow.links import TEXT_PRIMITIVES

_MAX_HOPS: Final = 64


def is_prompt(raw: object) -> TypeGuard[dict[str, object]]:
    """Say whether a JSON value looks like a prompt: at least one entry names its class."""
    return isinstance(raw, dict) and any(_get_class_type(entry) is not None for entry in raw.values())


def parse_prompt_nodes(raw: Mapping[str, object], problems: list[WorkflowProblem]) -> list[WorkflowNode]:
    """Give the nodes of a prompt; muted and bypassed ones are not in it.

    Args:
        raw: The prompt.
        problems: Takes entries that are no nodes, and links to nodes that are not there: the server refuses both.
    """
    nodes = []
    for identity, entry in raw.items():
        class_type = _get_class_type(entry)
        if class_type is None:
            problems.append(WorkflowProblem("node-unreadable", f"The entry {identity!r:.80} is no node.", identity))
            continue
        nodes.append(_parse_node(identity, class_type, as_mapping(entry), raw))
        problems.extend(_find_dangling_links(identity, as_mapping(entry), raw))
    return nodes


def _find_dangling_links(
    identity: str, entry: Mapping[str, object], prompt: Mapping[str, object]
) -> Iterator[WorkflowProblem]:
    for name, given in as_mapping(entry.get("inputs")).items():
        # The server looks the id up as it stands: a number finds nothing.
        if isinstance(given, list) and _get_link_origin(given) and _get_class_type(prompt.get(given[0])) is None:
            message = f"The input {name!r:.80} is linked to a node that the prompt does not hold."
            yield WorkflowProblem("link-to-nowhere", message, identity)


def _get_class_type(entry: object) -> str | None:
    return as_text(entry.get("class_type")) if isinstance(entry, dict) else None


def _parse_node(
    identity: str, class_type: str, entry: Mapping[str, object], prompt: Mapping[str, object]
) -> WorkflowNode:
    values: dict[str, object] = {}
    linked = set()
    sources = []
    for name, given in as_mapping(entry.get("inputs")).items():
        fed, value = _resolve_value(given, prompt)
        origin = _get_link_origin(given)
        if origin is not None:
            sources.append(origin)
        if fed:
            values[name] = value
        else:
            linked.add(name)
    meta = as_mapping(entry.get("_meta"))
    title = as_text(meta.get("title"))
    return WorkflowNode(
        path=identity,
        class_type=class_type,
        active=True,
        values=values,
        linked=frozenset(linked),
        cnr_id=as_text(meta.get("cnr_id")),
        aux_id=as_text(meta.get("aux_id")),
        version=as_text(meta.get("ver")),
        title=title if title != class_type else None,
        sources=tuple(dict.fromkeys(sources)),
    )


def _resolve_value(given: object, prompt: Mapping[str, object]) -> tuple[bool, object]:
    # True with the value, False for what only a run can give.
    for _ in range(_MAX_HOPS):
        origin = _get_link_origin(given)
        if origin is None:
            return True, _unwrap_list(given)
        source = as_mapping(prompt.get(origin))
        inputs = as_mapping(source.get("inputs"))
        if _get_class_type(source) not in TEXT_PRIMITIVES or "value" not in inputs:
            return False, None
        given = inputs["value"]
    return False, None


def _get_link_origin(given: object) -> str | None:
    if not isinstance(given, list) or len(given) != 2:  # noqa: PLR2004 - a link is [node id, output place]
        return None
    origin, output = given
    return as_id(origin) if isinstance(output, int) and not isinstance(output, bool) else None


def _unwrap_list(given: object) -> object:
    # Lists are wrapped so that they cannot be taken for links.
    return given["__value__"] if isinstance(given, dict) and "__value__" in given else given
