"""Trying a node in a candidate environment: what happens there is recorded, and production stays as it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, read_state, to_json, write_atomic
from comfywatchman.base.git import read_head
from comfywatchman.base.lock import is_held
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.environments import generation, init, integrity
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.copy_on_write import install_hook
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.nodes import registry, requirements
from comfywatchman.governance.nodes.deny_list import DenyList, build_deny_list, refuse_denied
from comfywatchman.governance.nodes.requirements import NodeRequirements
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.ids import TRANSACTION_ID, make_transaction_id
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import (
    Finding,
    Judgement,
    PackageDiff,
    RegisteredNode,
    RunLogs,
    Transaction,
)
from comfywatchman.governance.store.status_policy import CLOSED_STATUSES, is_allowed
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.transactions.core_packages import find_core_changes
from comfywatchman.governance.transactions.plan import build_plan, find_closure, parse_freeze
from comfywatchman.governance.trial.evaluate import evaluate
from comfywatchman.governance.trial.spec import TrialSpec
from comfywatchman.governance.trial.trial import build_trial_spec

_MAX_TRANSACTIONS: Final = 200
_MAX_CANDIDATES: Final = 3

_INTERRUPTED: Final = "The run was cut off before its end. Try again: gov tx run {node_id}"

log = logging.getLogger(__name__)

Evaluate = Callable[[TrialSpec], tuple[Judgement, RunLogs]]


def run(
    ground: GovContext,
    node_id: str,
    *,
    timeout_seconds: float | None = None,
    evaluate_trial: Evaluate = evaluate,
    progress: Callable[[str], None] = lambda _line: None,
) -> Transaction:
    """Try a registered node: its packages and its installer in a candidate, then a start of ComfyUI there.

    Args:
        ground: The ground; its lock must be held.
        node_id: The node.
        timeout_seconds: How long a start may take; as configured when None.
        evaluate_trial: Starts ComfyUI in the candidate and judges the start.
        progress: Told what is done, step by step.

    Returns:
        The transaction: `completed`, or `failed` with its error; production is as it was.

    Raises:
        Failure: `gov-node-unknown`, also when its folder is gone; `gov-not-initialised`; `state-unwritable`.
    """
    plugin = registry.require(ground, node_id)
    folder = ground.custom_nodes / node_id
    if not folder.is_dir():
        raise Failure(
            "gov-node-unknown",
            f"The folder of the node {node_id} is gone: {printable_path(folder)}.",
            hint=f"Bring it back, or forget the node: gov node remove {node_id}.",
        )
    mark_interrupted(ground)
    begun, was_whole = _begin(ground, plugin, folder), _is_production_intact(ground)
    _write_record(ground.layout, begun)
    try:
        ended = _run_trial(
            ground, begun, folder, timeout_seconds=timeout_seconds, evaluate_trial=evaluate_trial, progress=progress
        )
    except Failure as failure:
        ended = _mark_failed(ground, begun, str(failure))
    except OSError as error:
        ended = _mark_failed(
            ground,
            begun,
            f"A file could not be written or read: {printable_path(error.filename or '')} {os_error_text(error)}.",
        )
    except BaseException:
        _write_record(ground.layout, _mark_failed(ground, begun, _INTERRUPTED.format(node_id=node_id)))
        candidate.delete(Path(begun.candidate_env))
        raise
    if was_whole:
        ended = _restore_production(ground, ended)
    _write_record(ground.layout, ended)
    prune(ground)
    return ended


def read(layout: GovLayout, txid: str) -> Transaction:
    """Return a transaction; one whose run was cut off stands as failed.

    Raises:
        Failure: `gov-transaction-unknown`.
    """
    found = (
        read_state(layout.transactions / f"{txid}.json", Transaction, only_look=True)
        if _is_transaction_id(txid)
        else None
    )
    if not isinstance(found, Transaction):
        raise Failure("gov-transaction-unknown", f"transaction not found: {txid[:100]!r}", hint="See: gov tx list")
    return _resolve_status(layout, found)


def read_all(layout: GovLayout) -> tuple[Transaction, ...]:
    """Return the transactions that can be read, oldest first; those whose run was cut off stand as failed."""
    paths = sorted(path for path in layout.transactions.glob("*.json") if _is_transaction_id(path.stem))
    found = (read_state(path, Transaction, only_look=True) for path in paths)
    return tuple(_resolve_status(layout, one) for one in found if isinstance(one, Transaction))


def save(ground: GovContext, transaction: Transaction) -> Transaction:
    """Write a transaction's record, and return it.

    Raises:
        Failure: `state-unwritable`.
    """
    _write_record(ground.layout, transaction)
    return transaction


def abort(ground: GovContext, txid: str) -> Transaction:
    """Give a transaction up: its candidate is deleted, its record stays.

    Raises:
        Failure: `gov-transaction-unknown`, `gov-transaction-state` for one that was promoted or aborted.
    """
    mark_interrupted(ground)
    transaction = read(ground.layout, txid)
    if not is_allowed("abort", transaction.status):
        raise Failure(
            "gov-transaction-state",
            f"The transaction {txid} is {transaction.status} and cannot be aborted.",
            hint="To take a promotion back: gov rollback SNAPSHOT." if transaction.status == "promoted" else None,
        )
    candidate.delete(ground.layout.candidates / txid)
    return save(ground, msgspec.structs.replace(transaction, status="aborted"))


def mark_interrupted(ground: GovContext) -> None:
    """Mark runs that were cut off as failed and delete their candidates; nobody else runs, as the lock is ours."""
    for path in sorted(ground.layout.transactions.glob("*.json")):
        found = read_state(path, Transaction, only_look=True)
        if isinstance(found, Transaction) and found.status == "running" and _is_transaction_id(path.stem):
            candidate.delete(ground.layout.candidates / found.txid)
            _write_record(ground.layout, _mark_failed(ground, found, _INTERRUPTED.format(node_id=found.node_id)))


def hash_truth_files(layout: GovLayout) -> str:
    """Return a hash over what is declared and locked: a candidate belongs to one state of both."""
    digest = hashlib.sha256()
    for path in (layout.pyproject, layout.lock):
        try:
            digest.update(hashlib.sha256(read_regular(path, max_bytes=MAX_TRUTH_BYTES)).digest())
        except Failure as failure:
            raise Failure("gov-not-initialised", failure.message, hint="Run: gov init") from failure
    return digest.hexdigest()


def build_configured_deny_list(ground: GovContext) -> DenyList:
    """Return the deny list as this root's configuration makes it."""
    return build_deny_list(ground.settings.policy.deny, ground.settings.policy.allow)


