"""Pins that would solve a clash, each resolved before it is suggested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import RequirementEdge, Transaction
from comfywatchman.governance.store.truth import BASE_GROUP, Override
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.declared_requirements import DeclaredRequirement

_MOST: Final = 4


def suggest_pins(
    probe: ResolutionProbe,
    lines: Sequence[DeclaredRequirement],
    clash: Sequence[DeclaredRequirement],
    edges: Sequence[RequirementEdge],
    tried: Transaction,
) -> tuple[str, ...]:
    """Return pins, each `package==version`, with which everything can be resolved, best first.

    Best is what gives way in the node that is tried, then in another node, last in what ComfyUI itself needs. For each
    it is asked which versions come about without that requirement's bounds, or without that requirement.

    Args:
        probe: Resolves, within its budget; what is found by its end counts.
        lines: All declared lines.
        clash: The smallest clash among them.
        edges: Who asks for what.
        tried: The transaction.
    """
    pins: dict[str, None] = {}
    try:
        extras = trial_resolution.find_extras(probe.context.layout, probe.project, environment=tried.candidate_env)
        for pin in _propose_pins(probe, lines, clash, edges, tried.node_id):
            if pin not in pins and len(pins) < _MOST and _is_solution(probe, pin, edges, extras):
                pins[pin] = None
    except ProbeUndecided:
        pass
    return tuple(pins)


def find_contested_packages(clash: Sequence[DeclaredRequirement], edges: Sequence[RequirementEdge]) -> tuple[str, ...]:
    """Return the packages that more than one of them wants otherwise, going by what uv said."""
    wanted: dict[str, set[str]] = {}
    for source, line in [(edge.source, DeclaredRequirement("", edge.requirement)) for edge in edges]:
        wanted.setdefault(line.name, set()).add(source)
    for line in clash:
        wanted.setdefault(line.name, set()).add(line.owner)
    return tuple(name for name, sources in wanted.items() if name and len(sources) > 1)


def sort_by_preference(clash: Sequence[DeclaredRequirement], node_id: str) -> tuple[DeclaredRequirement, ...]:
    """Return the lines of a clash, that which should give way first: the tried node's, other nodes', ComfyUI's."""
    return tuple(sorted(clash, key=lambda line: (line.owner == BASE_GROUP, line.owner != f"node {node_id}")))


def _propose_pins(
    probe: ResolutionProbe,
    lines: Sequence[DeclaredRequirement],
    clash: Sequence[DeclaredRequirement],
    edges: Sequence[RequirementEdge],
    node_id: str,
) -> Iterator[str]:
    for line in sort_by_preference(clash, node_id):
        free = line.without_bounds()
        if free and (versions := probe.versions([free if one is line else one for one in lines])):
            yield from _format_pins(versions, [line.name])
        if versions := probe.versions([one for one in lines if one is not line]):
            yield from _format_pins(versions, find_contested_packages(clash, edges))


def _format_pins(versions: dict[str, str], names: Sequence[str]) -> Iterator[str]:
    return (f"{name}=={versions[name]}" for name in names if name in versions)


def _is_solution(
    probe: ResolutionProbe, pin: str, edges: Sequence[RequirementEdge], extras: dict[str, set[str]]
) -> bool:
    def edited(entries: Sequence[Override]) -> str:
        return truth.set_overrides(probe.project, [*truth.parse_overrides(probe.project), *entries])

    probe.count_resolution()
    return not isinstance(
        trial_resolution.find_overrides(probe.context, [pin], edited, edges=edges, extras=extras), UvResult
    )
