from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import orjson
import pytest

from comfywatchman.base import failpoints
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.access import read_context
from comfywatchman.governance.environments.rollback import read_operations
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import TRUTH_FILES
from comfywatchman.governance.store.records import Journal, Transaction
from comfywatchman.governance.uv.client import UvResult
from tests.governance import changes
from tests.governance.changes import assert_consistent, run
from tests.governance.contexts import KeptSite, Site, build_site

pytestmark = pytest.mark.slow

STAGES = ("gov.build_", "gov.snapshot_", "gov.before_", "gov.after_", "gov.prune_")
POINTS = sorted(name for name in failpoints.NAMES if name.startswith(STAGES))
AFTER = {"gov.after_journal", "gov.after_truth", "gov.after_flip", "gov.after_records", "gov.after_snapshot"}
COMMITTED = AFTER | {"gov.after_unlink", "gov.prune_after_index", "gov.prune_after_unmark"}


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


@contextmanager
def half_done(site: Site) -> Iterator[Journal]:
    """A promotion of `oldlet` that was cut off right after its journal."""
    assert run(site, "promote", "a", "oldlet", failpoint="gov.after_journal=kill") == -signal.SIGKILL
    yield msgspec.convert(orjson.loads(site.layout.journal.read_bytes()), Journal)


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_any_point_leaves_the_old_or_the_new_state(site: Site, point: str) -> None:
    site.configure(rollback={"snapshot_retention": 2}, runtime={"keep_generations": 1})
    run(site, "promote", "first", "plainlet")
    before = snapshot.hash_contents(snapshot.read_root_files(site.layout))
    assert run(site, "promote", "a", "oldlet", failpoint=f"{point}=kill") == -signal.SIGKILL
    with site.opened() as context:
        assert bool(context.note) == (point in AFTER)
    assert_consistent(site)
    changed = snapshot.hash_contents(snapshot.read_root_files(site.layout)) != before
    assert changed == (point in COMMITTED)


@pytest.mark.parametrize("point", POINTS)
def test_killed_first_init_is_finished_by_the_next(tmp_path: Path, point: str) -> None:
    site = build_site(tmp_path, init=False)
    run(site, "init", failpoint=f"{point}=kill")
    site.init()
    assert_consistent(site)
    assert site.run_in_production("import corelet; print(corelet.__version__)") == "1.0"


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_kill_between_truth_files_is_recovered(site: Site, turn: int) -> None:
    assert run(site, "promote", "a", "oldlet", failpoint=f"gov.after_truth#{turn}=kill") == -signal.SIGKILL
    with site.opened() as context:
        assert context.note == "An interrupted promote of a was finished."
    assert_consistent(site)
    assert site.run_in_production("import oldlet, numlet; print(numlet.__version__)") == "1.0"


def test_commit_writes_truth_environment_and_records(site: Site) -> None:
    with site.opened() as context:
        operation = changes.promote(context, "a", ["deeplet"])
    assert_consistent(site)
    assert operation.kind == "promote"
    assert operation.files["plugins.json"].pre_sha256 != operation.files["plugins.json"].post_sha256
    assert read_operations(site.layout)[-1] == operation
    assert snapshot.read(site.layout, operation.post_snapshot or "").reason == "promote_post"
    assert snapshot.read(site.layout, operation.pre_snapshot or "").reason == "promote_pre"


def test_removed_node_restores_the_bytes_of_all_truth_files(site: Site) -> None:
    before = snapshot.read_root_files(site.layout)
    key = generation.current_key(site.layout)
    with site.opened() as context:
        changes.promote(context, "a", ["deeplet"])
        changes.remove(context, "a")
    assert snapshot.read_root_files(site.layout) == before
    assert generation.current_key(site.layout) == key


def test_tested_versions_are_locked(site: Site) -> None:
    with site.opened() as context:
        changes.promote(context, "a", ["deeplet"], pins=["numlet==1.0"])
        assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"
        changes.promote(context, "b", ["plainlet"])
    assert site.run_in_production("import numlet; print(numlet.__version__)") == "1.0"
    assert "constraint" not in site.layout.pyproject.read_text()


def test_commit_writes_transaction_and_undone_operation(site: Site) -> None:
    with site.opened() as context:
        first = changes.promote(context, "a", ["plainlet"])
        with staging.open_staging(context.layout) as work:
            journal = commit.prepare(
                context.layout,
                context.clock,
                work,
                kind="undo",
                ref=first.op_id,
                key=generation.current_key(context.layout) or "",
                pre_snapshot=first.post_snapshot,
            )
            done = Transaction(txid="20261120T000000Z-00000000", node_id="a", started_at="", status="promoted")
            commit.publish(context, msgspec.structs.replace(journal, transaction=done, undone=first.op_id))
    assert orjson.loads((site.layout.transactions / f"{done.txid}.json").read_bytes())["status"] == "promoted"
    assert read_operations(site.layout)[-2].status == "undone"


