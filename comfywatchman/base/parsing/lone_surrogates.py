"""Replace halves of surrogate pairs, which JSON can hold and which no text can be encoded with."""

from __future__ import annotations

import re
from typing import Final

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def replace_lone_surrogates(value: object) -> object:
    """Replace halves of surrogate pairs in every text of a parsed JSON value, in place; return it."""
    root: list[object] = [value]
    # A stack instead of recursion, because the file decides how deep the values nest.
    pending: list[list[object] | dict[str, object]] = [root]
    while pending:
        container = pending.pop()
        items: list[object]
        if isinstance(container, list):
            items = [_clean_value(item) for item in container]
            container[:] = items
        else:
            cleaned = {str(_clean_value(name)): _clean_value(item) for name, item in container.items()}
            container.clear()
            container.update(cleaned)
            items = list(cleaned.values())
        pending.extend(item for item in items if isinstance(item, (list, dict)))
    return root[0]


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    return value
