from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.config_schema import ConfigOrigin
from comfywatchman.jobs.files.global_config import load_global_config, read_config_layer
from comfywatchman.jobs.files.intake import ScanStatus, scan_once
from comfywatchman.jobs.files.names import parse_config_name
from comfywatchman.jobs.files.samples import FIRST_JOB, write_samples
from comfywatchman.jobs.files.templates import load_template
from comfywatchman.jobs.files.workflows import load_workflows
from comfywatchman.jobs.records import MEDIA_OF_TYPE
from comfywatchman.jobs.settings import JobSettings
from tests.jobs.files.job_folder import FixedClock, RecordingStore

LATER = FixedClock(FixedClock().moment.replace(year=2100))


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(
        processing=tmp_path / "jobs" / "processing",
        finished=tmp_path / "jobs" / "finished",
        database_url=f"sqlite:///{tmp_path / 'state' / 'jobs.db'}",
        workflows=tmp_path / "config" / "workflows.yaml",
        global_config=tmp_path / "config" / "global_config.yaml",
    )


def test_samples_and_folders_are_written(tmp_path: Path, settings: JobSettings) -> None:
    written = write_samples(tmp_path, settings)
    assert settings.workflows in written
    assert tmp_path / "jobs" / "examples" / FIRST_JOB in written
    for media in MEDIA_OF_TYPE.values():
        assert (settings.processing / media).is_dir()
        assert (settings.finished / media).is_dir()


def test_files_that_exist_stay(tmp_path: Path, settings: JobSettings) -> None:
    settings.workflows.parent.mkdir()
    settings.workflows.write_text("mine: 1\n", "utf-8")
    assert settings.workflows not in write_samples(tmp_path, settings)
    assert settings.workflows.read_text("utf-8") == "mine: 1\n"
    assert write_samples(tmp_path, settings) == []


def test_there_is_a_job_of_each_type(tmp_path: Path, settings: JobSettings) -> None:
    names = [path.name for path in write_samples(tmp_path, settings) if path.parent.name == "examples"]
    assert {parse_config_name(name)["job_type"] for name in names} == set(MEDIA_OF_TYPE)


def test_every_sample_workflow_can_be_used(tmp_path: Path, settings: JobSettings) -> None:
    write_samples(tmp_path, settings)
    workflows = load_workflows(settings.workflows)
    assert len(workflows) == len(list((tmp_path / "workflows").iterdir()))
    for entry in workflows.values():
        graph = load_template(Path(entry["template_path"])).graph
        assert all(target["node"] in graph for target in entry["inputs"].values())
        assert entry["description"]


def test_every_sample_job_is_accepted(tmp_path: Path, settings: JobSettings) -> None:
    write_samples(tmp_path, settings)
    examples = tmp_path / "jobs" / "examples"
    (settings.processing / "3d" / "chair.png").write_bytes(b"x")
    for path in examples.iterdir():
        media = MEDIA_OF_TYPE[parse_config_name(path.name)["job_type"]]
        path.rename(settings.processing / media / path.name)
    store = RecordingStore()
    results = scan_once(settings, load_workflows(settings.workflows), store, clock=LATER)
    assert [(result.path, result.reason) for result in results if result.status is not ScanStatus.ACCEPTED] == []
    specs = store.specs
    assert len(specs) == 6
    assert len(specs["T2I_20260131090000_2_red-fox.yaml"].repeats) == 4
    assert [repeat["text"][:4] for repeat in specs["SPEECH_20260131090000_1_good-morning.yaml"].repeats] == ["Good"] * 2
    assert specs["3D_20260131090000_1_chair.yaml"].input_files[0].path.endswith("chair.png")


def test_sample_of_the_settings_holds_the_defaults(tmp_path: Path, settings: JobSettings) -> None:
    write_samples(tmp_path, settings)
    (tmp_path / "config" / "global_config.sample.yaml").rename(settings.global_config)
    config = load_global_config(settings.global_config)
    fields: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(JobSettings)}
    assert config["default_priority"] == fields["default_priority"]
    assert config["retry_limit"] == fields["retry_limit"]
    assert config["poll_interval_ms"] == fields["poll_interval_seconds"] * 1000
    assert config["comfyui"]["timeout_seconds"] == fields["job_timeout_seconds"]
    origin, values = read_config_layer(settings.global_config)
    assert origin == ConfigOrigin(str(settings.global_config), tmp_path)
    assert values["jobs.processing"] == str(settings.processing)
    assert values["jobs.finished"] == str(settings.finished)
    assert values["jobs.database"] == settings.database_url


def test_samples_of_the_checkout_are_those_of_the_package() -> None:
    checkout = Path(__file__).parents[3]
    for name, source in (("workflows.sample.yaml", "workflows.yaml"), ("global_config.sample.yaml",) * 2):
        sample = checkout / "comfywatchman" / "jobs" / "samples" / "config" / source
        assert (checkout / "config" / name).read_bytes() == sample.read_bytes()
