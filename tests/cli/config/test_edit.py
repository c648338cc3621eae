"""`comfywatchman config edit`, with `sed` as the editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from tests.cli.config.runs import run_config, user_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = user_file(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_text("[schedule]\nmin_vram_gb = 1  # small card\n")
    return place


def test_valid_text_is_saved(tmp_path: Path, file: Path) -> None:
    result = run_config(tmp_path, "edit", EDITOR="sed -i s/1/2/", VISUAL=None)
    assert result.output == f"Saved {file}.\n"
    assert file.read_text() == "[schedule]\nmin_vram_gb = 2  # small card\n"


def test_unchanged_text_is_not_written(tmp_path: Path, file: Path) -> None:
    result = run_config(tmp_path, "edit", EDITOR="true", VISUAL=None)
    assert result.output == f"Nothing changed in {file}.\n"


def test_mistake_keeps_file_and_text(tmp_path: Path, file: Path) -> None:
    failure = run_config(tmp_path, "edit", EDITOR="sed -i s/1/true/", VISUAL=None).exception
    assert isinstance(failure, Failure)
    assert failure.code == "config-wrong-type"
    kept = file.with_name("config.toml.rejected")
    assert failure.hint == f"{file} is unchanged; your text is in {kept}."
    assert "= true" in kept.read_text()
    assert "= 1" in file.read_text()


def test_second_mistake_keeps_both_texts(tmp_path: Path, file: Path) -> None:
    for value in ("true", "false"):
        run_config(tmp_path, "edit", EDITOR=f"sed -i s/1/{value}/", VISUAL=None)
    assert "= true" in file.with_name("config.toml.rejected").read_text()
    assert "= false" in file.with_name("config.toml.rejected-2").read_text()


def test_saved_text_ends_the_rejected_one(tmp_path: Path, file: Path) -> None:
    run_config(tmp_path, "edit", EDITOR="sed -i s/1/true/", VISUAL=None)
    run_config(tmp_path, "edit", EDITOR="sed -i s/1/2/", VISUAL=None)
    assert not file.with_name("config.toml.rejected").exists()


def test_missing_editor_is_reported(tmp_path: Path, file: Path) -> None:
    failure = run_config(tmp_path, "edit", EDITOR=str(file.parent / "none"), VISUAL=None).exception
    assert isinstance(failure, Failure)
    assert "The editor could not be used" in failure.message
