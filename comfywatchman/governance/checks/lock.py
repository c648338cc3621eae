"""Check `lock`: is there a lock, and does it match the declared requirements?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout

_LIST_SNAPSHOTS: Final = "gov snapshot list"
"""Lists the snapshots that `gov rollback` can restore."""

_INIT: Final = "gov init"
"""Locks the declared requirements again, and builds the environment."""


@dataclass(frozen=True, slots=True)
class LockFacts:
    """The state of the truth files.

    Attributes:
        has_pyproject: Whether pyproject.toml exists.
        has_lock: Whether uv.lock exists.
        changed_files: Truth files that differ from the result of the last operation.
        is_fresh: Whether the lock matches pyproject.toml, according to uv; None when uv was not run or failed.
        reason_not_run: Why uv gave no result; empty when it did, or was not needed.
    """

    has_pyproject: bool
    has_lock: bool
    changed_files: tuple[str, ...] = ()
    is_fresh: bool | None = None
    reason_not_run: str = ""


def collect(context: CheckContext) -> LockFacts:
    """Compare the truth files with the last operation; run uv when they differ and there is no time limit."""
    layout = context.layout
    hashes = {name: hash_file(layout.truth_file(name)) for name in TRUTH_FILES}
    changed_files = _find_changes(layout, hashes)
    has_pyproject = hashes["pyproject.toml"] is not None
    has_lock = hashes["uv.lock"] is not None
    if not (has_pyproject and has_lock and changed_files):
        return LockFacts(has_pyproject, has_lock, changed_files)
    cache_key = f"{hashes['pyproject.toml']} {hashes['uv.lock']}"
    is_fresh, reason_not_run = _check_freshness(context, cache_key)
    return LockFacts(has_pyproject, has_lock, changed_files, is_fresh, reason_not_run)


def judge(facts: LockFacts) -> CheckResult:
    """Judge whether there is a lock, and whether it matches the declared requirements."""
    missing = []
    if not facts.has_pyproject:
        missing.append("pyproject.toml")
    if not facts.has_lock:
        missing.append("uv.lock")
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        action = _INIT if facts.has_pyproject else _LIST_SNAPSHOTS
        return _build_result("fail", f"{' and '.join(missing)} {verb} not there.", action, tuple(missing))
    if facts.is_fresh is False:
        evidence = "uv.lock does not match pyproject.toml."
        return _build_result("fail", evidence, _INIT, facts.changed_files)
    if not facts.changed_files:
        return _build_result("ok", "uv.lock matches pyproject.toml and is unchanged since the last operation.")
    names = _join_names(facts.changed_files)
    if facts.is_fresh is None:
        evidence = f"{names} changed outside of gov, and uv could not check whether the lock still matches"
        reason = facts.reason_not_run or "no time"
        return _build_result("unknown", f"{evidence}: {reason}.", "gov check", facts.changed_files)
    evidence = f"{names} changed outside of gov since the last operation; the lock still answers what is declared."
    return _build_result("warn", evidence, _INIT, facts.changed_files)


def hash_file(path: Path) -> str | None:
    """Return the SHA-256 of a truth file; None when it is missing or cannot be read."""
    try:
        return hashlib.sha256(read_regular(path, max_bytes=snapshot.MAX_TRUTH_BYTES)).hexdigest()
    except Failure:
        return None


def _find_changes(layout: GovLayout, hashes: dict[str, str | None]) -> tuple[str, ...]:
    for meta in reversed(snapshot.read_all(layout)):
        # Only the snapshot after a change holds the result of an operation; one before it may hold a manual edit.
        if meta.reason == "init" or meta.reason.endswith("_post"):
            return tuple(name for name in TRUTH_FILES if meta.sha256.get(name) != hashes[name])
    return ()


def _check_freshness(context: CheckContext, cache_key: str) -> tuple[bool | None, str]:
    """Return whether the lock matches pyproject.toml, from the cache or from uv, and why that is unknown."""
    cached = context.cache.stored.fresh.get(cache_key)
    if cached is not None:
        context.cache.updates["fresh"] = {cache_key: cached}
        return cached, ""
    # The result for other contents of the two files is of no use any more.
    context.cache.updates["fresh"] = {}
    if not context.budget.is_unlimited:
        return None, "a cycle has no time to ask it"
    try:
        result = context.gov.uv.check_lock(context.layout.root, python=context.gov.python)
    except Failure as failure:
        return None, failure.message
    context.cache.updates["fresh"] = {cache_key: result.is_success}
    return result.is_success, ""


def _build_result(
    status: CheckStatus, evidence: str, action: str | None = None, items: tuple[str, ...] = ()
) -> CheckResult:
    return CheckResult(name=CHECK.name, status=status, evidence=evidence, action=action, items=items)


def _join_names(names: tuple[str, ...]) -> str:
    """Return names as in a sentence: `a`, `a and b`, `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("lock", _run)
