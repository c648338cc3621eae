"""The acceptance matrix of `gov`, with real uv, real git and wheels made here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.conflicts import resolve
from comfywatchman.governance.environments import generation, rollback, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.nodes.add import AddRequest, add_node, adopt_node
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import GenerationMark, Transaction
from comfywatchman.governance.transactions import candidate, transaction
from comfywatchman.governance.uv.client import UvResult
from tests.governance.contexts import KeptSite, Site, build_site
from tests.governance.node_steps import promote_node, register_node, try_node
from tests.governance.packs import commit_files, create_repository
from tests.governance.wheels import add_wheel

FIELDS = {
    *("txid", "node_id", "started_at", "ended_at", "candidate_env", "status", "pre_freeze", "post_freeze", "diff"),
    *("core_impact", "logs", "conflict_report", "resolution_pins", "promotion_plan", "promotion"),
}
"""What a transaction's record holds at the least."""


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    site = kept_root.restore()
    site.configure(tx={"probe": False})
    return site


def keep_site(folder: Path, steps: Callable[[Site], Transaction]) -> tuple[KeptSite, Transaction]:
    """Build a root, do the steps that several tests begin with, and keep the result."""
    site = build_site(folder)
    site.configure(tx={"probe": False})
    done = steps(site)
    return KeptSite.of(site), done


@pytest.fixture(scope="module")
def kept_trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeptSite, Transaction]:
    return keep_site(tmp_path_factory.mktemp("tried"), lambda site: try_node(site, "pack", "plainlet"))


@pytest.fixture
def tried(kept_trial: tuple[KeptSite, Transaction]) -> tuple[Site, Transaction]:
    """Return a root and the trial of its node `pack`, which requires plainlet."""
    kept, done = kept_trial
    return kept.restore(), done


@pytest.fixture(scope="module")
def kept_clash(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeptSite, Transaction]:
    def add_both(site: Site) -> Transaction:
        add_to_production(site, "old", "oldlet")
        return try_node(site, "new", "newlet")

    return keep_site(tmp_path_factory.mktemp("clash"), add_both)


@pytest.fixture
def clash(kept_clash: tuple[KeptSite, Transaction]) -> tuple[Site, Transaction]:
    """Return a root with the node `old` in production, and the trial of `new`, whose packages clash with it."""
    kept, done = kept_clash
    return kept.restore(), done


@pytest.fixture(scope="module")
def kept_promotion(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeptSite, Transaction]:
    return keep_site(tmp_path_factory.mktemp("promoted"), lambda site: add_to_production(site, "pack", "newlet"))


@pytest.fixture
def promoted(kept_promotion: tuple[KeptSite, Transaction]) -> tuple[Site, Transaction]:
    """Return a root with the node `pack` in production, which requires newlet, and its promotion."""
    kept, done = kept_promotion
    return kept.restore(), done


def add_to_production(site: Site, name: str, *requirements: str, files: dict[str, str] | None = None) -> Transaction:
    """Add a node, try it and promote it."""
    done = promote_node(site, try_node(site, name, *requirements, files=files).txid)
    assert done.status == "promoted", done.error
    return done


def read_truth_and_production(site: Site) -> tuple[dict[str, bytes], str | None]:
    """Return the truth files and the environment in production."""
    return snapshot.read_root_files(site.layout), generation.current_key(site.layout)


def read_installed(site: Site) -> dict[str, str]:
    mark = generation.read_mark(site.layout, generation.current_key(site.layout))
    assert mark is not None
    return {one.name: one.version for one in mark.packages}


