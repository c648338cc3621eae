"""`comfywatchman setup`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from comfywatchman.base.errors import Failure
from comfywatchman.cli.main import main


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder.resolve()


def run_setup(comfyui: Path, *arguments: str, config: Path | None = None) -> Result:
    home = comfyui.parent / "user"
    home.mkdir(exist_ok=True)
    before = ["--comfyui", str(comfyui), *(["--config", str(config)] if config else [])]
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": None, "COMFYUI_ROOT": None}
    return CliRunner().invoke(main, [*before, "setup", *arguments], env=environment)


def user_file(comfyui: Path) -> Path:
    return comfyui.parent / "user" / ".config" / "comfywatchman" / "config.toml"


def test_settings_are_written_with_their_comments(comfyui: Path) -> None:
    result = run_setup(comfyui, "--yes", "--url", "http://127.0.0.1:9000")
    assert result.exit_code == 0
    text = user_file(comfyui).read_text()
    assert tomllib.loads(text) == {"comfyui": {"root": str(comfyui), "url": "http://127.0.0.1:9000"}}
    assert "# Folder with ComfyUI's main.py." in text
    assert f"Saved {user_file(comfyui)}." in result.output
    assert "comfywatchman --run-cycle" in result.output


def test_second_run_changes_nothing(comfyui: Path) -> None:
    run_setup(comfyui, "--yes")
    before = user_file(comfyui).stat().st_mtime_ns
    result = run_setup(comfyui)
    assert result.exit_code == 0
    assert "needs no change" in result.output
    assert user_file(comfyui).stat().st_mtime_ns == before


def test_other_keys_are_kept(comfyui: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[schedule]\ninterval_minutes = 60  # hourly\n")
    assert run_setup(comfyui, "--yes", config=config).exit_code == 0
    assert "interval_minutes = 60  # hourly" in config.read_text()
    assert not user_file(comfyui).exists()


def test_nothing_is_written_without_a_terminal_to_ask_on(comfyui: Path) -> None:
    failure = run_setup(comfyui).exception
    assert isinstance(failure, Failure)
    assert failure.code == "setup-unconfirmed"
    assert not user_file(comfyui).exists()


def test_json_only_shows_until_yes_is_given(comfyui: Path) -> None:
    facts = json.loads(run_setup(comfyui, "--json").output)
    assert facts["written"] == []
    assert {"part": "ComfyUI", "settings": {"comfyui.root": str(comfyui)}} == {
        name: value for name, value in facts["found"][0].items() if name != "text"
    }
    assert not user_file(comfyui).exists()
    facts = json.loads(run_setup(comfyui, "--json", "--yes").output)
    assert facts["written"] == [{"key": "comfyui.root", "before": None, "after": f'"{comfyui}"'}]


def test_service_is_written_for_the_new_configuration(comfyui: Path) -> None:
    result = run_setup(comfyui, "--yes", "--service")
    unit = user_file(comfyui).parents[1] / "systemd" / "user" / "comfywatchman.service"
    assert str(comfyui) in unit.read_text()
    assert "systemctl --user enable --now comfywatchman.service" in result.output
    assert f"written to {unit}" in result.output.replace("~", str(comfyui.parent))
    assert "comfywatchman install-service --remove" in result.output


def test_folder_without_comfyui_is_refused(tmp_path: Path) -> None:
    failure = run_setup(tmp_path / "none", "--yes").exception
    assert isinstance(failure, Failure)
    assert failure.code == "comfyui-not-found"
