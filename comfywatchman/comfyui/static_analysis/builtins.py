"""Calls of Python's and ComfyUI's functions and methods (`update`, `get`) that packs use to name nodes and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.comfyui.install.folders import get_canonical_name
from comfywatchman.comfyui.static_analysis.io_types import get_v3_type
from comfywatchman.comfyui.static_analysis.texts import call_text_method
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    BoundMethod,
    ExternalName,
    NodeSchema,
    V3InputSpec,
    V3Part,
    Value,
)

_LISTINGS: Final = frozenset({"get_filename_list", "get_filename_list_", "cached_filename_list_"})
_LIST_TYPES: Final = frozenset({"list", "sorted", "set", "tuple", "frozenset", "reversed"})
_READ_ONLY: Final = frozenset(
    {"len", "print", "isinstance", "hasattr", "type", "id", "str", "repr", "bool", "max", "min"}
)
"""Functions that leave their arguments unchanged."""

_V3_PARTS: Final = frozenset({"Output", "TemplatePrefix", "TemplateNames", "Option"})
"""Members of V3 types, beside `Input`, that describe a node."""

_READ_ONLY_MODULES: Final = ("os.path.", "logging.")
_MAX_RANGE: Final = 1000

Arguments = list[Value]
Keywords = dict[str, Value]


def call_external(name: str, arguments: Arguments, keywords: Keywords) -> Value:
    """Return the result of a function outside the pack; UNKNOWN for all but a few.

    A list or dict that is passed to an unknown function may come back with more elements, so it is tainted.
    """
    owner, _, function = name.rpartition(".")
    if function in _LISTINGS:
        return _list_filenames(arguments, keywords)
    if owner == "builtins":
        return _call_builtin(function, arguments, keywords)
    node_value = _call_node_api(owner, function, arguments, keywords)
    if node_value is not UNKNOWN:
        return node_value
    if not name.startswith(_READ_ONLY_MODULES):
        taint([*arguments, *keywords.values()])
    return UNKNOWN


def call_method(method: BoundMethod, arguments: Arguments, keywords: Keywords, *, is_certain: bool) -> Value:
    """Return the result of a method of a list, dict or text.

    Args:
        method: The method.
        arguments: Its positional arguments.
        keywords: Its keyword arguments.
        is_certain: Whether the call certainly happens.
    """
    owner = method.owner
    if isinstance(owner, AbstractDict):
        return _call_dict_method(owner, method.name, arguments, keywords, is_certain=is_certain)
    if isinstance(owner, AbstractList):
        return _call_list_method(owner, method.name, arguments)
    return call_text_method(owner, method.name, arguments, keywords)


def taint(values: list[Value]) -> None:
    """Mark lists and dicts as open: they may have more elements than are known."""
    for value in values:
        if isinstance(value, AbstractDict | AbstractList):
            value.is_open = True


def get_elements(value: Value) -> AbstractList:
    """Return the elements that a loop over a value would visit; an open empty list if they are unknown."""
    if isinstance(value, AbstractList):
        return value
    if isinstance(value, AbstractDict):
        return AbstractList(list(value.entries), is_open=_may_have_other_keys(value), marks=value.list_marks())
    if isinstance(value, str) and len(value) <= _MAX_RANGE:
        return AbstractList(list(value))
    return AbstractList(is_open=True)


def _may_have_other_keys(table: AbstractDict) -> bool:
    return table.is_open or bool(table.possible_keys)


def _get_argument(arguments: Arguments, keywords: Keywords, position: int, name: str) -> Value:
    if position < len(arguments):
        return arguments[position]
    return keywords.get(name, UNKNOWN)


def _list_filenames(arguments: Arguments, keywords: Keywords) -> AbstractList:
    """Call `folder_paths.get_filename_list`: an open list that remembers its model folder."""
    folder = _get_argument(arguments, keywords, 0, "folder_name")
    folders: frozenset[str] = frozenset()
    if isinstance(folder, str):
        folders = frozenset({get_canonical_name(folder)})
    return AbstractList(is_open=True, folders=folders)


def _call_node_api(owner: str, function: str, arguments: Arguments, keywords: Keywords) -> Value:
    """Call a part of ComfyUI's V3 node API: `io.Schema(…)`, `io.Combo.Input(…)`, `io.Custom(…)`."""
    if function == "Schema":
        return _build_schema(arguments, keywords)
    if function == "Custom" and owner:
        return ExternalName(f"{owner}.{_name_custom_type(arguments, keywords)}")
    if get_v3_type(function) is not None and owner.endswith((".io", ".IO")):
        # `io.Latent().Output()` is the same as `io.Latent.Output()`.
        return ExternalName(f"{owner}.{function}")
    kind = owner.rpartition(".")[2]
    if function in _V3_PARTS and owner:
        return V3Part(f"{kind}.{function}", arguments, keywords)
    if function != "Input" or not owner:
        return UNKNOWN
    name = _get_argument(arguments, keywords, 0, "id")
    # `io.MultiType.Input(io.Int.Input("id"), …)` takes the name of the inner input.
    name = name.name if isinstance(name, V3InputSpec) else name
    specification = V3InputSpec(kind, name, None, keywords, arguments)
    if kind in {"Combo", "MultiCombo"}:
        specification.options = _get_argument(arguments, keywords, 1, "options")
    return specification


def _build_schema(arguments: Arguments, keywords: Keywords) -> NodeSchema:
    return NodeSchema(
        _get_argument(arguments, keywords, 0, "node_id"),
        keywords.get("inputs", AbstractList()),
        keywords.get("outputs", AbstractList()),
        keywords.get("is_output_node", False),
    )


