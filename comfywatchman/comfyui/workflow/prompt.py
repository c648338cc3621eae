"""The server's own format (API format): nodes by id, values and links by input name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from comfywatchman.comfyui.workflow.document import Node, Problem
from comfywatchman.comfyui.workflow.graph import key, mapping, text
from comfywatchman.comfyui.workflow.links import TEXT_PRIMITIVES

_MAX_HOPS: Final = 64


def is_prompt(raw: object) -> TypeGuard[dict[str, object]]:
    """Say whether a JSON value looks like a prompt: at least one entry names its class."""
    return isinstance(raw, dict) and any(_class_type(entry) is not None for entry in raw.values())


def prompt_nodes(raw: Mapping[str, object], problems: list[Problem]) -> list[Node]:
    """Give the nodes of a prompt; muted and bypassed ones are not in it.

    Args:
        raw: The prompt.
        problems: Takes entries that are no nodes, and links to nodes that are not there: the server refuses both.
    """
    nodes = []
    for identity, entry in raw.items():
        class_type = _class_type(entry)
        if class_type is None:
            problems.append(Problem("node-unreadable", f"The entry {identity!r:.80} is no node.", identity))
            continue
        nodes.append(_node(identity, class_type, mapping(entry), raw))
        problems.extend(_dangling(identity, mapping(entry), raw))
    return nodes


def _dangling(identity: str, entry: Mapping[str, object], prompt: Mapping[str, object]) -> Iterator[Problem]:
    for name, given in mapping(entry.get("inputs")).items():
        # The server looks the id up as it stands: a number finds nothing.
        if isinstance(given, list) and _link_origin(given) and _class_type(prompt.get(given[0])) is None:
            message = f"The input {name!r:.80} is linked to a node that the prompt does not hold."
            yield Problem("link-to-nowhere", message, identity)


def _class_type(entry: object) -> str | None:
    return text(entry.get("class_type")) if isinstance(entry, dict) else None


def _node(identity: str, class_type: str, entry: Mapping[str, object], prompt: Mapping[str, object]) -> Node:
    values: dict[str, object] = {}
    linked = set()
    sources = []
    for name, given in mapping(entry.get("inputs")).items():
        fed, value = _resolved(given, prompt)
        origin = _link_origin(given)
        if origin is not None:
            sources.append(origin)
        if fed:
            values[name] = value
        else:
            linked.add(name)
    meta = mapping(entry.get("_meta"))
    title = text(meta.get("title"))
    return Node(
        path=identity,
        class_type=class_type,
        active=True,
        values=values,
        linked=frozenset(linked),
        cnr_id=text(meta.get("cnr_id")),
        aux_id=text(meta.get("aux_id")),
        version=text(meta.get("ver")),
        title=title if title != class_type else None,
        sources=tuple(dict.fromkeys(sources)),
    )


def _resolved(given: object, prompt: Mapping[str, object]) -> tuple[bool, object]:
    # True with the value, False for what only a run can give.
    for _ in range(_MAX_HOPS):
        origin = _link_origin(given)
        if origin is None:
            return True, _unwrapped(given)
        source = mapping(prompt.get(origin))
        inputs = mapping(source.get("inputs"))
        if _class_type(source) not in TEXT_PRIMITIVES or "value" not in inputs:
            return False, None
        given = inputs["value"]
    return False, None


def _link_origin(given: object) -> str | None:
    if not isinstance(given, list) or len(given) != 2:  # noqa: PLR2004 - a link is [node id, output place]
        return None
    origin, output = given
    return key(origin) if isinstance(output, int) and not isinstance(output, bool) else None


def _unwrapped(given: object) -> object:
    # Lists are wrapped so that they cannot be taken for links.
    return given["__value__"] if isinstance(given, dict) and "__value__" in given else given
