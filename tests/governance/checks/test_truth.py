from __future__ import annotations

import pytest

from comfywatchman.governance.checks.truth import LockFacts, judge_filesystem, judge_journal, judge_lock


def test_unchanged_lock_is_ok_without_running_uv() -> None:
    result = judge_lock(LockFacts(declared=True, locked=True))
    assert (result.name, result.status, result.action) == ("lock", "ok", None)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (LockFacts(declared=True, locked=False), "uv.lock is not there"),
        (LockFacts(declared=False, locked=True), "pyproject.toml is not there"),
        (LockFacts(declared=False, locked=False), "pyproject.toml and uv.lock are not there"),
        (LockFacts(declared=True, locked=True, agrees=False), "does not answer"),
    ],
)
def test_missing_or_stale_lock_fails_with_a_command(facts: LockFacts, said: str) -> None:
    result = judge_lock(facts)
    assert result.status == "fail"
    assert said in result.evidence
    assert result.action == ("gov init" if facts.declared else "gov snapshot list")


def test_a_change_by_hand_that_still_fits_is_a_warning() -> None:
    result = judge_lock(LockFacts(declared=True, locked=True, changed=("pyproject.toml",), agrees=True))
    assert result.status == "warn"
    assert result.items == ("pyproject.toml",)


@pytest.mark.parametrize("why", ["", "uv was not found"])
def test_a_change_by_hand_that_uv_could_not_judge_is_unknown(why: str) -> None:
    changed = ("plugins.json", "pyproject.toml", "uv.lock")
    result = judge_lock(LockFacts(declared=True, locked=True, changed=changed, why_not_asked=why))
    assert result.status == "unknown"
    assert "plugins.json, pyproject.toml and uv.lock changed" in result.evidence
    assert (why or "no time") in result.evidence


def test_a_journal_under_a_held_lock_is_a_commit_under_way() -> None:
    assert judge_journal(is_left=False, is_held=True).status == "ok"
    assert judge_journal(is_left=True, is_held=True, operation="promote of depth").evidence.endswith("depth).")
    assert judge_journal(is_left=True, is_held=True).status == "unknown"


def test_a_journal_that_nobody_holds_is_a_commit_that_was_cut_off() -> None:
    result = judge_journal(is_left=True, is_held=False)
    assert result.status == "fail"
    assert (result.action or "").startswith("gov status")


@pytest.mark.parametrize(("kind", "status"), [(None, "ok"), ("nfs4", "warn"), ("fuse.sshfs", "warn")])
def test_a_root_on_a_network_filesystem_is_a_warning(kind: str | None, status: str) -> None:
    assert judge_filesystem(kind, "/srv/env").status == status
