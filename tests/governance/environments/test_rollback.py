from __future__ import annotations

import shutil
import time

import pytest

from comfywatchman.base.clock import parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.rollback import read_operation, read_operations, rollback, undo
from tests.fakes import FakeClock
from tests.governance import changes
from tests.governance.contexts import KeptSite, Site, build_site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> KeptSite:
    """A root with the nodes `a` (on numlet 1.0) and `b`, one after the other."""
    site = build_site(tmp_path_factory.mktemp("site"))
    with site.opened() as context:
        changes.promote(context, "a", ["oldlet"])
        changes.promote(context, "b", ["plainlet"])
    return KeptSite.of(site)


@pytest.fixture
def site(two_nodes: KeptSite) -> Site:
    return two_nodes.restore()


def first(site: Site) -> str:
    """The snapshot after init."""
    return snapshot.read_all(site.layout)[0].id


def state(site: Site) -> tuple[dict[str, bytes], str | None]:
    return snapshot.read_root_files(site.layout), generation.current_key(site.layout)


def test_rollback_restores_truth_and_environment(site: Site) -> None:
    wanted = snapshot.read_contents(site.layout, first(site))
    with site.opened() as context:
        operation = rollback(context, first(site))
    assert state(site)[0] == wanted
    assert site.run_in_production("import corelet; print('well')") == "well"
    assert site.run_in_production("import importlib.util; print(importlib.util.find_spec('numlet'))") == "None"
    pre = snapshot.read(site.layout, operation.pre_snapshot or "")
    assert (pre.reason, pre.ref) == ("rollback_pre", first(site))
    assert snapshot.read_all(site.layout)[-1].reason == "rollback_post"


def test_rollback_to_a_kept_environment_needs_no_network(site: Site) -> None:
    shutil.rmtree(site.wheels)
    shutil.rmtree(site.folder / "uv-cache")
    site.configure(network={"find_links": [], "offline": True})
    with site.opened() as context:
        began = time.perf_counter()
        rollback(context, first(site))
        assert time.perf_counter() - began < 100
    assert site.run_in_production("import corelet; print('well')") == "well"


def test_rollback_can_be_rolled_back(site: Site) -> None:
    before = state(site)
    with site.opened() as context:
        operation = rollback(context, first(site))
        rollback(context, operation.pre_snapshot or "")
    assert state(site) == before


def test_pruned_environment_is_rebuilt(site: Site) -> None:
    key = snapshot.read(site.layout, first(site)).generation
    assert key
    shutil.rmtree(site.layout.generations / key)
    with site.opened() as context:
        rollback(context, first(site))
    assert generation.current_key(site.layout) == key
    assert site.run_in_production("import corelet; print('well')") == "well"


def test_modified_environment_is_rebuilt(site: Site) -> None:
    key = snapshot.read(site.layout, first(site)).generation
    module = next((site.layout.generations / (key or "")).glob("lib/python*/site-packages/corelet/__init__.py"))
    module.unlink()
    with site.opened() as context:
        rollback(context, first(site))
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


def test_failed_rebuild_changes_nothing(site: Site) -> None:
    before, metas = state(site), snapshot.read_all(site.layout)
    shutil.rmtree(site.layout.generations / (snapshot.read(site.layout, first(site)).generation or ""))
    shutil.rmtree(site.wheels)
    shutil.rmtree(site.folder / "uv-cache")
    site.wheels.mkdir()
    with site.opened() as context, pytest.raises(Failure, match="could not be rebuilt") as caught:
        rollback(context, first(site))
    assert caught.value.code == "gov-environment-failed"
    assert state(site) == before
    assert snapshot.read_all(site.layout) == metas
    assert site.run_in_production("import oldlet, plainlet; print('well')") == "well"


@pytest.mark.parametrize("damage", ["changed", "gone", "unknown"])
def test_damaged_snapshot_is_refused(site: Site, damage: str) -> None:
    before, metas, done = state(site), snapshot.read_all(site.layout), read_operations(site.layout)
    name = first(site)
    if damage == "changed":
        (site.layout.snapshots / name / "uv.lock").write_text("version = 1\n")
    elif damage == "gone":
        (site.layout.snapshots / name / "pyproject.toml").unlink()
    else:
        name = "20260101T000000Z-snap-abcdef"
    with site.opened() as context, pytest.raises(Failure) as caught:
        rollback(context, name)
    assert caught.value.code == ("gov-snapshot-unknown" if damage == "unknown" else "gov-snapshot-damaged")
    assert state(site) == before
    assert snapshot.read_all(site.layout) == metas
    assert read_operations(site.layout) == done


def test_undo_can_be_undone(site: Site) -> None:
    before, last = state(site), read_operations(site.layout)[-1]
    with site.opened() as context:
        undoing = undo(context, last.op_id)
        assert "node-b" not in site.layout.pyproject.read_text()
        assert read_operation(site.layout, last.op_id).status == "undone"
        undo(context, undoing.op_id)
    assert state(site) == before


def test_operation_with_later_changes_is_not_undone(site: Site) -> None:
    before = state(site)
    with site.opened() as context, pytest.raises(Failure, match="changed after it") as caught:
        undo(context, read_operations(site.layout)[-2].op_id)
    assert caught.value.code == "gov-undo-refused"
    assert state(site) == before


def test_manual_edit_prevents_undo(site: Site) -> None:
    with site.layout.pyproject.open("a") as stream:
        stream.write("# mine\n")
    with site.opened() as context, pytest.raises(Failure, match=r"pyproject\.toml changed after it"):
        undo(context, read_operations(site.layout)[-1].op_id)


def test_operation_is_undone_only_once(site: Site) -> None:
    last = read_operations(site.layout)[-1]
    with site.opened() as context:
        undo(context, last.op_id)
        with pytest.raises(Failure, match="undone already"):
            undo(context, last.op_id)


def test_undo_of_a_rollback_over_damaged_files_withdraws_nothing(site: Site) -> None:
    site.layout.plugins.unlink()
    with site.opened() as context:
        operation = rollback(context, first(site))
        assert operation.pre_snapshot is None
        before = state(site)
        with pytest.raises(Failure, match="no snapshot of the state before it") as caught:
            undo(context, operation.op_id)
    assert caught.value.code == "gov-undo-refused"
    assert state(site) == before
    assert not list(site.root.glob("undone-*"))


@pytest.mark.parametrize("name", ["", "../x", "20260101T000000Z-op-abcdef"])
def test_unknown_operation_is_reported(site: Site, name: str) -> None:
    with pytest.raises(Failure) as caught:
        read_operation(site.layout, name)
    assert caught.value.code == "gov-operation-unknown"


def test_gone_code_of_restored_nodes_is_named(site: Site) -> None:
    wanted = snapshot.read_all(site.layout)[-1].id
    (site.comfyui / "custom_nodes" / "a").mkdir()
    with site.opened() as context:
        operation = rollback(context, wanted)
    assert operation.note == "b: registered again, but the folder is gone from custom_nodes; clone the code again"
    (site.comfyui / "custom_nodes" / "b").mkdir()
    with site.opened() as context:
        assert rollback(context, wanted).note == ""


def test_operations_keep_their_order_when_the_clock_changes(site: Site) -> None:
    last = read_operations(site.layout)[-1]
    with Site(site.folder, FakeClock()).opened() as context:
        assert context.clock.now() < parse_utc(last.started_at)
        operation = rollback(context, first(site))
    assert operation.op_id < last.op_id
    assert read_operations(site.layout)[-1] == operation
