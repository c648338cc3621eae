"""Reading workflow files: each content once, whatever happens to the file meanwhile."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.budget import ReadingBudget
from comfywatchman.comfyui.workflow.embedded.extract import EmbeddedWorkflow, extract_workflow
from comfywatchman.readiness.assessment.index import WorkflowIndex, decode_facts
from comfywatchman.readiness.assessment.reader import MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.database import open_memory_database
from comfywatchman.readiness.sample.workflows import build_png_with_text
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.readiness.workflows.discovery import WatchedRoot, WorkflowFile, list_workflows
from tests.hosts import CHECKPOINT, graph
from tests.model_files import put

TABLE = load_builtin_table()
SUFFIXES = frozenset({".json"}) | MEDIA_SUFFIXES


def build_reader(index: WorkflowIndex | None = None) -> WorkflowReader:
    return WorkflowReader(index, TABLE, 1 << 20)


def list_files(folder: Path) -> tuple[WorkflowFile, ...]:
    return list_workflows([WatchedRoot(folder, "x")], suffixes=SUFFIXES).files


def build_picture(keyword: str = "workflow", text: bytes | None = None) -> bytes:
    return build_png_with_text(keyword, graph() if text is None else text)


def read_file(reader: WorkflowReader, path: Path) -> WorkflowFacts:
    sha256 = reader.hash_file(str(path))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    facts = reader.facts(sha256, str(path))
    assert facts is not None
    return facts


def test_hash_is_that_of_the_file_and_container_its_own(tmp_path: Path) -> None:
    reader = build_reader()
    picture = put(tmp_path / "a.png", build_picture())
    assert read_file(reader, picture).container == "png"
    assert read_file(reader, put(tmp_path / "a.json", graph())).container == "json"
    # The same bytes: a picture for the one suffix, and no JSON for the other.
    assert read_file(reader, picture).failure is None
    assert read_file(reader, put(tmp_path / "b.json", build_picture())).failure is not None


@pytest.mark.parametrize("names", [("good.json", "copy.png"), ("copy.png", "good.json")])
def test_json_as_a_picture_does_not_change_the_json(tmp_path: Path, names: tuple[str, str]) -> None:
    index = WorkflowIndex(open_memory_database())
    first = build_reader(index)
    for name in names:
        read_file(first, put(tmp_path / name, graph()))
    first.save()
    for reader in (first, build_reader(index)):
        assert read_file(reader, tmp_path / "good.json").failure is None
        failure = read_file(reader, tmp_path / "copy.png").failure
        assert failure is not None
        assert failure.code == "workflow-embedded-invalid"
        # The text is kept for every file with this content.
        assert "copy.png" not in failure.message


def test_raised_size_limit_reads_the_file_again(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", b" " * (1 << 20) + graph())
    index = WorkflowIndex(open_memory_database())
    small = build_reader(index)
    failure = read_file(small, path).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("file-too-large", "The file is larger than 1 MiB.")
    small.save()
    assert read_file(WorkflowReader(index, TABLE, 2 << 20), path).failure is None


def test_pictures_are_read_again_by_another_reader_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "plain.png", build_picture("Author"))
    index = WorkflowIndex(open_memory_database())
    first = build_reader(index)
    first.exclude_plain_media(list_files(tmp_path), known=())
    first.save()
    monkeypatch.setattr("comfywatchman.readiness.assessment.index.READER_VERSION", 0)
    second = build_reader(index)
    assert second.exclude_plain_media(list_files(tmp_path), known=()) == []
    assert second.read == 1


@pytest.mark.slow
def test_picture_that_changes_while_it_is_read_has_no_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.png", build_picture())

    def extract_and_replace(read: Path, budget: ReadingBudget) -> EmbeddedWorkflow | None:
        embedded = extract_workflow(read, budget)
        path.write_bytes(build_picture(text=graph(lora="x.safetensors")))
        return embedded

    with monkeypatch.context() as patch:
        patch.setattr("comfywatchman.readiness.assessment.reader.extract_workflow", extract_and_replace)
        reader = build_reader()
        sha256 = reader.hash_file(str(path))
    assert sha256 is not None
    facts = reader.facts(sha256, str(path))
    assert facts is not None
    assert [reference.value for reference in facts.references] == [CHECKPOINT, "x.safetensors"]


def test_pictures_without_a_workflow_are_excluded_and_opened_once(tmp_path: Path) -> None:
    put(tmp_path / "plain.png", build_picture("Author"))
    put(tmp_path / "a.png", build_picture())
    put(tmp_path / "prompt.png", build_picture("prompt", b'{"1": {"class_type": "X", "inputs": {}}}'))
    put(tmp_path / "b.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = build_reader(index)
    workflows = first.exclude_plain_media(list_files(tmp_path), known=())
    assert [os.path.basename(file.path) for file in workflows] == ["a.png", "b.json", "prompt.png"]
    assert first.read == 3
    assert [first.hash_file(file.path) for file in workflows if file.path.endswith("png")]
    assert first.read == 3, "a picture is opened only once"
    first.save()
    second = build_reader(index)
    second.exclude_plain_media(list_files(tmp_path), known=[file.signature for file in workflows])
    assert second.read == 0


def test_known_workflow_is_not_opened(tmp_path: Path) -> None:
    put(tmp_path / "a.png", build_picture("Author"))
    (file,) = list_files(tmp_path)
    reader = build_reader()
    assert reader.exclude_plain_media([file], known=[file.signature]) == [file]
    assert reader.read == 0


def test_broken_picture_gives_failed_facts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", build_picture()[:60])
    reader = build_reader()
    (file,) = reader.exclude_plain_media(list_files(tmp_path), known=())
    sha256 = reader.hash_file(file.path)
    assert sha256 is not None
    facts = reader.facts(sha256, str(path))
    assert facts is not None
    assert facts.failure is not None
    assert (facts.container, facts.failure.code, reader.read) == ("png", "workflow-embedded-invalid", 1)
    assert read_file(reader, put(tmp_path / "a.webp", path.read_bytes())).container == "webp"


@pytest.mark.parametrize(("name", "container"), [("a.json", "json"), ("a.txt", "json")])
def test_file_above_the_limit_is_hashed_but_not_parsed(tmp_path: Path, name: str, container: str) -> None:
    path = put(tmp_path / name, b" " * (1 << 20) + graph())
    reader = build_reader()
    sha256 = reader.hash_file(str(path))
    assert sha256 is not None
    facts = reader.facts(sha256, str(path))
    assert facts is not None
    assert facts.failure is not None
    assert (facts.container, facts.failure.code) == (container, "file-too-large")


def test_unopenable_file_gives_its_reason(tmp_path: Path) -> None:
    reader = build_reader()
    for name in ("gone.json", "gone.png"):
        path = str(tmp_path / name)
        assert reader.hash_file(path) is None
        assert "No such file" in reader.describe_failure(path)
    assert reader.describe_failure("/never asked") == "The file cannot be read."


def test_file_deleted_during_the_scan_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "a.png", build_picture())
    put(tmp_path / "b.png", build_picture())
    files = list_files(tmp_path)
    os.unlink(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(build_picture("Author"))
    reader = build_reader()
    assert reader.hash_file(files[1].path) is None
    assert "no longer contains a workflow" in reader.describe_failure(files[1].path)
    assert [file.path for file in reader.exclude_plain_media(files, known=())] == [files[0].path]
    assert reader.hash_file(files[0].path) is None


def test_file_changed_since_hashing_has_no_facts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    sha256 = build_reader().hash_file(str(path))
    assert sha256 is not None
    path.write_bytes(graph(lora="x.safetensors"))
    assert build_reader().facts(sha256, str(path)) is None


def test_facts_are_kept_until_the_loader_table_changes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = build_reader(index)
    sha256 = first.hash_file(str(path))
    assert sha256 is not None
    first.save()
    second = build_reader(index)
    assert second.facts(sha256, str(path)) == first.facts(sha256, str(path))
    assert second.read == 0
    assert index.facts("other knowledge") == {}


def test_damaged_row_is_read_again_from_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", graph())
    index = WorkflowIndex(open_memory_database())
    first = build_reader(index)
    sha256 = first.hash_file(str(path))
    assert sha256 is not None
    first.save()
    index.write([("UPDATE workflow_facts SET facts = ?", [(b"{",)])])
    second = build_reader(index)
    assert second.facts(sha256, str(path)) == first.facts(sha256, str(path))
    second.save()
    assert decode_facts(index.facts(second.knowledge_key)[sha256]) is not None
    assert decode_facts(b"{") is None


def test_reader_without_an_index_stores_nothing(tmp_path: Path) -> None:
    reader = build_reader()
    reader.hash_file(str(put(tmp_path / "a.json", graph())))
    reader.save()
