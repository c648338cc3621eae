"""Finds the workflow that a person means by a name that some output printed. Pure."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_MAX_SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class NameMatch:
    """What a name stands for.

    Attributes:
        found: The paths that it names; exactly one when it is clear.
        suggestions: Paths with a similar name, the closest first; only when nothing was found.
    """

    found: tuple[str, ...]
    suggestions: tuple[str, ...] = ()


def match_name(name: str, paths: Iterable[str]) -> NameMatch:
    """Return the paths that a name stands for: the whole path, or its last segments.

    Args:
        name: A path, a label such as `official/x.json`, or a file name, with or without its extension.
        paths: The known paths, as outputs print them.
    """
    known = list(dict.fromkeys(paths))
    wanted = name.removeprefix("./").strip("/")
    for matches in (
        [path for path in known if path in {name, f"/{wanted}"}],
        [path for path in known if path.endswith(f"/{wanted}")],
        [path for path in known if os.path.splitext(path)[0].endswith(f"/{wanted}")],
        [path for path in known if path.lower().endswith(f"/{wanted.lower()}")],
    ):
        if matches:
            return NameMatch(tuple(matches))
    return NameMatch((), suggest_names(wanted, known))


def suggest_names(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return known paths or names that are similar to a name, the closest first."""
    stem = _find_stem(name)
    by_stem: dict[str, list[str]] = {}
    for candidate in known:
        by_stem.setdefault(_find_stem(candidate), []).append(candidate)
    # A part of a long name is what a person remembers of it; difflib finds slips of the pen only.
    close = [other for other in by_stem if stem and stem in other]
    close += difflib.get_close_matches(stem, by_stem, n=_MAX_SUGGESTIONS, cutoff=0.6)
    suggestions: list[str] = []
    for other in dict.fromkeys(close):
        suggestions += by_stem[other]
    return tuple(suggestions[:_MAX_SUGGESTIONS])


def _find_stem(name: str) -> str:
    """Return the last segment without its extension, which many names share, in lower case."""
    return os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0].lower()