@pytest.mark.parametrize("kind", ["folder", "link", "outside", "parent", "gone"])
def test_commit_deletes_only_the_code_of_the_removed_node(site: Site, kind: str) -> None:
    nodes = site.comfyui / "custom_nodes"
    precious = site.folder / "precious"
    precious.mkdir()
    if kind == "folder":
        (nodes / "a" / "deep").mkdir(parents=True)
    elif kind == "link":
        (nodes / "a").symlink_to(precious)
    with site.opened() as context, staging.open_staging(context.layout) as work:
        key = generation.current_key(context.layout) or ""
        journal = commit.prepare(
            context.layout, context.clock, work, kind="remove", ref="a", key=key, pre_snapshot=None
        )
        name = {"outside": "../../precious", "parent": ".."}.get(kind, "a")
        commit.publish(context, msgspec.structs.replace(journal, removed_node=name))
    assert list(nodes.iterdir()) == []
    assert precious.is_dir()
    assert (site.comfyui / "main.py").is_file()


def test_full_disk_before_the_commit_point_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot.read_root_files(site.layout)
    monkeypatch.setattr(failpoints, "_parse_actions", lambda: {"gov.before_journal": (0, "raise:ENOSPC")})
    with site.opened() as context, pytest.raises(Failure) as caught:
        changes.promote(context, "a", ["plainlet"])
    assert caught.value.code == "state-unwritable"
    assert not site.layout.journal.exists()
    assert snapshot.read_root_files(site.layout) == before


@pytest.mark.parametrize("point", ["gov.after_truth", "files.before_rename"])
def test_full_disk_after_the_commit_point_is_recovered(site: Site, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    with monkeypatch.context() as patch, site.opened() as context, staging.open_staging(context.layout) as work:
        work.edit_project(lambda text: truth.set_group(text, "mine", ["plainlet"]))
        assert work.lock(context.uv, context.python).is_success
        mark = generation.build(context, work.folder)
        assert not isinstance(mark, UvResult)
        journal = commit.prepare(
            context.layout, context.clock, work, kind="promote", ref="x", key=mark.key, pre_snapshot=None
        )
        # The journal itself is the first file that publishing renames.
        turn = failpoints._hit_counts[point] + (2 if point.startswith("files") else 1)
        patch.setattr(failpoints, "_parse_actions", lambda: {point: (turn, "raise:ENOSPC")})
        with pytest.raises(Failure, match="committed but not finished") as caught:
            commit.publish(context, journal)
    assert caught.value.code == "gov-commit-unfinished"
    with site.opened() as context:
        assert context.note
    assert_consistent(site)
    assert site.run_in_production("import plainlet; print('well')") == "well"


def test_reading_command_finishes_an_interrupted_commit(site: Site) -> None:
    with half_done(site):
        context = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    assert context.note == "An interrupted promote of a was finished."
    assert context.lock_descriptor is None
    assert_consistent(site)


def test_reading_command_notes_a_running_command(site: Site) -> None:
    with half_done(site) as journal, site.opened():
        site.layout.journal.write_bytes(orjson.dumps(msgspec.to_builtins(journal)))
        context = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
        site.layout.journal.unlink()
    assert context.note.startswith("A change is in progress")


def test_change_with_missing_files_is_reverted(site: Site) -> None:
    before = snapshot.read_root_files(site.layout)
    assert run(site, "promote", "a", "oldlet", failpoint="gov.after_truth=kill") == -signal.SIGKILL
    assert snapshot.read_root_files(site.layout) != before
    shutil.rmtree(site.layout.work)
    with site.opened() as context:
        assert context.note.endswith("it was reverted.")
    assert snapshot.read_root_files(site.layout) == before
    assert site.run_in_production("import corelet; print('well')") == "well"


def test_unrecoverable_change_names_the_next_step(site: Site) -> None:
    with half_done(site):
        shutil.rmtree(site.layout.work)
        shutil.rmtree(site.layout.snapshots)
    with pytest.raises(Failure, match="backup") as caught, site.opened():
        pass
    assert caught.value.code == "gov-recovery-impossible"
    assert site.layout.journal.exists()


def test_damaged_journal_is_set_aside(site: Site) -> None:
    site.layout.journal.write_text("{")
    with site.opened() as context:
        assert "was damaged" in context.note
    assert not site.layout.journal.exists()
    assert site.layout.journal.with_name("journal.json.damaged-1").exists()


def test_failed_pruning_does_not_fail_a_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.configure(rollback={"snapshot_retention": 1})
    monkeypatch.setattr(failpoints, "_parse_actions", lambda: {"gov.prune_after_index": (0, "raise:EIO")})
    with site.opened() as context:
        changes.promote(context, "a", ["plainlet"])
    assert site.run_in_production("import plainlet; print('well')") == "well"


def test_only_the_newest_fifty_snapshots_are_kept(site: Site) -> None:
    with site.opened() as context:
        for number in range(26):
            taken = [
                snapshot.create(context.layout, context.clock, reason="x", ref=str(number), generation=None)
                for _ in "ab"
            ]
        operation = changes.promote(context, "a", ["plainlet"])
    metas = snapshot.read_all(site.layout)
    assert len(metas) == 50
    assert len(list(site.layout.snapshots.iterdir())) == 50
    assert metas[-1].id == operation.post_snapshot
    assert taken[-1].id in {meta.id for meta in metas}


def test_operation_has_hashes_before_and_after(site: Site) -> None:
    with site.opened() as context:
        operation = changes.promote(context, "a", ["plainlet"])
    assert set(operation.files) == set(TRUTH_FILES)
