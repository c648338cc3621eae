from __future__ import annotations

import importlib
import pkgutil
import time

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance import checks
from comfywatchman.governance.checks import runner
from comfywatchman.governance.checks.check_cache import CheckCacheFile
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.checks.runner import find_worst_status
from tests.governance.checks.checked_site import run_checks_on
from tests.governance.contexts import Site


def test_every_check_module_is_listed() -> None:
    modules = (
        importlib.import_module(f"{checks.__name__}.{info.name}") for info in pkgutil.iter_modules(checks.__path__)
    )
    by_module = {module.__name__.rpartition(".")[2]: module.CHECK for module in modules if hasattr(module, "CHECK")}
    assert {check.name: name for name, check in by_module.items()} == {
        check.name: check.name.replace("-", "_") for check in runner.CHECKS
    }


def test_every_check_of_a_fresh_root_is_ok(site: Site) -> None:
    results = run_checks_on(site)
    assert list(results) == [
        "journal", "truth-files", "lock", "production", "start", "comfyui-requirements", "running-environment",
        "gpu-driver", "deny-list", "nodes", "pack-requirements", "unregistered-nodes", "transactions", "conflicts",
        "listening", "storage", "filesystem",
    ]  # fmt: skip
    assert {one.name: one.evidence for one in results.values() if one.status != "ok"} == {}
    assert find_worst_status(tuple(results.values())) == "ok"


def test_second_run_writes_nothing_and_is_fast(site: Site) -> None:
    run_checks_on(site)
    before = site.layout.check_cache.stat().st_mtime_ns
    began = time.process_time()
    run_checks_on(site)
    assert time.process_time() - began < 20
    assert site.layout.check_cache.stat().st_mtime_ns == before


@pytest.mark.parametrize("error", [Failure("state-unwritable", "It is full."), PermissionError(13, "It is full.")])
def test_check_that_fails_to_run_is_unknown(site: Site, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_context: CheckContext) -> CheckResult:
        raise error

    monkeypatch.setattr(runner, "CHECKS", (Check("one", fail), *runner.CHECKS[1:]))
    results = run_checks_on(site)
    assert (results["one"].status, results["one"].evidence) == ("unknown", "Not checked: It is full.")
    assert results["lock"].status == "ok"


def test_damaged_cache_counts_as_empty(site: Site) -> None:
    run_checks_on(site)
    site.layout.check_cache.write_text("{")
    assert run_checks_on(site)["production"].status == "ok"
    assert isinstance(read_state(site.layout.check_cache, CheckCacheFile), CheckCacheFile)