def _name_custom_type(arguments: Arguments, keywords: Keywords) -> str:
    io_type = _get_argument(arguments, keywords, 0, "io_type")
    # A dot would look like an attribute of the type.
    is_plain = isinstance(io_type, str) and "." not in io_type
    return f"Custom({io_type})" if is_plain else "Custom()"


def _call_builtin(name: str, arguments: Arguments, keywords: Keywords) -> Value:
    if name == "dict":
        return _call_dict(arguments, keywords)
    if name in _LIST_TYPES:
        return get_elements(arguments[0]).copy() if arguments else AbstractList()
    if name == "str" and len(arguments) == 1 and isinstance(arguments[0], str | int | float | None):
        return str(arguments[0])
    function = _ITERATOR_FUNCTIONS.get(name)
    if function is not None:
        return function(arguments)
    if name not in _READ_ONLY:
        taint(arguments)
    return UNKNOWN


def _call_range(arguments: Arguments) -> AbstractList:
    bounds = [value for value in arguments if isinstance(value, int)]
    is_known = bool(arguments) and len(bounds) == len(arguments) and 0 not in bounds[2:3]
    numbers = range(*bounds[:3]) if is_known else range(0)
    if is_known and len(numbers) <= _MAX_RANGE:
        return AbstractList(list(numbers))
    return AbstractList(is_open=True)


def _call_dict(arguments: Arguments, keywords: Keywords) -> AbstractDict:
    table = AbstractDict()
    for value in arguments:
        table.update(value, is_certain=True)
    for key, value in keywords.items():
        table.put(key, value, is_certain=True)
    return table


def _call_zip(arguments: Arguments) -> AbstractList:
    columns = [get_elements(value) for value in arguments]
    # The shortest column ends a zip, as in Python.
    rows = zip(*(column.values for column in columns), strict=False)
    is_open = any(column.is_open for column in columns)
    return AbstractList([AbstractList(list(row)) for row in rows], is_open=is_open)


def _call_enumerate(arguments: Arguments) -> AbstractList:
    elements = get_elements(_get_argument(arguments, {}, 0, "iterable"))
    pairs = [AbstractList([position, element]) for position, element in enumerate(elements.values)]
    return AbstractList(pairs, is_open=elements.is_open)


def _call_map(arguments: Arguments) -> AbstractList:
    # The function may drop or change elements, but the folders that they come from stay the same.
    folders = get_elements(arguments[-1]).folders if arguments else frozenset[str]()
    return AbstractList(is_open=True, folders=folders)


_ITERATOR_FUNCTIONS: Final[Mapping[str, Callable[[Arguments], AbstractList]]] = {
    "enumerate": _call_enumerate,
    "zip": _call_zip,
    "range": _call_range,
    "map": _call_map,
    "filter": _call_map,
}


def _call_dict_method(
    table: AbstractDict, name: str, arguments: Arguments, keywords: Keywords, *, is_certain: bool
) -> Value:
    if name in {"get", "pop", "setdefault"}:
        return _read_key(table, name, arguments, is_certain=is_certain)
    if name == "copy":
        return table.copy()
    if name in {"keys", "__iter__", "values", "items"}:
        return _list_entries(table, name)
    if name == "update":
        for value in arguments:
            table.update(value, is_certain=is_certain)
        for key, value in keywords.items():
            table.put(key, value, is_certain=is_certain)
        return None
    table.is_open = True
    if name in {"clear", "popitem"}:
        table.possible_keys.update(table.entries)
    return UNKNOWN


def _list_entries(table: AbstractDict, method: str) -> AbstractList:
    elements = get_elements(table)
    if method == "values":
        elements.values = list(table.entries.values())
    elif method == "items":
        elements.values = [AbstractList([key, value]) for key, value in table.entries.items()]
    return elements


def _read_key(table: AbstractDict, method: str, arguments: Arguments, *, is_certain: bool) -> Value:
    """Call `get`, `pop` or `setdefault`."""
    key = _get_argument(arguments, {}, 0, "key")
    default = arguments[1] if len(arguments) > 1 else None
    if not isinstance(key, str | int | bool | None):
        # `pop` and `setdefault` change a key that is not known.
        if method != "get":
            table.is_open = True
        return UNKNOWN
    if key in table.entries:
        if method == "pop":
            return _remove_key(table, key, is_certain=is_certain)
        return table.entries[key]
    if method == "setdefault":
        table.put(key, default, is_certain=is_certain)
    # An open dict may hold the key.
    if table.is_open:
        return UNKNOWN
    return default


def _remove_key(table: AbstractDict, key: Value, *, is_certain: bool) -> Value:
    if is_certain:
        table.possible_keys.discard(key)
        return table.entries.pop(key)
    # The key stays: another path through the source may have kept it.
    table.possible_keys.add(key)
    return table.entries[key]


def _call_list_method(elements: AbstractList, name: str, arguments: Arguments) -> Value:
    if name == "copy":
        return elements.copy()
    if name == "union" and arguments:
        union = elements.copy()
        union.extend(arguments[0])
        return union
    if name in {"append", "add"} and arguments:
        elements.extend(AbstractList([arguments[0]]))
    elif name in {"extend", "update"} and arguments:
        elements.extend(arguments[0])
    elif name == "insert" and len(arguments) > 1:
        position = arguments[0] if isinstance(arguments[0], int) else len(elements.values)
        elements.values.insert(position, arguments[1])
    elif name not in {"sort", "reverse", "index", "count"}:
        # `remove`, `pop` and others: which elements are left is unknown.
        elements.is_open = True
        return UNKNOWN
    return None
