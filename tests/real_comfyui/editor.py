"""The prompt that ComfyUI's editor sends for a workflow file, written after the editor and not after our reader.

The editor builds each node from `/object_info`, restores the positional values, and then follows the links; values of
bypassed, muted and virtual nodes and of subgraph instances go where `graphToPrompt` puts them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.comfyui.server.node_inputs import list_node_inputs
from comfywatchman.comfyui.static_analysis.widgets import widget_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from comfywatchman.comfyui.server.node_inputs import NodeInput

Json = dict[str, Any]
Source = tuple[str, Any]
"""`("link", [path, output])`, or `("value", value)`."""

MUTED: Final = 2
BYPASSED: Final = 4
NOTES: Final = frozenset({"Note", "MarkdownNote"})
_PASSED_ON: Final = frozenset({"Reroute", "PrimitiveNode"})
_SUBGRAPH_INPUT: Final = "-10"
_SUBGRAPH_OUTPUT: Final = "-20"
_DYNAMIC_COMBO: Final = "COMFY_DYNAMICCOMBO_V3"
_GROWING: Final = "COMFY_AUTOGROW_V3"
_DEFAULTS: Final = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}


@dataclass(frozen=True)
class Scope:
    """One graph of the file with the subgraph instance around it.

    Attributes:
        nodes: Its nodes by id.
        links: Origin, output, target and input position by link id.
        prefix: Path of the instance with a final `:`.
        outer: The graph around it.
        host: The instance.
        definition: The subgraph.
        promoted: Values of the instance by name of the subgraph's input.
        overrides: Values of the instance by inner node and widget.
    """

    nodes: Mapping[str, Json]
    links: Mapping[Any, tuple[str, int, str, int]]
    prefix: str = ""
    outer: Scope | None = None
    host: Json = field(default_factory=dict)
    definition: Json = field(default_factory=dict)
    promoted: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Library:
    """What links lead through.

    Attributes:
        subgraphs: The subgraphs of the file by id.
        list_values: Returns the widget values of a node by input name, before links.
    """

    subgraphs: Mapping[str, Json]
    list_values: Callable[[Json], Json]


class Editor:
    """The editor beside one server."""

    def __init__(self, classes: Mapping[str, Any], *, renames: Mapping[str, str] | None = None) -> None:
        """Take the server's answer to `/object_info`, and the classes that this version of the editor renames."""
        self._inputs = {name: list(list_node_inputs(entry)) for name, entry in classes.items()}
        self._renames = renames or {}

    def build_prompt(self, workflow: Json) -> Json:
        """Return what the editor sends for a workflow of its own format."""
        subgraphs = {entry["id"]: entry for entry in workflow.get("definitions", {}).get("subgraphs", [])}
        library = Library(subgraphs, self._list_sent_values)
        prompt: Json = {}
        for scope, file_node in self._walk(_open_graph(workflow), subgraphs):
            node = {**file_node, "type": self._renames.get(file_node["type"], file_node["type"])}
            sent = prompt[scope.prefix + str(node["id"])] = {
                "inputs": self._build_inputs(scope, node, library),
                "_meta": {"title": node["type"]},
            }
            # The editor knows the classes of its server only, and sends a node of any other without a class.
            if node["type"] in self._inputs:
                sent["class_type"] = node["type"]
        # The editor removes links to nodes that it does not send.
        for node in prompt.values():
            node["inputs"] = {
                name: value
                for name, value in node["inputs"].items()
                if not (isinstance(value, list) and value[0] not in prompt)
            }
        return prompt

    def _walk(self, scope: Scope, subgraphs: Mapping[str, Json]) -> Iterator[tuple[Scope, Json]]:
        for node in scope.nodes.values():
            is_off = node.get("mode") in {MUTED, BYPASSED}
            if node["type"] in subgraphs:
                # The mode of an instance inside another one does not keep its nodes back.
                if scope.outer is not None or not is_off:
                    yield from self._walk(_open_instance(scope, node, subgraphs[node["type"]]), subgraphs)
            elif node["type"] not in NOTES | _PASSED_ON and not is_off:
                yield scope, node

    def _build_inputs(self, scope: Scope, node: Json, library: Library) -> Json:
        inputs: Json = {}
        overrides = scope.overrides.get(str(node["id"]), {})
        for name, value in {**self.list_values(node), **overrides}.items():
            inputs[name] = {"__value__": value} if isinstance(value, list) else value
        for slot in node.get("inputs") or []:
            link = slot.get("link")
            if slot["name"] in overrides and link in scope.links and not _is_fed_by_host(scope, link):
                # The input that the editor adds for a proxied widget takes the place of its link.
                continue
            source = _find_primitive_value(scope, link, library) if slot.get("widget") else None
            source = source or _resolve(scope, link, slot.get("type"), library)
            if source is not None:
                inputs[slot["name"]] = source[1]
        self._replace_nulls(node["type"], inputs)
        return inputs

    def _replace_nulls(self, class_type: str, inputs: Json) -> None:
        """Give combos without a value the first choice, as `loadGraphData` does; other widgets keep a null."""
        for one in self._inputs.get(class_type, []):
            if one.choices and one.name in inputs and inputs[one.name] is None:
                inputs[one.name] = one.choices[0]

    def list_values(self, node: Json) -> Json:
        """Return the widget values of a node by input name, before links."""
        stored = node.get("widgets_values")
        specifications = self._inputs.get(node["type"])
        if specifications is None:
            return _name_by_slots(node)
        named: Json = dict(node.get("widgets_values_named") or _name_by_slots(node))
        if isinstance(stored, dict):
            named = dict(stored)
            widgets = [one for one in specifications if widget_width(one.name, one.type, one.options) != 0]
            return named | {one.name: named.get(one.name, _default(one)) for one in widgets}
        reader = _ValueReader(_drop_forced_inputs(stored or [], specifications), named)
        for one in specifications:
            reader.read(one, one.name)
        return reader.values

    def _list_sent_values(self, node: Json) -> Json:
        values = self.list_values(node)
        self._replace_nulls(node["type"], values)
        return values

    def widget_positions(self, class_type: str) -> dict[str, int]:
        """Return the positions of a class's widgets in `widgets_values`; none when an input has no fixed width."""
        places: dict[str, int] = {}
        index = 0
        for one in self._inputs.get(class_type, []):
            width = widget_width(one.name, one.type, one.options)
            if width is None:
                return {}
            if width:
                places[one.name] = index
            index += width
        return places


