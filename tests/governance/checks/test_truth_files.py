from __future__ import annotations

import pytest

from comfywatchman.governance.checks.truth_files import judge
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site


def test_damage_names_the_snapshot_to_restore() -> None:
    result = judge("plugins.json is missing", "20261120T120000Z-snap-0a1b2c")
    assert (result.status, result.vital) == ("fail", True)
    assert (result.evidence, result.action) == (
        "plugins.json is missing.",
        "gov rollback 20261120T120000Z-snap-0a1b2c",
    )
    assert judge("x", None).action == "Restore the file from a backup."


@pytest.mark.slow
def test_missing_registry_fails(site: Site) -> None:
    assert run_checks_on(site)["truth-files"].status == "ok"
    site.layout.plugins.unlink()
    result = run_checks_on(site)["truth-files"]
    assert (result.status, (result.action or "").startswith("gov rollback ")) == ("fail", True)
