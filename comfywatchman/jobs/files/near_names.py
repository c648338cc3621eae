"""Suggest the known name that a mistyped one probably means."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

_MAX_LISTED: Final = 12


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the nearest known name, preceded by a space; empty when none is near."""
    matches = difflib.get_close_matches(name[:100], list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def list_known(name: str, known: Collection[str]) -> str:
    """Return a sentence with the nearest known name, or with all of them when none is near."""
    suggestion = suggest_name(name, known)
    if suggestion or not known:
        return suggestion
    names = sorted(known)
    text = ", ".join(names[:_MAX_LISTED])
    return f" There are {text}{', …' if len(names) > _MAX_LISTED else ''}."
