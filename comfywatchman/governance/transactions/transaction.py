"""Trying a node in a candidate environment: what happens there is recorded, and production stays as it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.clock import to_text
from comfywatchman.base.code_tree import tree_of
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, read_state, show_path, to_json, write_atomic
from comfywatchman.base.git import read_head
from comfywatchman.base.lock import is_held
from comfywatchman.base.text import reason_of
from comfywatchman.governance.environments import generation, init, integrity
from comfywatchman.governance.environments.context import Ground
from comfywatchman.governance.environments.copy_on_write import isolate
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.nodes import registry, requirements
from comfywatchman.governance.nodes.deny_list import DenyList, deny_list, refuse
from comfywatchman.governance.nodes.requirements import Requirements
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.ids import TRANSACTION_ID, new_transaction_id
from comfywatchman.governance.store.layout import Layout
from comfywatchman.governance.store.records import (
    Diff,
    Finding,
    Judgement,
    Plugin,
    Transaction,
    TransactionStatus,
)
from comfywatchman.governance.transactions import candidate
from comfywatchman.governance.transactions.core_packages import core_impact
from comfywatchman.governance.transactions.plan import closure, plan, read_freeze
from comfywatchman.governance.trial.trial import Judge, judge_candidate

_KEPT: Final = 200
_KEPT_CANDIDATES: Final = 3
CLOSED: Final[frozenset[TransactionStatus]] = frozenset({"promoted", "aborted"})
"""Where a transaction stands when nothing more can come of it."""

_CUT_OFF: Final = "The run was cut off before its end. Try again: gov tx run {node_id}"

log = logging.getLogger(__name__)


def run(
    ground: Ground,
    node_id: str,
    *,
    timeout_seconds: float | None = None,
    judge: Judge = judge_candidate,
    progress: Callable[[str], None] = lambda _line: None,
) -> Transaction:
    """Try a registered node: its packages and its installer in a candidate, then a start of ComfyUI there.

    Args:
        ground: The ground; its lock must be held.
        node_id: The node.
        timeout_seconds: How long a start may take; as configured when None.
        judge: Starts ComfyUI and says how it went.
        progress: Told what is done, step by step.

    Returns:
        The transaction: `completed`, or `failed` with its error; production is as it was.

    Raises:
        Failure: `gov-node-unknown`, also when its folder is gone; `gov-not-initialised`; `state-unwritable`.
    """
    plugin = registry.required(ground, node_id)
    folder = ground.custom_nodes / node_id
    if not folder.is_dir():
        raise Failure(
            "gov-node-unknown",
            f"The folder of the node {node_id} is gone: {show_path(folder)}.",
            hint=f"Bring it back, or forget the node: gov node remove {node_id}.",
        )
    settle(ground)
    begun, was_whole = _begun(ground, plugin, folder), _is_production_whole(ground)
    _write(ground.layout, begun)
    try:
        ended = _tried(ground, begun, folder, timeout_seconds=timeout_seconds, judge=judge, progress=progress)
    except Failure as failure:
        ended = _failed(ground, begun, str(failure))
    except OSError as error:
        ended = _failed(
            ground, begun, f"A file could not be written or read: {show_path(error.filename or '')} {reason_of(error)}."
        )
    except BaseException:
        _write(ground.layout, _failed(ground, begun, _CUT_OFF.format(node_id=node_id)))
        candidate.remove(Path(begun.candidate_env))
        raise
    if was_whole:
        ended = _with_whole_production(ground, ended)
    _write(ground.layout, ended)
    tidy(ground)
    return ended


def read(layout: Layout, txid: str) -> Transaction:
    """Return a transaction; one whose run was cut off stands as failed.

    Raises:
        Failure: `gov-transaction-unknown`.
    """
    found = read_state(layout.transactions / f"{txid}.json", Transaction, only_look=True) if _is_id(txid) else None
    if not isinstance(found, Transaction):
        raise Failure("gov-transaction-unknown", f"transaction not found: {txid[:100]!r}", hint="See: gov tx list")
    return _as_it_stands(layout, found)


def read_all(layout: Layout) -> tuple[Transaction, ...]:
    """Return the transactions that can be read, oldest first; those whose run was cut off stand as failed."""
    paths = sorted(path for path in layout.transactions.glob("*.json") if _is_id(path.stem))
    found = (read_state(path, Transaction, only_look=True) for path in paths)
    return tuple(_as_it_stands(layout, one) for one in found if isinstance(one, Transaction))


def save(ground: Ground, transaction: Transaction) -> Transaction:
    """Write a transaction's record, and return it.

    Raises:
        Failure: `state-unwritable`.
    """
    _write(ground.layout, transaction)
    return transaction


def abort(ground: Ground, txid: str) -> Transaction:
    """Give a transaction up: its candidate is deleted, its record stays.

    Raises:
        Failure: `gov-transaction-unknown`, `gov-transaction-state` for one that was promoted or aborted.
    """
    settle(ground)
    transaction = read(ground.layout, txid)
    if transaction.status in CLOSED:
        raise Failure(
            "gov-transaction-state",
            f"The transaction {txid} is {transaction.status} and cannot be aborted.",
            hint="To take a promotion back: gov rollback SNAPSHOT." if transaction.status == "promoted" else None,
        )
    candidate.remove(ground.layout.candidates / txid)
    return save(ground, msgspec.structs.replace(transaction, status="aborted"))


def settle(ground: Ground) -> None:
    """Mark runs that were cut off as failed and delete their candidates; nobody else runs, as the lock is ours."""
    for path in sorted(ground.layout.transactions.glob("*.json")):
        found = read_state(path, Transaction, only_look=True)
        if isinstance(found, Transaction) and found.status == "running" and _is_id(path.stem):
            candidate.remove(ground.layout.candidates / found.txid)
            _write(ground.layout, _failed(ground, found, _CUT_OFF.format(node_id=found.node_id)))


def truth_sha256(layout: Layout) -> str:
    """Return a hash over what is declared and locked: a candidate belongs to one state of both."""
    digest = hashlib.sha256()
    for path in (layout.pyproject, layout.lock):
        try:
            digest.update(hashlib.sha256(read_regular(path, max_bytes=MAX_TRUTH_BYTES)).digest())
        except Failure as failure:
            raise Failure("gov-not-initialised", failure.message, hint="Run: gov init") from failure
    return digest.hexdigest()


def deny_list_of(ground: Ground) -> DenyList:
    """Return the deny list as this root's configuration makes it."""
    return deny_list(ground.settings.policy.deny, ground.settings.policy.allow)


