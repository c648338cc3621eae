"""The values that an instance of a subgraph gives to widgets inside, as the editor restores them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import orjson

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import RawNode
from comfywatchman.comfyui.workflow.widgets import build_disagreement_problem, has_conflict

OWN_INPUT: Final = "-1"
"""Node id in `proxyWidgets` that stands for the subgraph's own inputs."""

_NODE_PREFIX: Final = re.compile(r"\s*(\d+)\s*:\s*(.+)", re.DOTALL)
_PROXY_FIELDS: Final = (2, 3)


class PromotedInput(NamedTuple):
    """An own input of a subgraph that feeds a widget inside; an instance has a value for it.

    Attributes:
        name: Its name.
        node_id: The inner node whose widget it shows: the target of the first of its links that ends at a widget.
        widget: The widget, or the promoted input of an inner instance.
    """

    name: str
    node_id: str
    widget: str


class ProxyWidget(NamedTuple):
    """An entry of `properties.proxyWidgets`, the older notation of promoted widgets.

    Attributes:
        node_id: The inner node, `-1` for an own input of the subgraph.
        widget: The widget, without node prefixes.
        inner_id: For a widget of an inner instance, the node inside that holds it, if the entry gives it.
    """

    node_id: str
    widget: str
    inner_id: str | None


def read_host_values(host: RawNode, inputs: Sequence[PromotedInput]) -> dict[str, object]:
    """Return the values that an instance stores, by name of the promoted input.

    The editor gives the list of values to the promoted inputs in their order. A null is a value.
    `widgets_values_named` does not count, as in every node. The values of `proxyWidgets` are not among these.

    Args:
        host: The instance.
        inputs: The promoted inputs of its subgraph.
    """
    stored = as_list(host.raw.get("widgets_values"))
    values = {promoted_input.name: value for promoted_input, value in zip(inputs, stored, strict=False)}
    names = {promoted_input.name for promoted_input in inputs}
    values.update((name, value) for name, value in _read_values_set_aside(host) if name in names)
    return values


def find_host_problems(host: RawNode, inputs: Sequence[PromotedInput], path: str) -> Iterator[WorkflowProblem]:
    """Yield the defects of the values that an instance stores.

    Args:
        host: The instance.
        inputs: The promoted inputs of its subgraph.
        path: Path of the instance.
    """
    stored = host.raw.get("widgets_values")
    if stored is not None and not isinstance(stored, list):
        message = "The widget values of this subgraph instance are not a list: the editor does not restore them."
        yield WorkflowProblem("widgets-unreadable", message, path)
    named = as_mapping(host.raw.get("widgets_values_named"))
    if named:
        proxies = parse_proxy_widgets(host.properties.get("proxyWidgets"))
        names = [proxy.widget for proxy in proxies] or [promoted_input.name for promoted_input in inputs]
        if has_conflict(names, as_list(stored), named):
            yield build_disagreement_problem("subgraph instance", path)


def parse_proxy_widgets(raw: object) -> list[ProxyWidget]:
    """Parse `properties.proxyWidgets`; empty if any entry is malformed, as in the editor."""
    proxies: list[ProxyWidget] = []
    for entry in _parse_property(raw):
        if not isinstance(entry, list) or len(entry) not in _PROXY_FIELDS:
            return []
        if not all(isinstance(part, str) for part in entry):
            return []
        node_id, name, *rest = entry
        inner_id = rest[0] if rest else None
        # Older editors put the ids of inner nodes in front of the name: `12: ckpt_name`.
        while nested := _NODE_PREFIX.fullmatch(name):
            inner_id, name = nested[1], nested[2]
        proxies.append(ProxyWidget(node_id, name, inner_id))
    return proxies


def _read_values_set_aside(host: RawNode) -> Iterator[tuple[str, object]]:
    """Yield the values that the editor could not place in an earlier session and restores by name."""
    entries = _parse_property(host.properties.get("proxyWidgetErrorQuarantine"))
    # The first entry for a name wins, so it comes last.
    for raw in reversed(entries):
        entry = as_mapping(raw)
        original = as_list(entry.get("originalEntry"))
        if len(original) in _PROXY_FIELDS and original[0] == OWN_INPUT and "hostValue" in entry:
            yield str(original[1]), entry["hostValue"]


def _parse_property(raw: object) -> list[object]:
    """Return a list that a node property holds, as such or as JSON text."""
    if isinstance(raw, str):
        try:
            return as_list(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return []
    return as_list(raw)
