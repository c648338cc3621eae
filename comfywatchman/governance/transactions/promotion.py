"""Promote a tried node: lock, build, verify, and switch production in one commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.base.text import shorten_list
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import recorded_code
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.nodes.deny_list import DenyList, build_deny_list, enforce_deny_list
from comfywatchman.governance.store.conflict_records import ConflictReport
from comfywatchman.governance.store.ids import make_snapshot_id
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import (
    GenerationMark,
    Judgement,
    Promotion,
    PromotionPlan,
    RegisteredNode,
    Transaction,
)
from comfywatchman.governance.store.truth import parse_overrides
from comfywatchman.governance.transactions import candidate, gates, lock_trial, shared_packages, transaction
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.plan import find_version_differences, pin_tried_versions
from comfywatchman.governance.transactions.run import describe_failure
from comfywatchman.governance.uv.client import Uv, UvResult
from comfywatchman.governance.uv.overrides import set_node, split_violations

ReportConflict = Callable[[GovContext, Transaction, UvResult, Path], ConflictReport]
"""Explains why packages cannot be installed together, and writes `state/conflicts/<txid>.json`."""


def promote(
    context: GovContext,
    txid: str,
    consent: Consent,
    *,
    report: ReportConflict,
    progress: Callable[[str], None] = lambda _line: None,
) -> Transaction:
    """Lock the requirements of a tried node, build the environment, and put it in production.

    Args:
        context: The governed root; its lock must be held.
        txid: The transaction.
        consent: The exceptions that the user allows.
        report: Explains a conflict between packages.
        progress: Receives a line for each step.

    Returns:
        The transaction: `promoted`, `needs_resolution` with its conflict report, or `promote_failed` with its error.
        Production only changes when it was promoted.

    Raises:
        Failure: `gov-transaction-unknown`, `gov-transaction-state`, `gov-core-approval`, `gov-candidate-stale`,
            `gov-denied`, `gov-node-unknown`, `gov-foreign-packages`: the transaction is unchanged.
            `gov-commit-unfinished`: the next command finishes the promotion.
    """
    layout = context.layout
    transaction.mark_interrupted(layout, context.clock)
    tried = transaction.read(layout, txid)
    plan = gates.require_promotable(tried, consent)
    node = node_registry.require(layout, tried.node_id)
    deny_list = build_deny_list(context.settings.policy.deny, context.settings.policy.allow)
    enforce_deny_list(deny_list.find_pack(node.id, node.git_url), f"The pack {node.id}")
    gates.require_approval(txid, tried.core_impact, consent)
    enforce_deny_list_on(deny_list, tried.post_freeze)
    gates.require_fresh(layout, context.custom_nodes / node.id, tried)
    gates.require_no_foreign_packages(layout, txid, consent)
    try:
        with staging.open_staging(layout) as work:
            return _lock_and_build(
                context, tried, plan, node, work, consent=consent, deny_list=deny_list, report=report, progress=progress
            )
    except Failure as failure:
        # Neither counts as a failed promotion: the next command finishes the commit, and approval needs no new trial.
        if failure.code in {"gov-commit-unfinished", "gov-core-approval"}:
            raise
        return _save_failure(layout, tried, consent, str(failure))


def write_plan(work: StagingDir, node_id: str, plan: PromotionPlan) -> None:
    """Write a plan into the pyproject.toml of a staging folder: the node's group and its overrides.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    registry = work.read_registry()
    lines, entries = plan.direct_additions, plan.override_additions
    work.edit_project(lambda text: set_node(text, registry, node_id, lines=lines, overrides=entries))


def lock_tried_versions(uv: Uv, python: Path, work: StagingDir, tried: Transaction) -> UvResult:
    """Lock a staging folder whose plan is written, with the versions that were tried.

    Packages that the user pinned may need other versions of their dependencies: when the tried versions do not fit,
    uv chooses freely.
    """
    pinned = {canonicalize_name(pin.partition("==")[0]) for pin in tried.resolution_pins}
    result = work.lock(uv, python, pins=pin_tried_versions(tried.post_freeze, but=pinned))
    if pinned and not result.is_success:
        return work.lock(uv, python)
    return result


def _lock_and_build(
    context: GovContext,
    tried: Transaction,
    plan: PromotionPlan,
    node: RegisteredNode,
    work: StagingDir,
    *,
    consent: Consent,
    deny_list: DenyList,
    report: ReportConflict,
    progress: Callable[[str], None],
) -> Transaction:
    started_at = format_utc(context.clock.now())
    gates.check_torch(tried)
    write_plan(work, node.id, plan)
    progress("locking")
    result = lock_tried_versions(context.uv, context.python, work, tried)
    if not result.is_success:
        progress("finding the conflicting requirements")
        explained = report(context, tried, result, work.folder)
        # The starts with suggested pins may have written into the node's folder, as the trial did.
        started = msgspec.structs.replace(tried, node_tree=hash_code_tree(context.custom_nodes / node.id))
        return _save_conflict(context.layout, started, consent, explained)
    gates.check_lock(
        (work.folder / "uv.lock").read_text("utf-8"),
        tried,
        consent,
        layout=context.layout,
        policy=context.settings.policy,
        deny_list=deny_list,
    )
    new_lock = (work.folder / "uv.lock").read_text("utf-8")
    if shared := shared_packages.find_new_shared(context.layout.uv_lock.read_text("utf-8"), new_lock):
        explained = shared_packages.report_shared(context, tried, shared)
        return _save_conflict(context.layout, tried, consent, explained)
    progress("building the environment")
    mark = generation.build(context, work.folder)
    if isinstance(mark, UvResult):
        raise Failure(
            "gov-promote-failed",
            f"uv could not build the environment: {mark.errors.strip() or mark.output.strip()}",
            hint=f"Check the network and the disk (df -h), then run: gov resolve {tried.txid}, and promote it again.",
        )
    judgement = _try_moved_packages(context, tried, work, mark, consent=consent, progress=progress)
    record = _build_node_record(node, plan, context.custom_nodes / node.id, context.clock, txid=tried.txid)
    return _commit(context, tried, record, work, mark, judgement=judgement, consent=consent, started_at=started_at)


