"""The gates of a promotion: status, core packages, deny list, freshness, torch builds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, integrity
from comfywatchman.governance.nodes.deny_list import DenyList
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import PromotionPlan, Transaction
from comfywatchman.governance.store.settings import PolicyTable
from comfywatchman.governance.store.status_policy import describe_next_step, is_allowed
from comfywatchman.governance.store.uv_lock import parse_freeze_lines, parse_packages
from comfywatchman.governance.transactions import transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes, find_torch_mismatches
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on, list_versions


@dataclass(frozen=True, slots=True)
class Consent:
    """The exceptions that the user allows for a promotion.

    Attributes:
        approve_core: Core packages may change.
        reason: Why they may.
        allow_failed_run: A node whose trial failed, or modified files of packages, may be promoted.
        drop_foreign: Packages that were installed into production past gov may be dropped.
    """

    approve_core: bool = False
    reason: str = ""
    allow_failed_run: bool = False
    drop_foreign: bool = False


def require_promotable(tried: Transaction, consent: Consent) -> PromotionPlan:
    """Return the plan of a transaction that may be promoted.

    Raises:
        Failure: `gov-transaction-state`.
    """
    is_promotable = is_allowed("promote", tried.status)
    if consent.allow_failed_run:
        is_promotable = is_promotable or is_allowed("promote_failed_run", tried.status)
    if not is_promotable:
        raise Failure(
            "gov-transaction-state",
            f"The transaction {tried.txid} is {tried.status}; only completed or resolved ones can be promoted.",
            hint=describe_next_step(tried.status, tried.txid) or f"Try it again: gov tx run {tried.node_id}",
        )
    if tried.promotion_plan is None:
        raise Failure(
            "gov-transaction-state",
            f"The trial {tried.txid} ended before the requirements of {tried.node_id} were known: {tried.error}",
            hint=f"Try it again: gov tx run {tried.node_id}",
        )
    if tried.integrity == "modified" and not consent.allow_failed_run:
        files = ", ".join(tried.modified_files[:3]) or "packages without their files"
        raise Failure(
            "gov-transaction-state",
            f"While {tried.node_id} was tried, files of installed packages were modified: {files}.",
            hint="It would do the same in production. Inspect the files; to promote anyway, use --allow-failed-run.",
        )
    return tried.promotion_plan


def require_approval(txid: str, core_changes: tuple[str, ...], consent: Consent) -> None:
    """Raise when core packages would change without the user's approval.

    Raises:
        Failure: `gov-core-approval`.
    """
    if core_changes and not consent.approve_core:
        raise Failure(
            "gov-core-approval",
            f"This would change core packages: {', '.join(core_changes)}.",
            hint=f"To approve it: gov tx promote {txid} --approve-core --reason TEXT",
        )


def require_fresh(layout: GovLayout, node_folder: Path, tried: Transaction) -> None:
    """Raise when the truth files or the node's code changed since the trial.

    Raises:
        Failure: `gov-candidate-stale`.
    """
    if tried.truth_sha256 != transaction.hash_truth_files(layout):
        raise _stale_failure(tried, "pyproject.toml or uv.lock changed since the trial")
    if tried.node_tree is not None and hash_code_tree(node_folder) != tried.node_tree:
        raise _stale_failure(tried, "the node's code changed since the trial, or is missing")


def require_no_foreign_packages(layout: GovLayout, txid: str, consent: Consent) -> None:
    """Raise when production has packages that were installed past gov: the new environment would not have them.

    Raises:
        Failure: `gov-foreign-packages`.
    """
    mark = generation.read_mark(layout, generation.current_key(layout))
    if mark is None or consent.drop_foreign:
        return
    installed = integrity.find_installed(generation.environment_dir(layout, mark.key))
    foreign = sorted(installed.keys() - set(mark.packages))
    if foreign:
        names = ", ".join(f"{package.name}=={package.version}" for package in foreign)
        raise Failure(
            "gov-foreign-packages",
            f"Production has packages that gov did not install, and this would drop them: {names}.",
            hint="To keep them, add each (gov package add NAME), and try the node again. "
            f"To drop them: gov tx promote {txid} --drop-foreign",
        )


def check_torch(tried: Transaction) -> None:
    """Raise when the torch packages of the trial cannot work together.

    With pins, what counts is the lock that they lead to (`check_lock`).

    Raises:
        Failure: `gov-torch-builds`.
    """
    if not tried.resolution_pins:
        _require_matching_torch(tried.txid, find_torch_mismatches(list_versions(tried.post_freeze)))


def check_lock(
    new_lock: str,
    tried: Transaction,
    consent: Consent,
    *,
    layout: GovLayout,
    policy: PolicyTable,
    deny_list: DenyList,
) -> None:
    """Check the locked packages again: a pin or another package may have changed versions that were not tried.

    Args:
        new_lock: The content of the new uv.lock.
        tried: The transaction.
        consent: The exceptions that the user allows.
        layout: The governed root, with the present uv.lock.
        policy: The `[policy]` table.
        deny_list: The deny list.

    Raises:
        Failure: `gov-core-approval`, `gov-torch-builds` or `gov-denied`.
    """
    packages = parse_packages(new_lock)
    enforce_deny_list_on(deny_list, [f"{package.name}=={package.version}" for package in packages])
    _require_matching_torch(tried.txid, find_torch_mismatches(packages))
    old_lines = parse_freeze_lines(layout.uv_lock.read_text("utf-8"))
    core_changes = find_core_changes(old_lines, parse_freeze_lines(new_lock), policy.core_packages)
    require_approval(tried.txid, core_changes, consent)


def _require_matching_torch(txid: str, mismatches: tuple[str, ...]) -> None:
    if mismatches:
        raise Failure(
            "gov-torch-builds",
            f"ComfyUI cannot start with these builds: {' '.join(mismatches)}",
            hint=f"Pin them to one build, gov resolve {txid} --pin …, or do not promote this node.",
        )


def _stale_failure(tried: Transaction, reason: str) -> Failure:
    return Failure(
        "gov-candidate-stale",
        f"The trial {tried.txid} is outdated: {reason}.",
        hint=f"Try it again: gov tx run {tried.node_id}",
    )