@dataclass
class _ValueReader:
    """Gives the values of a list to the widgets of a node, in the editor's order.

    Attributes:
        listed: The values.
        named: The names that the file gives for them: the nearest to the editor behind a widget of unknown width.
        values: The value of each widget so far.
        index: Where the next value is; None when that is not known.
    """

    listed: list[Any]
    named: Json
    values: Json = field(default_factory=dict)
    index: int | None = 0

    def read(self, one: NodeInput, name: str) -> None:
        width = widget_width(one.name, one.type, one.options)
        if width == 0 or one.type == _GROWING:
            return
        if one.type != _DYNAMIC_COMBO:
            self._take(name, width, _default(one))
            return
        options = one.options.get("options") or []
        self._take(name, 1, options[0]["key"] if options else None)
        # The widgets of the chosen option stand behind that of the combo.
        for option in options:
            if option["key"] == self.values[name]:
                for inner in list_node_inputs({"input": option["inputs"]}):
                    self.read(inner, f"{name}.{inner.name}")

    def _take(self, name: str, width: int | None, default: Any) -> None:
        if width is None or self.index is None:
            self.index = None
            self.values[name] = self.named.get(name, default)
            return
        self.values[name] = self.listed[self.index] if self.index < len(self.listed) else default
        self.index += width