def refuse_packages(ground: Ground, freeze: tuple[str, ...]) -> None:
    """Stop when a package that does harm is among the lines of a freeze.

    Raises:
        Failure: `gov-denied`.
    """
    denied = deny_list_of(ground)
    for one in read_freeze(freeze).values():
        refuse(denied.package(one.name, one.version or None), f"The package {one.line}")


def tidy(ground: Ground) -> None:
    """Keep the newest transactions with their logs and a few candidates; trouble with that is noted, not raised."""
    layout = ground.layout
    try:
        known = read_all(layout)
        for one in known[:-_KEPT]:
            (layout.transactions / f"{one.txid}.json").unlink(missing_ok=True)
            (layout.conflicts / f"{one.txid}.json").unlink(missing_ok=True)
            for path in layout.logs.glob(f"{one.txid}.*"):
                path.unlink(missing_ok=True)
        open_ones = [one.txid for one in known if one.status not in CLOSED]
        kept = set(open_ones[-_KEPT_CANDIDATES:])
        for folder in layout.candidates.iterdir():
            if folder.name not in kept:
                candidate.remove(folder)
    except OSError as error:
        log.warning("old transactions not deleted", extra={"reason": str(error)})


def _begun(ground: Ground, plugin: Plugin, folder: Path) -> Transaction:
    txid = new_transaction_id(ground.clock)
    return Transaction(
        txid=txid,
        node_id=plugin.id,
        started_at=to_text(ground.clock.now()),
        candidate_env=str(ground.layout.candidates / txid),
        uv_version=ground.uv.version,
        python=generation.python_version(ground.python),
        truth_sha256=truth_sha256(ground.layout),
        node_commit=read_head(folder),
        node_tree=tree_of(folder),
    )


def _tried(
    ground: Ground,
    begun: Transaction,
    folder: Path,
    *,
    timeout_seconds: float | None,
    judge: Judge,
    progress: Callable[[str], None],
) -> Transaction:
    layout, uv, environment = ground.layout, ground.uv, Path(begun.candidate_env)
    layout.logs.mkdir(parents=True, exist_ok=True)
    wanted = requirements.of_pack(folder)
    _refuse_pins(ground, wanted)
    progress("making the candidate environment")
    candidate.make(ground, environment)
    pre = uv.freeze(environment)
    progress(f"installing what {begun.node_id} declares")
    words = layout.logs / f"{begun.txid}.install.uv.log"
    candidate.install(ground, environment, wanted, denied=deny_list_of(ground), log=words)
    refuse_packages(ground, uv.freeze(environment))
    logs = layout.logs / f"{begun.txid}.install.stdout.log", layout.logs / f"{begun.txid}.install.stderr.log"
    ended = candidate.run_script(ground, environment, folder, logs)
    refuse_packages(ground, uv.freeze(environment))
    isolate(environment)
    progress("starting ComfyUI in the candidate")
    judgement, started = judge(
        ground,
        txid=begun.txid,
        node_id=begun.node_id,
        environment=environment,
        nodes={**registry.folders(ground), begun.node_id: folder},
        timeout_seconds=timeout_seconds,
    )
    progress("comparing packages and files")
    tried = msgspec.structs.replace(begun, pre_freeze=pre, judgement=_with_script(judgement, ended, logs), logs=started)
    return _compared(ground, tried, environment, wanted)


