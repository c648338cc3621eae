from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.draft import (
    JobDraft,
    build_job_file,
    dump_yaml,
    guess_job_type,
    make_jobname,
    parse_input_option,
    parse_input_value,
    write_job_file,
)
from comfywatchman.jobs.files.intake import ScanStatus, scan_once
from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.yaml_text import parse_yaml
from comfywatchman.jobs.records import JobSpec
from tests.jobs.files.job_folder import GRAPH, FixedClock, JobFolder, RecordingStore

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width=512", ("width", 512)),
        ("cfg=7.5", ("cfg", 7.5)),
        ("flag=true", ("flag", True)),
        ("sizes=[1, 2]", ("sizes", [1, 2])),
        ("prompt=a red fox", ("prompt", "a red fox")),
        ("prompt=a fox: red, [wild", ("prompt", "a fox: red, [wild")),
        ("prompt={{a|b}}", ("prompt", "{{a|b}}")),
        ("prompt=", ("prompt", "")),
        ("prompt=a=b", ("prompt", "a=b")),
        ("prompt=NO", ("prompt", "NO")),
        ("prompt='5'", ("prompt", "'5'")),
    ],
)
def test_value_of_an_option_has_its_type(text: str, expected: tuple[str, Any]) -> None:
    assert parse_input_option(text) == expected


@pytest.mark.parametrize("text", ["width", "=5", ""])
def test_option_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(JobFileError, match="NAME=VALUE"):
        parse_input_option(text)


def test_half_a_surrogate_is_text() -> None:
    assert parse_input_value("\udcff") == "\udcff"


def saver(class_type: str) -> dict[str, Any]:
    return {"1": {"class_type": "VAEDecode", "inputs": {}}, "2": {"class_type": class_type, "inputs": {}}}


@pytest.mark.parametrize(
    ("class_type", "expected"),
    [
        ("SaveImage", "T2I"),
        ("SaveVideo", "T2V"),
        ("SaveWEBM", "T2V"),
        ("SaveAnimatedWEBP", "T2V"),
        ("SaveAudioMP3", "AUDIO"),
        ("SaveGLB", "3D"),
        ("PreviewImage", "T2I"),
    ],
)
def test_type_is_that_of_the_saved_outputs(class_type: str, expected: str) -> None:
    assert guess_job_type(saver(class_type)) == expected


def test_type_of_the_sample_is_image() -> None:
    assert guess_job_type(GRAPH) == "T2I"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox!", "a-red-fox"),
        ("../x", "x"),
        ("", "job"),
        ("..", "job"),
        ("a" * 50, "a" * 40),
        ("Füchse", "Füchse"),
    ],
)
def test_any_text_makes_a_jobname(text: str, expected: str) -> None:
    assert make_jobname(text) == expected


def test_minimal_job_file_holds_the_needed_fields() -> None:
    text = build_job_file(JobDraft("portrait", "T2I", inputs={"prompt": "a red fox"}), media="image")
    assert parse_yaml(text.encode()).value == {
        "job_type": "T2I",
        "workflow_id": "portrait",
        "inputs": {"prompt": "a red fox"},
        "outputs": {"file_path": "image/"},
    }


def test_full_job_file_holds_every_field() -> None:
    draft = JobDraft(
        "portrait",
        "T2I",
        inputs={},
        file_path="image/x.png",
        priority=1,
        retry_limit=0,
        seeds=[1, 2],
        prompts=("a", "b"),
        deadline_seconds=5.0,
        webhook="http://127.0.0.1:9/",
    )
    value = parse_yaml(build_job_file(draft, media="image").encode()).value
    assert (value["priority"], value["retry_limit"], value["seeds"], value["prompts"]) == (1, 0, [1, 2], ["a", "b"])
    assert (value["outputs"], value["deadline_seconds"]) == ({"file_path": "image/x.png"}, 5.0)


@pytest.mark.parametrize("priority", [0, 1000, -1])
def test_priority_out_of_range_is_refused(priority: int) -> None:
    with pytest.raises(Failure) as caught:
        build_job_file(JobDraft("portrait", "T2I", priority=priority), media="image")
    assert caught.value.code == "jobs-priority-range"


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_written_values_are_read_back(value: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(value).encode()).value == value


@pytest.mark.parametrize("text", ["NO", "012", "1e3", "0o17", "12:30", "2026-01-31", "null", "", "=", "5", "~"])
def test_texts_stay_texts_in_both_versions_of_yaml(text: str) -> None:
    import yaml

    written = dump_yaml({"x": text})
    assert parse_yaml(written.encode()).value == {"x": text}
    assert yaml.safe_load(written) == {"x": text}


def write(folder: JobFolder, draft: JobDraft) -> JobSpec:
    return write_job_file(draft, folder.settings, folder.workflows, moment=MOMENT)


def draft_job(job_type: str = "T2I", jobname: str = "job", **changes: Any) -> JobDraft:
    return JobDraft("portrait", job_type, jobname, **{"inputs": {"prompt": "a red fox"}, **changes})


def list_files(folder: JobFolder) -> list[Path]:
    return [path for path in folder.settings.processing.rglob("*") if path.is_file()]


def test_job_is_written_and_accepted(tmp_path: Path) -> None:
    folder, store = JobFolder.create(tmp_path), RecordingStore()
    specs = [write(folder, draft_job(jobname="red-fox", seeds=3)) for _ in range(2)]
    assert [spec.config_name for spec in specs] == [f"T2I_20260131093000_{index}_red-fox.yaml" for index in (1, 2)]
    clock = FixedClock(MOMENT.replace(year=2100))
    results = scan_once(folder.settings, folder.workflows, store, clock=clock)
    assert [result.status for result in results] == [ScanStatus.ACCEPTED] * 2
    assert [store.specs[spec.config_name] for spec in specs] == specs
    assert len(specs[0].repeats) == 3
    assert len(list_files(folder)) == 2


def test_name_of_a_finished_job_is_not_used_again(tmp_path: Path) -> None:
    folder = JobFolder.create(tmp_path)
    (folder.settings.finished / "image" / "T2I_20260131093000_1_job.yaml").write_text("x", "utf-8")
    assert write(folder, draft_job()).config_name == "T2I_20260131093000_2_job.yaml"


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (draft_job("T2X"), "is not a job type"),
        (draft_job(jobname="a/b"), "is no job's"),
        (draft_job(jobname=".."), "is no job's"),
        (draft_job(inputs={}), "needs this input"),
        (draft_job(inputs={"prompt": "x", "sed": 5}), "Did you mean 'seed'"),
        (draft_job(inputs={"prompt": "x", "picture": "none.png"}), "not there yet"),
        (draft_job(file_path="/etc/x"), "outside of the finished folder"),
    ],
)
def test_job_that_would_be_rejected_is_not_written(tmp_path: Path, draft: JobDraft, reason: str) -> None:
    folder = JobFolder.create(tmp_path)
    with pytest.raises(JobFileError, match=reason):
        write(folder, draft)
    assert list_files(folder) == []


def test_file_in_the_place_of_the_folder_is_a_failure(tmp_path: Path) -> None:
    folder = JobFolder.create(tmp_path)
    (folder.settings.processing / "image").rmdir()
    (folder.settings.processing / "image").write_text("x", "utf-8")
    with pytest.raises(Failure) as caught:
        write(folder, draft_job())
    assert caught.value.code == "state-unwritable"
