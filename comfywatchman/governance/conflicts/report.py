"""Why packages cannot be installed together: read from uv's words, confirmed by resolving few requirements alone.

What uv's words say is only a proposal: they are for people, change with its versions, and show a constraint as if a
package asked for it. `verified` therefore means that the named requirements were resolved alone and failed, and that
without any one of them the others did not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.files import read_regular, to_json, write_atomic
from comfywatchman.governance.conflicts import suggestions
from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.conflicts.quickxplain import find_needed, minimal_conflict
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import ConflictReport, RequirementEdge, Transaction
from comfywatchman.governance.transactions.plan import pin_tried_versions
from comfywatchman.governance.uv import error_parser
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.declared_requirements import (
    DeclaredRequirement,
    parse_declared,
    restore_owner_names,
    select_named,
)
from comfywatchman.governance.uv.error_parser import UvErrorKind
from comfywatchman.governance.uv.requirement import PIN, is_root

LockStep = Literal["run", "promote", "resolve"]

_MEANING: Final[dict[UvErrorKind, str]] = {
    "conflict": "The packages cannot be installed together",
    "offline_cache_miss": "uv may not use the network, and its cache lacks what is needed",
    "network": "A package index or repository did not give what was asked for",
    "build_failed": "A package could not be built from its source",
    "stale_lock": "uv.lock does not fit pyproject.toml",
    "not_found": "A package, or the version that is asked for, does not exist for this Python and platform",
    "bad_input": "uv cannot work with what it was given",
    "other": "uv failed for a reason that is not known here",
}
_MAX_ERROR_CHARACTERS: Final = 300

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ConflictAnalysis:
    edges: tuple[RequirementEdge, ...]
    clash: tuple[DeclaredRequirement, ...] = ()
    reason: str = ""
    pins: tuple[str, ...] = ()
    is_pin: bool = False


def report_conflict(
    context: GovContext, tried: Transaction, ended: UvResult, project: Path, *, step: LockStep = "promote"
) -> ConflictReport:
    """Say why a lock failed, and keep that as `state/conflicts/<txid>.json` beside uv's own words.

    Args:
        context: The context; its lock must be held.
        tried: The transaction whose promotion or resolution failed.
        ended: How uv ended.
        project: The folder with the pyproject.toml that could not be locked.
        step: What was done; part of the log's name.

    Raises:
        Failure: `state-unwritable`, or `gov-truth-damaged`.
    """
    layout = context.layout
    raw = layout.logs / f"{tried.txid}.{step}.lock.log"
    write_atomic(raw, f"{ended.output}\n{ended.errors}".strip().encode() + b"\n", mode=0o600)
    text = read_regular(project / "pyproject.toml", max_bytes=MAX_TRUTH_BYTES).decode("utf-8")
    kind = error_parser.classify(ended.status, ended.errors)
    tested = pin_tried_versions(tried.post_freeze, but={pin.partition("==")[0] for pin in tried.resolution_pins})
    lines = parse_declared(text, tested)
    found = _analyze(ResolutionProbe(context, text), kind, lines, ended.errors, tried)
    kind = "not_found" if found.is_pin else kind
    answer = ConflictReport(
        txid=tried.txid,
        node_id=tried.node_id,
        created_at=format_utc(context.clock.now()),
        kind=kind,
        confidence="verified" if found.clash else "unparsed",
        summary=_summarize(kind, found, ended.errors, tried.txid),
        clash=tuple(line.edge for line in found.clash),
        roots=tuple(edge for edge in found.edges if is_root(edge)),
        edges=found.edges,
        detected_packages=_collect_packages(found.edges, found.clash),
        suggestions=found.pins,
        raw_log=str(raw),
    )
    write_atomic(layout.conflicts / f"{tried.txid}.json", to_json(answer))
    log.info("conflict reported", extra={"txid": tried.txid, "kind": kind, "confidence": answer.confidence})
    return answer


def _analyze(
    probe: ResolutionProbe, kind: UvErrorKind, lines: Sequence[DeclaredRequirement], words: str, tried: Transaction
) -> _ConflictAnalysis:
    edges = _parse_edges(probe.project, lines, words)
    if kind not in {"conflict", "not_found"}:
        return _ConflictAnalysis(edges)
    try:
        if nowhere := [DeclaredRequirement(PIN, pin) for pin in tried.resolution_pins if probe.is_nonexistent(pin)]:
            return _ConflictAnalysis(edges, tuple(nowhere), is_pin=True)
        clash = _find_conflict(probe, lines, select_named(lines, edges))
        if not clash:
            return _ConflictAnalysis(edges, reason="resolved again, they fit")
        # Of the clash alone uv names the packages between; of the whole it may have named tried versions instead.
        edges = _parse_edges(probe.project, lines, probe.words(clash)) or edges
    except ProbeUndecided as undecided:
        return _ConflictAnalysis(edges, reason=str(undecided))
    declared = [line for line in lines if line.owner != PIN]
    return _ConflictAnalysis(edges, clash, pins=suggestions.suggest_pins(probe, declared, clash, edges, tried))


def _parse_edges(project: str, lines: Sequence[DeclaredRequirement], words: str) -> tuple[RequirementEdge, ...]:
    in_force = [entry for entry in truth.parse_overrides(project) if isinstance(entry, str)]
    pins = [*in_force, *(line.text for line in lines if line.owner == PIN)]
    declared = {line.edge for line in lines}
    return tuple(
        RequirementEdge(source=PIN, requirement=edge.requirement)
        if edge.requirement in pins and edge not in declared
        else edge
        for edge in restore_owner_names(error_parser.parse_edges(words, pins=pins), lines)
    )


def _find_conflict(
    probe: ResolutionProbe, lines: Sequence[DeclaredRequirement], named: Sequence[DeclaredRequirement]
) -> tuple[DeclaredRequirement, ...]:
    """Return the smallest clash: among what uv named if that alone fails, else among the groups that matter."""
    declared = [line for line in lines if line.owner != PIN]
    for part in ([line for line in named if line.owner != PIN], declared, lines):
        if part and probe.fails(part):
            return _minimize(probe, part)
    return ()


def _minimize(probe: ResolutionProbe, lines: Sequence[DeclaredRequirement]) -> tuple[DeclaredRequirement, ...]:
    owners = find_needed(sorted({line.owner for line in lines}), lambda some: probe.fails(_select_owners(lines, some)))
    return minimal_conflict(_select_owners(lines, owners), probe.fails)


def _select_owners(lines: Sequence[DeclaredRequirement], owners: Sequence[str]) -> list[DeclaredRequirement]:
    return [line for line in lines if line.owner in owners]


def _summarize(kind: UvErrorKind, found: _ConflictAnalysis, errors: str, txid: str) -> str:
    if found.is_pin:
        named = ", ".join(line.text for line in found.clash)
        drops = " ".join(f"--drop {line.name}" for line in found.clash)
        away = f"Give another version, or take the pin away: gov resolve {txid} {drops}"
        return f"There is no {named}, as was pinned, for this Python and platform. {away}"
    if found.clash:
        asked = " and ".join(f"{line.text} ({_owner_text(line.owner)})" for line in found.clash)
        verb = "does not exist here" if len(found.clash) == 1 and kind == "not_found" else "cannot be met together"
        return f"{asked} {verb}{_describe_links(found.clash, found.edges)}."
    said = _first_error_line(errors)
    note = f" Which requirements clash could not be confirmed: {found.reason}." if found.reason else ""
    return f"{_MEANING[kind]}{f': {said}' if said else ''}.{note}"


def _describe_links(clash: Sequence[DeclaredRequirement], edges: Sequence[RequirementEdge]) -> str:
    """Say which packages between bring the clash about; the packages of the clash come first."""
    names = {line.name for line in clash}
    links = [f"{edge.source} wants {edge.requirement}" for edge in edges if _is_link(edge, names)]
    return f": {'; '.join(links[:3])}" if links else ""


def _is_link(edge: RequirementEdge, names: set[str]) -> bool:
    if is_root(edge) or edge.source == PIN:
        return False
    return bool({DeclaredRequirement("", edge.source).name, DeclaredRequirement("", edge.requirement).name} & names)


def _owner_text(owner: str) -> str:
    if owner == truth.BASE_GROUP:
        return "ComfyUI"
    return "the version that was tried" if owner == PIN else owner


def _collect_packages(edges: Sequence[RequirementEdge], clash: Sequence[DeclaredRequirement]) -> tuple[str, ...]:
    names = {line.name for line in clash}
    for edge in edges:
        names.add(DeclaredRequirement("", edge.requirement).name)
        names |= set() if is_root(edge) or edge.source == PIN else {DeclaredRequirement("", edge.source).name}
    return tuple(sorted(canonicalize_name(name) for name in names if name))


def _first_error_line(errors: str) -> str:
    lines = [" ".join(line.split()) for line in errors.splitlines()]
    telling = next((line for line in lines if line.startswith(("error:", "\u00d7", "\u2570"))), "")
    words = telling.removeprefix("error:").strip(" \u00d7\u2570\u2500\u25b6")
    return words[:_MAX_ERROR_CHARACTERS].rstrip(" .:")