def _try_moved_packages(
    context: GovContext,
    tried: Transaction,
    work: StagingDir,
    mark: GenerationMark,
    *,
    consent: Consent,
    progress: Callable[[str], None],
) -> Judgement | None:
    """Start ComfyUI with the locked packages where they are not the tried ones.

    Returns:
        How the start is judged; None when the tried packages are locked.

    Raises:
        Failure: `gov-lock-start-failed`.
    """
    lock = (work.folder / "uv.lock").read_text("utf-8")
    moved = lock_trial.find_moved_packages(tried.post_freeze, mark.packages, lock)
    if not moved:
        return None
    progress("starting ComfyUI with the locked versions")
    judgement = lock_trial.try_lock(context, tried.node_id, work.folder, name=f"{tried.txid}.lock")
    if judgement.exit_code and not consent.allow_failed_run:
        raise Failure(
            "gov-lock-start-failed",
            f"With the locked versions ({shorten_list(moved)}) the start of ComfyUI fails: "
            f"{describe_failure(judgement)}",
            hint=f"Try other pins: gov resolve {tried.txid} --pin PACKAGE==VERSION. To promote it all the same: "
            f"gov resolve {tried.txid}, then gov tx promote {tried.txid} --allow-failed-run",
        )
    return judgement


def _build_node_record(
    node: RegisteredNode, plan: PromotionPlan, folder: Path, clock: Clock, *, txid: str
) -> RegisteredNode:
    """Return the record of a node as it stands after its promotion."""
    return msgspec.structs.replace(
        node,
        managed_deps=plan.direct_additions,
        runtime_deps=plan.runtime_additions,
        overrides=plan.override_additions,
        commit=read_head(folder),
        tree=hash_code_tree(folder),
        updated_at=format_utc(clock.now()),
        last_txid=txid,
        # The snapshot after the promotion will hold this record itself: its id has to come first.
        last_snapshot=make_snapshot_id(clock),
    )


def _commit(
    context: GovContext,
    tried: Transaction,
    record: RegisteredNode,
    work: StagingDir,
    mark: GenerationMark,
    *,
    judgement: Judgement | None,
    consent: Consent,
    started_at: str,
) -> Transaction:
    layout, clock = context.layout, context.clock
    registry = work.read_registry()
    work.write_registry(msgspec.structs.replace(registry, plugins={**registry.plugins, record.id: record}))
    # uv accepts overrides silently; `uv pip check` shows the requirements that they break.
    violations = context.uv.check(generation.environment_dir(layout, mark.key))
    accepted, unaccepted = split_violations(violations, parse_overrides(work.read_project()))
    pre = snapshot.create(
        layout, clock, reason="promote_pre", ref=tried.txid, generation=generation.current_key(layout)
    )
    locked_versions = {package.name: package.version for package in mark.packages}
    promotion = Promotion(
        status="promoted",
        reason=consent.reason,
        pre_snapshot=pre.id,
        post_snapshot=record.last_snapshot,
        accepted_violations=accepted,
        violations=unaccepted,
        differences=find_version_differences(tried.post_freeze, locked_versions),
        judgement=judgement,
        generation=mark.key,
    )
    promoted = msgspec.structs.replace(tried, status="promoted", error=None, promotion=promotion)
    journal = commit.prepare(
        layout,
        clock,
        work,
        kind="promote",
        ref=tried.txid,
        key=mark.key,
        pre_snapshot=pre.id,
        note=f"{record.id} was promoted",
        started_at=started_at,
        post_id=record.last_snapshot,
    )
    recorded_code.keep_copy(layout, record.id, context.custom_nodes / record.id)
    # The journal carries the transaction, so that an interrupted commit also completes the record.
    commit.publish(context, msgspec.structs.replace(journal, transaction=promoted))
    candidate.delete(layout.candidates / tried.txid)
    return promoted


def _save_conflict(layout: GovLayout, tried: Transaction, consent: Consent, report: ConflictReport) -> Transaction:
    """Save a promotion whose lock failed: pins may solve a conflict, but not a network error."""
    path = str(layout.conflicts / f"{tried.txid}.json")
    if report.kind not in {"conflict", "same_files"}:
        error = f"{report.kind.replace('_', ' ')}: {report.summary}"
        return _save_failure(layout, msgspec.structs.replace(tried, conflict_report=path), consent, error)
    promotion = Promotion(status="needs_resolution", reason=consent.reason, error=report.summary)
    conflicting = msgspec.structs.replace(
        tried, status="needs_resolution", conflict_report=path, promotion=promotion, error=report.summary
    )
    return transaction.save(layout, conflicting)


def _save_failure(layout: GovLayout, tried: Transaction, consent: Consent, error: str) -> Transaction:
    promotion = Promotion(status="promote_failed", reason=consent.reason, error=error)
    failed = msgspec.structs.replace(tried, status="promote_failed", promotion=promotion, error=error)
    return transaction.save(layout, failed)
