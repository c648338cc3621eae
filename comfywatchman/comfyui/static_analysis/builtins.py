"""What calls of Python's and ComfyUI's own functions give, as far as node packs use them to name nodes and inputs."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.comfyui.static_analysis.values import (
    MAX_TEXT,
    UNKNOWN,
    AbstractDict,
    AbstractList,
    BoundMethod,
    ExternalName,
    NodeSchema,
    V3InputSpec,
    Value,
)

FOLDER_ALIASES: Final[Mapping[str, str]] = {"unet": "diffusion_models", "clip": "text_encoders"}
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
        return _list_filenames(arguments, keywords)
    if last == "Schema":
        return NodeSchema(_get_argument(arguments, keywords, 0, "node_id"), keywords.get("inputs", AbstractList()))
    if last == "Input" and "." in name:
        return _build_input_spec(name.split(".")[-2], arguments, keywords)
    if last == "Custom" and "." in name:
        return ExternalName(f"{name}()")
    if name.startswith("builtins."):
        return _call_builtin(last, arguments, keywords)
    if name.startswith(("os.path.", "logging.")):
        return UNKNOWN
    taint([*arguments, *keywords.values()])
    return UNKNOWN


def call_method(method: BoundMethod, arguments: Arguments, keywords: Keywords, *, certain: bool) -> Value:
    """Call a method of a list, dict or text."""
    owner = method.owner
    if isinstance(owner, AbstractDict):
        return _call_dict_method(owner, method.name, arguments, keywords, certain=certain)
    if isinstance(owner, AbstractList):
        return _call_list_method(owner, method.name, arguments)
    return _call_text_method(owner, method.name, arguments, keywords)


def taint(values: list[Value]) -> None:
    """Note that lists and dicts may have got more elements than are known."""
    for value in values:
        if isinstance(value, AbstractDict | AbstractList):
            value.is_open = True


def _get_argument(arguments: Arguments, keywords: Keywords, place: int, name: str) -> Value:
    return arguments[place] if len(arguments) > place else keywords.get(name, UNKNOWN)


def _list_filenames(arguments: Arguments, keywords: Keywords) -> AbstractList:
    folder = _get_argument(arguments, keywords, 0, "folder_name")
    folders = frozenset({FOLDER_ALIASES.get(folder, folder)}) if isinstance(folder, str) else frozenset[str]()
    return AbstractList(is_open=True, folders=folders)


def _build_input_spec(kind: str, arguments: Arguments, keywords: Keywords) -> V3InputSpec:
    options = _get_argument(arguments, keywords, 1, "options") if kind in {"Combo", "MultiCombo"} else None
    return V3InputSpec(kind=kind, name=_get_argument(arguments, keywords, 0, "id"), options=options, keywords=keywords)


def _call_builtin(name: str, arguments: Arguments, keywords: Keywords) -> Value:  # noqa: PLR0911 - one return for each function known
    first = arguments[0] if arguments else None
    if name == "dict":
        return _call_dict(arguments, keywords)
    if name in _TO_ITEMS:
        return get_elements(first).copy() if arguments else AbstractList()
    if name == "enumerate":
        return _pair_elements(first, lambda place, value: AbstractList([place, value]))
    if name == "zip":
        return _call_zip(arguments)
    if name == "range":
        return _call_range(arguments)
    if name in {"map", "filter"}:
        return AbstractList(is_open=True, folders=get_elements(arguments[-1]).folders if arguments else frozenset())
    if name not in _HARMLESS:
        taint(arguments)
    return UNKNOWN


def _call_range(arguments: Arguments) -> AbstractList:
    if len(arguments) == 1 and isinstance(arguments[0], int) and arguments[0] <= _MAX_RANGE:
        return AbstractList(list(range(arguments[0])))
    return AbstractList(is_open=True)


def _call_dict(arguments: Arguments, keywords: Keywords) -> AbstractDict:
    table = AbstractDict()
    for value in arguments:
        table.update(value, certain=True)
    for key, value in keywords.items():
        table.put(key, value, certain=True)
    return table


def _call_zip(arguments: Arguments) -> AbstractList:
    lists = [get_elements(value) for value in arguments]
    rows = [AbstractList(list(row)) for row in zip(*(items.values for items in lists), strict=False)]
    return AbstractList(rows, is_open=any(items.is_open for items in lists))


def _pair_elements(value: Value, pair: Callable[[int, Value], AbstractList]) -> AbstractList:
    items = get_elements(value)
    return AbstractList([pair(place, element) for place, element in enumerate(items.values)], is_open=items.is_open)


def get_elements(value: Value) -> AbstractList:
    """Return what a loop over a value would walk through; an open empty list when that is not known."""
    if isinstance(value, AbstractList):
        return value
    if isinstance(value, AbstractDict):
        return AbstractList(list(value.entries), is_open=value.is_open or bool(value.doubtful))
    return AbstractList(is_open=True)


def _call_dict_method(  # noqa: PLR0911 - one return for each method known
    table: AbstractDict, name: str, arguments: Arguments, keywords: Keywords, *, certain: bool
) -> Value:
    if name == "update":
        for value in arguments:
            table.update(value, certain=certain)
        for key, value in keywords.items():
            table.put(key, value, certain=certain)
        return None
    if name == "items":
        return AbstractList(
            [AbstractList([key, value]) for key, value in table.entries.items()], is_open=get_elements(table).is_open
        )
    if name in {"keys", "__iter__"}:
        return get_elements(table)
    if name == "values":
        return AbstractList(list(table.entries.values()), is_open=get_elements(table).is_open)
    if name == "copy":
        return table.copy()
    if name in {"get", "pop", "setdefault"}:
        return _read_key(table, name, arguments, certain=certain)
    table.is_open = True
    if name in {"clear", "popitem"}:
        table.doubtful.update(table.entries)
    return UNKNOWN


def _read_key(table: AbstractDict, name: str, arguments: Arguments, *, certain: bool) -> Value:
    key = arguments[0] if arguments else UNKNOWN
    default = arguments[1] if len(arguments) > 1 else None
    if not isinstance(key, str | int | bool | None):
        table.is_open = table.is_open or name != "get"
        return UNKNOWN
    if key in table.entries:
        return _remove_key(table, key, certain=certain) if name == "pop" else table.entries[key]
    if name == "setdefault":
        table.put(key, default, certain=certain)
    return UNKNOWN if table.is_open else default


def _remove_key(table: AbstractDict, key: Value, *, certain: bool) -> Value:
    if certain:
        table.doubtful.discard(key)
        return table.entries.pop(key)
    table.doubtful.add(key)
    return table.entries[key]


def _call_list_method(items: AbstractList, name: str, arguments: Arguments) -> Value:
    if name in {"append", "add"} and arguments:
        items.extend(AbstractList([arguments[0]]))
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


def _call_text_method(text: str, name: str, arguments: Arguments, keywords: Keywords) -> Value:  # noqa: PLR0911 - one return for each function known
    if any(isinstance(value, str) and len(value) > MAX_TEXT // 10 for value in (text, *arguments)):
        return UNKNOWN
    if name == "format":
        return format_text(text, arguments, keywords)
    if not all(isinstance(value, str) for value in arguments) or keywords:
        return _join_text(text, arguments) if name == "join" else UNKNOWN
    if name in {"strip", "lstrip", "rstrip", "removesuffix", "removeprefix", "lower", "upper", "title", "capitalize"}:
        return getattr(text, name)(*arguments)
    if name == "replace" and len(arguments) > 1:
        return limit_text(text.replace(*arguments[:2]) if arguments[0] else UNKNOWN)
    if name in {"startswith", "endswith"}:
        return getattr(text, name)(*arguments)
    if name == "split":
        return AbstractList(list(text.split(*arguments))) if "" not in arguments else UNKNOWN
    return UNKNOWN


def _join_text(text: str, arguments: Arguments) -> Value:
    items = arguments[0] if arguments else UNKNOWN
    if (
        not isinstance(items, AbstractList)
        or items.is_open
        or not all(isinstance(value, str) for value in items.values)
    ):
        return UNKNOWN
    return limit_text(text.join(items.values)) if len(text) * len(items.values) <= MAX_TEXT else UNKNOWN


def format_text(text: str, arguments: Arguments, keywords: Keywords) -> Value:
    """Fill a format text; UNKNOWN when a place has a width, an attribute or an unknown value (widths can be bombs)."""
    pieces: list[str] = []
    automatic = iter(arguments)
    try:
        for literal, place, spec, conversion in string.Formatter().parse(text):
            pieces.append(literal)
            if place is None:
                continue
            value = next(automatic, UNKNOWN) if place == "" else _get_format_argument(place, arguments, keywords)
            if spec or conversion or not isinstance(value, str | int):
                return UNKNOWN
            pieces.append(str(value))
    except ValueError:
        return UNKNOWN
    return limit_text("".join(pieces))


def _get_format_argument(place: str, arguments: Arguments, keywords: Keywords) -> Value:
    if place.isdecimal() and len(place) < 4:  # noqa: PLR2004 - nobody passes a thousand values
        return arguments[int(place)] if int(place) < len(arguments) else UNKNOWN
    return keywords.get(place, UNKNOWN)


def limit_text(text: Value) -> Value:
    """Return a text, or UNKNOWN when it has grown beyond any name."""
    return UNKNOWN if isinstance(text, str) and len(text) > MAX_TEXT else text
