"""Resolving a conflict with pins of the user: tested in a staging folder, and kept for the next promotion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.conflicts import report as conflict_report
from comfywatchman.governance.conflicts import trial_resolution
from comfywatchman.governance.environments import staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.store.conflict_records import ConflictReport, RequirementEdge
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import PromotionPlan, Transaction
from comfywatchman.governance.store.status_policy import is_allowed
from comfywatchman.governance.store.truth import Override
from comfywatchman.governance.store.uv_lock import parse_freeze_lines
from comfywatchman.governance.transactions import gates, promotion, transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes
from comfywatchman.governance.transactions.shared_packages import DROP_MARKER, find_dropped
from comfywatchman.governance.uv import overrides
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.requirement import parse_requirement


@dataclass(frozen=True, slots=True)
class PinChoice:
    """A pin that the user may choose.

    Attributes:
        pin: `package==version`.
        overrules: The requirements of the conflict that it does not meet, each as `requirement (source)`.
    """

    pin: str
    overrules: tuple[str, ...]


def list_choices(report: ConflictReport) -> tuple[PinChoice, ...]:
    """Return the pins that a report suggests, best first, each with the requirements that it overrules."""
    return tuple(PinChoice(pin, _find_overruled(pin, report)) for pin in report.suggestions)


def read_report(layout: GovLayout, txid: str) -> ConflictReport | None:
    """Return the conflict report of a transaction; None when it is missing or unreadable."""
    report = read_state(layout.conflicts / f"{txid}.json", ConflictReport, only_look=True)
    return report if isinstance(report, ConflictReport) else None


def resolve(
    context: GovContext, txid: str, pins: Sequence[str], *, drop: Sequence[str] = (), keep: Sequence[str] = ()
) -> Transaction:
    """Test pins with a transaction's plan in a staging folder; production and the truth files are not changed.

    Args:
        context: The context; its lock must be held.
        txid: The transaction.
        pins: Pins to add to those of earlier calls, `package==version`; a later pin of a package replaces an earlier
            one. Without any, it only tries again.
        drop: Packages whose pins of earlier calls are removed.
        keep: Packages to keep among those that own the same files, as its conflict report names them.

    Returns:
        The transaction: `resolved`, or `needs_resolution` with a new conflict report.

    Raises:
        Failure: `gov-bad-pin`, `gov-transaction-unknown`, `gov-transaction-state`, `gov-node-unknown`,
            `gov-candidate-stale`: the transaction is unchanged then.
    """
    added = overrides.merge_pins((), pins)
    tried = transaction.read(context.layout, txid)
    plan = _require_resolvable(tried)
    node_registry.require(context.layout, tried.node_id)
    gates.require_fresh(context.layout, context.custom_nodes / tried.node_id, tried)
    remaining = overrides.drop_pins(tried.resolution_pins, drop)
    kept, drops = _choose_kept(context.layout, tried, keep)
    pinned = msgspec.structs.replace(
        tried, resolution_pins=overrides.merge_pins(remaining, added), kept_packages=(*tried.kept_packages, *kept)
    )
    plan = msgspec.structs.replace(
        plan,
        # The node itself requires what is kept, so that it stays when another node is removed.
        direct_additions=tuple(sorted({*plan.direct_additions, *kept})),
        override_additions=overrides.merge_node_overrides((), (), [plan.override_additions, drops]),
    )
    with staging.open_staging(context.layout) as staging_dir:
        additions = _find_node_overrides(context, staging_dir, pinned, plan)
        records = tuple(overrides.to_record(override) for override in additions)
        pinned_plan = msgspec.structs.replace(plan, override_additions=records)
        promotion.write_plan(staging_dir, tried.node_id, pinned_plan)
        locked = promotion.lock_tried_versions(context.uv, context.python, staging_dir, pinned)
        if locked.is_success:
            impact = _find_locked_core_changes(context.layout, staging_dir, context.settings.policy.core_packages)
            resolved = msgspec.structs.replace(
                pinned, status="resolved", promotion_plan=pinned_plan, core_impact=impact, error=None
            )
            return transaction.save(context.layout, resolved)
        report = conflict_report.report_conflict(context, pinned, locked, staging_dir.folder, step="resolve")
    report_path = str(context.layout.conflicts / f"{txid}.json")
    unresolved = msgspec.structs.replace(
        pinned, status="needs_resolution", conflict_report=report_path, error=report.summary
    )
    return transaction.save(context.layout, unresolved)


def _choose_kept(layout: GovLayout, tried: Transaction, keep: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the packages to keep, and the overrides that drop the others with the same files."""
    names = tuple(canonicalize_name(name.strip()) for name in keep)
    report = read_report(layout, tried.txid) if names else None
    drops: list[str] = []
    for name in names:
        drops += [f"{other} ; {DROP_MARKER}" for other in find_dropped(report, name)]
    return names, tuple(drops)