def _compared(ground: Ground, tried: Transaction, environment: Path, wanted: Requirements) -> Transaction:
    post = ground.uv.freeze(environment)
    mark = generation.read_mark(ground.layout, generation.current(ground.layout))
    report = integrity.modified(environment, None, known=mark.unverifiable if mark else ())
    error = _healed(ground, environment, report)
    judgement = tried.judgement
    is_well = judgement is not None and judgement.exit_code == 0
    if not is_well and error is None:
        error = _words(judgement)
    plugin = registry.required(ground, tried.node_id)
    known = closure(
        _declared(ground, plugin, wanted), candidate.requires_of(environment), candidate.marker_values(tried.python)
    )
    before, after = set(tried.pre_freeze), set(post)
    ended = msgspec.structs.replace(
        tried,
        # Installers and first starts write into the node's folder: what was there then is what was tried.
        node_tree=tree_of(ground.custom_nodes / tried.node_id),
        ended_at=to_text(ground.clock.now()),
        status="completed" if is_well else "failed",
        post_freeze=post,
        diff=Diff(added=tuple(sorted(after - before)), removed=tuple(sorted(before - after))),
        core_impact=core_impact(tried.pre_freeze, post, ground.settings.policy.core_packages),
        promotion_plan=plan(
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
        refuse_packages(ground, post)
    except Failure as failure:
        return msgspec.structs.replace(ended, status="failed", error=str(failure))
    return ended


def _declared(ground: Ground, plugin: Plugin, wanted: Requirements) -> list[str]:
    """Return the lines whose packages come by themselves: what the node declares, and what is declared for others."""
    groups = truth.groups(ground.layout.pyproject.read_text("utf-8"))
    others = (lines for name, lines in groups.items() if canonicalize_name(name) != canonicalize_name(plugin.group))
    return [*wanted.lines, *(line for lines in others for line in lines)]


def _refuse_pins(ground: Ground, wanted: Requirements) -> None:
    """Stop before uv is asked when a node pins a version that does harm; uv would only say that there is none."""
    denied = deny_list_of(ground)
    for one in read_freeze(wanted.lines).values():
        refuse(denied.package(one.name, one.version or None), f"The requirement {one.line!r}")


def _healed(ground: Ground, environment: Path, report: integrity.IntegrityReport) -> str | None:
    """Take changed bytes out of uv's cache, and out of production by putting an untouched environment in its place."""
    if not report.modified_packages:
        return None
    shared = candidate.heal(ground, environment, report)
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


def _is_production_whole(ground: Ground) -> bool:
    mark = generation.read_mark(ground.layout, generation.current(ground.layout))
    return mark is not None and generation.is_untouched(ground.layout, mark)


def _with_whole_production(ground: Ground, ended: Transaction) -> Transaction:
    """Put an untouched environment in the place of production where a trial wrote into it, and tell that."""
    if _is_production_whole(ground):
        return ended
    log.warning("a trial wrote into production", extra={"txid": ended.txid})
    what = f"While {ended.node_id} was tried, production's environment was changed"
    if truth_sha256(ground.layout) != ended.truth_sha256:
        error = f"{what}, and so were pyproject.toml or uv.lock. Look at them (`gov check`), or go back: gov rollback."
    else:
        try:
            init.init(ground)
            error = f"{what}; it was built anew. It would happen again in production: look at its install.py."
        except Failure as failure:
            error = f"{what}, and it could not be built anew: {failure} Run `gov init` when that is mended."
    return msgspec.structs.replace(ended, status="failed", error=error)


def _with_script(judgement: Judgement, status: int | None, logs: tuple[Path, Path]) -> Judgement:
    if status is None:
        return judgement
    finding = Finding(
        name="install",
        status="ok" if status == 0 else "warn",
        detail=f"install.py ended with status {status}; see {show_path(logs[1])}.",
    )
    findings = (finding, *judgement.findings) if status else (*judgement.findings, finding)
    return msgspec.structs.replace(judgement, findings=findings)


def _words(judgement: Judgement | None) -> str:
    worst = next((one.detail for one in judgement.findings if one.status == "fail"), "") if judgement else ""
    return worst or f"The start ended with status {judgement.exit_code if judgement else 'unknown'}."


def _failed(ground: Ground, begun: Transaction, error: str) -> Transaction:
    return msgspec.structs.replace(begun, status="failed", ended_at=to_text(ground.clock.now()), error=error)


def _as_it_stands(layout: Layout, found: Transaction) -> Transaction:
    if found.status != "running" or is_held(layout.lock_file):
        return found
    return msgspec.structs.replace(found, status="failed", error=_CUT_OFF.format(node_id=found.node_id))


def _is_id(text: str) -> bool:
    return TRANSACTION_ID.fullmatch(text) is not None


def _write(layout: Layout, transaction: Transaction) -> None:
    write_atomic(layout.transactions / f"{transaction.txid}.json", to_json(transaction))
