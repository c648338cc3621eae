"""Pins that would solve a clash, each resolved before it is suggested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.conflicts.probe import Probe, Undecided
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import Edge, Transaction
from comfywatchman.governance.store.truth import BASE_GROUP, Override
from comfywatchman.governance.uv.client import UvEnded
from comfywatchman.governance.uv.declared_requirements import Line

_MOST: Final = 4


def found(
    probe: Probe, lines: Sequence[Line], clash: Sequence[Line], edges: Sequence[Edge], tried: Transaction
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
        extras = trial_resolution.extras_of(probe.ground, probe.project, environment=tried.candidate_env)
        for pin in _proposed(probe, lines, clash, edges, tried.node_id):
            if pin not in pins and len(pins) < _MOST and _works(probe, pin, edges, extras):
                pins[pin] = None
    except Undecided:
        pass
    return tuple(pins)


def contested(clash: Sequence[Line], edges: Sequence[Edge]) -> tuple[str, ...]:
    """Return the packages that more than one of them wants otherwise, going by what uv said."""
    wanted: dict[str, set[str]] = {}
    for source, line in [(edge.source, Line("", edge.requirement)) for edge in edges]:
        wanted.setdefault(line.name, set()).add(source)
    for line in clash:
        wanted.setdefault(line.name, set()).add(line.owner)
    return tuple(name for name, sources in wanted.items() if name and len(sources) > 1)


def in_order(clash: Sequence[Line], node_id: str) -> tuple[Line, ...]:
    """Return the lines of a clash, that which should give way first: the tried node's, other nodes', ComfyUI's."""
    return tuple(sorted(clash, key=lambda line: (line.owner == BASE_GROUP, line.owner != f"node {node_id}")))


def _proposed(
    probe: Probe, lines: Sequence[Line], clash: Sequence[Line], edges: Sequence[Edge], node_id: str
) -> Iterator[str]:
    for line in in_order(clash, node_id):
        free = line.with_any_version()
        if free and (versions := probe.versions([free if one is line else one for one in lines])):
            yield from _pins(versions, [line.name])
        if versions := probe.versions([one for one in lines if one is not line]):
            yield from _pins(versions, contested(clash, edges))


def _pins(versions: dict[str, str], names: Sequence[str]) -> Iterator[str]:
    return (f"{name}=={versions[name]}" for name in names if name in versions)


def _works(probe: Probe, pin: str, edges: Sequence[Edge], extras: dict[str, set[str]]) -> bool:
    def edited(entries: Sequence[Override]) -> str:
        return truth.with_overrides(probe.project, [*truth.overrides(probe.project), *entries])

    probe.spend()
    return not isinstance(trial_resolution.overruled(probe.ground, [pin], edited, edges=edges, extras=extras), UvEnded)
