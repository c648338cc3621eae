"""Promote several tried nodes in one commit: their lock is started in a candidate once more, and stays what it is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import recorded_code, registry
from comfywatchman.governance.nodes.deny_list import build_deny_list, enforce_deny_list
from comfywatchman.governance.store.records import Journal, Promotion, PromotionPlan, RegisteredNode, Transaction
from comfywatchman.governance.transactions import gates, transaction
from comfywatchman.governance.transactions.gates import Consent
from comfywatchman.governance.transactions.locked_change import ChangeOutcome, LockedChange, try_change
from comfywatchman.governance.transactions.plan import pin_tried_versions
from comfywatchman.governance.transactions.promotion import write_plan
from comfywatchman.governance.transactions.run import EvaluateTrial
from comfywatchman.governance.trial.evaluate import evaluate


def promote_several(
    context: GovContext, txids: Sequence[str], consent: Consent, *, evaluate_trial: EvaluateTrial = evaluate
) -> ChangeOutcome:
    """Lock the requirements of several tried nodes, start ComfyUI with them, and put them in production together.

    Args:
        context: The governed root; its lock must be held.
        txids: The transactions.
        consent: The exceptions that the user allows.
        evaluate_trial: Starts ComfyUI in a candidate and judges the start.

    Raises:
        Failure: As `promotion.promote`, `gov-lock-failed` and `gov-environment-failed`: nothing changed.
    """
    layout = context.layout
    transaction.mark_interrupted(layout, context.clock)
    tried = [transaction.read(layout, txid) for txid in dict.fromkeys(txids)]
    plans = {record.node_id: gates.require_promotable(record, consent) for record in tried}
    if len(plans) < len(tried):
        raise Failure("gov-transaction-state", "Two of the transactions are trials of the same node.")
    nodes = [registry.require(layout, record.node_id) for record in tried]
    deny_list = build_deny_list(context.settings.policy.deny, context.settings.policy.allow)
    for node, record in zip(nodes, tried, strict=True):
        enforce_deny_list(deny_list.find_pack(node.id, node.git_url), f"The pack {node.id}")
        gates.require_fresh(layout, context.custom_nodes / node.id, record)
    gates.require_no_foreign_packages(layout, tried[0].txid, consent)
    names = ", ".join(plans)

    def edit(work: StagingDir) -> None:
        for node, record in zip(nodes, tried, strict=True):
            write_plan(work, node.id, plans[node.id])
            # The plan of the next node is written on top of these overrides, not of the earlier ones.
            _write_record(context, work, node, plans[node.id], txid=record.txid)

    def complete_journal(journal: Journal) -> Journal:
        promotion = Promotion(
            status="promoted",
            reason=consent.reason,
            pre_snapshot=journal.operation.pre_snapshot,
            post_snapshot=journal.operation.post_snapshot,
            generation=journal.generation,
        )
        promoted = (
            msgspec.structs.replace(record, status="promoted", error=None, promotion=promotion) for record in tried
        )
        return msgspec.structs.replace(journal, transactions=tuple(promoted))

    change = LockedChange(
        kind="promote",
        ref=", ".join(record.txid for record in tried),
        note=f"{names} were promoted",
        edit=edit,
        approve_core=consent.approve_core,
        pins=_choose_pins(tried),
        may_move_tried=any(record.resolution_pins for record in tried),
        tried=tuple(plans),
        complete_journal=complete_journal,
    )
    return try_change(context, change, evaluate_trial=evaluate_trial)


def _choose_pins(tried: Sequence[Transaction]) -> tuple[str, ...]:
    """Return the versions of a common trial; none when the nodes were tried apart, as these may contradict."""
    freezes = {record.post_freeze for record in tried}
    if len(freezes) > 1:
        return ()
    pinned = {canonicalize_name(pin.partition("==")[0]) for record in tried for pin in record.resolution_pins}
    return pin_tried_versions(tried[0].post_freeze, but=pinned)


def _write_record(
    context: GovContext, work: StagingDir, node: RegisteredNode, plan: PromotionPlan, *, txid: str
) -> None:
    known = work.read_registry()
    folder = context.custom_nodes / node.id
    recorded_code.keep_copy(context.layout, node.id, folder)
    record = msgspec.structs.replace(
        node,
        managed_deps=plan.direct_additions,
        runtime_deps=plan.runtime_additions,
        overrides=plan.override_additions,
        commit=read_head(folder),
        tree=hash_code_tree(folder),
        updated_at=format_utc(context.clock.now()),
        last_txid=txid,
    )
    work.write_registry(msgspec.structs.replace(known, plugins={**known.plugins, node.id: record}))
