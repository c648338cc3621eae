from __future__ import annotations

from comfywatchman.governance.checks.journal import JournalFacts, judge


def test_no_journal_is_ok() -> None:
    assert judge(JournalFacts(exists=False, is_lock_held=True)).status == "ok"


def test_journal_under_a_held_lock_is_a_running_commit() -> None:
    result = judge(JournalFacts(exists=True, is_lock_held=True, operation="promote of depth"))
    assert result.status == "unknown"
    assert result.evidence.endswith("(promote of depth).")
    assert judge(JournalFacts(exists=True, is_lock_held=True)).evidence == "A commit is under way."


def test_journal_without_a_lock_is_an_interrupted_commit() -> None:
    result = judge(JournalFacts(exists=True))
    assert (result.status, result.action, result.vital) == ("fail", "gov status", True)
