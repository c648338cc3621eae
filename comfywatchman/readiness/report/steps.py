"""Chooses the actions to recommend first: those that make most workflows ready. Pure.

This is the maximum coverage problem with sets as items, which is NP-hard, and gains are not submodular: two files may
unlock nothing singly and five workflows together. A greedy choice of single actions stops there, so a candidate is
everything that one workflow still needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_BUNDLE: Final = 5
"""More actions at once are a project, not a step."""


@dataclass(frozen=True, slots=True)
class ActionCost:
    """What an action asks of a person; it decides between equal gains only.

    Attributes:
        effort: Rank of the kind of work, 0 for the least.
        size_bytes: Download size; None when it is not known.
    """

    effort: int
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the plan: one action, or several that help only together.

    Attributes:
        actions: Ids of the actions, sorted.
        unlocks: Workflows that become ready by it when the earlier steps are done, sorted.
        gain_alone: Number of workflows that become ready by it alone.
        after: Numbers, from 1, of the earlier steps without which some of `unlocks` are not ready.
        ready_after: Number of workflows that are ready after it.
    """

    actions: tuple[str, ...]
    unlocks: tuple[str, ...]
    gain_alone: int
    after: tuple[int, ...]
    ready_after: int


def plan_steps(
    needs: Mapping[str, frozenset[str]], costs: Mapping[str, ActionCost], *, ready: int, max_steps: int
) -> tuple[Step, ...]:
    """Return the most rewarding steps, in the order in which to do them.

    Args:
        needs: The actions that each workflow needs; no set is empty. A workflow that needs more than actions is left
            out: nothing can be promised for it.
        costs: The cost of every action in `needs`.
        ready: Number of workflows that are ready now.
        max_steps: Maximum number of steps.
    """
    usage = Counter(action for actions in needs.values() for action in actions)
    waiting = dict(needs)
    steps: list[Step] = []
    while len(steps) < max_steps:
        # An ordered set, so that equal ranks are decided by the order of the workflows.
        bundles = dict.fromkeys(actions for actions in waiting.values() if len(actions) <= MAX_BUNDLE)
        if not bundles:
            break
        gains = _count_gains(waiting, bundles)
        best = min(bundles, key=lambda bundle: _rank_bundle(bundle, gains[bundle], costs, usage))
        unlocked = _find_unlocked(waiting, best)
        ready += len(unlocked)
        required = frozenset().union(*(needs[workflow] for workflow in unlocked)) - best
        steps.append(
            Step(
                actions=tuple(sorted(best)),
                unlocks=unlocked,
                gain_alone=len(_find_unlocked(needs, best)),
                after=tuple(number for number, step in enumerate(steps, 1) if required.intersection(step.actions)),
                ready_after=ready,
            )
        )
        waiting = {workflow: actions - best for workflow, actions in waiting.items() if workflow not in unlocked}
    return tuple(steps)


def _find_unlocked(needs: Mapping[str, frozenset[str]], done: frozenset[str]) -> tuple[str, ...]:
    """Return the workflows that need nothing else."""
    return tuple(sorted(workflow for workflow, actions in needs.items() if actions <= done))


def _count_gains(
    needs: Mapping[str, frozenset[str]], bundles: Mapping[frozenset[str], None]
) -> dict[frozenset[str], int]:
    """Return how many workflows each bundle makes ready."""
    # Many workflows need the same, and each distinct set is compared once.
    counts = Counter(actions for actions in needs.values() if len(actions) <= MAX_BUNDLE)
    gains = {}
    for bundle in bundles:
        gains[bundle] = sum(count for actions, count in counts.items() if actions <= bundle)
    return gains


def _rank_bundle(
    bundle: frozenset[str], gain: int, costs: Mapping[str, ActionCost], usage: Mapping[str, int]
) -> tuple[object, ...]:
    """Return a sort key that is smallest for the most rewarding bundle.

    The order: most workflows for each action, fewest actions, least effort, known size before unknown, fewest bytes,
    most workflows that need it, name.
    """
    sizes = [costs[action].size_bytes for action in bundle]
    return (
        -gain / len(bundle),
        len(bundle),
        max(costs[action].effort for action in bundle),
        None in sizes,
        sum(size or 0 for size in sizes),
        -sum(usage[action] for action in bundle),
        tuple(sorted(bundle)),
    )
