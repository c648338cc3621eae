"""Putting a tried node into production: as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import to_text
from comfywatchman.base.code_tree import tree_of
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.staging import Workshop
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.nodes.deny_list import refuse
from comfywatchman.governance.store.ids import new_snapshot_id
from comfywatchman.governance.store.lock_file import frozen, packages_in
from comfywatchman.governance.store.records import (
    ConflictReport,
    GenerationMark,
    Package,
    Plugin,
    Promotion,
    PromotionPlan,
    Transaction,
)
from comfywatchman.governance.store.truth import overrides
from comfywatchman.governance.transactions import candidate, transaction
from comfywatchman.governance.transactions.core_packages import core_impact, torch_builds
from comfywatchman.governance.transactions.plan import differences, pins_of_tried, read_freeze
from comfywatchman.governance.uv.client import UvEnded
from comfywatchman.governance.uv.overrides import accepted, with_node

ReportConflict = Callable[[Ground, Transaction, UvEnded, Path], ConflictReport]
"""Says why packages cannot be installed together, and keeps that as `state/conflicts/<txid>.json`."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person allows.

    Attributes:
        approve_core: Core packages may change.
        reason: Why.
        allow_failed_run: A node whose trial failed, or changed files of packages, may be promoted.
    """

    approve_core: bool = False
    reason: str = ""
    allow_failed_run: bool = False


def promote(
    ground: Ground,
    txid: str,
    consent: Consent,
    *,
    report: ReportConflict,
    progress: Callable[[str], None] = lambda _line: None,
) -> Transaction:
    """Lock what a trial showed to be needed, build that environment, and put it in production.

    Args:
        ground: The ground; its lock must be held.
        txid: The transaction.
        consent: What a person allows.
        report: Says why packages cannot be installed together.
        progress: Told what is done, step by step.

    Returns:
        The transaction: `promoted`, `needs_resolution` with its conflict report, or `promote_failed` with its error.
        Production is as it was but for the first.

    Raises:
        Failure: `gov-transaction-unknown`, `gov-transaction-state`, `gov-core-approval`, `gov-candidate-stale`,
            `gov-denied`, `gov-node-unknown`: the transaction is as it was then.
            `gov-commit-unfinished`: the next command finishes the promotion.
    """
    transaction.settle(ground)
    tried = transaction.read(ground.layout, txid)
    plugin = _allowed(ground, tried, consent)
    try:
        with staging.opened(ground) as work:
            return _promoted(ground, tried, plugin, work, consent=consent, report=report, progress=progress)
    except Failure as failure:
        if failure.code in {"gov-commit-unfinished", "gov-core-approval"}:
            raise
        return _not_promoted(ground, tried, consent, str(failure))


def write_plan(work: Workshop, node_id: str, promotion_plan: PromotionPlan) -> None:
    """Write a plan into a workshop's pyproject.toml: the node's group and its overrides.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    registry = work.read_plugins()
    lines, entries = promotion_plan.direct_additions, promotion_plan.override_additions
    work.edit_project(lambda text: with_node(text, registry, node_id, lines=lines, entries=entries))


def lock_as_tried(ground: Ground, work: Workshop, tried: Transaction) -> UvEnded:
    """Lock a workshop whose plan is written, with the versions that were tried.

    Once a person has pinned versions, others may have to move with them: what fits stays as it was tried.
    """
    pinned = {canonicalize_name(pin.partition("==")[0]) for pin in tried.resolution_pins}
    ended = work.lock(ground, pins=pins_of_tried(tried.post_freeze, but=pinned))
    return work.lock(ground) if pinned and not ended.is_well else ended


def _allowed(ground: Ground, tried: Transaction, consent: Consent) -> Plugin:
    """Hold every gate that needs no work; return the node."""
    _require_status(tried, consent)
    plugin = node_registry.required(ground, tried.node_id)
    denied = transaction.deny_list_of(ground)
    refuse(denied.pack(plugin.id, plugin.git_url), f"The pack {plugin.id}")
    if tried.core_impact and not consent.approve_core:
        raise _needs_approval(tried.txid, tried.core_impact)
    transaction.refuse_packages(ground, tried.post_freeze)
    require_fresh(ground, tried)
    return plugin


