from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.intake import IntakeMemory, ScanResult, ScanStatus, scan_once
from comfywatchman.jobs.records import JobSpec, Upserted, UpsertOutcome
from tests.jobs.files.job_folder import GRAPH, JOB, NAME, FixedClock, JobFolder, RecordingStore

OTHER = NAME.replace("fox", "hen")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path)


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def memory() -> IntakeMemory:
    return IntakeMemory()


def scan(folder: JobFolder, store: RecordingStore | None, memory: IntakeMemory | None = None) -> list[ScanResult]:
    # Changes in place cannot be dated back, so the clock of the tests is ahead of them.
    return scan_once(folder.settings, folder.workflows, store, memory=memory, clock=LATER)


LATER = FixedClock(FixedClock().moment.replace(year=2100))
"""Later than any file of the tests, so that each of them is settled."""


def age(path: Path, seconds: float) -> None:
    moment = LATER.moment.timestamp() - seconds
    os.utime(path, (moment, moment))


def test_job_file_becomes_a_job(folder: JobFolder, store: RecordingStore) -> None:
    path = folder.write()
    assert scan(folder, store) == [
        ScanResult(str(path), ScanStatus.ACCEPTED, config_name=NAME, outcome=UpsertOutcome.INSERTED)
    ]
    spec = store.specs[NAME]
    assert (spec.workflow_id, spec.media, spec.priority, spec.output_path) == ("portrait", "image", 50, "image/fox.png")
    assert spec.source_path == str(path)


def test_other_files_are_not_looked_at(folder: JobFolder, store: RecordingStore) -> None:
    for name in ("up.png", "notes.txt", "x.yaml~", ".hidden.yaml", "x.yaml.part"):
        folder.write(name=name)
    assert scan(folder, store) == []


def test_files_of_every_type_are_found(folder: JobFolder, store: RecordingStore) -> None:
    for job_type, media in folder.settings.media_of_type.items():
        folder.write(JOB.replace("T2I", job_type), NAME.replace("T2I", job_type), media=media)
    assert {result.status for result in scan(folder, store)} == {ScanStatus.ACCEPTED}
    assert {spec.media for spec in store.specs.values()} == {"image", "video", "speech", "audio", "3d"}


def test_files_in_subfolders_are_found(folder: JobFolder, store: RecordingStore) -> None:
    folder.write(media="image/monday")
    assert scan(folder, store)[0].status is ScanStatus.ACCEPTED


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (JOB.replace("portrait", "portrat"), 2, "workflow_id"),
        (JOB.replace("  prompt: a red fox", "  prompt: 5"), 4, "inputs.prompt"),
        (JOB.replace("  prompt: a red fox", "  promt: x"), 3, "inputs.prompt"),
        (JOB.replace("image/fox.png", "/etc/x"), 6, "outputs.file_path"),
        (JOB.replace("T2I", "T2V"), 1, "job_type"),
        (JOB + "priority: high\n", 7, "priority"),
        ("a: [1\nb: 2\n", None, ""),
        ("- x\n", 1, ""),
        ("", None, ""),
    ],
)
def test_invalid_file_is_rejected_with_line_and_field(
    folder: JobFolder, store: RecordingStore, text: str, line: int | None, field: str
) -> None:
    path = folder.write(text)
    (result,) = scan(folder, store)
    assert (result.status, result.field) == (ScanStatus.REJECTED, field)
    assert result.reason
    if line is not None:
        assert result.line == line
    assert path.exists()
    assert store.specs == {}


def test_priority_out_of_range_is_limited(folder: JobFolder, store: RecordingStore) -> None:
    folder.write(JOB + "priority: 5000\n")
    folder.write(JOB + "priority: -3\n", OTHER)
    assert {result.status for result in scan(folder, store)} == {ScanStatus.ACCEPTED}
    assert (store.specs[NAME].priority, store.specs[OTHER].priority) == (999, 1)


@pytest.mark.parametrize(
    ("name", "media", "reason"),
    [
        ("fox.yaml", "image", "is no job's"),
        (NAME.replace(".yaml", ".yml"), "image", "Rename the file"),
        (NAME.replace(".yaml", ".YAML"), "image", "Rename the file"),
        (NAME, "video", "belong into"),
        (NAME, "", "belong into"),
        (NAME, "imagery", "belong into"),
    ],
)
def test_name_and_folder_must_fit(folder: JobFolder, store: RecordingStore, name: str, media: str, reason: str) -> None:
    folder.write(name=name, media=media)
    (result,) = scan(folder, store)
    assert result.status is ScanStatus.REJECTED
    assert reason in result.reason


