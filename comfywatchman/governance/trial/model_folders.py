"""Which inputs of which node classes list which model folder, from the marked models that they offer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_BASENAME: Final = re.compile(r"[^\\/]*$")


def find_model_inputs(
    combos: Mapping[str, Mapping[str, tuple[str, ...]]], names: Mapping[str, frozenset[str]]
) -> dict[str, dict[str, str]]:
    """Return model folder keys by class and input; an input that lists several folders has them with commas between.

    Args:
        combos: Choices by class and input.
        names: The marked names that each model folder lists.
    """
    marked = frozenset[str]().union(*names.values())
    found: dict[str, dict[str, str]] = {}
    for class_type, inputs in combos.items():
        tied = {
            name: _explain_listed_markers(_find_listed_markers(choices, marked), names)
            for name, choices in inputs.items()
        }
        kept = {name: ",".join(keys) for name, keys in tied.items() if keys}
        if kept:
            found[class_type] = kept
    return found


def _find_listed_markers(choices: Iterable[str], marked: frozenset[str]) -> frozenset[str]:
    parts = (_BASENAME.search(choice) for choice in choices)
    return frozenset(part.group() for part in parts if part is not None) & marked


def _explain_listed_markers(listed: frozenset[str], names: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Return the fewest model folders that explain what is listed, the most telling first.

    A folder explains more when more of the listed marks are its own and fewer of its marks are not listed.
    """
    keys: list[str] = []
    left = listed
    while left:
        key = min(names, key=lambda key: (-len(names[key] & left), len(names[key] - listed), key))
        keys.append(key)
        left -= names[key]
    return tuple(keys)
