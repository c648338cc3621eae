"""Pins that would resolve a conflict, each resolved before it is suggested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import RequirementEdge
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.store.truth import BASE_GROUP, Override
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.declared_requirements import DeclaredRequirement
from comfywatchman.governance.uv.requirement import node_source, parse_package_name

_MAX_SUGGESTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class PinSuggestion:
    """A pin with which everything can be resolved.

    Attributes:
        pin: `package==version`.
        project: The pyproject.toml with its overrides.
    """

    pin: str
    project: str


def suggest_pins(
    probe: ResolutionProbe,
    declared: Sequence[DeclaredRequirement],
    conflict: Sequence[DeclaredRequirement],
    edges: Sequence[RequirementEdge],
    tried: Transaction,
) -> tuple[PinSuggestion, ...]:
    """Return pins with which everything can be resolved, best first.

    The best ones overrule the tried node, then other nodes, last ComfyUI. Candidates are the versions that result
    without the bounds of a requirement in the conflict, or without that requirement.

    Args:
        probe: The probe; suggestions found before its budget is used up count.
        declared: All declared requirements.
        conflict: A minimal conflict among them.
        edges: The requirements that uv named.
        tried: The transaction.
    """
    pins: set[str] = set()
    suggestions: list[PinSuggestion] = []
    try:
        extras = trial_resolution.find_extras(probe.context.layout, probe.project, environment=tried.candidate_env)
        for pin in _propose_pins(probe, declared, conflict, edges, tried.node_id):
            if pin in pins:
                continue
            pins.add(pin)
            project = _resolve_with_pin(probe, pin, edges, extras)
            if project is not None:
                suggestions.append(PinSuggestion(pin, project))
            if len(suggestions) == _MAX_SUGGESTIONS:
                break
    except ProbeUndecided:
        # Out of budget: fewer suggestions are better than none.
        pass
    return tuple(suggestions)


def find_contested_packages(
    conflict: Sequence[DeclaredRequirement], edges: Sequence[RequirementEdge]
) -> tuple[str, ...]:
    """Return the packages that are required from more than one source."""
    sources: dict[str, set[str]] = {}
    for edge in edges:
        sources.setdefault(parse_package_name(edge.requirement), set()).add(edge.source)
    for requirement in conflict:
        sources.setdefault(requirement.name, set()).add(requirement.owner)
    return tuple(name for name, names in sources.items() if name and len(names) > 1)


def sort_by_preference(conflict: Sequence[DeclaredRequirement], node_id: str) -> tuple[DeclaredRequirement, ...]:
    """Return the requirements of a conflict in the order to overrule them: the tried node, other nodes, ComfyUI."""

    def rank(requirement: DeclaredRequirement) -> tuple[bool, bool]:
        return requirement.owner == BASE_GROUP, requirement.owner != node_source(node_id)

    return tuple(sorted(conflict, key=rank))


def _propose_pins(
    probe: ResolutionProbe,
    declared: Sequence[DeclaredRequirement],
    conflict: Sequence[DeclaredRequirement],
    edges: Sequence[RequirementEdge],
    node_id: str,
) -> Iterator[str]:
    for requirement in sort_by_preference(conflict, node_id):
        unbounded = requirement.without_bounds()
        if unbounded is not None:
            replaced = [unbounded if other is requirement else other for other in declared]
            versions = probe.resolve(replaced)
            yield from _format_pins(versions, [requirement.name])
        versions = probe.resolve([other for other in declared if other is not requirement])
        yield from _format_pins(versions, find_contested_packages(conflict, edges))


def _format_pins(versions: dict[str, str] | None, names: Sequence[str]) -> list[str]:
    if versions is None:
        return []
    return [f"{name}=={versions[name]}" for name in names if name in versions]


def _resolve_with_pin(
    probe: ResolutionProbe, pin: str, edges: Sequence[RequirementEdge], extras: dict[str, set[str]]
) -> str | None:
    """Return the pyproject.toml with a pin; None when it cannot be resolved."""

    def add_overrides(overrides: Sequence[Override]) -> str:
        return truth.set_overrides(probe.project, [*truth.parse_overrides(probe.project), *overrides])

    probe.count_resolution()
    result = trial_resolution.find_overrides(probe.context, [pin], add_overrides, edges=edges, extras=extras)
    return None if isinstance(result, UvResult) else add_overrides(result)
