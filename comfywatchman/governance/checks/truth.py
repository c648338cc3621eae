"""Checks of the truth files: the lock, a commit that was cut off, the filesystem. Pure: facts in, result out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfywatchman.governance.checks.result import CheckResult, CheckStatus

_LIST_SNAPSHOTS: Final = "gov snapshot list"
"""It shows what `gov rollback` can go back to."""

_INIT: Final = "gov init"
"""It locks anew what is declared, and builds that."""


@dataclass(frozen=True, slots=True)
class LockFacts:
    """What is known of the lock.

    Attributes:
        declared: Whether pyproject.toml is there.
        locked: Whether uv.lock is there.
        changed: Truth files that are not as the last operation left them.
        agrees: What uv says of the two: whether the lock still answers what is declared; None when it was not asked.
        why_not_asked: Why uv could not say; empty when it did, or needed not be asked.
    """

    declared: bool
    locked: bool
    changed: tuple[str, ...] = ()
    agrees: bool | None = None
    why_not_asked: str = ""


def judge_lock(facts: LockFacts) -> CheckResult:
    """Judge whether there is a lock, and whether it is the one of what is declared."""
    lacking = [name for name, here in (("pyproject.toml", facts.declared), ("uv.lock", facts.locked)) if not here]
    if lacking:
        evidence = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not there."
        return _build_lock_result("fail", evidence, _INIT if facts.declared else _LIST_SNAPSHOTS, tuple(lacking))
    if facts.agrees is False:
        evidence = "uv.lock does not answer what pyproject.toml declares."
        return _build_lock_result("fail", evidence, _INIT, facts.changed)
    if not facts.changed:
        return _build_lock_result("ok", "The lock is the one of what is declared, as the last operation left it.")
    names = _join_names(facts.changed)
    if facts.agrees is None:
        evidence = f"{names} changed outside of gov, and uv could not be asked whether the lock still fits"
        return _build_lock_result(
            "unknown", f"{evidence}: {facts.why_not_asked or 'no time'}.", "gov check", facts.changed
        )
    evidence = f"{names} changed outside of gov since the last operation; the lock still answers what is declared."
    return _build_lock_result("warn", evidence, _INIT, facts.changed)


def _build_lock_result(
    status: CheckStatus,
    evidence: str,
    action: str | None = None,
    items: tuple[str, ...] = (),
) -> CheckResult:
    return CheckResult(name="lock", status=status, evidence=evidence, action=action, items=items)


def judge_journal(*, is_left: bool, is_held: bool, operation: str = "") -> CheckResult:
    """Judge whether a commit was cut off.

    Args:
        is_left: Whether there is a journal.
        is_held: Whether some gov command holds the lock now, so that the commit is merely under way.
        operation: What the commit does, in words.
    """
    if not is_left:
        return CheckResult(name="journal", vital=True, status="ok", evidence="No commit was cut off.")
    if is_held:
        return CheckResult(
            name="journal",
            vital=True,
            status="unknown",
            evidence=f"A commit is under way{_format_operation(operation)}.",
        )
    return CheckResult(
        name="journal",
        vital=True,
        status="fail",
        evidence=f"A commit was cut off{_format_operation(operation)}: the next gov command "
        "finishes it, whichever it is.",
        action="gov status",
    )


def judge_filesystem(network: str | None, place: str) -> CheckResult:
    """Judge the filesystem of the governed root.

    Args:
        network: The type of the network filesystem that it lies on; None on a disk of this host.
        place: The root, fit to be shown.
    """
    if network is None:
        return CheckResult(name="filesystem", status="ok", evidence=f"{place} lies on a disk of this host.")
    return CheckResult(
        name="filesystem",
        status="warn",
        evidence=f"{place} lies on a network filesystem ({network}): a lock may not keep another machine out.",
        action="Set [governance] root in config.toml to a folder on a disk of this machine.",
    )


def _format_operation(operation: str) -> str:
    return f" ({operation})" if operation else ""


def _join_names(names: tuple[str, ...]) -> str:
    return " and ".join(names) if len(names) <= 2 else f"{', '.join(names[:-1])} and {names[-1]}"  # noqa: PLR2004