def _open_graph(graph: Json, **around: Any) -> Scope:
    links: dict[Any, tuple[str, int, str, int]] = {}
    for link in graph.get("links") or []:
        fields = link
        if isinstance(link, dict):
            fields = [link[key] for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        if fields is not None:
            links[fields[0]] = (str(fields[1]), fields[2], str(fields[3]), fields[4])
    return Scope({str(node["id"]): node for node in graph["nodes"]}, links, **around)


def _open_instance(outer: Scope, host: Json, definition: Json) -> Scope:
    inner = _open_graph(definition)
    promoted: Json = {}
    overrides: dict[str, Json] = {}
    values = host.get("widgets_values") or []
    if isinstance(values, dict):
        promoted = dict(values)
    else:
        proxies = host.get("properties", {}).get("proxyWidgets")
        keys = [(str(one[0]), one[1]) for one in proxies] if proxies else _list_widget_inputs(inner, definition)
        for (node_id, name), value in zip(keys, values, strict=False):
            if node_id == "-1":
                promoted[name] = value
            else:
                overrides.setdefault(node_id, {})[name] = value
    for name, value in outer.overrides.get(str(host["id"]), {}).items():
        promoted[name] = value
    return Scope(
        nodes=inner.nodes,
        links=inner.links,
        prefix=f"{outer.prefix}{host['id']}:",
        outer=outer,
        host=host,
        definition=definition,
        promoted=promoted,
        overrides=overrides,
    )


def _list_widget_inputs(inner: Scope, definition: Json) -> list[tuple[str, str]]:
    found = []
    for slot, one in enumerate(definition.get("inputs") or []):
        for origin, output, target, position in inner.links.values():
            inputs = inner.nodes.get(target, {}).get("inputs") or []
            if (
                origin == _SUBGRAPH_INPUT
                and output == slot
                and position < len(inputs)
                and inputs[position].get("widget")
            ):
                found.append(("-1", one["name"]))
                break
    return found


def _resolve(  # noqa: PLR0911 - one return for each kind of origin
    scope: Scope, link: Any, wanted: Any, library: Library
) -> Source | None:
    """Return where an input gets its value from; None when its own widget counts.

    A PrimitiveNode sets the widgets that are linked to it without a node between.
    """
    if link is None or link not in scope.links:
        return None
    origin, output, _, _ = scope.links[link]
    if origin == _SUBGRAPH_INPUT:
        return _resolve_outside(scope, output, library)
    node = scope.nodes.get(origin)
    if node is None or node.get("mode") == MUTED or node["type"] == "PrimitiveNode":
        return None
    if node["type"] == "Reroute" or node.get("mode") == BYPASSED:
        inputs = node.get("inputs") or []
        if node.get("mode") != BYPASSED:
            return _resolve(scope, inputs[0].get("link"), wanted, library) if inputs else None
        passed = _find_bypass(node, output, wanted)
        # Behind a bypassed node, the type of its own input counts.
        return None if passed is None else _resolve_slot(scope, inputs[passed], library)
    if node["type"] in library.subgraphs:
        return _resolve_inside(_open_instance(scope, node, library.subgraphs[node["type"]]), output, wanted, library)
    return "link", [scope.prefix + origin, output]


def _find_primitive_value(scope: Scope, link: Any, library: Library) -> Source | None:
    """Return the value that a PrimitiveNode at the other end of a link gives; None for any other node.

    Muted or not, it gives its own value; without one, that of the first widget that is linked to it.
    """
    primitive = scope.nodes.get(scope.links[link][0]) if link in scope.links else None
    if primitive is None or primitive["type"] != "PrimitiveNode":
        return None
    values = primitive.get("widgets_values")
    if values:
        return "value", values[0]
    outgoing = (primitive.get("outputs") or [{}])[0].get("links") or []
    _, _, target, position = scope.links[next((one for one in outgoing if one in scope.links), link)]
    inputs = scope.nodes.get(target, {}).get("inputs") or []
    if position >= len(inputs):
        return None
    return "value", library.list_values(scope.nodes[target]).get(inputs[position]["name"])


def _resolve_inside(inner: Scope, output: int, wanted: Any, library: Library) -> Source | None:
    for link, (_, _, target, slot) in inner.links.items():
        if (target, slot) == (_SUBGRAPH_OUTPUT, output):
            return _resolve(inner, link, wanted, library)
    return None


def _resolve_slot(scope: Scope, slot: Json, library: Library) -> Source | None:
    return _resolve(scope, slot.get("link"), slot.get("type"), library)


def _is_fed_by_host(scope: Scope, link: Any) -> bool:
    """Return whether the instance gives a value or link to the input of the subgraph from which a link comes."""
    origin, output, _, _ = scope.links[link]
    inputs = scope.definition.get("inputs") or []
    if origin != _SUBGRAPH_INPUT or output >= len(inputs):
        return False
    is_linked = any(
        outside.get("name") == inputs[output]["name"] and outside.get("link") is not None
        for outside in scope.host.get("inputs") or []
    )
    return is_linked or inputs[output]["name"] in scope.promoted


def _resolve_outside(scope: Scope, slot: int, library: Library) -> Source | None:
    inputs = scope.definition.get("inputs") or []
    if scope.outer is None or slot >= len(inputs):
        return None
    name = inputs[slot]["name"]
    for outside in scope.host.get("inputs") or []:
        if outside.get("name") == name and outside.get("link") is not None:
            return _resolve_slot(scope.outer, outside, library)
    if name in scope.promoted:
        return "value", scope.promoted[name]
    return _find_promoted_value(scope, slot, library)


def _find_promoted_value(scope: Scope, slot: int, library: Library) -> Source | None:
    """Return the value of the widget that an input of a subgraph promotes: it goes to all that the input feeds.

    None where it feeds sockets only. A value that the instance gives to one of the inner widgets is that of all;
    otherwise the first inner widget counts.
    """
    widgets = [
        (target, scope.nodes[target]["inputs"][position]["name"])
        for target, position in _list_targets(scope, slot)
        if position < len(scope.nodes.get(target, {}).get("inputs") or [])
        and scope.nodes[target]["inputs"][position].get("widget")
    ]
    for target, values in scope.overrides.items():
        for name, value in values.items():
            if (target, name) in widgets:
                return "value", value
    return _get_inner_value(scope, *widgets[0], library) if widgets else None


def _get_inner_value(scope: Scope, target: str, name: str, library: Library) -> Source | None:
    """Return the value of a widget of a node or instance inside a subgraph."""
    node = scope.nodes[target]
    if node["type"] not in library.subgraphs:
        return "value", library.list_values(node).get(name)
    inner = _open_instance(scope, node, library.subgraphs[node["type"]])
    if name in inner.promoted:
        return "value", inner.promoted[name]
    names = [one["name"] for one in inner.definition.get("inputs") or []]
    return _find_promoted_value(inner, names.index(name), library) if name in names else None


def _list_targets(scope: Scope, slot: int) -> list[tuple[str, int]]:
    """Return node and input position of all that an input of a subgraph feeds, in the order of its links."""
    listed = scope.definition["inputs"][slot].get("linkIds")
    links = [link for link in listed if link in scope.links] if listed else list(scope.links)
    ends = [scope.links[link] for link in links]
    return [
        (target, position) for origin, output, target, position in ends if (origin, output) == (_SUBGRAPH_INPUT, slot)
    ]


def _find_bypass(node: Json, output: int, wanted: Any) -> int | None:
    """Return the position of the input that a bypassed node passes on to an output."""
    inputs, outputs = node.get("inputs") or [], node.get("outputs") or []
    if not inputs:
        return None
    output_type = outputs[output].get("type") if output < len(outputs) else wanted
    if wanted == "*":
        return output if output < len(inputs) else 0
    if (
        output < len(inputs)
        and _fits(inputs[output].get("type"), output_type)
        and _fits(inputs[output].get("type"), wanted)
    ):
        return output
    exact = [place for place, one in enumerate(inputs) if one.get("type") == wanted]
    fitting = [
        place
        for place, one in enumerate(inputs)
        if _fits(one.get("type"), output_type) and _fits(one.get("type"), wanted)
    ]
    return next(iter([*exact, *fitting]), None)


def _fits(one: Any, other: Any) -> bool:
    if "*" in (one, other):
        return True
    return not set(str(one).upper().split(",")).isdisjoint(str(other).upper().split(","))


def _name_by_slots(node: Json) -> Json:
    """Return the stored values of a node that the server does not know, by the names of its input slots."""
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        return dict(values)
    names = [slot["widget"]["name"] for slot in node.get("inputs") or [] if slot.get("widget")]
    return dict(zip(names, values, strict=False))


def _drop_forced_inputs(stored: list[Any], specifications: list[NodeInput]) -> list[Any]:
    """Drop the values of inputs that have lost their widget, as the editor does when the number shows them."""
    is_forced: list[bool] = []
    for one in specifications:
        forced = bool(one.options.get("forceInput"))
        width = widget_width(one.name, one.type, {**one.options, "forceInput": False} if forced else one.options)
        if width:
            is_forced += [forced] + [False] * (width - 1)
    if len(is_forced) != len(stored):
        return stored
    return [value for value, forced in zip(stored, is_forced, strict=True) if not forced]


def _default(one: NodeInput) -> Any:
    if "default" in one.options:
        return one.options["default"]
    if one.choices:
        return one.choices[0]
    return _DEFAULTS.get(one.type)
