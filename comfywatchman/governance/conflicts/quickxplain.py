"""Finding the smallest set of requirements that clash, by asking of few subsets whether they can be met. Pure.

Ulrich Junker, "QuickXplain: Preferred Explanations and Relaxations for Over-Constrained Problems", AAAI 2004: about
2k·log2(n/k)+2k questions for a clash of k among n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal_conflict(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """Return a smallest part of items that fails: it does not when any one of its items is left out.

    Args:
        items: A set that fails; of several clashes the one among the first items is found.
        fails: Says whether a part fails; with a part, all that contains it fails as well. What it raises passes.
    """
    return tuple(_quickxplain([], items, fails, is_grown=False))


def find_needed(parts: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """Return parts without which the whole does not fail, found by leaving out one after the other.

    Args:
        parts: A set that fails.
        fails: As in `smallest`.
    """
    kept = list(parts)
    for part in parts:
        rest = [one for one in kept if one is not part]
        if rest and fails(rest):
            kept = rest
    return tuple(kept)


def _quickxplain(
    given: list[T], items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, is_grown: bool
) -> list[T]:
    # `given` holds what belongs to the clash for certain or is still to be judged.
    if is_grown and fails(given):
        return []
    if len(items) <= 1:
        return list(items)
    half = len(items) // 2
    first, second = list(items[:half]), list(items[half:])
    of_second = _quickxplain([*given, *first], second, fails, is_grown=True)
    of_first = _quickxplain([*given, *of_second], first, fails, is_grown=bool(of_second))
    return [*of_first, *of_second]
