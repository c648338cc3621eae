"""Conflict reports: why package versions cannot be installed together, from uv's messages, confirmed by resolving.

uv's messages alone are only a proposal: they are written for people, change between versions, and show a constraint as
if a package required it. `verified` therefore means that the named requirements were resolved alone and failed, and
that without any one of them the others did not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from comfywatchman.base.clock import format_utc
from comfywatchman.base.files import read_regular, to_json, write_atomic
from comfywatchman.governance.conflicts import pin_starts, suggestions
from comfywatchman.governance.conflicts.probe import ProbeUndecided, ResolutionProbe
from comfywatchman.governance.conflicts.quickxplain import find_needed, minimal_conflict
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.conflict_records import BASE_REPORT, ConflictReport, PinStart, RequirementEdge
from comfywatchman.governance.store.records import Transaction
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
from comfywatchman.governance.uv.requirement import PIN, is_from_package, is_root, parse_package_name

LockStep = Literal["run", "promote", "resolve", "init"]

_KIND_TEXT: Final[dict[UvErrorKind, str]] = {
    "conflict": "The packages cannot be installed together",
    "offline_cache_miss": "The network is off, and a package is missing from uv's cache",
    "network": "A package index or repository could not be read",
    "build_failed": "A package could not be built from source",
    "stale_lock": "uv.lock does not match pyproject.toml",
    "not_found": "A package, or the required version, does not exist for this Python and platform",
    "bad_input": "uv rejected its input",
    "other": "uv failed for an unknown reason",
}
_MAX_ERROR_CHARACTERS: Final = 300
_MAX_LINKS: Final = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _ConflictAnalysis:
    """The result of analysing a failed resolution.

    Attributes:
        edges: The requirements that uv named.
        conflict: The minimal conflict; empty when none was confirmed.
        reason: Why none was confirmed.
        suggestions: Pins to try.
        starts: The start of ComfyUI with each of them, as far as there was time.
        is_bad_pin: Whether the conflict consists of pins that do not exist.
    """

    edges: tuple[RequirementEdge, ...]
    conflict: tuple[DeclaredRequirement, ...] = ()
    reason: str = ""
    suggestions: tuple[str, ...] = ()
    starts: tuple[PinStart, ...] = ()
    is_bad_pin: bool = False


def report_conflict(
    context: GovContext, tried: Transaction, failure: UvResult, project: Path, *, step: LockStep = "promote"
) -> ConflictReport:
    """Analyse why a lock failed; write the report as `state/conflicts/<txid>.json`, and uv's output beside it.

    Args:
        context: The context; its lock must be held.
        tried: The transaction whose promotion or resolution failed.
        failure: uv's failure.
        project: The folder with the pyproject.toml that could not be locked.
        step: The failed step; part of the log's name.

    Raises:
        Failure: `state-unwritable`, or `gov-truth-damaged`.
    """
    layout = context.layout
    raw_log = layout.logs / f"{tried.txid}.{step}.lock.log"
    # Private: an address of an index may contain a token that is not recognised as one.
    write_atomic(raw_log, f"{failure.output}\n{failure.errors}".strip().encode() + b"\n", mode=0o600)
    text = read_regular(project / "pyproject.toml", max_bytes=MAX_TRUTH_BYTES).decode("utf-8")
    kind = error_parser.classify(failure.status, failure.errors)
    pinned_packages = {pin.partition("==")[0] for pin in tried.resolution_pins}
    requirements = parse_declared(text, pin_tried_versions(tried.post_freeze, but=pinned_packages))
    analysis = _analyze(ResolutionProbe(context, text), kind, requirements, failure.errors, tried)
    if analysis.is_bad_pin:
        kind = "not_found"
    report = ConflictReport(
        txid=tried.txid,
        node_id=tried.node_id,
        created_at=format_utc(context.clock.now()),
        kind=kind,
        confidence="verified" if analysis.conflict else "unparsed",
        summary=_summarize(kind, analysis, failure.errors, tried.txid),
        clash=tuple(requirement.edge for requirement in analysis.conflict),
        roots=tuple(edge for edge in analysis.edges if is_root(edge)),
        edges=analysis.edges,
        detected_packages=_collect_packages(analysis),
        suggestions=analysis.suggestions,
        starts=analysis.starts,
        raw_log=str(raw_log),
    )
    write_atomic(layout.conflicts / f"{tried.txid}.json", to_json(report))
    log.info("conflict reported", extra={"txid": tried.txid, "kind": kind, "confidence": report.confidence})
    return report


def _analyze(
    probe: ResolutionProbe,
    kind: UvErrorKind,
    requirements: Sequence[DeclaredRequirement],
    message: str,
    tried: Transaction,
) -> _ConflictAnalysis:
    edges = _parse_edges(probe.project, requirements, message)
    if kind not in {"conflict", "not_found"}:
        return _ConflictAnalysis(edges)
    try:
        bad_pins = [DeclaredRequirement(PIN, pin) for pin in tried.resolution_pins if probe.is_nonexistent(pin)]
        if bad_pins:
            return _ConflictAnalysis(edges, tuple(bad_pins), is_bad_pin=True)
        conflict = _find_conflict(probe, requirements, select_named(requirements, edges))
        if not conflict:
            return _ConflictAnalysis(edges, reason="resolved again, they fit")
        # For the conflict alone uv names the packages in between; for the whole it may have named tried versions.
        edges = _parse_edges(probe.project, requirements, probe.read_error(conflict)) or edges
    except ProbeUndecided as undecided:
        return _ConflictAnalysis(edges, reason=str(undecided))
    suggested = suggestions.suggest_pins(probe, _without_pins(requirements), conflict, edges, tried)
    starts = pin_starts.start_with_pins(probe.context, tried, suggested)
    pins = pin_starts.rank_pins([suggestion.pin for suggestion in suggested], starts)
    return _ConflictAnalysis(edges, conflict, suggestions=pins, starts=starts)


def _parse_edges(
    project: str, requirements: Sequence[DeclaredRequirement], message: str
) -> tuple[RequirementEdge, ...]:
    pins = [override for override in truth.parse_overrides(project) if isinstance(override, str)]
    pins += [requirement.text for requirement in requirements if requirement.owner == PIN]
    declared = {requirement.edge for requirement in requirements}
    edges = []
    for edge in restore_owner_names(error_parser.parse_edges(message, pins=pins), requirements):
        # The parser leaves sources that look declared; what is declared nowhere else comes from the pin.
        if edge.requirement in pins and edge not in declared:
            edges.append(RequirementEdge(source=PIN, requirement=edge.requirement))
        else:
            edges.append(edge)
    return tuple(edges)


def _find_conflict(
    probe: ResolutionProbe, requirements: Sequence[DeclaredRequirement], named: Sequence[DeclaredRequirement]
) -> tuple[DeclaredRequirement, ...]:
    """Return a minimal conflict: among the requirements that uv named if these fail alone, else among all."""
    for part in (_without_pins(named), _without_pins(requirements), list(requirements)):
        if part and probe.fails(part):
            return _minimize(probe, part)
    return ()


def _minimize(probe: ResolutionProbe, requirements: Sequence[DeclaredRequirement]) -> tuple[DeclaredRequirement, ...]:
    # Leaving out whole owners first takes fewer resolutions than single requirements.
    owners = sorted({requirement.owner for requirement in requirements})
    needed = find_needed(owners, lambda some: probe.fails(_select_owners(requirements, some)))
    return minimal_conflict(_select_owners(requirements, needed), probe.fails)


def _select_owners(requirements: Sequence[DeclaredRequirement], owners: Sequence[str]) -> list[DeclaredRequirement]:
    return [requirement for requirement in requirements if requirement.owner in owners]


def _without_pins(requirements: Sequence[DeclaredRequirement]) -> list[DeclaredRequirement]:
    return [requirement for requirement in requirements if requirement.owner != PIN]


def _summarize(kind: UvErrorKind, analysis: _ConflictAnalysis, message: str, txid: str) -> str:
    if analysis.is_bad_pin:
        pins = ", ".join(pin.text for pin in analysis.conflict)
        problem = f"The pinned {pins} does not exist for this Python and platform. Pin another version"
        if txid == BASE_REPORT:
            return f"{problem}."
        options = " ".join(f"--drop {pin.name}" for pin in analysis.conflict)
        return f"{problem}, or drop the pin: gov resolve {txid} {options}"
    if analysis.conflict:
        parts = [f"{requirement.text} ({_describe_owner(requirement.owner)})" for requirement in analysis.conflict]
        names = " and ".join(parts)
        if len(analysis.conflict) == 1 and kind == "not_found":
            return f"{names} does not exist for this Python and platform{_describe_links(analysis)}."
        return f"{names} cannot be met together{_describe_links(analysis)}."
    summary = _KIND_TEXT[kind]
    error = _first_error_line(message)
    if error:
        summary += f": {error}"
    summary += "."
    if analysis.reason:
        summary += f" The conflicting requirements could not be confirmed: {analysis.reason}."
    return summary


def _describe_links(analysis: _ConflictAnalysis) -> str:
    """Return the requirements of packages that link those in the conflict, as the end of a sentence."""
    names = {requirement.name for requirement in analysis.conflict}
    links = [edge for edge in analysis.edges if is_from_package(edge) and _is_about(edge, names)]
    if not links:
        return ""
    return ": " + "; ".join(f"{edge.source} requires {edge.requirement}" for edge in links[:_MAX_LINKS])


def _is_about(edge: RequirementEdge, names: set[str]) -> bool:
    return bool(names & {parse_package_name(edge.source), parse_package_name(edge.requirement)})


def _describe_owner(owner: str) -> str:
    if owner == truth.BASE_GROUP:
        return "ComfyUI"
    return "the tried version" if owner == PIN else owner


def _collect_packages(analysis: _ConflictAnalysis) -> tuple[str, ...]:
    names = {requirement.name for requirement in analysis.conflict}
    for edge in analysis.edges:
        names.add(parse_package_name(edge.requirement))
        if is_from_package(edge):
            names.add(parse_package_name(edge.source))
    # Invalid lines have no name.
    return tuple(sorted(names - {""}))


def _first_error_line(message: str) -> str:
    """Return the first line of a uv message that is an error, without its decoration."""
    for line in message.splitlines():
        text = " ".join(line.split())
        # From uv 0.13 on "error:"; before, the first line of a tree.
        if text.startswith(("error:", "\u00d7", "\u2570")):
            error = text.removeprefix("error:").strip(" \u00d7\u2570\u2500\u25b6")
            return error[:_MAX_ERROR_CHARACTERS].rstrip(" .:")
    return ""
