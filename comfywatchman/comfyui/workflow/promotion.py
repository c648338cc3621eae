"""The values that an instance of a subgraph gives to widgets inside, as the editor restores them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import RawNode
from comfywatchman.comfyui.workflow.widgets import build_disagreement_problem, has_conflict

_OWN_INPUT: Final = "-1"
_NODE_PREFIX: Final = re.compile(r"\s*(\d+)\s*:\s*(.+)", re.DOTALL)
_PROXY_FIELDS: Final = (2, 3)

Overrides = dict[str, dict[str, object]]
"""Values by id of an inner node, then by widget name."""


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


@dataclass(slots=True)
class HostValues:
    """The values that an instance of a subgraph gives.

    Attributes:
        inputs: The promoted inputs of the subgraph.
        promoted: Value by name of a promoted input.
        overrides: Values of widgets that no own input feeds.
    """

    inputs: Sequence[PromotedInput]
    promoted: dict[str, object] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=dict)

    def set_own(self, name: str, value: object) -> None:
        """Set the value of a promoted input; other names have no effect."""
        if any(promoted_input.name == name for promoted_input in self.inputs):
            self.promoted[name] = value

    def set_inner(self, node_id: str, widget: str, value: object) -> None:
        """Set the value of a widget inside, through the own input that shows it if there is one."""
        for promoted_input in self.inputs:
            if (promoted_input.node_id, promoted_input.widget) == (node_id, widget):
                self.promoted[promoted_input.name] = value
                return
        self.overrides.setdefault(node_id, {})[widget] = value


def read_host_values(
    host: RawNode,
    inputs: Sequence[PromotedInput],
    find_widget: Callable[[ProxyWidget], str],
    *,
    path: str,
    problems: list[WorkflowProblem],
) -> HostValues:
    """Return the values that an instance stores.

    The editor gives the list of values to the promoted inputs in their order, then the value at the same index to
    every entry of `proxyWidgets`. A null is a value. `widgets_values_named` does not count, as in every node.

    Args:
        host: The instance.
        inputs: The promoted inputs of its subgraph.
        find_widget: Returns the name of the widget, or of the inner instance's input, that a proxy means.
        path: Path of the instance, for problems.
        problems: A conflict between the two notations is appended here.
    """
    stored = host.raw.get("widgets_values")
    if stored is not None and not isinstance(stored, list):
        message = "The widget values of this subgraph instance are not a list: the editor does not restore them."
        problems.append(WorkflowProblem("widgets-unreadable", message, path))
    values = as_list(stored)
    proxies = parse_proxy_widgets(host.properties.get("proxyWidgets"))
    named = as_mapping(host.raw.get("widgets_values_named"))
    names = [proxy.widget for proxy in proxies] or [promoted_input.name for promoted_input in inputs]
    if named and has_conflict(names, values, named):
        problems.append(build_disagreement_problem("subgraph instance", path))

    host_values = HostValues(inputs)
    for promoted_input, value in zip(inputs, values, strict=False):
        host_values.promoted[promoted_input.name] = value
    for name, value in _read_values_set_aside(host):
        host_values.set_own(name, value)
    for proxy, value in zip(proxies, values, strict=False):
        if proxy.node_id == _OWN_INPUT:
            host_values.set_own(proxy.widget, value)
        else:
            host_values.set_inner(proxy.node_id, find_widget(proxy), value)
    return host_values


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
        if len(original) in _PROXY_FIELDS and original[0] == _OWN_INPUT and "hostValue" in entry:
            yield str(original[1]), entry["hostValue"]


def _parse_property(raw: object) -> list[object]:
    """Return a list that a node property holds, as such or as JSON text."""
    if isinstance(raw, str):
        try:
            return as_list(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return []
    return as_list(raw)
