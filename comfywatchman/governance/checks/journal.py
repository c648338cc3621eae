"""Check `journal`: was a commit interrupted?"""

from __future__ import annotations

from dataclasses import dataclass

from comfywatchman.base.lock import is_held
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Journal


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """A commit that has begun.

    Attributes:
        exists: Whether there is a journal.
        is_lock_held: Whether a gov command holds the lock, so that the commit is still running.
        operation: The kind and subject of the commit; empty when the journal cannot be read.
    """

    exists: bool
    is_lock_held: bool = False
    operation: str = ""


def collect(layout: GovLayout) -> JournalFacts:
    """Read the journal and the state of the lock."""
    if not layout.journal.exists():
        return JournalFacts(exists=False)
    journal = read_state(layout.journal, Journal, only_look=True)
    operation = ""
    if isinstance(journal, Journal):
        operation = f"{journal.operation.kind} of {journal.operation.ref}"
    return JournalFacts(exists=True, is_lock_held=is_held(layout.process_lock), operation=operation)


def judge(facts: JournalFacts) -> CheckResult:
    """Judge whether a commit was interrupted."""
    operation = f" ({facts.operation})" if facts.operation else ""
    if not facts.exists:
        return _build_result("ok", "No commit was cut off.")
    if facts.is_lock_held:
        return _build_result("unknown", f"A commit is under way{operation}.")
    evidence = f"A commit was cut off{operation}: the next gov command finishes it, whichever it is."
    return _build_result("fail", evidence, "gov status")


def _build_result(status: CheckStatus, evidence: str, action: str | None = None) -> CheckResult:
    return CheckResult(name=CHECK.name, vital=True, status=status, evidence=evidence, action=action)


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context.layout))


CHECK = Check("journal", _run)