def refuse_denied_packages(ground: GovContext, freeze: tuple[str, ...]) -> None:
    """Stop when a package that does harm is among the lines of a freeze.

    Raises:
        Failure: `gov-denied`.
    """
    denied = build_configured_deny_list(ground)
    for one in parse_freeze(freeze).values():
        refuse_denied(denied.find_package(one.name, one.version or None), f"The package {one.line}")


def prune(ground: GovContext) -> None:
    """Keep the newest transactions with their logs and a few candidates; trouble with that is noted, not raised."""
    layout = ground.layout
    try:
        known = read_all(layout)
        for one in known[:-_MAX_TRANSACTIONS]:
            (layout.transactions / f"{one.txid}.json").unlink(missing_ok=True)
            (layout.conflicts / f"{one.txid}.json").unlink(missing_ok=True)
            for path in layout.logs.glob(f"{one.txid}.*"):
                path.unlink(missing_ok=True)
        open_ones = [one.txid for one in known if one.status not in CLOSED_STATUSES]
        kept = set(open_ones[-_MAX_CANDIDATES:])
        for folder in layout.candidates.iterdir():
            if folder.name not in kept:
                candidate.delete(folder)
    except OSError as error:
        log.warning("old transactions not deleted", extra={"reason": str(error)})


def _begin(ground: GovContext, plugin: RegisteredNode, folder: Path) -> Transaction:
    txid = make_transaction_id(ground.clock)
    return Transaction(
        txid=txid,
        node_id=plugin.id,
        started_at=format_utc(ground.clock.now()),
        candidate_env=str(ground.layout.candidates / txid),
        uv_version=ground.uv.version,
        python=generation.read_python_version(ground.python),
        truth_sha256=hash_truth_files(ground.layout),
        node_commit=read_head(folder),
        node_tree=hash_code_tree(folder),
    )


