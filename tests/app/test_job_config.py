from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.job_config import read_global_config
from comfywatchman.app.session import Session
from comfywatchman.base import config
from comfywatchman.base.config import Home
from comfywatchman.base.errors import Failure

TEXT = """\
default_priority: 7
paths:
  jobs_processing: jobs/processing
  jobs_finished: /big/finished
  database: state/other.db
comfyui:
  api_base_url: http://127.0.0.1:9000
"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def write(path: Path, text: str = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def open_session(home: Path) -> Session:
    return Session(home_option=home, config_option=None)


def test_file_of_the_home_folder_is_a_layer_with_its_origin(tmp_path: Path) -> None:
    path = write(tmp_path / "home" / "config" / "global_config.yaml")
    write(tmp_path / "here" / "config.toml", "[jobs]\ndefault_priority = 3\nretry_limit = 9\n")
    configuration = open_session(tmp_path / "home").configuration
    jobs = configuration.settings.jobs
    assert (jobs.default_priority, jobs.retry_limit) == (7, 9)
    assert jobs.processing == str(tmp_path / "home" / "jobs" / "processing")
    assert jobs.finished == "/big/finished"
    assert jobs.database == f"sqlite:///{tmp_path}/home/state/other.db"
    assert jobs.comfyui_url == "http://127.0.0.1:9000"
    origins = {key: origin for key, _value, origin in configuration.rows()}
    assert origins["jobs.default_priority"] == str(path)
    assert origins["jobs.retry_limit"] == str(tmp_path / "here" / "config.toml")
    assert origins["jobs.poll_interval_ms"] == "default"


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "home" / "config" / "global_config.yaml")
    monkeypatch.setenv("COMFYWATCHMAN_JOBS__DEFAULT_PRIORITY", "11")
    configuration = open_session(tmp_path / "home").configuration
    assert configuration.settings.jobs.default_priority == 11


def test_named_file_replaces_that_of_the_home_folder(tmp_path: Path) -> None:
    write(tmp_path / "home" / "config" / "global_config.yaml")
    write(tmp_path / "other.yaml", TEXT.replace("7", "8"))
    write(tmp_path / "here" / "config.toml", f'[jobs]\nglobal_config = "{tmp_path}/other.yaml"\n')
    assert open_session(tmp_path / "home").settings.jobs.default_priority == 8


def test_without_a_file_there_is_no_layer(tmp_path: Path) -> None:
    assert read_global_config(config.load().settings, Home(tmp_path)) is None


def test_named_file_must_exist(tmp_path: Path) -> None:
    write(tmp_path / "here" / "config.toml", '[jobs]\nglobal_config = "none.yaml"\n')
    with pytest.raises(Failure, match="No such file") as caught:
        _ = open_session(tmp_path).settings
    assert caught.value.code == "jobs-file-invalid"


@pytest.mark.parametrize("text", ["a: [", TEXT.replace("7", "7000"), "paths: 5\n"])
def test_invalid_file_is_an_error(tmp_path: Path, text: str) -> None:
    write(tmp_path / "config" / "global_config.yaml", text)
    with pytest.raises(Failure, match=r"global_config\.yaml cannot be used"):
        _ = open_session(tmp_path).settings


def test_dangling_link_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config" / "global_config.yaml"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "none")
    with pytest.raises(Failure, match="No such file"):
        _ = open_session(tmp_path).settings
