from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, snapshot, staging
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import PromotionPlan
from comfywatchman.governance.transactions import transaction
from comfywatchman.governance.transactions.promotion import lock_tried_versions, write_plan
from tests.governance.contexts import Site, build_site
from tests.governance.node_steps import promote_node, try_node
from tests.governance.wheels import add_wheel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One governed root for all tests here; each has nodes of its own."""
    site = build_site(tmp_path_factory.mktemp("site"))
    site.configure(tx={"probe": False})
    return site


def read_truth(site: Site) -> tuple[str, str, str | None]:
    """Return the two truth files and the generation in production."""
    layout = site.layout
    return layout.pyproject.read_text(), layout.uv_lock.read_text(), generation.current_key(layout)


def test_promoted_node_is_in_production_and_recorded(site: Site) -> None:
    tried = try_node(site, "pack", "plainlet")
    done = promote_node(site, tried.txid, reason="a test")
    assert (done.status, done.error) == ("promoted", None)
    assert done.promotion is not None
    assert (done.promotion.generation, done.promotion.reason) == (generation.current_key(site.layout), "a test")
    assert site.run_in_production("import plainlet; print('here')") == "here"
    record = staging.read_registry(site.layout).plugins["pack"]
    assert (record.managed_deps, record.last_txid) == (("plainlet",), tried.txid)
    assert record.tree == hash_code_tree(site.comfyui / "custom_nodes" / "pack")
    kept = {meta.id for meta in snapshot.read_all(site.layout)}
    assert {done.promotion.pre_snapshot, done.promotion.post_snapshot, record.last_snapshot} <= kept
    assert not (site.layout.candidates / tried.txid).exists()
    with pytest.raises(Failure) as raised:
        promote_node(site, tried.txid)
    assert raised.value.code == "gov-transaction-state"


def test_conflict_leaves_production_alone(site: Site) -> None:
    promote_node(site, try_node(site, "first", "oldlet").txid)
    before = read_truth(site)
    clashing = promote_node(site, try_node(site, "second", "newlet").txid)
    assert clashing.status == "needs_resolution"
    assert clashing.conflict_report == str(site.layout.conflicts / f"{clashing.txid}.json")
    assert Path(clashing.conflict_report).is_file()
    assert transaction.read(site.layout, clashing.txid) == clashing
    assert read_truth(site) == before


def test_missing_package_fails_the_promotion(site: Site) -> None:
    tried = try_node(site, "fading", "deeplet")
    assert tried.promotion_plan is not None
    plan = msgspec.structs.replace(tried.promotion_plan, direct_additions=("no-such-package",))
    transaction.save(site.layout, msgspec.structs.replace(tried, promotion_plan=plan))
    before = read_truth(site)
    failed = promote_node(site, tried.txid)
    assert (failed.status, read_truth(site)) == ("promote_failed", before)
    assert "no-such-package" in (failed.error or "")
    assert failed.promotion is not None
    assert failed.promotion.status == "promote_failed"


def test_plan_is_written_and_locked_with_the_tried_versions(site: Site) -> None:
    for version in ("1.0", "2.0"):
        add_wheel(site.wheels, "duolet", version)
    tried = try_node(site, "planned", "duolet")
    plan = PromotionPlan(direct_additions=("duolet",), override_additions=("plainlet==1.0",))
    older = msgspec.structs.replace(tried, post_freeze=("duolet==1.0",))
    before = read_truth(site)
    with site.opened() as context, staging.open_staging(context.layout) as work:
        write_plan(work, "planned", plan)
        text = work.read_project()
        assert truth.parse_groups(text)[truth.node_group("planned")] == ("duolet",)
        assert "plainlet==1.0" in truth.parse_overrides(text)
        assert lock_tried_versions(context.uv, context.python, work, older).is_success
        lock = (work.folder / "uv.lock").read_text()
    assert 'name = "duolet"\nversion = "1.0"' in lock
    assert read_truth(site) == before


def test_packages_installed_past_gov_are_named_before_they_are_dropped(site: Site) -> None:
    add_wheel(site.wheels, "strangelet", "1.0")
    tried = try_node(site, "later", "plainlet")
    key = generation.current_key(site.layout)
    assert key is not None
    environment = generation.environment_dir(site.layout, key)
    with site.opened() as context:
        installed = context.uv.install(environment, ["strangelet"], project=site.root, link_mode="copy")
    assert installed.is_success, installed.errors
    before = read_truth(site)
    with pytest.raises(Failure, match=r"would drop them: strangelet==1\.0") as caught:
        promote_node(site, tried.txid)
    assert caught.value.code == "gov-foreign-packages"
    assert (transaction.read(site.layout, tried.txid), read_truth(site)) == (tried, before)
    assert promote_node(site, tried.txid, drop_foreign=True).status == "promoted"
    found = site.run_in_production("import importlib.util; print(importlib.util.find_spec('strangelet'))")
    assert found == "None"
