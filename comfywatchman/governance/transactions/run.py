"""Try a node: install it in a candidate environment, start ComfyUI there, and record the changes.

Production stays unchanged, and is rebuilt when a trial wrote into it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.git import read_head
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import generation, init, integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.copy_on_write import install_hook
from comfywatchman.governance.environments.integrity import IntegrityReport
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.deny_list import DenyList, build_deny_list
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.ids import make_transaction_id
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import (
    Finding,
    Judgement,
    PackageDiff,
    PromotionPlan,
    RegisteredNode,
    RunLogs,
    Transaction,
)
from comfywatchman.governance.transactions import candidate, shared_packages, transaction
from comfywatchman.governance.transactions.core_packages import find_core_changes
from comfywatchman.governance.transactions.freeze import enforce_deny_list_on
from comfywatchman.governance.transactions.install_script import run_install_script
from comfywatchman.governance.transactions.plan import build_plan, find_closure
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.spec import TrialSpec
from comfywatchman.governance.trial.trial import build_installer_variables, build_trial_spec
from comfywatchman.governance.trial.verdict import FINDING_ORDER
from comfywatchman.governance.uv.requirement import build_marker_environment
from comfywatchman.governance.uv.requirement_files import NodeRequirements, read_requirements

EvaluateTrial = Callable[[TrialSpec], tuple[Judgement, RunLogs]]
"""Starts ComfyUI in a candidate and judges the start (`trial.evaluate`)."""

Progress = Callable[[str], None]

_MAX_LOGGED_FILES: Final = 20
_MAX_NAMED_FILES: Final = 5

log = logging.getLogger(__name__)


def run_transaction(
    context: GovContext,
    node_id: str,
    *,
    timeout_seconds: float | None = None,
    evaluate_trial: EvaluateTrial = evaluate,
    progress: Progress = lambda _line: None,
) -> Transaction:
    """Try a registered node: install its packages and run its installer in a candidate, then start ComfyUI there.

    Args:
        context: The governed root; its lock must be held.
        node_id: The node.
        timeout_seconds: The time that a start may take; None for the configured one.
        evaluate_trial: Starts ComfyUI in the candidate and judges the start.
        progress: Receives a line for each step.

    Returns:
        The transaction: `completed`, or `failed` with its error.

    Raises:
        Failure: `gov-node-unknown` (also for a missing folder), `gov-not-initialised` or `state-unwritable`.
    """
    layout, clock = context.layout, context.clock
    node = registry.require(layout, node_id)
    node_folder = _require_folder(context.custom_nodes / node_id, node_id)
    transaction.mark_interrupted(layout, clock)
    was_intact = _is_production_intact(layout)
    running = transaction.save(layout, _begin(context, node, node_folder))
    try:
        ended = _run_steps(
            context,
            running,
            node,
            node_folder,
            timeout_seconds=timeout_seconds,
            evaluate_trial=evaluate_trial,
            progress=progress,
        )
    except Failure as failure:
        ended = transaction.mark_failed(running, clock, str(failure))
    except OSError as error:
        path = printable_path(error.filename or "")
        reason = f"A file could not be read or written: {path} {os_error_text(error)}."
        ended = transaction.mark_failed(running, clock, reason)
    except BaseException:
        # Ctrl-C: the record must not stay "running", and the candidate is of no use.
        transaction.save(layout, transaction.mark_failed(running, clock, transaction.describe_interruption(node_id)))
        candidate.delete(Path(running.candidate_env))
        raise
    if was_intact and not _is_production_intact(layout):
        ended = _restore_production(context, ended)
    transaction.save(layout, ended)
    transaction.prune(layout)
    return ended


def _require_folder(folder: Path, node_id: str) -> Path:
    if not folder.exists():
        raise Failure(
            "gov-node-unknown",
            f"The folder of the node {node_id} is missing: {printable_path(folder)}.",
            hint=f"Restore it, or remove the node: gov node remove {node_id}.",
        )
    return folder


def _begin(context: GovContext, node: RegisteredNode, node_folder: Path) -> Transaction:
    txid = make_transaction_id(context.clock)
    return Transaction(
        txid=txid,
        node_id=node.id,
        started_at=format_utc(context.clock.now()),
        candidate_env=str(context.layout.candidates / txid),
        uv_version=context.uv.version,
        python=generation.read_python_version(context.python),
        truth_sha256=transaction.hash_truth_files(context.layout),
        node_commit=read_head(node_folder),
        node_tree=hash_code_tree(node_folder),
    )


def _run_steps(
    context: GovContext,
    running: Transaction,
    node: RegisteredNode,
    node_folder: Path,
    *,
    timeout_seconds: float | None,
    evaluate_trial: EvaluateTrial,
    progress: Progress,
) -> Transaction:
    layout, txid = context.layout, running.txid
    environment = Path(running.candidate_env)
    deny_list = build_deny_list(context.settings.policy.deny, context.settings.policy.allow)
    requirements = read_requirements(node_folder)
    # Checked before uv runs: uv would only report that no such version exists.
    enforce_deny_list_on(deny_list, requirements.lines, subject="The requirement")
    layout.logs.mkdir(parents=True, exist_ok=True)
    progress("creating the candidate environment")
    candidate.create(context, environment)
    pre_freeze = context.uv.freeze(environment)
    shared = shared_packages.find_in_plan(context, node, requirements.lines)
    progress(f"installing the requirements of {node.id}")
    uv_log = layout.logs / f"{txid}.install.uv.log"
    candidate.install_requirements(context, environment, requirements, deny_list=deny_list, uv_log=uv_log)
    script_findings = _run_install_script(context, environment, node_folder, txid, deny_list)
    progress("starting ComfyUI in the candidate")
    spec = build_trial_spec(
        context,
        txid=txid,
        node_id=node.id,
        environment=environment,
        nodes={**registry.find_enabled_folders(layout, context.custom_nodes), node.id: node_folder},
        timeout_seconds=timeout_seconds,
    )
    judgement, logs = evaluate_trial(spec)
    progress("comparing packages and files")
    tried = msgspec.structs.replace(
        running,
        pre_freeze=pre_freeze,
        judgement=_add_findings(judgement, (*shared_packages.build_findings(shared), *script_findings)),
        logs=logs,
    )
    return _record_changes(context, tried, node, requirements, deny_list)


def _run_install_script(
    context: GovContext, environment: Path, node_folder: Path, txid: str, deny_list: DenyList
) -> tuple[Finding, ...]:
    """Run the install.py of a node; refuse harmful packages before it, and those that it installs."""
    enforce_deny_list_on(deny_list, context.uv.freeze(environment))
    logs = context.layout.logs / f"{txid}.install.stdout.log", context.layout.logs / f"{txid}.install.stderr.log"
    variables = {**context.uv.network, **build_installer_variables(context.settings.network)}
    exit_status = run_install_script(environment, node_folder, logs, variables=variables)
    enforce_deny_list_on(deny_list, context.uv.freeze(environment))
    install_hook(environment)
    if exit_status is None:
        return ()
    detail = f"install.py exited with status {exit_status}; see {printable_path(logs[1])}."
    # Only a warning: whether the node works without it is shown by the start.
    return (Finding(name="install", status="ok" if exit_status == 0 else "warn", detail=detail),)


def _record_changes(
    context: GovContext,
    tried: Transaction,
    node: RegisteredNode,
    requirements: NodeRequirements,
    deny_list: DenyList,
) -> Transaction:
    """Return the transaction with the changes of packages and files, and its outcome."""
    environment = Path(tried.candidate_env)
    post_freeze = context.uv.freeze(environment)
    # Some wheels are published with a wrong hash in their RECORD: such files were not modified by the trial.
    mark = generation.read_mark(context.layout, generation.current_key(context.layout))
    report = integrity.verify(environment, None, known=mark.unverifiable if mark else ())
    error = evict_modified(context, environment, report)
    has_passed = tried.judgement is not None and tried.judgement.exit_code == 0
    if not has_passed and error is None:
        error = describe_failure(tried.judgement)
    before, after = set(tried.pre_freeze), set(post_freeze)
    ended = msgspec.structs.replace(
        tried,
        # Installers and first starts write into the node's folder: its state after them is what was tried.
        node_tree=hash_code_tree(context.custom_nodes / node.id),
        ended_at=format_utc(context.clock.now()),
        status="completed" if has_passed else "failed",
        post_freeze=post_freeze,
        diff=PackageDiff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after))),
        core_impact=find_core_changes(tried.pre_freeze, post_freeze, context.settings.policy.core_packages),
        promotion_plan=_build_plan(context.layout, tried, node, requirements, post_freeze),
        integrity=report.status,
        modified_files=report.modified_files,
        error=error,
    )
    try:
        enforce_deny_list_on(deny_list, post_freeze)
    except Failure as failure:
        return msgspec.structs.replace(ended, status="failed", error=str(failure))
    return ended


def _build_plan(
    layout: GovLayout,
    tried: Transaction,
    node: RegisteredNode,
    requirements: NodeRequirements,
    post_freeze: tuple[str, ...],
) -> PromotionPlan:
    lines = [*requirements.lines, *_collect_other_lines(layout, node.group)]
    requires = candidate.read_requires(Path(tried.candidate_env))
    return build_plan(
        requirements,
        pre=tried.pre_freeze,
        post=post_freeze,
        known=find_closure(lines, requires, build_marker_environment(tried.python)),
        earlier=node.runtime_deps,
        overrides=node.overrides,
    )


def _collect_other_lines(layout: GovLayout, own_group: str) -> list[str]:
    """Return the requirement lines that are declared for the base and for other nodes."""
    lines: list[str] = []
    for group, group_lines in truth.parse_groups(truth.read_project(layout.pyproject)).items():
        if canonicalize_name(group) != canonicalize_name(own_group):
            lines += group_lines
    return lines


def evict_modified(context: GovContext, environment: Path, report: IntegrityReport) -> str | None:
    """Evict packages whose shared files a trial modified, from uv's cache and from production.

    Returns:
        Why production could not be rebuilt; None when it is intact.
    """
    if not report.modified_packages:
        return None
    files = candidate.evict_modified(context.uv, context.layout, environment, report)
    if not files:
        return None
    log.warning("trial modified files of production", extra={"files": files[:_MAX_LOGGED_FILES]})
    try:
        # Production shares the modified bytes, so it is rebuilt from clean packages.
        init.init(context)
    except Failure as failure:
        names = ", ".join(files[:_MAX_NAMED_FILES])
        return (
            f"The node modified files that production shares ({names}), and production could not be rebuilt: {failure} "
            "Fix the cause, then run: gov init"
        )
    return None


def _is_production_intact(layout: GovLayout) -> bool:
    mark = generation.read_mark(layout, generation.current_key(layout))
    return mark is not None and generation.is_unmodified(layout, mark)


def _restore_production(context: GovContext, ended: Transaction) -> Transaction:
    """Rebuild production after a trial that wrote into it, and return the transaction as failed."""
    log.warning("trial wrote into production", extra={"txid": ended.txid})
    event = f"While {ended.node_id} was tried, the environment in production was modified"
    if transaction.hash_truth_files(context.layout) != ended.truth_sha256:
        # Rebuilding would build whatever the trial has declared.
        error = f"{event}, and so were pyproject.toml or uv.lock. Inspect them (gov check), or run: gov rollback"
        return msgspec.structs.replace(ended, status="failed", error=error)
    try:
        init.init(context)
        error = f"{event}; it was rebuilt. The node would do so again in production: inspect its install.py."
    except Failure as failure:
        error = f"{event}, and it could not be rebuilt: {failure} Fix the cause, then run: gov init"
    return msgspec.structs.replace(ended, status="failed", error=error)


def _add_findings(judgement: Judgement, added: Sequence[Finding]) -> Judgement:
    """Return a judgement with further findings; they are ordered from worst to best."""
    findings = sorted((*judgement.findings, *added), key=lambda finding: FINDING_ORDER[finding.status])
    return msgspec.structs.replace(judgement, findings=tuple(findings))


def describe_failure(judgement: Judgement | None) -> str:
    """Return why a start failed: the first finding that is a failure."""
    if judgement is None:
        return "The start has no result."
    for finding in judgement.findings:
        if finding.status == "fail" and finding.detail:
            return finding.detail
    return f"The start ended with status {judgement.exit_code}."
