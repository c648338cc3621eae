"""Each content is read once, whatever the file around it does meanwhile."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.readiness.assessment.index import WorkflowIndex, decode_facts
from comfywatchman.readiness.assessment.reader import MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.database import Database, open_database, open_memory_database, to_signed
from comfywatchman.readiness.sample.workflows import build_png_with_text
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict
from comfywatchman.readiness.workflow_facts import build_knowledge_key
from comfywatchman.readiness.workflows.discovery import WatchedRoot, WorkflowFile, list_workflows
from tests.hosts import graph
from tests.model_files import put

TABLE = load_builtin_table()
SUFFIXES = frozenset({".json"}) | MEDIA_SUFFIXES


def reader(index: WorkflowIndex | None = None) -> WorkflowReader:
    return WorkflowReader(index, TABLE, 1 << 20)


def listed(folder: Path) -> tuple[WorkflowFile, ...]:
    return list_workflows([WatchedRoot(folder, "x")], suffixes=SUFFIXES).files


def picture(keyword: str = "workflow", text: bytes | None = None) -> bytes:
    return build_png_with_text(keyword, graph() if text is None else text)


def test_picture_and_json_of_one_workflow_have_the_same_hash(tmp_path: Path) -> None:
    read = reader()
    first = read.hash_file(str(put(tmp_path / "a.json", graph())))
    assert first is not None
    assert read.hash_file(str(put(tmp_path / "a.png", picture()))) == first
    assert read.facts(first, "/nowhere") is not None


def test_pictures_without_a_workflow_are_excluded_and_opened_once(tmp_path: Path) -> None:
    put(tmp_path / "plain.png", picture("Author"))
    put(tmp_path / "a.png", picture())
    put(tmp_path / "prompt.png", picture("prompt", b'{"1": {"class_type": "X", "inputs": {}}}'))
    put(tmp_path / "b.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = reader(index)
    kept = first.exclude_plain_media(listed(tmp_path), known=())
    assert [os.path.basename(file.path) for file in kept] == ["a.png", "b.json", "prompt.png"]
    assert first.read == 3
    assert [first.hash_file(file.path) for file in kept if file.path.endswith("png")]
    assert first.read == 3, "a picture that was looked into is not opened again"
    first.save()
    second = reader(index)
    second.exclude_plain_media(listed(tmp_path), known=[file.signature for file in kept])
    assert second.read == 0


def test_known_workflow_is_not_opened(tmp_path: Path) -> None:
    put(tmp_path / "a.png", picture("Author"))
    (file,) = listed(tmp_path)
    read = reader()
    assert read.exclude_plain_media([file], known=[file.signature]) == [file]
    assert read.read == 0


def test_broken_picture_gives_failed_facts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", picture()[:60])
    read = reader()
    (file,) = read.exclude_plain_media(listed(tmp_path), known=())
    sha256 = read.hash_file(file.path)
    assert sha256 is not None
    facts = read.facts(sha256, str(path))
    assert facts is not None
    assert facts.failure is not None
    assert (facts.container, facts.failure.code, read.read) == ("png", "workflow-embedded-invalid", 1)


@pytest.mark.parametrize(("name", "container"), [("a.json", "json"), ("a.txt", "json")])
def test_file_above_the_limit_is_hashed_but_not_parsed(tmp_path: Path, name: str, container: str) -> None:
    path = put(tmp_path / name, b" " * (1 << 20) + graph())
    read = reader()
    sha256 = read.hash_file(str(path))
    assert sha256 is not None
    facts = read.facts(sha256, str(path))
    assert facts is not None
    assert facts.failure is not None
    assert (facts.container, facts.failure.code) == (container, "file-too-large")


def test_unopenable_file_gives_its_reason(tmp_path: Path) -> None:
    read = reader()
    for name in ("gone.json", "gone.png"):
        path = str(tmp_path / name)
        assert read.hash_file(path) is None
        assert "No such file" in read.describe_failure(path)
    assert read.describe_failure("/never asked") == "The file cannot be read."


def test_file_deleted_during_the_scan_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "a.png", picture())
    put(tmp_path / "b.png", picture())
    files = listed(tmp_path)
    os.unlink(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(picture("Author"))
    read = reader()
    assert read.hash_file(files[1].path) is None
    assert "no longer contains a workflow" in read.describe_failure(files[1].path)
    assert [file.path for file in read.exclude_plain_media(files, known=())] == [files[0].path]
    assert read.hash_file(files[0].path) is None


def test_file_changed_since_hashing_has_no_facts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    sha256 = reader().hash_file(str(path))
    assert sha256 is not None
    path.write_bytes(graph(lora="x.safetensors"))
    assert reader().facts(sha256, str(path)) is None


def test_facts_are_kept_until_the_loader_table_changes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = reader(index)
    sha256 = first.hash_file(str(path))
    assert sha256 is not None
    first.save()
    second = reader(index)
    assert second.facts(sha256, str(path)) == first.facts(sha256, str(path))
    assert second.read == 0
    assert index.facts("other knowledge") == {}


def test_damaged_row_is_read_again_from_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = reader(index)
    sha256 = first.hash_file(str(path))
    assert sha256 is not None
    first.save()
    index.write([("UPDATE workflow_facts SET facts = ?", [(b"{",)])])
    second = reader(index)
    assert second.facts(sha256, str(path)) == first.facts(sha256, str(path))
    second.save()
    assert decode_facts(index.facts(build_knowledge_key(TABLE))[sha256]) is not None
    assert decode_facts(b"{") is None


def test_reader_without_an_index_stores_nothing(tmp_path: Path) -> None:
    read = reader()
    read.hash_file(str(put(tmp_path / "a.json", graph())))
    read.save()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path / "index.sqlite")


def test_verdicts_of_another_host_are_deleted(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        ready = WorkflowVerdict(status=WorkflowStatus.READY, container="json")
        index.add_verdicts("one", {"a": ready})
        assert index.verdicts("one") == {"a": ready}
        index.add_verdicts("two", {"b": ready})
        assert (index.verdicts("one"), index.verdicts("two")) == ({}, {"b": ready})


def test_damaged_verdict_is_ignored(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        ready = WorkflowVerdict(status=WorkflowStatus.READY, container="json")
        index.add_verdicts("one", {"a": ready, "b": ready})
        index.write([("UPDATE workflow_verdicts SET judged = ? WHERE sha256 = 'a'", [(b"{",)])])
        assert index.verdicts("one") == {"b": ready}


def test_signatures_of_any_size_are_stored(database: Database) -> None:
    with closing(database):
        index = WorkflowIndex(database)
        signatures = {(2**64 - 1, 2**63, 5, 6), (1, 2, 3, 4)}
        index.add_plain_media(signatures)
        index.add_plain_media(signatures)
        assert index.plain_media() == signatures
        assert [to_signed(2**63 - 1), to_signed(2**63), to_signed(2**64 - 1)] == [2**63 - 1, -(2**63), -1]


def test_database_error_is_reported_and_facts_stay_usable(tmp_path: Path, database: Database) -> None:
    index = WorkflowIndex(database)
    database.close()
    path = put(tmp_path / "a.json", graph())
    read = reader(index)
    assert read.hash_file(str(path)) is not None
    read.save()
    assert index.problems
    with pytest.raises(sqlite3.ProgrammingError):
        database.connection.execute("SELECT 1")