def _list_drops(additions: Sequence[Override]) -> tuple[Override, ...]:
    return tuple(line for line in additions if isinstance(line, str) and line.endswith(DROP_MARKER))


def _require_resolvable(tried: Transaction) -> PromotionPlan:
    if not is_allowed("resolve", tried.status):
        raise Failure(
            "gov-transaction-state",
            f"The transaction {tried.txid} is {tried.status}; only one with a conflict can be resolved.",
            hint=f"See the next steps: gov tx inspect {tried.txid}",
        )
    if tried.promotion_plan is None:
        raise Failure(
            "gov-transaction-state",
            f"The trial {tried.txid} ended before the requirements of {tried.node_id} were known.",
            hint=f"Try it again: gov tx run {tried.node_id}",
        )
    return tried.promotion_plan


def _find_node_overrides(
    context: GovContext, staging_dir: StagingDir, pinned: Transaction, plan: PromotionPlan
) -> tuple[Override, ...]:
    """Return the narrowest overrides with which the pins can be resolved; global ones when none can.

    Overrides that the node has from an earlier promotion stay, unless a pin is for the same package.
    """
    registry, project = staging_dir.read_registry(), staging_dir.read_project()
    earlier = overrides.merge_node_overrides(
        (), (), [registry.plugins[pinned.node_id].overrides, _list_drops(plan.override_additions)]
    )
    pins = pinned.resolution_pins

    def add_overrides(additions: Sequence[Override]) -> str:
        merged = overrides.merge_node_overrides((), (), [earlier, additions])
        return overrides.set_node(project, registry, pinned.node_id, lines=plan.direct_additions, overrides=merged)

    report = read_report(context.layout, pinned.txid)
    edges = () if report is None else report.edges
    extras = trial_resolution.find_extras(context.layout, add_overrides(()), environment=pinned.candidate_env)
    additions = trial_resolution.find_overrides(context, pins, add_overrides, edges=edges, extras=extras)
    if isinstance(additions, UvResult):
        # The caller locks with these and reports why that fails.
        additions = overrides.build_global_overrides(pins, extras)
    return overrides.merge_node_overrides((), (), [earlier, additions])


def _find_locked_core_changes(
    layout: GovLayout, staging_dir: StagingDir, core_packages: Sequence[str]
) -> tuple[str, ...]:
    """Return the core packages that change; with pins these may be others than the trial changed."""
    before = parse_freeze_lines(layout.uv_lock.read_text("utf-8"))
    after = parse_freeze_lines((staging_dir.folder / "uv.lock").read_text("utf-8"))
    return find_core_changes(before, after, core_packages)


def _find_overruled(pin: str, report: ConflictReport) -> tuple[str, ...]:
    # A dictionary keeps the order and drops duplicates.
    edges = dict.fromkeys([*report.clash, *report.edges])
    return tuple(f"{edge.requirement} ({edge.source})" for edge in edges if _is_overruled(edge, pin))


def _is_overruled(edge: RequirementEdge, pin: str) -> bool:
    requirement = parse_requirement(edge.requirement)
    return requirement is not None and overrides.is_violated_by(requirement, pin)
