"""The verdict on node classes of packs that could not be looked at, wholly or in part. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from comfywatchman.comfyui.install.reachability import Obstacle, describe_obstacle
from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.readiness.nodes.facts import HostNodeFacts, NodePackHints, NodeState, NodeVerdict
from comfywatchman.readiness.nodes.pack_verdicts import join_pack_names

_DECIDED: Final = frozenset({NodeState.PRESENT, NodeState.UNKNOWN})


def judge_hidden_pack(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class that only packs map, now or in an earlier cycle, that cannot be looked at."""
    owners = list(_find_owners(class_type, hints, facts))
    if not owners or any(pack.path not in facts.hidden_packs for pack in owners):
        return None
    return _build_verdict(class_type, owners[0], facts.hidden_packs[owners[0].path])


def judge_possible_pack(class_type: str, facts: HostNodeFacts) -> NodeVerdict | None:
    """Judge a class of no known pack while a pack whose classes are not known cannot be looked at."""
    for pack in facts.packs:
        obstacle = facts.hidden_packs.get(pack.path)
        # The classes of a pack that was read in full in an earlier cycle are known.
        is_known = bool(pack.classes) and pack.complete
        if obstacle is not None and pack.enabled and not is_known:
            return _build_verdict(class_type, pack, obstacle)
    return None


def withhold_verdict(verdict: NodeVerdict | None, hints: NodePackHints, facts: HostNodeFacts) -> NodeVerdict | None:
    """Return UNKNOWN in place of a verdict against a pack of which a part could not be looked at."""
    if verdict is None or verdict.state in _DECIDED:
        return verdict
    for pack in _find_owners(verdict.class_type, hints, facts):
        obstacle = facts.partly_read_packs.get(pack.path)
        if obstacle is not None:
            return _build_verdict(verdict.class_type, pack, obstacle)
    return verdict


def _find_owners(class_type: str, hints: NodePackHints, facts: HostNodeFacts) -> Iterator[NodePack]:
    """Yield the enabled packs that map a class; without any, those that the workflow names for it."""
    mapping = [pack for pack in facts.packs_by_class.get(class_type, ()) if pack.enabled]
    yield from mapping or _find_named(hints.pack, facts.packs)


def _find_named(name: str | None, packs: Iterable[NodePack]) -> Iterator[NodePack]:
    for pack in packs:
        if name and pack.enabled and pack.is_called(name):
            yield pack


def _build_verdict(class_type: str, pack: NodePack, obstacle: Obstacle) -> NodeVerdict:
    return NodeVerdict(
        class_type,
        NodeState.UNKNOWN,
        f"It may come from the pack {join_pack_names([pack])}, which could not be looked at.",
        fix=describe_obstacle(obstacle),
        obstacle=obstacle,
    )
