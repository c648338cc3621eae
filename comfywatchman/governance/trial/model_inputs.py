"""Find the model folder that each input of a node class lists, by the marker files that its choices contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

_BASENAME: Final = re.compile(r"[^\\/]*$")


def find_model_inputs(
    combos: Mapping[str, Mapping[str, tuple[str, ...]]], markers: Mapping[str, frozenset[str]]
) -> dict[str, dict[str, str]]:
    """Return model folder keys by class and input; an input that lists several folders has them joined by commas.

    Args:
        combos: Choices by class and input.
        markers: The names of the marker files in each model folder.
    """
    all_markers = frozenset[str]().union(*markers.values())
    model_inputs: dict[str, dict[str, str]] = {}
    for class_type, inputs in combos.items():
        for name, choices in inputs.items():
            keys = _find_folders(_find_listed_markers(choices, all_markers), markers)
            if keys:
                model_inputs.setdefault(class_type, {})[name] = ",".join(keys)
    return model_inputs


def _find_listed_markers(choices: Iterable[str], all_markers: frozenset[str]) -> frozenset[str]:
    # A choice may carry a subfolder, with the separator of any system.
    basenames = (match.group() for choice in choices if (match := _BASENAME.search(choice)))
    return frozenset(basenames) & all_markers


def _find_folders(listed: frozenset[str], markers: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Return the fewest model folders that explain the listed markers, the best explanation first.

    A folder explains the list better when it holds more of the listed markers and fewer others. Folders may share
    markers, because they share directories.
    """
    keys: list[str] = []
    unexplained = listed
    while unexplained:
        best = min(markers, key=lambda key: (-len(markers[key] & unexplained), len(markers[key] - listed), key))
        keys.append(best)
        unexplained -= markers[best]
    return tuple(keys)