def _run_trial(
    ground: GovContext,
    begun: Transaction,
    folder: Path,
    *,
    timeout_seconds: float | None,
    evaluate_trial: Evaluate,
    progress: Callable[[str], None],
) -> Transaction:
    layout, uv, environment = ground.layout, ground.uv, Path(begun.candidate_env)
    layout.logs.mkdir(parents=True, exist_ok=True)
    wanted = requirements.read_requirements(folder)
    _refuse_denied_pins(ground, wanted)
    progress("making the candidate environment")
    candidate.create(ground, environment)
    pre = uv.freeze(environment)
    progress(f"installing what {begun.node_id} declares")
    words = layout.logs / f"{begun.txid}.install.uv.log"
    candidate.install_requirements(ground, environment, wanted, denied=build_configured_deny_list(ground), log=words)
    refuse_denied_packages(ground, uv.freeze(environment))
    logs = layout.logs / f"{begun.txid}.install.stdout.log", layout.logs / f"{begun.txid}.install.stderr.log"
    ended = candidate.run_install_script(ground, environment, folder, logs)
    refuse_denied_packages(ground, uv.freeze(environment))
    install_hook(environment)
    progress("starting ComfyUI in the candidate")
    spec = build_trial_spec(
        ground,
        txid=begun.txid,
        node_id=begun.node_id,
        environment=environment,
        nodes={**registry.find_enabled_folders(ground), begun.node_id: folder},
        timeout_seconds=timeout_seconds,
    )
    judgement, started = evaluate_trial(spec)
    progress("comparing packages and files")
    tried = msgspec.structs.replace(
        begun, pre_freeze=pre, judgement=_add_script_finding(judgement, ended, logs), logs=started
    )
    return _record_changes(ground, tried, environment, wanted)


def _record_changes(ground: GovContext, tried: Transaction, environment: Path, wanted: NodeRequirements) -> Transaction:
    post = ground.uv.freeze(environment)
    mark = generation.read_mark(ground.layout, generation.current_key(ground.layout))
    report = integrity.verify(environment, None, known=mark.unverifiable if mark else ())
    error = _evict_modified(ground, environment, report)
    judgement = tried.judgement
    is_well = judgement is not None and judgement.exit_code == 0
    if not is_well and error is None:
        error = _describe_failure(judgement)
    plugin = registry.require(ground, tried.node_id)
    known = find_closure(
        _collect_declared_lines(ground, plugin, wanted),
        candidate.read_requires(environment),
        candidate.build_marker_environment(tried.python),
    )
    before, after = set(tried.pre_freeze), set(post)
    ended = msgspec.structs.replace(
        tried,
        # Installers and first starts write into the node's folder: what was there then is what was tried.
        node_tree=hash_code_tree(ground.custom_nodes / tried.node_id),
        ended_at=format_utc(ground.clock.now()),
        status="completed" if is_well else "failed",
        post_freeze=post,
        diff=PackageDiff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after))),
        core_impact=find_core_changes(tried.pre_freeze, post, ground.settings.policy.core_packages),
        promotion_plan=build_plan(
            wanted,
            pre=tried.pre_freeze,
            post=post,
            known=known,
            earlier=plugin.runtime_deps,
            overrides=plugin.overrides,
        ),
        integrity=report.status,
        modified_files=report.modified_files,
        error=error,
    )
    try:
        refuse_denied_packages(ground, post)
    except Failure as failure:
        return msgspec.structs.replace(ended, status="failed", error=str(failure))
    return ended


