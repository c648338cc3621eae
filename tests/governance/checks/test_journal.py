from __future__ import annotations

import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.checks.journal import JournalFacts, judge
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import access, rollback, snapshot
from comfywatchman.governance.store.records import Journal
from tests.governance.checks.checked_site import NO_GPU
from tests.governance.contexts import Site


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


@pytest.mark.slow
def test_running_commit_is_unknown_and_named(site: Site) -> None:
    looked = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    operation = rollback.read_operations(site.layout)[0]
    journal = Journal(operation=operation, work="w", generation=None, post_snapshot=snapshot.read_all(site.layout)[0])
    with hold_lock(site.layout.process_lock, command="gov init", clock=site.clock):
        write_atomic(site.layout.journal, to_json(journal))
        results = run_checks(looked, driver=NO_GPU, budget_seconds=60.0)
    assert (results[0].status, results[0].evidence) == ("unknown", "A commit is under way (init of init).")
