"""Putting a tried node into production: as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.nodes.deny_list import refuse_denied
from comfywatchman.governance.store.ids import make_snapshot_id
from comfywatchman.governance.store.lock_file import parse_freeze_lines, parse_packages
from comfywatchman.governance.store.records import (
    ConflictReport,
    GenerationMark,
    InstalledPackage,
    Promotion,
    PromotionPlan,
    RegisteredNode,
    Transaction,
)
from comfywatchman.governance.store.status_policy import describe_next_step, is_allowed
from comfywatchman.governance.store.truth import parse_overrides
from comfywatchman.governance.transactions import candidate, transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes, find_torch_mismatches
from comfywatchman.governance.transactions.plan import find_version_differences, parse_freeze, pin_tried_versions
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.overrides import set_node, split_violations

ReportConflict = Callable[[GovContext, Transaction, UvResult, Path], ConflictReport]
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
    ground: GovContext,
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
    transaction.mark_interrupted(ground)
    tried = transaction.read(ground.layout, txid)
    plugin = _check_before_building(ground, tried, consent)
    try:
        with staging.open_staging(ground.layout) as work:
            return _build_and_commit(ground, tried, plugin, work, consent=consent, report=report, progress=progress)
    except Failure as failure:
        if failure.code in {"gov-commit-unfinished", "gov-core-approval"}:
            raise
        return _record_failure(ground, tried, consent, str(failure))


def write_plan(work: StagingDir, node_id: str, promotion_plan: PromotionPlan) -> None:
    """Write a plan into a workshop's pyproject.toml: the node's group and its overrides.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    registry = work.read_registry()
    lines, entries = promotion_plan.direct_additions, promotion_plan.override_additions
    work.edit_project(lambda text: set_node(text, registry, node_id, lines=lines, overrides=entries))


def lock_tried_versions(ground: GovContext, work: StagingDir, tried: Transaction) -> UvResult:
    """Lock a workshop whose plan is written, with the versions that were tried.

    Once a person has pinned versions, others may have to move with them: what fits stays as it was tried.
    """
    pinned = {canonicalize_name(pin.partition("==")[0]) for pin in tried.resolution_pins}
    ended = work.lock(ground.uv, ground.python, pins=pin_tried_versions(tried.post_freeze, but=pinned))
    return work.lock(ground.uv, ground.python) if pinned and not ended.is_success else ended


def _check_before_building(ground: GovContext, tried: Transaction, consent: Consent) -> RegisteredNode:
    """Hold every gate that needs no work; return the node."""
    _require_status(tried, consent)
    plugin = node_registry.require(ground, tried.node_id)
    denied = transaction.build_configured_deny_list(ground)
    refuse_denied(denied.find_pack(plugin.id, plugin.git_url), f"The pack {plugin.id}")
    if tried.core_impact and not consent.approve_core:
        raise _approval_failure(tried.txid, tried.core_impact)
    transaction.refuse_denied_packages(ground, tried.post_freeze)
    require_fresh(ground, tried)
    return plugin


def require_fresh(ground: GovContext, tried: Transaction) -> None:
    """Refuse a trial that no longer shows what promotion would give.

    Raises:
        Failure: `gov-candidate-stale`.
    """
    if tried.truth_sha256 != transaction.hash_truth_files(ground.layout):
        raise _stale_failure(tried, "the declared packages or the lock changed since the trial")
    folder = ground.custom_nodes / tried.node_id
    if tried.node_tree is not None and hash_code_tree(folder) != tried.node_tree:
        raise _stale_failure(tried, "the node's code changed since the trial, or is gone")


