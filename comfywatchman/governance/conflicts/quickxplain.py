"""QuickXplain: find a minimal conflict among requirements by testing few subsets. Pure.

Ulrich Junker, "QuickXplain: Preferred Explanations and Relaxations for Over-Constrained Problems", AAAI 2004: about
2k·log2(n/k)+2k tests for a conflict of k among n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def minimal_conflict(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """Return a minimal subset that fails: without any one of its items it does not.

    Args:
        items: A set that fails; of several conflicts the one among the first items is found.
        fails: Whether a subset fails. If one does, all that contain it must fail, too. Its exceptions are propagated.
    """
    return tuple(_quickxplain([], items, fails, background_grew=False))


def find_needed(parts: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """Return the parts without which the whole does not fail, found by leaving out one after the other.

    Args:
        parts: A set that fails.
        fails: As in `minimal_conflict`.
    """
    needed = list(parts)
    for part in parts:
        rest = [other for other in needed if other is not part]
        if rest and fails(rest):
            needed = rest
    return tuple(needed)


def _quickxplain(
    background: list[T], items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, background_grew: bool
) -> list[T]:
    """Return the items that the background needs to fail.

    Args:
        background: Items that belong to the conflict, or may still.
        items: The items to choose from; together with the background they fail.
        fails: As in `minimal_conflict`.
        background_grew: Whether the background changed since it was last tested.
    """
    if background_grew and fails(background):
        return []
    if len(items) <= 1:
        return list(items)
    half = len(items) // 2
    first, second = list(items[:half]), list(items[half:])
    from_second = _quickxplain([*background, *first], second, fails, background_grew=True)
    from_first = _quickxplain([*background, *from_second], first, fails, background_grew=bool(from_second))
    return [*from_first, *from_second]
