"""The stored facts of node packs: only changed packs are read again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.comfyui.packs.metadata import NodePack
from comfywatchman.comfyui.packs.scan import find_packs
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.nodes.index import PackIndex


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def add(tmp_path: Path, name: str, classes: str = "{'A': None}") -> Path:
    folder = tmp_path / "custom_nodes" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(f"NODE_CLASS_MAPPINGS = {classes}", "utf-8")
    return folder


def look(tmp_path: Path, database: Database) -> dict[str, NodePack]:
    found = PackIndex(database).read_packs(find_packs([tmp_path / "custom_nodes"]))
    return {pack.folder: pack for pack in found}


def spoil(database: Database) -> None:
    """Change the stored facts, so that a pack that is read again can be told apart."""
    rows = database.connection.execute("SELECT path, facts FROM pack").fetchall()
    for path, facts in rows:
        marked = msgspec.structs.replace(msgspec.msgpack.decode(facts, type=NodePack), display_name="kept")
        database.connection.execute("UPDATE pack SET facts = ? WHERE path = ?", (msgspec.msgpack.encode(marked), path))


def test_only_changed_packs_are_read_again(tmp_path: Path, database: Database) -> None:
    add(tmp_path, "one")
    add(tmp_path, "two")
    look(tmp_path, database)
    spoil(database)
    add(tmp_path, "two", "{'B': None, 'C': None}")
    found = look(tmp_path, database)
    assert (found["one"].display_name, found["two"].display_name) == ("kept", None)
    assert found["two"].classes == {"B", "C"}
    assert look(tmp_path, database) == found


def test_pack_disabled_meanwhile_is_disabled(tmp_path: Path, database: Database) -> None:
    folder = add(tmp_path, "one")
    look(tmp_path, database)
    folder.rename(folder.with_name("one.disabled"))
    assert look(tmp_path, database)["one"].enabled is False


def test_rows_of_removed_packs_are_deleted_but_not_the_core(tmp_path: Path, database: Database) -> None:
    folder = add(tmp_path, "one")
    add(tmp_path, "two")
    (tmp_path / "nodes.py").write_text("NODE_CLASS_MAPPINGS = {'KSampler': None}", "utf-8")
    PackIndex(database).read_core(tmp_path, "0.33.0")
    look(tmp_path, database)
    (folder / "__init__.py").unlink()
    folder.rmdir()
    assert list(look(tmp_path, database)) == ["two"]
    assert database.connection.execute("SELECT COUNT(*) FROM pack").fetchone() == (2,)


def test_changed_core_file_or_version_is_read_again(tmp_path: Path, database: Database) -> None:
    nodes = tmp_path / "nodes.py"
    nodes.write_text("NODE_CLASS_MAPPINGS = {'KSampler': None}", "utf-8")
    index = PackIndex(database)
    core = index.read_core(tmp_path, "0.33.0")
    assert core is not None
    assert core.classes == {"KSampler"}
    assert (core.id, core.version) == ("comfy-core", "0.33.0")
    spoil(database)
    kept = index.read_core(tmp_path, "0.33.0")
    assert kept is not None
    assert kept.display_name == "kept"
    (tmp_path / "comfy_extras").mkdir()
    (tmp_path / "comfy_extras" / "nodes_x.py").write_text("NODE_CLASS_MAPPINGS = {'Extra': None}", "utf-8")
    grown = index.read_core(tmp_path, "0.33.0")
    assert grown is not None
    assert grown.classes == {"KSampler", "Extra"}
    renamed = index.read_core(tmp_path, "0.34.0")
    assert renamed is not None
    assert renamed.version == "0.34.0"


def test_folder_without_comfyui_has_no_core(tmp_path: Path, database: Database) -> None:
    assert PackIndex(database).read_core(tmp_path, None) is None


def test_rows_of_another_version_are_ignored(tmp_path: Path, database: Database) -> None:
    add(tmp_path, "one")
    look(tmp_path, database)
    database.connection.execute("UPDATE pack SET facts = X'00'")
    assert look(tmp_path, database)["one"].classes == {"A"}


def test_git_change_does_not_read_the_source(tmp_path: Path, database: Database) -> None:
    folder = add(tmp_path, "one")
    look(tmp_path, database)
    spoil(database)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("a" * 40, "utf-8")
    found = look(tmp_path, database)["one"]
    assert (found.git_commit, found.display_name) == ("a" * 40, "kept")


def test_unchanged_git_state_is_read_once(tmp_path: Path, database: Database) -> None:
    folder = add(tmp_path, "one")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("a" * 40, "utf-8")
    look(tmp_path, database)
    os.utime(folder / ".git" / "HEAD", ns=(1, 1))
    look(tmp_path, database)
    row = database.connection.execute("SELECT git_fingerprint FROM pack").fetchone()
    assert row == (find_packs([tmp_path / "custom_nodes"])[0].git_fingerprint,)


def test_path_that_is_not_utf8_is_stored(tmp_path: Path, database: Database) -> None:
    add(tmp_path, os.fsdecode(b"p\xff"))
    assert list(look(tmp_path, database)) == ["p\\xff"]
    assert list(look(tmp_path, database)) == ["p\\xff"]


def test_failing_database_only_costs_time(tmp_path: Path, database: Database) -> None:
    add(tmp_path, "one")
    database.connection.execute("DROP TABLE pack")
    index = PackIndex(database)
    assert [pack.folder for pack in index.read_packs(find_packs([tmp_path / "custom_nodes"]))] == ["one"]
    assert index.problems
