from __future__ import annotations

import pytest

from comfywatchman.governance.checks.storage import StorageFacts, judge
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site


@pytest.mark.parametrize(
    ("facts", "status", "evidence"),
    [
        (
            StorageFacts(1, 50, environment_count=1, used_bytes=1 << 20),
            "ok",
            "1 snapshot (at most 50 are kept), 1 environment, 1.0 MiB",
        ),
        (
            StorageFacts(2, 50, environment_count=2),
            "unknown",
            "2 snapshots (at most 50 are kept), 2 environments, a size that was not measured",
        ),
        (StorageFacts(2, 50, used_bytes=0, free_bytes=1 << 30), "warn", "Only 1.00 GiB are free"),
        (StorageFacts(2, 50, used_bytes=0, free_bytes=8 << 30), "ok", "0 environments, 0 B."),
        (StorageFacts(2, 50, damaged=("s1",), used_bytes=0, free_bytes=8 << 30), "warn", "no rollback is possible: s1"),
    ],
)
def test_space_and_snapshots_are_judged(facts: StorageFacts, status: str, evidence: str) -> None:
    result = judge(facts)
    assert result.status == status
    assert evidence in result.evidence


def test_damaged_snapshot_gives_the_command() -> None:
    facts = StorageFacts(2, 50, damaged=("s1",), used_bytes=None, free_bytes=1 << 30)
    assert judge(facts).action == "gov snapshot inspect s1"


def test_damaged_snapshot_is_named(site: Site) -> None:
    (folder,) = site.layout.snapshots.iterdir()
    (folder / "uv.lock").write_text("changed")
    assert run_checks_on(site)["storage"].items == (folder.name,)


@pytest.mark.slow
def test_unmeasured_space_is_unknown(site: Site) -> None:
    assert run_checks_on(site, budget_seconds=0.0)["storage"].status == "unknown"
    run_checks_on(site)
    assert run_checks_on(site, budget_seconds=0.0)["storage"].status == "ok"


def test_environments_and_their_space_are_counted(site: Site) -> None:
    evidence = run_checks_on(site)["storage"].evidence
    assert evidence.startswith("1 snapshot (at most 50 are kept), 1 environment, ")
    assert "0 B" not in evidence
