"""Methods and formatting of strings, with a limit on the length of the results."""

from __future__ import annotations

import string
from typing import Final

from comfywatchman.comfyui.static_analysis.values import MAX_TEXT, UNKNOWN, AbstractList, Value

_SAFE_METHODS: Final = frozenset(
    {"strip", "lstrip", "rstrip", "removesuffix", "removeprefix", "lower", "upper", "title", "capitalize"}
    | {"startswith", "endswith", "isidentifier"}
)
"""Methods whose result is never longer than the text by more than a few characters."""

_MAX_POSITION_DIGITS: Final = 3


def call_text_method(text: str, name: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    """Return the result of a text method; UNKNOWN for most methods and for unknown arguments."""
    # `replace` and `join` could otherwise multiply two long texts.
    if any(isinstance(value, str) and len(value) > MAX_TEXT // 10 for value in (text, *arguments)):
        return UNKNOWN
    if name == "format":
        return format_text(text, arguments, keywords)
    special = _call_with_lists(text, name, arguments)
    if special is not None:
        return special
    if keywords or not all(isinstance(value, str) for value in arguments):
        return UNKNOWN
    try:
        return _call_with_texts(text, name, arguments)
    except TypeError:
        # The source passes too few or too many arguments.
        return UNKNOWN


def _call_with_texts(text: str, name: str, arguments: list[str]) -> Value:
    if name in _SAFE_METHODS:
        return getattr(text, name)(*arguments)
    # Python raises ValueError for an empty separator, and an empty text to replace stands between all characters.
    if "" in arguments[:1]:
        return UNKNOWN
    if name == "replace" and len(arguments) > 1:
        return limit_text(text.replace(arguments[0], arguments[1]))
    if name in {"split", "rsplit"}:
        separator = arguments[0] if arguments else None
        return AbstractList(list(text.split(separator)))
    if name in {"partition", "rpartition"}:
        return AbstractList(list(getattr(text, name)(*arguments)))
    return UNKNOWN


def _call_with_lists(text: str, name: str, arguments: list[Value]) -> Value:
    """Call a method with arguments that are not all texts; None for other calls."""
    match name, arguments:
        case (("startswith" | "endswith"), [AbstractList() as affixes]):
            return _has_any_affix(text, name, affixes)
        case (("split" | "rsplit"), [str() as separator, int() as count]) if separator:
            return AbstractList(list(getattr(text, name)(separator, count)))
        case "join", [parts]:
            return _join_texts(text, parts)
    return None


def _has_any_affix(text: str, method: str, affixes: AbstractList) -> Value:
    """Call `startswith` or `endswith` with a tuple."""
    if affixes.is_open or not all(isinstance(affix, str) for affix in affixes.values):
        return UNKNOWN
    return bool(getattr(text, method)(tuple(affixes.values)))


def format_text(template: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    """Fill a `str.format` template; UNKNOWN if a field has a format specification, a conversion or an unknown value.

    A width in the source of a pack could ask for gigabytes of blanks.
    """
    pieces: list[str] = []
    automatic = iter(arguments)
    try:
        for literal, field_name, specification, conversion in string.Formatter().parse(template):
            pieces.append(literal)
            if field_name is None:
                continue
            if field_name == "":
                value = next(automatic, UNKNOWN)
            else:
                value = _get_format_argument(field_name, arguments, keywords)
            if specification or conversion or not isinstance(value, str | int):
                return UNKNOWN
            pieces.append(str(value))
    except ValueError:
        return UNKNOWN
    return limit_text("".join(pieces))


def limit_text(text: str) -> Value:
    """Return a text; UNKNOWN if it is longer than any name."""
    if len(text) > MAX_TEXT:
        return UNKNOWN
    return text


def _join_texts(separator: str, parts: Value) -> Value:
    if not isinstance(parts, AbstractList) or parts.is_open:
        return UNKNOWN
    if not all(isinstance(value, str) for value in parts.values):
        return UNKNOWN
    if len(separator) * len(parts.values) > MAX_TEXT:
        return UNKNOWN
    return limit_text(separator.join(parts.values))


def _get_format_argument(field_name: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    if field_name.isdecimal() and len(field_name) <= _MAX_POSITION_DIGITS:
        position = int(field_name)
        if position < len(arguments):
            return arguments[position]
    return keywords.get(field_name, UNKNOWN)