def test_hostile_entries_are_rejected(folder: JobFolder, store: RecordingStore) -> None:
    image = folder.settings.processing / "image"
    (image / NAME).symlink_to("/etc/passwd")
    os.mkfifo(image / OTHER)
    (image / NAME.replace("fox", "cow")).symlink_to("/dev/zero")
    (image / NAME.replace("fox", "owl")).mkdir()
    results = scan(folder, store)
    assert [result.status for result in results] == [ScanStatus.REJECTED] * 3
    assert store.specs == {}


def test_unreadable_name_is_rejected(folder: JobFolder, store: RecordingStore) -> None:
    path = os.fsencode(folder.settings.processing / "image") + b"/T2I_20260131093000_1_\xff.yaml"
    Path(os.fsdecode(path)).write_text(JOB, "utf-8")
    (result,) = scan(folder, store)
    assert result.status is ScanStatus.REJECTED


def test_duplicate_ingestion_makes_one_job(folder: JobFolder, store: RecordingStore) -> None:
    folder.write()
    assert scan(folder, store)[0].outcome is UpsertOutcome.INSERTED
    (again,) = scan(folder, store)
    assert (again.status, again.outcome) == (ScanStatus.ACCEPTED, None)
    assert len(store.specs) == 1


def test_same_name_is_one_job(folder: JobFolder, store: RecordingStore) -> None:
    first = folder.write(media="image/a")
    second = folder.write(JOB.replace("fox.png", "other.png"), media="image/b")
    accepted, rejected = scan(folder, store)
    assert (accepted.path, rejected.path) == (str(first), str(second))
    assert rejected.status is ScanStatus.REJECTED
    assert "same name is one job" in rejected.reason
    assert store.specs[NAME].output_path == "image/fox.png"


