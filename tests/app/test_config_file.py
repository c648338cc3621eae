"""Changing a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.config_file import (
    ConfigChange,
    choose_file,
    find_override,
    set_key,
    set_keys,
    unset_key,
    write_config,
)
from comfywatchman.base.config import load, user_config_file
from comfywatchman.base.config_schema import MASK
from comfywatchman.base.errors import Failure

COMMENTED = """# mine
[schedule]
interval_minutes = 60  # hourly

[comfyui]
url = ""
"""

SPLIT = """[workflows]
media = false
[schedule]
interval_minutes = 60
[[workflows.roots]]
path = "/w"
label = "w"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(COMMENTED)
    return file


def test_key_is_added_and_comments_are_kept(path: Path) -> None:
    change = set_key(path, "schedule.min_vram_gb", "8")
    assert change == ConfigChange(path, "schedule.min_vram_gb", None, "8")
    added = COMMENTED.replace("# hourly\n", "# hourly\nmin_vram_gb = 8\n")
    assert path.read_text() == added


def test_key_is_replaced_in_its_place(path: Path) -> None:
    change = set_key(path, "schedule.interval_minutes", "30")
    assert (change.before, change.after) == ("60", "30")
    assert path.read_text() == COMMENTED.replace("60", "30")


def test_new_file_holds_the_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    set_key(path, "schedule.gpu_policy", "all")
    assert load(explicit=path, folder=tmp_path, environment={}).settings.schedule.gpu_policy == "all"


@pytest.mark.parametrize(
    ("key", "text", "code"),
    [
        ("schedule.min_vram_gb", "much", "config-wrong-type"),
        ("schedule.gpu_policy", "some", "config-wrong-type"),
        ("schedule.min_vram", "8", "config-unknown-key"),
    ],
)
def test_wrong_value_leaves_the_file(path: Path, key: str, text: str, code: str) -> None:
    with pytest.raises(Failure) as caught:
        set_key(path, key, text)
    assert caught.value.code == code
    assert path.read_text() == COMMENTED


def test_broken_file_is_not_overwritten(path: Path) -> None:
    path.write_text("[schedule\n")
    with pytest.raises(Failure, match="is not valid TOML"):
        set_key(path, "schedule.min_vram_gb", "8")
    assert path.read_text() == "[schedule\n"


def test_section_that_is_a_value_is_refused(path: Path) -> None:
    path.write_text("schedule = 1\n")
    with pytest.raises(Failure) as caught:
        set_key(path, "schedule.min_vram_gb", "8")
    assert caught.value.code == "config-wrong-type"


def test_secret_is_masked_and_its_file_private(path: Path) -> None:
    path.chmod(0o644)
    assert set_key(path, "secrets.hf_token", "hf_x").after == MASK
    assert path.stat().st_mode & 0o777 == 0o600
    assert unset_key(path, "secrets.hf_token").before == MASK


def test_link_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    set_key(link, "schedule.min_vram_gb", "8")
    assert link.is_symlink()
    assert "min_vram_gb = 8" in path.read_text()


def test_relative_path_starts_at_the_current_folder(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert set_key(path, "comfyui.root", "a/ComfyUI").after == f'"{tmp_path}/a/ComfyUI"'
    assert set_key(path, "comfyui.root", "~/ComfyUI").after == '"~/ComfyUI"'


def test_key_is_removed(path: Path) -> None:
    assert unset_key(path, "comfyui.url").before == '""'
    assert "url =" not in path.read_text()
    assert unset_key(path, "comfyui.url").before is None


def test_pipe_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not a regular file"):
        set_key(tmp_path, "schedule.min_vram_gb", "8")


def test_bytes_that_are_no_text_are_reported(path: Path) -> None:
    path.write_bytes(b"\xff")
    with pytest.raises(Failure, match="cannot be read"):
        set_key(path, "schedule.min_vram_gb", "8")


def test_file_that_sets_the_key_is_chosen(path: Path, tmp_path: Path) -> None:
    configuration = load(folder=tmp_path, environment={"COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "1", "HOME": "/none"})
    assert choose_file(configuration, "schedule.interval_minutes", None) == path
    assert choose_file(configuration, "schedule.min_vram_gb", None) == user_config_file()
    assert choose_file(None, "schedule.interval_minutes", None) == user_config_file()
    assert choose_file(None, "schedule.interval_minutes", Path("given")) == Path("given")


def test_later_origin_overrides_the_change(path: Path, tmp_path: Path) -> None:
    change = set_key(path, "schedule.min_vram_gb", "8")
    variables = {"COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB": "1", "HOME": "/none"}
    later = load(folder=tmp_path, environment=variables)
    assert find_override(later, change) == "environment COMFYWATCHMAN_SCHEDULE__MIN_VRAM_GB"
    alone = load(folder=tmp_path, environment={"HOME": "/none"})
    assert find_override(alone, change) is None


def test_whole_content_is_checked_first(path: Path) -> None:
    with pytest.raises(Failure):
        write_config(path, "[schedule]\nmin_vram_gb = true\n")
    assert path.read_text() == COMMENTED


@pytest.mark.parametrize(
    "text",
    [
        "schedule = {interval_minutes = 60}\n",
        SPLIT,
    ],
    ids=["braces", "section in two places"],
)
@pytest.mark.parametrize(("key", "value"), [("schedule.min_vram_gb", 8.0), ("workflows.max_file_mb", 8)])
def test_key_is_set_in_every_form_of_a_section(path: Path, text: str, key: str, value: float) -> None:
    path.write_text(text)
    set_keys(path, [(key, "8")], has_comments=True)
    section, name = key.split(".")
    settings = load(explicit=path, folder=path.parent / "none", environment={"HOME": "/none"}).settings
    assert getattr(getattr(settings, section), name) == value
    assert settings.schedule.interval_minutes == 60


def test_token_of_another_program_is_not_changed(tmp_path: Path) -> None:
    token = tmp_path / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(MASK)
    configuration = load(folder=tmp_path, environment={"HOME": str(tmp_path)})
    assert configuration.settings.secrets.hf_token == MASK
    assert choose_file(configuration, "secrets.hf_token", None) == user_config_file()


def test_message_about_a_new_value_does_not_blame_the_file(path: Path) -> None:
    with pytest.raises(Failure) as caught:
        set_key(path, "schedule.min_vram_gb", "eight")
    assert caught.value.message.startswith("schedule.min_vram_gb in the command is 'eight'")


def test_path_that_does_not_exist_is_noticed(path: Path, tmp_path: Path) -> None:
    assert set_key(path, "comfyui.root", str(tmp_path / "none")).missing_path == tmp_path / "none"
    assert set_key(path, "comfyui.root", str(tmp_path)).missing_path is None
    assert set_key(path, "comfyui.url", "http://127.0.0.1:1").missing_path is None


def test_empty_section_is_removed_with_its_last_key(path: Path) -> None:
    unset_key(path, "comfyui.url")
    assert "[comfyui]" not in path.read_text()
    unset_key(path, "schedule.interval_minutes")
    assert path.read_text().startswith("# mine")
