from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.config import SCHEMA
from comfywatchman.base.config_schema import Layer
from comfywatchman.jobs.files.global_config import load_global_config, read_config_layer
from comfywatchman.jobs.files.problems import JobFileError

MINIMAL = """\
paths:
  jobs_processing: jobs/processing
  jobs_finished: jobs/finished
  database: database/jobs.db
comfyui:
  api_base_url: http://127.0.0.1:8188
"""
FULL = MINIMAL + "  timeout_seconds: 30\ndefault_priority: 7\nretry_limit: 0\npoll_interval_ms: 250\n"


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config").mkdir(exist_ok=True)
    path = tmp_path / "config" / "global_config.yaml"
    path.write_text(text, "utf-8")
    return path


def test_all_fields_are_read(tmp_path: Path) -> None:
    assert load_global_config(write(tmp_path, FULL)) == {
        "default_priority": 7,
        "retry_limit": 0,
        "poll_interval_ms": 250,
        "paths": {
            "jobs_processing": str(tmp_path / "jobs" / "processing"),
            "jobs_finished": str(tmp_path / "jobs" / "finished"),
            "database": str(tmp_path / "database" / "jobs.db"),
        },
        "comfyui": {"api_base_url": "http://127.0.0.1:8188", "timeout_seconds": 30.0},
    }


def test_fields_that_are_left_out_get_their_defaults(tmp_path: Path) -> None:
    config = load_global_config(write(tmp_path, MINIMAL))
    assert (config["default_priority"], config["retry_limit"], config["poll_interval_ms"]) == (50, 2, 1000)
    assert config["comfyui"]["timeout_seconds"] == 300


def test_url_of_a_database_stays_as_it_is(tmp_path: Path) -> None:
    text = MINIMAL.replace("database/jobs.db", "postgresql+psycopg://db/jobs")
    assert load_global_config(write(tmp_path, text))["paths"]["database"] == "postgresql+psycopg://db/jobs"
    assert layer_values(tmp_path, text)["jobs.database"] == "postgresql+psycopg://db/jobs"


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("comfyui: {api_base_url: x}\n", 1, "paths"),
        ("paths: {jobs_processing: a, jobs_finished: b, database: c}\n", 1, "comfyui"),
        ("paths: {jobs_processing: a, jobs_finished: b}\ncomfyui: {api_base_url: x}\n", 1, "paths.database"),
        (MINIMAL.replace("http://127.0.0.1:8188", "''"), 6, "comfyui.api_base_url"),
        (MINIMAL + "default_priority: 1000\n", 7, "default_priority"),
        (MINIMAL + "default_priority: high\n", 7, "default_priority"),
        (MINIMAL + "retry_limit: -1\n", 7, "retry_limit"),
        (MINIMAL + "retry_limit: true\n", 7, "retry_limit"),
        (MINIMAL + "poll_interval_ms: 1\n", 7, "poll_interval_ms"),
        (MINIMAL + "  timeout_seconds: 0\n", 7, "comfyui.timeout_seconds"),
        (MINIMAL + "retrylimit: 1\n", 7, "retrylimit"),
        (MINIMAL + "  api_url: x\n", 7, "comfyui.api_url"),
        ("paths: 1\ncomfyui: {api_base_url: x}\n", 1, "paths"),
    ],
)
def test_invalid_field_is_refused_with_line_and_name(tmp_path: Path, text: str, line: int, field: str) -> None:
    with pytest.raises(ValueError, match=r"global_config\.yaml cannot be used") as caught:
        load_global_config(write(tmp_path, text))
    assert isinstance(caught.value, JobFileError)
    assert (line, field) in [(problem.line, problem.field) for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["paths: [\n", "a: 1\na: 2\n", "- x\n"])
def test_bad_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        load_global_config(write(tmp_path, text))


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        load_global_config(tmp_path / "none.yaml")


def layer(tmp_path: Path, text: str) -> Layer:
    return read_config_layer(write(tmp_path, text))


def layer_values(tmp_path: Path, text: str) -> dict[str, Any]:
    return dict(layer(tmp_path, text)[1])


def test_layer_holds_only_the_fields_that_are_given(tmp_path: Path) -> None:
    assert layer_values(tmp_path, MINIMAL) == {
        "jobs.processing": str(tmp_path / "jobs" / "processing"),
        "jobs.finished": str(tmp_path / "jobs" / "finished"),
        "jobs.database": f"sqlite:///{tmp_path}/database/jobs.db",
        "jobs.comfyui_url": "http://127.0.0.1:8188",
    }


def test_every_field_is_a_key_of_the_configuration(tmp_path: Path) -> None:
    origin, values = layer(tmp_path, FULL)
    assert origin.label == str(tmp_path / "config" / "global_config.yaml")
    assert values.keys() <= SCHEMA.keys.keys()
    assert len(values) == 8
    defaults = SCHEMA.parse(Path("comfywatchman/base/default.toml").read_text("utf-8"), "default.toml")
    settings, origins = SCHEMA.build([(origin, defaults), (origin, values)], {})
    assert settings.jobs.job_timeout_seconds == 30
    assert settings.jobs.default_priority == 7
    assert origins["jobs.retry_limit"] is origin
