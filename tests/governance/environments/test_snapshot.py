from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import snapshot
from comfywatchman.governance.store.layout import TRUTH_FILES, GovLayout
from comfywatchman.governance.store.records import SnapshotMeta
from tests.fakes import FakeClock


@pytest.fixture
def layout(tmp_path: Path) -> GovLayout:
    layout = GovLayout(tmp_path)
    layout.plugins.parent.mkdir()
    for name in TRUTH_FILES:
        layout.truth_file(name).write_text(f"{name} of now")
    return layout


def take(layout: GovLayout, ref: str = "x") -> SnapshotMeta:
    return snapshot.create(layout, FakeClock(), reason="promote_pre", ref=ref, generation="abc")


def test_snapshot_has_truth_files_and_metadata(layout: GovLayout) -> None:
    meta = take(layout)
    assert sorted(path.name for path in (layout.snapshots / meta.id).iterdir()) == [
        "meta.json",
        "plugins.json",
        "pyproject.toml",
        "uv.lock",
    ]
    assert snapshot.read(layout, meta.id) == meta
    assert snapshot.read_contents(layout, meta.id) == {name: f"{name} of now".encode() for name in TRUTH_FILES}


def test_snapshots_are_listed_oldest_first(layout: GovLayout) -> None:
    metas = [take(layout, str(number)) for number in range(5)]
    assert snapshot.read_all(layout) == tuple(metas)


@pytest.mark.slow
def test_prune_keeps_the_newest(layout: GovLayout) -> None:
    metas = [take(layout, str(number)) for number in range(7)]
    assert snapshot.prune(layout, retention=5) == (metas[0].id, metas[1].id)
    assert snapshot.read_all(layout) == tuple(metas[2:])
    assert {path.name for path in layout.snapshots.iterdir()} == {meta.id for meta in metas[2:]}
    assert snapshot.prune(layout, retention=5) == ()


@pytest.mark.parametrize("name", TRUTH_FILES)
def test_changed_file_is_detected(layout: GovLayout, name: str) -> None:
    meta = take(layout)
    (layout.snapshots / meta.id / name).write_text("changed")
    with pytest.raises(Failure, match=name) as caught:
        snapshot.read_contents(layout, meta.id)
    assert caught.value.code == "gov-snapshot-damaged"


@pytest.mark.parametrize("name", [*TRUTH_FILES, "meta.json"])
def test_missing_file_is_detected(layout: GovLayout, name: str) -> None:
    meta = take(layout)
    (layout.snapshots / meta.id / name).unlink()
    with pytest.raises(Failure, match=name) as caught:
        snapshot.read_contents(layout, meta.id)
    assert caught.value.code == "gov-snapshot-damaged"


def test_unreadable_file_is_reported(layout: GovLayout) -> None:
    meta = take(layout)
    (layout.snapshots / meta.id / "uv.lock").unlink()
    (layout.snapshots / meta.id / "uv.lock").mkdir()
    with pytest.raises(Failure, match="not a regular file") as caught:
        snapshot.read_contents(layout, meta.id)
    assert caught.value.code == "gov-snapshot-damaged"


def test_incomplete_snapshot_cannot_be_restored(layout: GovLayout) -> None:
    layout.uv_lock.unlink()
    meta = take(layout)
    with pytest.raises(Failure, match=r"it has no uv\.lock"):
        snapshot.read_contents(layout, meta.id)


@pytest.mark.parametrize("name", ["", "..", "../..", "20260101T000000Z-snap-000000", "x/y"])
def test_unknown_snapshot_is_reported(layout: GovLayout, name: str) -> None:
    with pytest.raises(Failure) as caught:
        snapshot.read(layout, name)
    assert caught.value.code == "gov-snapshot-unknown"


@pytest.mark.parametrize("damage", ["{", None])
def test_lost_index_is_rebuilt_from_folders(layout: GovLayout, damage: str | None) -> None:
    meta = take(layout)
    layout.snapshots_index.unlink()
    if damage:
        layout.snapshots_index.write_text(damage)
    assert snapshot.read_all(layout) == (meta,)
    snapshot.repair_index(layout)
    assert snapshot.read_all(layout) == (meta,)


def test_repair_deletes_unfinished_and_unlisted_folders(layout: GovLayout) -> None:
    kept, gone, _pruned = take(layout, "kept"), take(layout, "gone"), take(layout, "pruned")
    snapshot._write_index(layout, (kept, gone))
    shutil.rmtree(layout.snapshots / gone.id)
    (layout.snapshots / ".unfinished-20260101T000000Z-snap-000000").mkdir()
    snapshot.repair_index(layout)
    assert snapshot.read_all(layout) == (kept,)
    assert [path.name for path in layout.snapshots.iterdir()] == [kept.id]


def test_existing_snapshot_is_not_rewritten(layout: GovLayout) -> None:
    meta = take(layout)
    snapshot.write(layout, meta, {"uv.lock": b"other"})
    assert snapshot.read_contents(layout, meta.id)["uv.lock"] == b"uv.lock of now"
    assert snapshot.read_all(layout) == (meta,)