def require_fresh(ground: Ground, tried: Transaction) -> None:
    """Refuse a trial that no longer shows what promotion would give.

    Raises:
        Failure: `gov-candidate-stale`.
    """
    if tried.truth_sha256 != transaction.truth_sha256(ground.layout):
        raise _stale(tried, "the declared packages or the lock changed since the trial")
    folder = ground.custom_nodes / tried.node_id
    if tried.node_tree is not None and tree_of(folder) != tried.node_tree:
        raise _stale(tried, "the node's code changed since the trial, or is gone")


def _require_status(tried: Transaction, consent: Consent) -> None:
    allowed = {"completed", "resolved"} | ({"failed"} if consent.allow_failed_run else set())
    if tried.status not in allowed:
        raise Failure(
            "gov-transaction-state",
            f"The transaction {tried.txid} is {tried.status}; only one that is completed or resolved is promoted.",
            hint=_next_step(tried),
        )
    if tried.promotion_plan is None:
        raise Failure(
            "gov-transaction-state",
            f"The trial {tried.txid} ended before it was known what {tried.node_id} needs: {tried.error}",
            hint=f"Try it again: gov tx run {tried.node_id}",
        )
    if tried.integrity == "modified" and not consent.allow_failed_run:
        files = ", ".join(tried.modified_files[:3]) or "packages without their files"
        raise Failure(
            "gov-transaction-state",
            f"While {tried.node_id} was tried, files of installed packages changed: {files}.",
            hint="It would do so in production, too. Look at it; to promote it all the same: --allow-failed-run.",
        )


def _promoted(
    ground: Ground,
    tried: Transaction,
    plugin: Plugin,
    work: Workshop,
    *,
    consent: Consent,
    report: ReportConflict,
    progress: Callable[[str], None],
) -> Transaction:
    started_at = to_text(ground.clock.now())
    assert tried.promotion_plan is not None  # noqa: S101 - `_require_status` looked
    if not tried.resolution_pins and (trouble := torch_builds(_packages(tried.post_freeze))):
        # With pins it is what they lead to that counts, see `_hold_locked`.
        raise _torn(tried.txid, trouble)
    write_plan(work, plugin.id, tried.promotion_plan)
    progress("locking")
    ended = lock_as_tried(ground, work, tried)
    if not ended.is_well:
        progress("finding out which requirements clash")
        return _clashed(ground, tried, consent, report(ground, tried, ended, work.folder))
    _hold_locked(ground, tried, consent, work)
    progress("building the environment")
    mark = generation.build(ground, work.folder)
    if isinstance(mark, UvEnded):
        words = mark.errors.strip() or mark.output.strip()
        raise Failure(
            "gov-promote-failed",
            f"uv could not build the environment: {words}",
            hint=f"Check the network and the disk (df -h), then: gov resolve {tried.txid}, and promote it again.",
        )
    return _committed(ground, tried, plugin, work, mark, consent=consent, started_at=started_at)


def _committed(
    ground: Ground,
    tried: Transaction,
    plugin: Plugin,
    work: Workshop,
    mark: GenerationMark,
    *,
    consent: Consent,
    started_at: str,
) -> Transaction:
    layout = ground.layout
    current, post_id = generation.current(layout), new_snapshot_id(ground.clock)
    _register(ground, work, tried, plugin, post_id)
    environment = generation.path_of(layout, mark.key)
    meant, unmeant = accepted(ground.uv.check(environment), overrides(work.read_project()))
    pre = snapshot.take(layout, ground.clock, reason="promote_pre", ref=tried.txid, generation=current)
    done = msgspec.structs.replace(
        tried,
        status="promoted",
        error=None,
        promotion=Promotion(
            status="promoted",
            reason=consent.reason,
            pre_snapshot=pre.id,
            post_snapshot=post_id,
            accepted_violations=meant,
            violations=unmeant,
            differences=differences(tried.post_freeze, {one.name: one.version for one in mark.packages}),
            generation=mark.key,
        ),
    )
    journal = commit.prepare(
        ground,
        work,
        kind="promote",
        ref=tried.txid,
        key=mark.key,
        pre_snapshot=pre.id,
        note=f"{plugin.id} was promoted",
        started_at=started_at,
        post_id=post_id,
    )
    commit.publish(ground, msgspec.structs.replace(journal, transaction=done))
    candidate.remove(layout.candidates / tried.txid)
    return done