class TestFirst:
    """A. Init and trials."""

    def test_init_creates_the_environment_and_the_lock(self, site: Site) -> None:
        assert site.layout.production.is_symlink()
        assert site.layout.uv_lock.is_file()
        assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"

    @pytest.mark.slow
    def test_trial_writes_a_complete_record(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        written = json.loads((site.layout.transactions / f"{done.txid}.json").read_bytes())
        assert written.keys() >= FIELDS
        assert written["diff"] == {"added": ["plainlet==1.0"], "removed": []}
        assert written["logs"].keys() == {"stdout", "stderr", "run_exit_code"}
        assert Path(written["candidate_env"]).parent == site.layout.candidates

    @pytest.mark.slow
    def test_inspecting_changes_nothing(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        assert transaction.read(site.layout, done.txid) == transaction.read(site.layout, done.txid) == done

    @pytest.mark.slow
    def test_abort_deletes_the_candidate_and_records_the_status(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        assert Path(done.candidate_env).is_dir()
        with site.opened() as context:
            transaction.abort(context.layout, context.clock, done.txid)
        assert not Path(done.candidate_env).exists()
        assert transaction.read(site.layout, done.txid).status == "aborted"


@pytest.mark.slow
class TestPromotion:
    """B. Promotion and resolution."""

    def test_promotion_takes_snapshots_before_and_after(self, site: Site) -> None:
        before = read_truth_and_production(site)
        done = add_to_production(site, "pack", "newlet", files={"install.py": INSTALLER})
        assert done.promotion is not None
        assert snapshot.read_contents(site.layout, done.promotion.pre_snapshot or "")["uv.lock"] == before[0]["uv.lock"]
        after = read_truth_and_production(site)
        assert snapshot.read_contents(site.layout, done.promotion.post_snapshot or "") == after[0]
        assert done.promotion.generation == after[1] != before[1]
        assert read_installed(site) == {"corelet": "1.0", "newlet": "1.0", "numlet": "2.0", "plainlet": "1.0"}
        assert site.run_in_production("import numlet, plainlet; print(numlet.__version__)") == "2.0"
        plugin = staging.read_registry(site.layout).plugins["pack"]
        assert plugin.managed_deps == ("newlet", "plainlet==1.0")
        assert (plugin.last_txid, plugin.last_snapshot) == (done.txid, done.promotion.post_snapshot)
        assert truth.parse_groups(site.layout.pyproject.read_text())["node-pack"] == ("newlet", "plainlet==1.0")
        assert not Path(done.candidate_env).exists()
        assert transaction.read(site.layout, done.txid) == done

    def test_promotion_locks_the_tried_versions(self, site: Site) -> None:
        done = try_node(site, "pack", "plainlet>=1")
        add_wheel(site.wheels, "plainlet", "2.0")
        promote_node(site, done.txid)
        assert read_installed(site)["plainlet"] == "1.0"

    def test_conflict_needs_resolution_and_is_reported(self, clash: tuple[Site, Transaction]) -> None:
        site, done = clash
        assert done.status == "completed"
        before = read_truth_and_production(site)
        done = promote_node(site, done.txid)
        assert done.status == "needs_resolution"
        assert done.conflict_report == str(site.layout.conflicts / f"{done.txid}.json")
        report = json.loads(Path(done.conflict_report).read_bytes())
        assert (report["txid"], report["node_id"], report["kind"]) == (done.txid, "new", "conflict")
        assert read_truth_and_production(site) == before
        assert staging.read_registry(site.layout).plugins["new"].managed_deps == ()

    def test_pins_resolve_a_conflict_and_can_be_promoted(self, clash: tuple[Site, Transaction]) -> None:
        site, trial = clash
        done = promote_node(site, trial.txid)
        with site.opened() as context:
            done = resolve.resolve(context, done.txid, ["numlet==2.0"])
        assert done.status == "resolved"
        assert done.resolution_pins == ("numlet==2.0",)
        done = promote_node(site, done.txid)
        assert done.status == "promoted", done.error
        assert read_installed(site)["numlet"] == "2.0"
        assert done.promotion is not None
        assert any("oldlet" in line for line in done.promotion.accepted_violations)

    def test_overrides_of_a_resolved_node_survive_another_trial(self, clash: tuple[Site, Transaction]) -> None:
        site, trial = clash
        done = promote_node(site, trial.txid)
        with site.opened() as context:
            resolve.resolve(context, done.txid, ["numlet==1.0"])
        promote_node(site, done.txid)
        before = read_truth_and_production(site)
        again = try_node(site, "new")
        assert "newlet==1.0" in again.post_freeze
        assert "numlet==1.0" in again.post_freeze
        assert promote_node(site, again.txid).status == "promoted"
        assert read_truth_and_production(site)[0]["pyproject.toml"] == before[0]["pyproject.toml"]
        assert read_truth_and_production(site)[0]["uv.lock"] == before[0]["uv.lock"]

    def test_core_packages_change_only_with_approval(self, site: Site) -> None:
        site.configure(policy={"core_packages": ["numlet"]})
        done = try_node(site, "pack", "numlet")
        assert done.core_impact == ("numlet none -> 2.0",)
        before = read_truth_and_production(site)
        with pytest.raises(Failure, match="--approve-core") as caught:
            promote_node(site, done.txid)
        assert caught.value.code == "gov-core-approval"
        assert read_truth_and_production(site) == before
        assert transaction.read(site.layout, done.txid).status == "completed"
        done = promote_node(site, done.txid, approve_core=True, reason="it is meant")
        assert done.status == "promoted"
        assert done.promotion is not None
        assert done.promotion.reason == "it is meant"

    def test_failed_trial_needs_explicit_consent(self, site: Site) -> None:
        (site.comfyui / "main.py").write_text("raise SystemExit(1)\n")
        done = try_node(site, "pack", "plainlet")
        assert done.status == "failed"
        with pytest.raises(Failure) as caught:
            promote_node(site, done.txid)
        assert caught.value.code == "gov-transaction-state"
        assert promote_node(site, done.txid, allow_failed_run=True).status == "promoted"

    @pytest.mark.parametrize("status", ["promoted", "aborted"])
    def test_closed_transaction_is_not_promoted(self, tried: tuple[Site, Transaction], status: str) -> None:
        site, done = tried
        if status == "promoted":
            promote_node(site, done.txid)
        else:
            with site.opened() as context:
                transaction.abort(context.layout, context.clock, done.txid)
        with pytest.raises(Failure) as caught:
            promote_node(site, done.txid, allow_failed_run=True)
        assert caught.value.code == "gov-transaction-state"

    def test_mismatched_torch_builds_stop_the_promotion(self, site: Site) -> None:
        add_wheel(site.wheels, "torch", "2.8.0+cu128")
        add_wheel(site.wheels, "torchvision", "0.23.0+cpu")
        done = try_node(site, "pack", "torch", "torchvision")
        before = read_truth_and_production(site)
        done = promote_node(site, done.txid, approve_core=True)
        assert done.status == "promote_failed"
        assert "torchvision 0.23.0+cpu is built for cpu" in str(done.error)
        assert "gov resolve" in str(done.error)
        assert read_truth_and_production(site) == before

    def test_trial_of_outdated_truth_files_is_not_promoted(self, site: Site) -> None:
        done = try_node(site, "first", "plainlet")
        add_to_production(site, "second", "numlet")
        with pytest.raises(Failure) as caught:
            promote_node(site, done.txid)
        assert caught.value.code == "gov-candidate-stale"
        assert "gov tx run first" in str(caught.value)
        assert promote_node(site, try_node(site, "first").txid).status == "promoted"

    def test_code_changed_since_the_trial_is_not_promoted(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        (site.comfyui / "custom_nodes/pack/__init__.py").write_text("import os\n")
        with pytest.raises(Failure) as caught:
            promote_node(site, done.txid)
        assert caught.value.code == "gov-candidate-stale"

    def test_node_that_patches_packages_needs_explicit_consent(self, site: Site) -> None:
        patch = "import corelet\nopen(corelet.__file__, 'a').write('POISON = 1\\n')\n"
        done = try_node(site, "pack", "plainlet", files={"install.py": patch})
        assert done.integrity == "modified"
        with pytest.raises(Failure) as caught:
            promote_node(site, done.txid)
        assert "corelet/__init__.py" in str(caught.value)
        assert promote_node(site, done.txid, allow_failed_run=True).status == "promoted"
        assert site.run_in_production("import corelet; print(hasattr(corelet, 'POISON'))") == "False"


INSTALLER = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'pip', 'install', 'plainlet'], check=True)\n"


@pytest.mark.slow
class TestGoingBack:
    """C. Removal and rollback."""

    def test_removal_deletes_packages_only_the_node_needs(self, site: Site) -> None:
        add_to_production(site, "pack", "newlet")
        add_to_production(site, "other", "plainlet")
        with site.opened() as context:
            operation = registry.unregister(context, "pack")
        assert read_installed(site) == {"corelet": "1.0", "plainlet": "1.0"}
        assert "pack" not in staging.read_registry(site.layout).plugins
        meta = snapshot.read(site.layout, operation.pre_snapshot or "")
        assert (meta.reason, meta.ref) == ("remove_pre", "pack")
        assert (site.comfyui / "custom_nodes/pack").is_dir()

    def test_add_and_remove_restores_identical_truth_files(self, site: Site) -> None:
        add_to_production(site, "other", "plainlet")
        before = read_truth_and_production(site)
        add_to_production(site, "pack", "newlet", "deeplet")
        with site.opened() as context:
            registry.unregister(context, "pack")
        after = read_truth_and_production(site)
        assert after[0]["pyproject.toml"] == before[0]["pyproject.toml"]
        assert after[0]["uv.lock"] == before[0]["uv.lock"]
        assert after[1] == before[1]

    def test_removing_leaves_no_stray_pins(self, clash: tuple[Site, Transaction]) -> None:
        site, trial = clash
        before = read_truth_and_production(site)
        done = promote_node(site, trial.txid)
        with site.opened() as context:
            resolve.resolve(context, done.txid, ["numlet==2.0"])
        promote_node(site, done.txid)
        assert "override-dependencies" in site.layout.pyproject.read_text()
        with site.opened() as context:
            registry.unregister(context, "new")
        assert read_truth_and_production(site)[0]["pyproject.toml"] == before[0]["pyproject.toml"]
        assert read_truth_and_production(site)[0]["uv.lock"] == before[0]["uv.lock"]

    def test_purging_code_deletes_only_the_folder_of_the_node(self, site: Site) -> None:
        register_node(site, "pack")
        (site.folder / "elsewhere").mkdir()
        (site.folder / "elsewhere/kept.py").write_text("kept")
        (site.comfyui / "custom_nodes/pack/link").symlink_to(site.folder / "elsewhere")
        with site.opened() as context:
            registry.unregister(context, "pack", purge_code=True)
        assert list((site.comfyui / "custom_nodes").iterdir()) == []
        assert (site.folder / "elsewhere/kept.py").read_text() == "kept"

    def test_purging_a_linked_node_deletes_only_the_link(self, site: Site) -> None:
        mine = create_repository(site.folder / "mine")
        os.symlink(mine, site.comfyui / "custom_nodes/mine")
        with site.opened() as context:
            adopt_node(context, "mine")
            registry.unregister(context, "mine", purge_code=True)
        assert list((site.comfyui / "custom_nodes").iterdir()) == []
        assert (mine / "__init__.py").is_file()

    def test_unknown_node_is_not_removed(self, site: Site) -> None:
        before = read_truth_and_production(site)
        with site.opened() as context, pytest.raises(Failure) as caught:
            registry.unregister(context, "absent", purge_code=True)
        assert caught.value.code == "gov-node-unknown"
        assert read_truth_and_production(site) == before

    def test_rollback_restores_truth_files_and_environment(self, promoted: tuple[Site, Transaction]) -> None:
        site, done = promoted
        assert done.promotion is not None
        wanted = snapshot.read_contents(site.layout, done.promotion.pre_snapshot or "")
        with site.opened() as context:
            rollback.rollback(context, done.promotion.pre_snapshot or "")
        assert read_truth_and_production(site)[0] == wanted
        assert read_installed(site) == {"corelet": "1.0"}

    def test_newest_snapshots_are_kept(self, site: Site) -> None:
        site.configure(rollback={"snapshot_retention": 4})
        pack = create_repository(site.folder / "repositories/pack")
        for number in range(4):
            with site.opened() as context:
                add_node(
                    context,
                    AddRequest(str(pack), node_id=f"n{number}", allow_local=True),
                    find_pack=lambda _pack_id: None,
                )
        kept = snapshot.read_all(site.layout)
        assert len(kept) == 4
        assert {path.name for path in site.layout.snapshots.iterdir()} == {one.id for one in kept}
        assert kept[-1].ref == "n3"


@pytest.mark.slow
class TestFailure:
    """D. Failure and recovery."""

    def test_failed_build_leaves_everything_unchanged(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        before = read_truth_and_production(site)
        site.configure(tx={"smoke_test_cmd": "python -c 'raise SystemExit(3)'"})
        done = promote_node(site, done.txid)
        assert done.status == "promote_failed"
        assert "smoke test" in str(done.error)
        assert done.promotion is not None
        assert done.promotion.status == "promote_failed"
        assert read_truth_and_production(site) == before
        assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"

    def test_unavailable_packages_leave_everything_unchanged(self, tried: tuple[Site, Transaction]) -> None:
        site, done = tried
        before = read_truth_and_production(site)
        (site.wheels / "plainlet-1.0-py3-none-any.whl").rename(site.folder / "away.whl")
        done = promote_node(site, done.txid)
        assert done.status == "promote_failed"
        assert read_truth_and_production(site) == before

    def test_package_missing_after_the_lock_leaves_everything_unchanged(
        self, tried: tuple[Site, Transaction], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site, done = tried
        before = read_truth_and_production(site)
        own = generation.build
        wheel = site.wheels / "plainlet-1.0-py3-none-any.whl"

        def build(context: GovContext, work: Path) -> GenerationMark | UvResult:
            wheel.rename(site.folder / "away.whl")
            context.uv.clean_cache(["plainlet"])
            return own(context, work)

        monkeypatch.setattr(generation, "build", build)
        done = promote_node(site, done.txid)
        assert done.status == "promote_failed"
        assert "could not build the environment" in str(done.error)
        assert read_truth_and_production(site) == before

    def test_damaged_snapshot_is_refused_before_any_change(self, promoted: tuple[Site, Transaction]) -> None:
        site, done = promoted
        assert done.promotion is not None
        before = read_truth_and_production(site)
        (site.layout.snapshots / str(done.promotion.pre_snapshot) / "uv.lock").write_text("damaged")
        with site.opened() as context, pytest.raises(Failure) as caught:
            rollback.rollback(context, str(done.promotion.pre_snapshot))
        assert caught.value.code == "gov-snapshot-damaged"
        assert read_truth_and_production(site) == before

    def test_failed_rollback_leaves_everything_unchanged(self, promoted: tuple[Site, Transaction]) -> None:
        site, done = promoted
        assert done.promotion is not None
        with site.opened() as context:
            rollback.rollback(context, str(done.promotion.pre_snapshot))
        before = read_truth_and_production(site)
        generated = generation.environment_dir(site.layout, str(done.promotion.generation))
        candidate.delete(generated)
        site.configure(network={"offline": True, "find_links": [], "cache_dir": str(site.folder / "empty")})
        with site.opened() as context, pytest.raises(Failure) as caught:
            rollback.rollback(context, str(done.promotion.post_snapshot))
        assert caught.value.code == "gov-environment-failed"
        assert read_truth_and_production(site) == before

    def test_runtime_additions_survive_a_second_promotion(self, site: Site) -> None:
        add_to_production(site, "pack", "newlet", files={"install.py": INSTALLER})
        before = read_truth_and_production(site)
        commit_files(site.comfyui / "custom_nodes/pack", {"more.py": ""})
        add_to_production(site, "pack")
        assert read_truth_and_production(site)[0]["uv.lock"] == before[0]["uv.lock"]
        assert read_installed(site)["plainlet"] == "1.0"

    def test_changed_code_can_be_tried_and_promoted_again(self, site: Site) -> None:
        add_to_production(site, "pack", "plainlet")
        folder = commit_files(site.comfyui / "custom_nodes/pack", {"requirements.txt": "numlet<2\n"})
        done = add_to_production(site, "pack")
        assert read_installed(site) == {"corelet": "1.0", "numlet": "1.0"}
        assert staging.read_registry(site.layout).plugins["pack"].commit == done.node_commit
        assert (folder / "requirements.txt").is_file()
