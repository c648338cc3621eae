from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_state, to_json, write_atomic
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance import checks
from comfywatchman.governance.checks import runner
from comfywatchman.governance.checks.check_cache import CheckCacheFile
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult
from comfywatchman.governance.checks.runner import find_worst_status, run_checks
from comfywatchman.governance.environments import access, generation, rollback, snapshot, staging
from comfywatchman.governance.nodes import add
from comfywatchman.governance.store.records import (
    ConflictReport,
    Journal,
    NodeRegistry,
    RegisteredNode,
    Transaction,
    TransactionStatus,
)
from tests.fakes import FakeClock
from tests.governance.contexts import KeptSite, Site, build_site
from tests.governance.packs import commit_files, create_repository

NO_GPU = GpuDriver(present=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptSite:
    return KeptSite.of(build_site(tmp_path_factory.mktemp("site"), clock=FakeClock()))


@pytest.fixture
def site(kept: KeptSite) -> Site:
    return dataclasses.replace(kept.restore(), clock=FakeClock())


def run_checks_on(site: Site, *, budget_seconds: float | None = 5.0) -> Mapping[str, CheckResult]:
    context = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    return {one.name: one for one in run_checks(context, driver=NO_GPU, budget_seconds=budget_seconds)}


def environment(site: Site) -> Path:
    key = generation.current_key(site.layout)
    assert key is not None
    return generation.environment_dir(site.layout, key)


def site_packages(site: Site) -> Path:
    (found,) = environment(site).glob("lib/python3*/site-packages")
    return found


def record(site: Site, txid: str, status: TransactionStatus) -> None:
    write_atomic(
        site.layout.transactions / f"{txid}.json",
        to_json(Transaction(txid=txid, node_id=f"node{txid[-1]}", started_at="2026-11-20T12:00:00Z", status=status)),
    )


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
        "journal", "lock", "production", "gpu-driver", "deny-list", "nodes", "unregistered-nodes", "transactions",
        "conflicts", "listening", "storage", "filesystem",
    ]  # fmt: skip
    assert {one.name: one.evidence for one in results.values() if one.status != "ok"} == {}
    assert find_worst_status(tuple(results.values())) == "ok"


def test_second_run_writes_nothing_and_is_fast(site: Site) -> None:
    run_checks_on(site)
    before = site.layout.check_cache.stat().st_mtime_ns
    began = time.process_time()
    run_checks_on(site)
    assert time.process_time() - began < 0.2
    assert site.layout.check_cache.stat().st_mtime_ns == before


@pytest.mark.parametrize(("name", "action"), [("pyproject.toml", "gov snapshot list"), ("uv.lock", "gov init")])
def test_missing_truth_file_fails_with_a_command(site: Site, name: str, action: str) -> None:
    site.layout.truth_file(name).rename(site.folder / "away")
    results = run_checks_on(site)
    assert results["lock"].status == "fail"
    assert (results["lock"].action or "").startswith(action)
    assert not results["production"].vital or results["production"].status == "ok"


def test_manual_edit_is_unknown_until_uv_was_run(site: Site) -> None:
    path = site.layout.pyproject
    path.write_text(path.read_text("utf-8") + "\n# a remark\n", "utf-8")
    assert run_checks_on(site)["lock"].status == "unknown"
    assert run_checks_on(site, budget_seconds=None)["lock"].status == "warn"
    assert run_checks_on(site)["lock"].status == "warn"
    path.write_text(path.read_text("utf-8").replace("corelet==1.0", "corelet==2.0"), "utf-8")
    assert run_checks_on(site, budget_seconds=None)["lock"].status == "fail"


