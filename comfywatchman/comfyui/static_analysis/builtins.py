"""What calls of Python's and ComfyUI's own functions give, as far as node packs use them to name nodes and inputs."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.comfyui.static_analysis.values import (
    MAX_TEXT,
    UNKNOWN,
    External,
    InputSpec,
    Items,
    Method,
    Schema,
    Table,
    Value,
)

ALIASES: Final[Mapping[str, str]] = {"unet": "diffusion_models", "clip": "text_encoders"}
"""Legacy folder names and the canonical ones, as ComfyUI's folder_paths maps them."""

_LISTINGS: Final = frozenset({"get_filename_list", "get_filename_list_", "cached_filename_list_"})
_TO_ITEMS: Final = frozenset({"list", "sorted", "set", "tuple", "frozenset", "reversed"})
_HARMLESS: Final = frozenset(
    {"len", "print", "isinstance", "hasattr", "type", "id", "str", "repr", "bool", "max", "min"}
)
_MAX_RANGE: Final = 1000

Arguments = list[Value]
Keywords = dict[str, Value]


def call_external(name: str, arguments: Arguments, keywords: Keywords) -> Value:  # noqa: PLR0911 - one return for each function known
    """Return what a function outside the pack gives; UNKNOWN for all but the few that matter.

    A dict handed to a function that nobody can read may come back with more keys: it is left open.
    """
    last = name.rpartition(".")[2]
    if last in _LISTINGS:
        return _listing(arguments, keywords)
    if last == "Schema":
        return Schema(_argument(arguments, keywords, 0, "node_id"), keywords.get("inputs", Items()))
    if last == "Input" and "." in name:
        return _input(name.split(".")[-2], arguments, keywords)
    if last == "Custom" and "." in name:
        return External(f"{name}()")
    if name.startswith("builtins."):
        return _builtin(last, arguments, keywords)
    if name.startswith(("os.path.", "logging.")):
        return UNKNOWN
    leave_open([*arguments, *keywords.values()])
    return UNKNOWN


def call_method(method: Method, arguments: Arguments, keywords: Keywords, *, certain: bool) -> Value:
    """Call a method of a list, dict or text."""
    owner = method.owner
    if isinstance(owner, Table):
        return _call_table(owner, method.name, arguments, keywords, certain=certain)
    if isinstance(owner, Items):
        return _call_items(owner, method.name, arguments)
    return _call_text(owner, method.name, arguments, keywords)


def leave_open(values: list[Value]) -> None:
    """Note that lists and dicts may have got more elements than are known."""
    for value in values:
        if isinstance(value, Table | Items):
            value.is_open = True


def _argument(arguments: Arguments, keywords: Keywords, place: int, name: str) -> Value:
    return arguments[place] if len(arguments) > place else keywords.get(name, UNKNOWN)


def _listing(arguments: Arguments, keywords: Keywords) -> Items:
    folder = _argument(arguments, keywords, 0, "folder_name")
    folders = frozenset({ALIASES.get(folder, folder)}) if isinstance(folder, str) else frozenset[str]()
    return Items(is_open=True, folders=folders)


def _input(kind: str, arguments: Arguments, keywords: Keywords) -> InputSpec:
    options = _argument(arguments, keywords, 1, "options") if kind in {"Combo", "MultiCombo"} else None
    return InputSpec(kind=kind, name=_argument(arguments, keywords, 0, "id"), options=options, keywords=keywords)


def _builtin(name: str, arguments: Arguments, keywords: Keywords) -> Value:  # noqa: PLR0911 - one return for each function known
    first = arguments[0] if arguments else None
    if name == "dict":
        return _dict(arguments, keywords)
    if name in _TO_ITEMS:
        return elements(first).copy() if arguments else Items()
    if name == "enumerate":
        return _paired(first, lambda place, value: Items([place, value]))
    if name == "zip":
        return _zip(arguments)
    if name == "range":
        return _range(arguments)
    if name in {"map", "filter"}:
        return Items(is_open=True, folders=elements(arguments[-1]).folders if arguments else frozenset())
    if name not in _HARMLESS:
        leave_open(arguments)
    return UNKNOWN


def _range(arguments: Arguments) -> Items:
    if len(arguments) == 1 and isinstance(arguments[0], int) and arguments[0] <= _MAX_RANGE:
        return Items(list(range(arguments[0])))
    return Items(is_open=True)


def _dict(arguments: Arguments, keywords: Keywords) -> Table:
    table = Table()
    for value in arguments:
        table.update(value, certain=True)
    for key, value in keywords.items():
        table.put(key, value, certain=True)
    return table


def _zip(arguments: Arguments) -> Items:
    lists = [elements(value) for value in arguments]
    rows = [Items(list(row)) for row in zip(*(items.values for items in lists), strict=False)]
    return Items(rows, is_open=any(items.is_open for items in lists))


def _paired(value: Value, pair: Callable[[int, Value], Items]) -> Items:
    items = elements(value)
    return Items([pair(place, element) for place, element in enumerate(items.values)], is_open=items.is_open)


