"""Solving a conflict with pins that a person chose: tried aside first, and kept for the next promotion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_state
from comfywatchman.governance.conflicts import report as conflict_report
from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.lock_file import parse_freeze_lines
from comfywatchman.governance.store.records import ConflictReport, PromotionPlan, RequirementEdge, Transaction
from comfywatchman.governance.store.status_policy import is_allowed
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.transactions import gates, promotion, transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvResult


@dataclass(frozen=True, slots=True)
class PinChoice:
    """A pin that a person may choose.

    Attributes:
        pin: `package==version`.
        gives_way: The requirements of the clash that it does not meet, each as `requirement (who asks)`.
    """

    pin: str
    gives_way: tuple[str, ...]


def list_choices(report: ConflictReport) -> tuple[PinChoice, ...]:
    """Return the pins that a report suggests, best first, each with what gives way to it."""
    return tuple(PinChoice(pin, _find_overruled(pin, report)) for pin in report.suggestions)


def read_report(layout: GovLayout, txid: str) -> ConflictReport | None:
    """Return a transaction's conflict report; None when there is none, or it cannot be read."""
    found = read_state(layout.conflicts / f"{txid}.json", ConflictReport, only_look=True)
    return found if isinstance(found, ConflictReport) else None


def resolve(context: GovContext, txid: str, pins: Sequence[str], *, drop: Sequence[str] = ()) -> Transaction:
    """Try pins on a transaction's plan in a private folder; production and the truth files stay as they are.

    Args:
        context: The context; its lock must be held.
        txid: The transaction.
        pins: Further pins, `package==version`, beside those of earlier calls; of two for a package the later holds.
            None at all asks whether what went wrong has gone by itself.
        drop: Packages whose pins of earlier calls hold no longer.

    Returns:
        The transaction: `resolved`, or `needs_resolution` with a new conflict report.

    Raises:
        Failure: `gov-bad-pin`, `gov-transaction-unknown`, `gov-transaction-state`, `gov-node-unknown`,
            `gov-candidate-stale`: the transaction is as it was then.
    """
    tried = transaction.read(context.layout, txid)
    plan = _require_resolvable(tried)
    node_registry.require(context.layout, tried.node_id)
    gates.require_fresh(context.layout, context.custom_nodes / tried.node_id, tried)
    chosen = overrides.merge_pins(overrides.drop_pins(tried.resolution_pins, drop), pins)
    pinned = msgspec.structs.replace(tried, resolution_pins=chosen)
    with staging.open_staging(context.layout) as work:
        entries = _find_entries(context, work, pinned, plan)
        planned = msgspec.structs.replace(plan, override_additions=tuple(map(overrides.to_record, entries)))
        promotion.write_plan(work, tried.node_id, planned)
        ended = promotion.lock_tried_versions(context.uv, context.python, work, pinned)
        if ended.is_success:
            return _save_resolved(context, pinned, planned, work)
        report = conflict_report.report_conflict(context, pinned, ended, work.folder, step="resolve")
    return _save_unresolved(context, pinned, report)


def _require_resolvable(tried: Transaction) -> PromotionPlan:
    if not is_allowed("resolve", tried.status):
        raise Failure(
            "gov-transaction-state",
            f"The transaction {tried.txid} is {tried.status}; only one that met a conflict is resolved.",
            hint=f"See what can be done next: gov tx inspect {tried.txid}",
        )
    if tried.promotion_plan is None:
        raise Failure(
            "gov-transaction-state",
            f"The trial {tried.txid} ended before it was known what {tried.node_id} needs.",
            hint=f"Try it again: gov tx run {tried.node_id}",
        )
    return tried.promotion_plan


def _find_entries(
    context: GovContext, work: StagingDir, pinned: Transaction, plan: PromotionPlan
) -> tuple[Override, ...]:
    """Return the narrowest overrides that these pins work with, those of everybody when none do.

    What the node brought with an earlier promotion stays unless a pin is for the same.
    """
    registry, text, chosen = work.read_registry(), work.read_project(), pinned.resolution_pins
    earlier = registry.plugins[pinned.node_id].overrides

    def edited(entries: Sequence[Override]) -> str:
        both = overrides.merge_node_overrides((), (), [earlier, entries])
        return overrides.set_node(text, registry, pinned.node_id, lines=plan.direct_additions, overrides=both)

    report = read_report(context.layout, pinned.txid)
    edges = report.edges if report else ()
    extras = trial_resolution.find_extras(context.layout, edited(()), environment=pinned.candidate_env)
    found = trial_resolution.find_overrides(context, chosen, edited, edges=edges, extras=extras)
    entries = overrides.build_global_overrides(chosen, extras) if isinstance(found, UvResult) else found
    return overrides.merge_node_overrides((), (), [earlier, entries])


def _save_resolved(context: GovContext, pinned: Transaction, plan: PromotionPlan, work: StagingDir) -> Transaction:
    """Keep what was found; which core packages change is now told by the lock, no longer by the trial."""
    before, after = (
        parse_freeze_lines(path.read_text("utf-8")) for path in (context.layout.lock, work.folder / "uv.lock")
    )
    impact = find_core_changes(before, after, context.settings.policy.core_packages)
    return transaction.save(
        context.layout,
        msgspec.structs.replace(pinned, status="resolved", promotion_plan=plan, core_impact=impact, error=None),
    )


def _save_unresolved(context: GovContext, pinned: Transaction, report: ConflictReport) -> Transaction:
    path = str(context.layout.conflicts / f"{pinned.txid}.json")
    return transaction.save(
        context.layout,
        msgspec.structs.replace(pinned, status="needs_resolution", conflict_report=path, error=report.summary),
    )


def _find_overruled(pin: str, report: ConflictReport) -> tuple[str, ...]:
    asked = dict.fromkeys([*report.clash, *report.edges])
    return tuple(f"{edge.requirement} ({edge.source})" for edge in asked if _is_against(pin, edge))


def _is_against(pin: str, edge: RequirementEdge) -> bool:
    try:
        wanted = Requirement(edge.requirement)
    except InvalidRequirement:
        return False
    return overrides.is_violated_by(wanted, pin)
