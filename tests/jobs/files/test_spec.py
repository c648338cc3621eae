from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.schema import normalize_config
from comfywatchman.jobs.files.spec import CheckedJobFile, InputFileMissing, build_job_spec
from comfywatchman.jobs.records import JobInputFile, JobSpec
from tests.jobs.files.job_folder import GRAPH, NAME, JobFolder


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder.create(tmp_path)


def build(folder: JobFolder, *, settings: dict[str, Any] | None = None, **changes: Any) -> JobSpec:
    cfg = {
        "job_type": "T2I",
        "workflow_id": "portrait",
        "inputs": {"prompt": "a red fox"},
        "outputs": {"file_path": "image/fox.png"},
        **changes,
    }
    file = CheckedJobFile(
        cfg=normalize_config(cfg, {}),
        config_name=NAME,
        path=folder.settings.processing / "image" / NAME,
        sha256="ab" * 32,
        lines={"inputs.prompt": 4, "inputs.picture": 5, "outputs.file_path": 7, "command": 9, "seeds": 10},
        entry=folder.workflows["portrait"],
        graph=GRAPH,
    )
    return build_job_spec(file, dataclasses.replace(folder.settings, **(settings or {})))


def find_problem(folder: JobFolder, **changes: Any) -> tuple[int | None, str]:
    with pytest.raises(JobFileError) as caught:
        build(folder, **changes)
    problem = caught.value.problems[0]
    return problem.line, problem.field


def test_spec_holds_everything_of_the_file(folder: JobFolder) -> None:
    changes: dict[str, Any] = {
        "priority": 7,
        "retry_limit": 1,
        "deadline_seconds": 60,
        "webhook": "http://127.0.0.1:9/",
    }
    assert build(folder, **changes) == JobSpec(
        config_name=NAME,
        job_type="T2I",
        media="image",
        workflow_id="portrait",
        priority=7,
        retry_limit=1,
        inputs={"prompt": "a red fox"},
        output_path="image/fox.png",
        deadline_seconds=60.0,
        webhook="http://127.0.0.1:9/",
        source_path=str(folder.settings.processing / "image" / NAME),
        source_sha256="ab" * 32,
        affinity_key="checkpoints/sd15.safetensors",
        readiness_key="portrait",
    )


def test_seeds_and_prompts_become_runs(folder: JobFolder) -> None:
    spec = build(folder, inputs={"seed": 5}, seeds=2, prompts=["a", "b"])
    assert spec.repeats == (
        {"prompt": "a", "seed": 5},
        {"prompt": "a", "seed": 6},
        {"prompt": "b", "seed": 5},
        {"prompt": "b", "seed": 6},
    )


def test_seeds_without_an_input_for_them_are_refused(folder: JobFolder) -> None:
    folder.workflows["portrait"]["seed_input"] = "none"
    assert find_problem(folder, seeds=2) == (10, "seeds")


@pytest.mark.parametrize("place", ["/etc/x.png", "../x.png", "image/../../x.png"])
def test_output_outside_of_the_finished_folder_is_refused(folder: JobFolder, place: str) -> None:
    assert find_problem(folder, outputs={"file_path": place}) == (7, "outputs.file_path")


def test_output_may_be_given_by_its_full_path(folder: JobFolder) -> None:
    place = str(folder.settings.finished / "image" / "x.png")
    assert build(folder, outputs={"file_path": place}).output_path == "image/x.png"


def test_unknown_input_is_refused_with_its_line(folder: JobFolder) -> None:
    assert find_problem(folder, inputs={"prompt": 5}) == (4, "inputs.prompt")


def test_command_needs_the_permission_of_the_configuration(folder: JobFolder) -> None:
    assert find_problem(folder, command=["true"]) == (9, "command")
    assert build(folder, command=["true"], settings={"allow_file_commands": True}).command == ("true",)


def test_all_problems_are_found_at_once(folder: JobFolder) -> None:
    with pytest.raises(JobFileError) as caught:
        build(folder, command=["true"], inputs={"prompt": 5}, outputs={"file_path": "/x"})
    assert len(caught.value.problems) == 3


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def test_file_beside_the_job_is_an_input(folder: JobFolder) -> None:
    picture = write(folder.settings.processing / "image" / "up.png")
    spec = build(folder, inputs={"prompt": "x", "picture": "up.png"})
    assert spec.input_files == (JobInputFile("picture", str(picture), None, 5),)
    assert build(folder, inputs={"prompt": "x", "picture": str(picture)}).input_files == spec.input_files


def test_file_that_is_not_there_yet_is_waited_for(folder: JobFolder) -> None:
    with pytest.raises(InputFileMissing, match="not there yet") as caught:
        build(folder, inputs={"prompt": "x", "picture": "none.png"})
    assert caught.value.problem.line == 5


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../../../../../../etc/passwd", "~/secret", "link.png", "door/passwd"]
)
def test_file_outside_of_the_input_folders_is_refused(folder: JobFolder, place: str) -> None:
    (folder.settings.processing / "image" / "link.png").symlink_to("/etc/passwd")
    (folder.settings.processing / "image" / "door").symlink_to("/etc")
    assert find_problem(folder, inputs={"prompt": "x", "picture": place}) == (5, "inputs.picture")


def test_folder_of_the_configuration_is_allowed(folder: JobFolder, tmp_path: Path) -> None:
    picture = write(tmp_path / "pictures" / "up.png")
    inputs = {"prompt": "x", "picture": str(picture)}
    assert find_problem(folder, inputs=inputs) == (5, "inputs.picture")
    spec = build(folder, inputs=inputs, settings={"input_folders": (tmp_path / "pictures",)})
    assert spec.input_files[0].path == str(picture)


def test_folder_is_no_input_file(folder: JobFolder) -> None:
    (folder.settings.processing / "image" / "up").mkdir()
    assert find_problem(folder, inputs={"prompt": "x", "picture": "up"}) == (5, "inputs.picture")


def test_default_of_the_workflow_may_name_a_file(folder: JobFolder) -> None:
    write(folder.settings.processing / "image" / "up.png")
    folder.workflows["portrait"]["defaults"]["picture"] = "up.png"
    assert build(folder).input_files[0].input_name == "picture"


def test_models_that_a_job_names_are_part_of_its_readiness_key(folder: JobFolder) -> None:
    assert build(folder).readiness_key == "portrait"
    spec = build(folder, inputs={"prompt": "a red fox", "ckpt_name": "sdxl.safetensors"})
    assert spec.readiness_key.startswith("portrait with ")
    assert spec.readiness_key.endswith("ckpt_name=sdxl.safetensors")