def elements(value: Value) -> Items:
    """Return what a loop over a value would walk through; an open empty list when that is not known."""
    if isinstance(value, Items):
        return value
    if isinstance(value, Table):
        return Items(list(value.entries), is_open=value.is_open or bool(value.doubtful))
    return Items(is_open=True)


def _call_table(  # noqa: PLR0911 - one return for each method known
    table: Table, name: str, arguments: Arguments, keywords: Keywords, *, certain: bool
) -> Value:
    if name == "update":
        for value in arguments:
            table.update(value, certain=certain)
        for key, value in keywords.items():
            table.put(key, value, certain=certain)
        return None
    if name == "items":
        return Items([Items([key, value]) for key, value in table.entries.items()], is_open=elements(table).is_open)
    if name in {"keys", "__iter__"}:
        return elements(table)
    if name == "values":
        return Items(list(table.entries.values()), is_open=elements(table).is_open)
    if name == "copy":
        return table.copy()
    if name in {"get", "pop", "setdefault"}:
        return _take(table, name, arguments, certain=certain)
    table.is_open = True
    if name in {"clear", "popitem"}:
        table.doubtful.update(table.entries)
    return UNKNOWN


def _take(table: Table, name: str, arguments: Arguments, *, certain: bool) -> Value:
    key = arguments[0] if arguments else UNKNOWN
    default = arguments[1] if len(arguments) > 1 else None
    if not isinstance(key, str | int | bool | None):
        table.is_open = table.is_open or name != "get"
        return UNKNOWN
    if key in table.entries:
        return _remove(table, key, certain=certain) if name == "pop" else table.entries[key]
    if name == "setdefault":
        table.put(key, default, certain=certain)
    return UNKNOWN if table.is_open else default


def _remove(table: Table, key: Value, *, certain: bool) -> Value:
    if certain:
        table.doubtful.discard(key)
        return table.entries.pop(key)
    table.doubtful.add(key)
    return table.entries[key]


def _call_items(items: Items, name: str, arguments: Arguments) -> Value:
    if name in {"append", "add"} and arguments:
        items.extend(Items([arguments[0]]))
        return None
    if name == "insert" and len(arguments) > 1:
        place = arguments[0] if isinstance(arguments[0], int) else len(items.values)
        items.values.insert(place, arguments[1])
        return None
    if name in {"extend", "update", "union"} and arguments:
        target = items.copy() if name == "union" else items
        target.extend(arguments[0])
        return target if name == "union" else None
    if name == "copy":
        return items.copy()
    if name in {"sort", "reverse", "index", "count"}:
        return None
    items.is_open = True
    return UNKNOWN


def _call_text(text: str, name: str, arguments: Arguments, keywords: Keywords) -> Value:  # noqa: PLR0911 - one return for each function known
    if any(isinstance(value, str) and len(value) > MAX_TEXT // 10 for value in (text, *arguments)):
        return UNKNOWN
    if name == "format":
        return format_text(text, arguments, keywords)
    if not all(isinstance(value, str) for value in arguments) or keywords:
        return _join_text(text, arguments) if name == "join" else UNKNOWN
    if name in {"strip", "lstrip", "rstrip", "removesuffix", "removeprefix", "lower", "upper", "title", "capitalize"}:
        return getattr(text, name)(*arguments)
    if name == "replace" and len(arguments) > 1:
        return limited(text.replace(*arguments[:2]) if arguments[0] else UNKNOWN)
    if name in {"startswith", "endswith"}:
        return getattr(text, name)(*arguments)
    if name == "split":
        return Items(list(text.split(*arguments))) if "" not in arguments else UNKNOWN
    return UNKNOWN


def _join_text(text: str, arguments: Arguments) -> Value:
    items = arguments[0] if arguments else UNKNOWN
    if not isinstance(items, Items) or items.is_open or not all(isinstance(value, str) for value in items.values):
        return UNKNOWN
    return limited(text.join(items.values)) if len(text) * len(items.values) <= MAX_TEXT else UNKNOWN


def format_text(text: str, arguments: Arguments, keywords: Keywords) -> Value:
    """Fill a format text; UNKNOWN when a place has a width, an attribute or an unknown value (widths can be bombs)."""
    pieces: list[str] = []
    automatic = iter(arguments)
    try:
        for literal, place, spec, conversion in string.Formatter().parse(text):
            pieces.append(literal)
            if place is None:
                continue
            value = next(automatic, UNKNOWN) if place == "" else _placed(place, arguments, keywords)
            if spec or conversion or not isinstance(value, str | int):
                return UNKNOWN
            pieces.append(str(value))
    except ValueError:
        return UNKNOWN
    return limited("".join(pieces))


def _placed(place: str, arguments: Arguments, keywords: Keywords) -> Value:
    if place.isdecimal() and len(place) < 4:  # noqa: PLR2004 - nobody passes a thousand values
        return arguments[int(place)] if int(place) < len(arguments) else UNKNOWN
    return keywords.get(place, UNKNOWN)


def limited(text: Value) -> Value:
    """Return a text, or UNKNOWN when it has grown beyond any name."""
    return UNKNOWN if isinstance(text, str) and len(text) > MAX_TEXT else text