def test_accepted_file_keeps_its_name(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    second = folder.write(media="image/b")
    scan(folder, store, memory)
    first = folder.write(media="image/a")
    (result,) = scan(folder, store, memory)
    assert (result.path, result.status) == (str(first), ScanStatus.REJECTED)
    second.unlink()
    (result,) = scan(folder, store, memory)
    assert (result.path, result.status) == (str(first), ScanStatus.ACCEPTED)


def test_decomposed_name_is_the_same_job(folder: JobFolder, store: RecordingStore) -> None:
    name = NAME.replace("fox", "café")
    folder.write(name=unicodedata.normalize("NFC", name), media="image/a")
    folder.write(name=unicodedata.normalize("NFD", name), media="image/b")
    assert [result.status for result in scan(folder, store)] == [ScanStatus.ACCEPTED, ScanStatus.REJECTED]
    assert list(store.specs) == [unicodedata.normalize("NFC", name)]


def test_unchanged_files_are_read_once(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    folder.write()
    folder.write("a: [", OTHER)
    assert len(scan(folder, store, memory)) == 2
    store.specs.clear()
    assert scan(folder, store, memory) == []
    assert store.specs == {}


def test_restart_parses_no_file_that_the_database_knows(folder: JobFolder, store: RecordingStore) -> None:
    folder.write()
    scan(folder, store)
    # Parsing would fail now, since the workflow is gone.
    folder.workflows.clear()
    (result,) = scan(folder, store)
    assert (result.status, result.outcome) == (ScanStatus.ACCEPTED, None)


def test_changed_file_updates_its_job(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    folder.write()
    scan(folder, store, memory)
    folder.write(JOB + "priority: 3\n")
    (result,) = scan(folder, store, memory)
    assert result.outcome is UpsertOutcome.UPDATED
    assert store.specs[NAME].priority == 3


def test_change_of_an_ended_job_has_no_effect(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    folder.write()
    scan(folder, store, memory)
    store.ended.add(NAME)
    folder.write(JOB + "priority: 3\n")
    (result,) = scan(folder, store, memory)
    assert (result.status, result.outcome) == (ScanStatus.ACCEPTED, UpsertOutcome.IGNORED)
    assert "has no effect" in result.reason
    assert store.specs[NAME].priority == 50


def test_rejected_file_is_tried_again_when_it_changes(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory
) -> None:
    folder.write("a: [")
    assert scan(folder, store, memory)[0].status is ScanStatus.REJECTED
    assert scan(folder, store, memory) == []
    assert [result.status for result in memory.list_refused()] == [ScanStatus.REJECTED]
    folder.write()
    assert scan(folder, store, memory)[0].status is ScanStatus.ACCEPTED
    assert memory.list_refused() == []


def test_rejected_file_is_tried_again_when_its_workflow_changes(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory
) -> None:
    template = folder.root / "workflows" / "portrait.json"
    template.unlink()
    folder.write()
    assert scan(folder, store, memory)[0].field == "workflow_id"
    assert scan(folder, store, memory) == []
    template.write_text(json.dumps(GRAPH), "utf-8")
    assert scan(folder, store, memory)[0].status is ScanStatus.ACCEPTED


def test_rejected_file_is_tried_again_when_its_workflow_appears(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory
) -> None:
    workflows = dict(folder.workflows)
    folder.workflows.clear()
    folder.write()
    assert scan(folder, store, memory)[0].status is ScanStatus.REJECTED
    folder.workflows.update(workflows)
    assert scan(folder, store, memory)[0].status is ScanStatus.ACCEPTED


def test_file_that_was_changed_just_now_waits(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    path = folder.write()
    age(path, 0.5)
    (result,) = scan(folder, store, memory)
    assert result.status is ScanStatus.WAITING
    assert store.specs == {}
    (result,) = scan(folder, store, memory)
    assert result.status is ScanStatus.ACCEPTED


def test_growing_file_waits_until_it_stays_the_same(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory
) -> None:
    for end in range(10, len(JOB), 20):
        age(folder.write(JOB[:end]), 0.1)
        assert [r.status for r in scan(folder, store, memory)] in ([ScanStatus.WAITING], [])
    assert store.specs == {}
    age(folder.write(), 0.1)
    scan(folder, store, memory)
    scan(folder, store, memory)
    assert list(store.specs) == [NAME]


@pytest.mark.parametrize("text", ["", "\n", "inputs: [1,", 'inputs: {a: "x'])
def test_file_that_ends_too_early_waits_and_is_then_rejected(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory, text: str
) -> None:
    path = folder.write(text)
    age(path, 9)
    assert scan(folder, store, memory)[0].status is ScanStatus.WAITING
    age(path, 11)
    assert scan(folder, store, memory)[0].status is ScanStatus.REJECTED


def test_job_waits_for_its_input_file(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    folder.write(JOB.replace("  prompt: a red fox", "  prompt: x\n  picture: up.png"))
    (result,) = scan(folder, store, memory)
    assert (result.status, result.field, result.line) == (ScanStatus.WAITING, "inputs.picture", 5)
    assert scan(folder, store, memory) == []
    (folder.settings.processing / "image" / "up.png").write_bytes(b"x")
    (result,) = scan(folder, store, memory)
    assert result.status is ScanStatus.ACCEPTED
    assert store.specs[NAME].input_files[0].input_name == "picture"


def test_moved_file_is_forgotten(folder: JobFolder, store: RecordingStore, memory: IntakeMemory) -> None:
    path = folder.write()
    scan(folder, store, memory)
    path.unlink()
    assert scan(folder, store, memory) == []
    assert memory.files == {}


def test_check_without_a_database_changes_nothing(folder: JobFolder) -> None:
    folder.write()
    (result,) = scan(folder, None)
    assert (result.status, result.outcome) == (ScanStatus.ACCEPTED, None)


def test_file_that_the_database_did_not_take_is_read_again(folder: JobFolder, memory: IntakeMemory) -> None:
    class FailingStore(RecordingStore):
        def upsert(self, spec: JobSpec) -> Upserted:
            raise Failure("state-unwritable", f"{spec.config_name} is not stored.")

    folder.write()
    with pytest.raises(Failure):
        scan(folder, FailingStore(), memory)
    store = RecordingStore()
    assert scan(folder, store, memory)[0].status is ScanStatus.ACCEPTED
    assert list(store.specs) == [NAME]


def test_stop_leaves_the_other_files_to_a_later_scan(
    folder: JobFolder, store: RecordingStore, memory: IntakeMemory
) -> None:
    folder.write()
    folder.write(name=OTHER)
    reported: list[ScanResult] = []
    results = scan_once(
        folder.settings,
        folder.workflows,
        store,
        memory=memory,
        clock=LATER,
        report=reported.append,
        is_stopped=lambda: bool(reported),
    )
    assert results == reported
    assert [result.config_name for result in results] == [NAME]
    assert [result.config_name for result in scan(folder, store, memory)] == [OTHER]


def test_absent_folder_has_no_jobs(folder: JobFolder, store: RecordingStore) -> None:
    (folder.settings.processing / "image").rmdir()
    for media in ("video", "audio", "speech", "3d"):
        (folder.settings.processing / media).rmdir()
    folder.settings.processing.rmdir()
    assert scan(folder, store) == []
