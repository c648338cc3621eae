"""Change packages as a transaction: lock, start ComfyUI in a candidate of the lock, promote it or leave it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.deny_list import build_deny_list
from comfywatchman.governance.store.ids import make_transaction_id
from comfywatchman.governance.store.records import (
    Journal,
    Judgement,
    Operation,
    OperationKind,
    PackageDiff,
    RunLogs,
)
from comfywatchman.governance.store.uv_lock import parse_freeze_lines, parse_packages
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.transactions.core_packages import find_core_changes, find_torch_mismatches
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on
from comfywatchman.governance.transactions.run import EvaluateTrial
from comfywatchman.governance.transactions.shared_packages import find_new_shared
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.trial import build_trial_spec
from comfywatchman.governance.uv.shared_modules import SharedModule, describe_packages


@dataclass(frozen=True)
class LockedChange:
    """A change of packages.

    Attributes:
        kind: The kind of its operation.
        ref: What it applies to, for the record.
        note: A description for people.
        edit: Edits copies of the truth files.
        approved: Core packages that the user named, and that may change.
        approve_core: Whether all core packages may change.
        comfyui: The ComfyUI to start; None for the governed one.
        pins: Tried versions that the lock prefers, `name==version`.
        may_move_tried: Whether uv chooses freely when these versions do not fit.
        tried: Nodes that must be importable, and are not part of production yet.
        complete_journal: Adds what else the commit changes to its journal.
    """

    kind: OperationKind
    ref: str
    note: str
    edit: Callable[[StagingDir], None]
    approved: Collection[str] = ()
    approve_core: bool = False
    comfyui: Path | None = None
    pins: Collection[str] = ()
    may_move_tried: bool = False
    tried: Collection[str] = ()
    complete_journal: Callable[[Journal], Journal] = lambda journal: journal


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """The outcome of a change.

    Attributes:
        operation: The operation; None when ComfyUI did not start as before, and production is unchanged.
        diff: The packages that it adds and removes, `name==version`.
        judgement: The start of ComfyUI in the candidate.
        logs: The output of that start.
    """

    operation: Operation | None
    diff: PackageDiff
    judgement: Judgement
    logs: RunLogs


def try_change(context: GovContext, change: LockedChange, *, evaluate_trial: EvaluateTrial = evaluate) -> ChangeOutcome:
    """Lock a change, start ComfyUI with all nodes in a candidate of that lock, and promote it when that works.

    Args:
        context: The governed root; its lock must be held.
        change: The change.
        evaluate_trial: Starts ComfyUI in the candidate and judges the start.

    Raises:
        Failure: `gov-lock-failed`, `gov-core-approval`, `gov-denied`, `gov-torch-builds`, `gov-needs-resolution`,
            `gov-candidate-failed`, `gov-environment-failed`, `gov-smoke-failed`: production is unchanged.
    """
    layout = context.layout
    started_at = format_utc(context.clock.now())
    with staging.open_staging(layout) as work:
        old_lock = (work.folder / "uv.lock").read_text("utf-8")
        change.edit(work)
        _lock(context, change, work)
        new_lock = (work.folder / "uv.lock").read_text("utf-8")
        _check_lock(context, change, old_lock, new_lock)
        before, after = set(parse_freeze_lines(old_lock)), set(parse_freeze_lines(new_lock))
        diff = PackageDiff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after)))
        judgement, logs = _start_candidate(context, change, work, evaluate_trial)
        if judgement.exit_code != 0 or set(change.tried) & judgement.import_failures.keys():
            return ChangeOutcome(None, diff, judgement, logs)
        mark = generation.require_build(context, work.folder)
        key = generation.current_key(layout)
        pre = snapshot.create(layout, context.clock, reason=f"{change.kind}_pre", ref=change.ref, generation=key)
        journal = commit.prepare(
            layout,
            context.clock,
            work,
            kind=change.kind,
            ref=change.ref,
            key=mark.key,
            pre_snapshot=pre.id,
            note=change.note,
            started_at=started_at,
        )
        operation = commit.publish(context, change.complete_journal(journal))
        return ChangeOutcome(operation, diff, judgement, logs)


def _lock(context: GovContext, change: LockedChange, work: StagingDir) -> None:
    result = work.lock(context.uv, context.python, pins=tuple(change.pins))
    if change.may_move_tried and not result.is_success:
        result = work.lock(context.uv, context.python)
    if not result.is_success:
        raise Failure(
            "gov-lock-failed",
            f"uv could not resolve the packages: {result.errors.strip()}",
            hint="Production is unchanged. Choose another version, or change the requirement that uv names.",
        )


def _check_lock(context: GovContext, change: LockedChange, old_lock: str, new_lock: str) -> None:
    """Refuse harmful packages, unfit builds of torch, packages with the same files, and changes of core packages."""
    policy = context.settings.policy
    packages = parse_packages(new_lock)
    deny_list = build_deny_list(policy.deny, policy.allow)
    enforce_deny_list_on(deny_list, [f"{package.name}=={package.version}" for package in packages])
    if mismatches := find_torch_mismatches(packages):
        raise Failure("gov-torch-builds", f"ComfyUI cannot start with these builds: {' '.join(mismatches)}")
    if shared := find_new_shared(old_lock, new_lock):
        raise _shared_failure(change.kind, shared)
    changes = find_core_changes(parse_freeze_lines(old_lock), parse_freeze_lines(new_lock), policy.core_packages)
    named = {canonicalize_name(name) for name in change.approved}
    unapproved = [text for text in changes if text.partition(" ")[0] not in named]
    if unapproved and not change.approve_core:
        raise Failure(
            "gov-core-approval",
            f"This would change core packages: {', '.join(unapproved)}.",
            hint="Production is unchanged. To approve it, add: --approve-core",
        )


def _shared_failure(kind: OperationKind, shared: Sequence[SharedModule]) -> Failure:
    pairs = "; ".join(f"{describe_packages(module.module, module.packages)} own the same files" for module in shared)
    if kind == "promote":
        step = "Promote the nodes one by one (gov tx promote TXID): it asks which package to keep."
    else:
        step = "Only one can be installed. Remove the other (gov package remove, gov node remove), then try again."
    return Failure("gov-needs-resolution", f"{pairs}.", hint=f"Production is unchanged. {step}")


def _start_candidate(
    context: GovContext, change: LockedChange, work: StagingDir, evaluate_trial: EvaluateTrial
) -> tuple[Judgement, RunLogs]:
    txid = make_transaction_id(context.clock)
    environment = context.layout.candidates / txid
    context.layout.logs.mkdir(parents=True, exist_ok=True)
    try:
        candidate.create(context, environment, project=work.folder)
        context.uv.progress("Starting ComfyUI in the candidate")
        spec = build_trial_spec(
            context,
            txid=txid,
            node_id="",
            environment=environment,
            nodes=registry.find_enabled_folders(context.layout, context.custom_nodes),
        )
        if change.comfyui is not None:
            spec = replace(spec, comfyui=change.comfyui, baseline_comfyui=context.comfyui)
        return evaluate_trial(replace(spec, also_tried=frozenset(change.tried)))
    finally:
        shutil.rmtree(environment, ignore_errors=True)