def _require_status(tried: Transaction, consent: Consent) -> None:
    allowed = is_allowed("promote", tried.status)
    if consent.allow_failed_run:
        allowed = allowed or is_allowed("promote_failed_run", tried.status)
    if not allowed:
        raise Failure(
            "gov-transaction-state",
            f"The transaction {tried.txid} is {tried.status}; only one that is completed or resolved is promoted.",
            hint=describe_next_step(tried.status, tried.txid) or f"Try it again: gov tx run {tried.node_id}",
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


def _build_and_commit(
    ground: GovContext,
    tried: Transaction,
    plugin: RegisteredNode,
    work: StagingDir,
    *,
    consent: Consent,
    report: ReportConflict,
    progress: Callable[[str], None],
) -> Transaction:
    started_at = format_utc(ground.clock.now())
    assert tried.promotion_plan is not None  # noqa: S101 - `_require_status` looked
    if not tried.resolution_pins and (trouble := find_torch_mismatches(_parse_packages(tried.post_freeze))):
        # With pins it is what they lead to that counts, see `_hold_locked`.
        raise _torch_builds_failure(tried.txid, trouble)
    write_plan(work, plugin.id, tried.promotion_plan)
    progress("locking")
    ended = lock_tried_versions(ground, work, tried)
    if not ended.is_success:
        progress("finding out which requirements clash")
        return _record_conflict(ground, tried, consent, report(ground, tried, ended, work.folder))
    _check_locked_packages(ground, tried, consent, work)
    progress("building the environment")
    mark = generation.build(ground, work.folder)
    if isinstance(mark, UvResult):
        words = mark.errors.strip() or mark.output.strip()
        raise Failure(
            "gov-promote-failed",
            f"uv could not build the environment: {words}",
            hint=f"Check the network and the disk (df -h), then: gov resolve {tried.txid}, and promote it again.",
        )
    return _commit(ground, tried, plugin, work, mark, consent=consent, started_at=started_at)


def _commit(
    ground: GovContext,
    tried: Transaction,
    plugin: RegisteredNode,
    work: StagingDir,
    mark: GenerationMark,
    *,
    consent: Consent,
    started_at: str,
) -> Transaction:
    layout = ground.layout
    current, post_id = generation.current_key(layout), make_snapshot_id(ground.clock)
    _register_promotion(ground, work, tried, plugin, post_id)
    environment = generation.environment_dir(layout, mark.key)
    meant, unmeant = split_violations(ground.uv.check(environment), parse_overrides(work.read_project()))
    pre = snapshot.create(layout, ground.clock, reason="promote_pre", ref=tried.txid, generation=current)
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
            differences=find_version_differences(tried.post_freeze, {one.name: one.version for one in mark.packages}),
            generation=mark.key,
        ),
    )
    journal = commit.prepare(
        ground.layout,
        ground.clock,
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
    candidate.delete(layout.candidates / tried.txid)
    return done


def _register_promotion(
    ground: GovContext, work: StagingDir, tried: Transaction, plugin: RegisteredNode, post_id: str
) -> None:
    folder = ground.custom_nodes / plugin.id
    assert tried.promotion_plan is not None  # noqa: S101 - `_require_status` looked
    record = msgspec.structs.replace(
        plugin,
        managed_deps=tried.promotion_plan.direct_additions,
        runtime_deps=tried.promotion_plan.runtime_additions,
        overrides=tried.promotion_plan.override_additions,
        commit=read_head(folder),
        tree=hash_code_tree(folder),
        updated_at=format_utc(ground.clock.now()),
        last_txid=tried.txid,
        last_snapshot=post_id,
    )
    registry = work.read_registry()
    work.write_registry(msgspec.structs.replace(registry, plugins={**registry.plugins, plugin.id: record}))


def _check_locked_packages(ground: GovContext, tried: Transaction, consent: Consent, work: StagingDir) -> None:
    """Hold the gates again on what was locked: a pin or another package may have moved what nobody approved.

    Raises:
        Failure: `gov-core-approval`, `gov-torch-builds` or `gov-denied`.
    """
    text = (work.folder / "uv.lock").read_text("utf-8")
    locked = parse_packages(text)
    transaction.refuse_denied_packages(ground, tuple(f"{one.name}=={one.version}" for one in locked))
    if trouble := find_torch_mismatches(locked):
        raise _torch_builds_failure(tried.txid, trouble)
    before = parse_freeze_lines(ground.layout.lock.read_text("utf-8"))
    impact = find_core_changes(before, parse_freeze_lines(text), ground.settings.policy.core_packages)
    if impact and not consent.approve_core:
        raise _approval_failure(tried.txid, impact)


def _record_conflict(ground: GovContext, tried: Transaction, consent: Consent, found: ConflictReport) -> Transaction:
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


def _record_failure(ground: GovContext, tried: Transaction, consent: Consent, error: str) -> Transaction:
    promotion = Promotion(status="promote_failed", reason=consent.reason, error=error)
    return transaction.save(
        ground, msgspec.structs.replace(tried, status="promote_failed", promotion=promotion, error=error)
    )


def _parse_packages(freeze: tuple[str, ...]) -> tuple[InstalledPackage, ...]:
    return tuple(InstalledPackage(one.name, one.version) for one in parse_freeze(freeze).values() if one.version)


def _approval_failure(txid: str, impact: tuple[str, ...]) -> Failure:
    return Failure(
        "gov-core-approval",
        f"This would change core packages: {', '.join(impact)}.",
        hint=f"If that is meant: gov tx promote {txid} --approve-core --reason TEXT",
    )


def _torch_builds_failure(txid: str, trouble: tuple[str, ...]) -> Failure:
    return Failure(
        "gov-torch-builds",
        f"ComfyUI cannot start with these builds: {' '.join(trouble)}",
        hint=f"Pin them to one build, gov resolve {txid} --pin …, or do not promote this node.",
    )


def _stale_failure(tried: Transaction, reason: str) -> Failure:
    return Failure(
        "gov-candidate-stale",
        f"The trial {tried.txid} no longer shows what promotion would give: {reason}.",
        hint=f"Try it again: gov tx run {tried.node_id}",
    )