def test_modified_file_is_found_when_its_package_is_verified(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    (site_packages(site) / "corelet" / "__init__.py").write_text("# changed\n")
    assert run_checks_on(site)["production"].status == "ok"
    assert run_checks_on(site, budget_seconds=None)["production"].status == "fail"
    assert run_checks_on(site)["production"].items == (
        (site_packages(site) / "corelet" / "__init__.py").relative_to(environment(site)).as_posix(),
    )


def test_overdue_verification_is_unknown(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    (site_packages(site) / "corelet" / "__init__.py").write_text("# changed\n")
    site.clock.advance(awake=timedelta(days=8).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["production"].status == "ok"
    site.clock.advance(awake=timedelta(days=8).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["production"].status == "unknown"
    assert run_checks_on(site)["production"].status == "fail"


def test_unexpected_and_missing_packages_are_named(site: Site) -> None:
    place = site_packages(site)
    (place / "stranger-1.0.dist-info").mkdir()
    (place / "stranger-1.0.dist-info" / "RECORD").write_text("")
    result = run_checks_on(site)["production"]
    assert (result.status, result.items) == ("warn", ("stranger 1.0",))
    (place / "corelet-1.0.dist-info").rename(site.folder / "away")
    assert run_checks_on(site)["production"].items == ("corelet 1.0", "stranger 1.0")


def test_unowned_startup_file_is_found_at_once(site: Site) -> None:
    assert run_checks_on(site)["production"].status == "ok"
    (site_packages(site) / "evil.pth").write_text("import os\n")
    assert run_checks_on(site)["production"].items == (
        (site_packages(site) / "evil.pth").relative_to(environment(site)).as_posix(),
    )


@pytest.mark.parametrize("seconds", [0.0, 5.0, None])
def test_missing_package_folder_fails_until_restored(site: Site, seconds: float | None) -> None:
    run_checks_on(site)
    gone = (site_packages(site) / "corelet").rename(site.folder / "away")
    for _ in range(2):
        result = run_checks_on(site, budget_seconds=seconds)["production"]
        assert (result.vital, result.status, result.action) == (True, "fail", "gov init")
        assert (site_packages(site) / "corelet").relative_to(environment(site)).as_posix() in result.items
    gone.rename(site_packages(site) / "corelet")
    assert run_checks_on(site, budget_seconds=None)["production"].status == "ok"


def test_interrupted_installation_is_named(site: Site) -> None:
    (site_packages(site) / "corelet-1.0.dist-info" / "RECORD").unlink()
    result = run_checks_on(site)["production"]
    assert result.status == "fail"
    assert "by halves: corelet 1.0" in result.evidence


def test_missing_or_incomplete_production_fails(site: Site) -> None:
    (environment(site) / ".gov-complete").unlink()
    assert "never completed" in run_checks_on(site)["production"].evidence
    site.layout.production.unlink()
    assert "leads nowhere" in run_checks_on(site)["production"].evidence


def test_nodes_are_compared_with_the_registry(site: Site) -> None:
    (site.comfyui / "custom_nodes" / "stranger").mkdir()
    (site.comfyui / "custom_nodes" / "single_file.py").write_text("")
    gone = RegisteredNode(id="gone", git_url="", ref="", path="", group="node-gone")
    write_atomic(site.layout.plugins, to_json(NodeRegistry(plugins={"gone": gone})))
    results = run_checks_on(site)
    assert (results["nodes"].status, results["nodes"].items) == ("fail", ("gone",))
    assert results["unregistered-nodes"].items == ("stranger",)
    assert results["lock"].items == ("plugins.json",)


def adopted(site: Site, node_id: str = "depth") -> Path:
    """Register a repository in custom_nodes, and return its folder."""
    folder = create_repository(site.comfyui / "custom_nodes" / node_id, files={"web/a.js": "1"})
    with site.opened() as opened:
        add.adopt_node(opened, node_id)
    return folder


def test_node_is_rechecked_after_a_change_or_a_day(site: Site) -> None:
    assert isinstance(site.clock, FakeClock)
    folder = adopted(site)
    assert run_checks_on(site)["nodes"].status == "ok"
    (folder / "web" / "a.js").write_text("2")
    assert run_checks_on(site)["nodes"].status == "ok"
    site.clock.advance(awake=timedelta(days=1).total_seconds())
    assert run_checks_on(site, budget_seconds=0.0)["nodes"].status == "ok"
    assert "with changed files: depth" in run_checks_on(site)["nodes"].evidence
    (folder / "__init__.py").write_text("changed = 1")
    assert run_checks_on(site, budget_seconds=0.0)["nodes"].status == "unknown"


def test_node_at_another_commit_is_a_warning(site: Site) -> None:
    commit_files(adopted(site), {"new.py": ""})
    result = run_checks_on(site)["nodes"]
    assert result.evidence == "at another commit than recorded: depth."
    assert result.action is not None
    assert result.action.startswith("gov tx run depth")


def test_node_without_a_recorded_tree_is_compared_by_git(site: Site) -> None:
    folder = adopted(site)
    plugins = staging.read_registry(site.layout)
    bare = msgspec.structs.replace(plugins.plugins["depth"], tree=None)
    write_atomic(site.layout.plugins, to_json(NodeRegistry(plugins={"depth": bare})))
    assert run_checks_on(site)["nodes"].status == "ok"
    (folder / "__init__.py").write_text("changed = 1")
    assert run_checks_on(site)["nodes"].status == "warn"


def test_running_commit_is_unknown_and_named(site: Site) -> None:
    looked = access.read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    operation = rollback.read_operations(site.layout)[0]
    journal = Journal(operation=operation, work="w", generation=None, post_snapshot=snapshot.read_all(site.layout)[0])
    with hold_lock(site.layout.lock_file, command="gov init", clock=site.clock):
        write_atomic(site.layout.journal, to_json(journal))
        results = run_checks(looked, driver=NO_GPU, budget_seconds=0.5)
    assert (results[0].status, results[0].evidence) == ("unknown", "A commit is under way (init of init).")


def test_open_transactions_and_conflicts_are_named(site: Site) -> None:
    record(site, "20261120T120000Z-00000001", "needs_resolution")
    record(site, "20261120T120000Z-00000002", "running")
    (site.layout.transactions / "20261120T120000Z-00000003.json").write_text("{")
    report = ConflictReport(
        txid="20261120T120000Z-00000001",
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="conflict",
        confidence="verified",
        summary="They clash.",
    )
    write_atomic(site.layout.conflicts / f"{report.txid}.json", to_json(report))
    for _ in range(2):
        results = run_checks_on(site)
        assert results["transactions"].items == ("20261120T120000Z-00000001", "20261120T120000Z-00000002")
        assert results["conflicts"].items == ("20261120T120000Z-00000001",)
    with hold_lock(site.layout.lock_file, command="tx run depth", clock=site.clock):
        assert run_checks_on(site)["transactions"].items == ("20261120T120000Z-00000001",)


def test_damaged_snapshot_is_named(site: Site) -> None:
    (folder,) = site.layout.snapshots.iterdir()
    (folder / "uv.lock").write_text("changed")
    assert run_checks_on(site)["storage"].items == (folder.name,)


def test_unmeasured_space_is_unknown(site: Site) -> None:
    assert run_checks_on(site, budget_seconds=0.0)["storage"].status == "unknown"
    run_checks_on(site)
    assert run_checks_on(site, budget_seconds=0.0)["storage"].status == "ok"


def test_denied_packages_and_nodes_are_found(site: Site) -> None:
    site.configure(policy={"deny": ["corelet==1.0", "pack:evil"]})
    (site.comfyui / "custom_nodes" / "evil.disabled").mkdir()
    result = run_checks_on(site)["deny-list"]
    assert (result.status, result.items) == ("fail", ("corelet 1.0", "node evil"))
    assert "Delete custom_nodes/evil.disabled." in (result.action or "")


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