def _collect_declared_lines(ground: GovContext, plugin: RegisteredNode, wanted: NodeRequirements) -> list[str]:
    """Return the lines whose packages come by themselves: what the node declares, and what is declared for others."""
    groups = truth.parse_groups(ground.layout.pyproject.read_text("utf-8"))
    others = (lines for name, lines in groups.items() if canonicalize_name(name) != canonicalize_name(plugin.group))
    return [*wanted.lines, *(line for lines in others for line in lines)]


def _refuse_denied_pins(ground: GovContext, wanted: NodeRequirements) -> None:
    """Stop before uv is asked when a node pins a version that does harm; uv would only say that there is none."""
    denied = build_configured_deny_list(ground)
    for one in parse_freeze(wanted.lines).values():
        refuse_denied(denied.find_package(one.name, one.version or None), f"The requirement {one.line!r}")


def _evict_modified(ground: GovContext, environment: Path, report: integrity.IntegrityReport) -> str | None:
    """Take changed bytes out of uv's cache, and out of production by putting an untouched environment in its place."""
    if not report.modified_packages:
        return None
    shared = candidate.evict_modified(ground, environment, report)
    if not shared:
        return None
    log.warning("a trial changed files of production", extra={"files": shared[:20]})
    try:
        init.init(ground)
    except Failure as failure:
        return (
            f"The node changed files that production shares ({', '.join(shared[:5])}), and production could not be "
            f"built anew: {failure} Run `gov init` when that is mended."
        )
    return None


def _is_production_intact(ground: GovContext) -> bool:
    mark = generation.read_mark(ground.layout, generation.current_key(ground.layout))
    return mark is not None and generation.is_unmodified(ground.layout, mark)


def _restore_production(ground: GovContext, ended: Transaction) -> Transaction:
    """Put an untouched environment in the place of production where a trial wrote into it, and tell that."""
    if _is_production_intact(ground):
        return ended
    log.warning("a trial wrote into production", extra={"txid": ended.txid})
    what = f"While {ended.node_id} was tried, production's environment was changed"
    if hash_truth_files(ground.layout) != ended.truth_sha256:
        error = f"{what}, and so were pyproject.toml or uv.lock. Look at them (`gov check`), or go back: gov rollback."
    else:
        try:
            init.init(ground)
            error = f"{what}; it was built anew. It would happen again in production: look at its install.py."
        except Failure as failure:
            error = f"{what}, and it could not be built anew: {failure} Run `gov init` when that is mended."
    return msgspec.structs.replace(ended, status="failed", error=error)


def _add_script_finding(judgement: Judgement, status: int | None, logs: tuple[Path, Path]) -> Judgement:
    if status is None:
        return judgement
    finding = Finding(
        name="install",
        status="ok" if status == 0 else "warn",
        detail=f"install.py ended with status {status}; see {printable_path(logs[1])}.",
    )
    findings = (finding, *judgement.findings) if status else (*judgement.findings, finding)
    return msgspec.structs.replace(judgement, findings=findings)


def _describe_failure(judgement: Judgement | None) -> str:
    worst = next((one.detail for one in judgement.findings if one.status == "fail"), "") if judgement else ""
    return worst or f"The start ended with status {judgement.exit_code if judgement else 'unknown'}."


def _mark_failed(ground: GovContext, begun: Transaction, error: str) -> Transaction:
    return msgspec.structs.replace(begun, status="failed", ended_at=format_utc(ground.clock.now()), error=error)


def _resolve_status(layout: GovLayout, found: Transaction) -> Transaction:
    if found.status != "running" or is_held(layout.lock_file):
        return found
    return msgspec.structs.replace(found, status="failed", error=_INTERRUPTED.format(node_id=found.node_id))


def _is_transaction_id(text: str) -> bool:
    return TRANSACTION_ID.fullmatch(text) is not None


def _write_record(layout: GovLayout, transaction: Transaction) -> None:
    write_atomic(layout.transactions / f"{transaction.txid}.json", to_json(transaction))