def _register(ground: Ground, work: Workshop, tried: Transaction, plugin: Plugin, post_id: str) -> None:
    folder = ground.custom_nodes / plugin.id
    assert tried.promotion_plan is not None  # noqa: S101 - `_require_status` looked
    record = msgspec.structs.replace(
        plugin,
        managed_deps=tried.promotion_plan.direct_additions,
        runtime_deps=tried.promotion_plan.runtime_additions,
        overrides=tried.promotion_plan.override_additions,
        commit=read_head(folder),
        tree=tree_of(folder),
        updated_at=to_text(ground.clock.now()),
        last_txid=tried.txid,
        last_snapshot=post_id,
    )
    registry = work.read_plugins()
    work.write_plugins(msgspec.structs.replace(registry, plugins={**registry.plugins, plugin.id: record}))


def _hold_locked(ground: Ground, tried: Transaction, consent: Consent, work: Workshop) -> None:
    """Hold the gates again on what was locked: a pin or another package may have moved what nobody approved.

    Raises:
        Failure: `gov-core-approval`, `gov-torch-builds` or `gov-denied`.
    """
    text = (work.folder / "uv.lock").read_text("utf-8")
    locked = packages_in(text)
    transaction.refuse_packages(ground, tuple(f"{one.name}=={one.version}" for one in locked))
    if trouble := torch_builds(locked):
        raise _torn(tried.txid, trouble)
    before = frozen(ground.layout.lock.read_text("utf-8"))
    impact = core_impact(before, frozen(text), ground.settings.policy.core_packages)
    if impact and not consent.approve_core:
        raise _needs_approval(tried.txid, impact)


def _clashed(ground: Ground, tried: Transaction, consent: Consent, found: ConflictReport) -> Transaction:
    path = str(ground.layout.conflicts / f"{tried.txid}.json")
    status = "needs_resolution" if found.kind == "conflict" else "promote_failed"
    error = found.summary if found.kind == "conflict" else f"{found.kind.replace('_', ' ')}: {found.summary}"
    promotion = Promotion(status=status, reason=consent.reason, error=error)
    return transaction.save(
        ground,
        msgspec.structs.replace(
            tried,
            status="needs_resolution" if found.kind == "conflict" else "promote_failed",
            conflict_report=path,
            promotion=promotion,
            error=error,
        ),
    )


def _not_promoted(ground: Ground, tried: Transaction, consent: Consent, error: str) -> Transaction:
    promotion = Promotion(status="promote_failed", reason=consent.reason, error=error)
    return transaction.save(
        ground, msgspec.structs.replace(tried, status="promote_failed", promotion=promotion, error=error)
    )


def _packages(freeze: tuple[str, ...]) -> tuple[Package, ...]:
    return tuple(Package(one.name, one.version) for one in read_freeze(freeze).values() if one.version)


def _next_step(tried: Transaction) -> str:
    again = f"Try it again: gov tx run {tried.node_id}"
    steps = {
        "failed": f"See what failed: gov tx inspect {tried.txid}. To promote it all the same: --allow-failed-run.",
        "needs_resolution": f"Pin versions: gov resolve {tried.txid} --pin package==version",
        "promote_failed": f"When its reason is mended: gov resolve {tried.txid}, then promote; or {again.lower()}",
    }
    return steps.get(tried.status, again)


def _needs_approval(txid: str, impact: tuple[str, ...]) -> Failure:
    return Failure(
        "gov-core-approval",
        f"This would change core packages: {', '.join(impact)}.",
        hint=f"If that is meant: gov tx promote {txid} --approve-core --reason TEXT",
    )


def _torn(txid: str, trouble: tuple[str, ...]) -> Failure:
    return Failure(
        "gov-torch-builds",
        f"ComfyUI cannot start with these builds: {' '.join(trouble)}",
        hint=f"Pin them to one build, gov resolve {txid} --pin …, or do not promote this node.",
    )


def _stale(tried: Transaction, reason: str) -> Failure:
    return Failure(
        "gov-candidate-stale",
        f"The trial {tried.txid} no longer shows what promotion would give: {reason}.",
        hint=f"Try it again: gov tx run {tried.node_id}",
    )
