from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.install.install import find_installation, is_comfyui, read_version
from tests.model_files import put


def write_program(folder: Path, *others: str) -> Path:
    for name in ("main.py", "nodes.py", *others):
        put(folder / name)
    return folder


def test_folder_with_all_programs_is_comfyui(tmp_path: Path) -> None:
    assert is_comfyui(write_program(tmp_path / "new", "folder_paths.py"))
    assert is_comfyui(write_program(tmp_path / "old", "comfy/sd.py"))


@pytest.mark.parametrize("names", [("main.py",), ("nodes.py", "folder_paths.py"), ("main.py", "nodes.py")])
def test_some_of_the_programs_are_not_enough(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put(tmp_path / name)
    assert not is_comfyui(tmp_path)


def test_first_candidate_that_is_comfyui_wins_and_keeps_its_label(tmp_path: Path) -> None:
    right = write_program(tmp_path / "right", "folder_paths.py")
    put(right / "comfyui_version.py", b'# made by a tool\n__version__ = "0.33.0"\n')
    installation = find_installation([("a", tmp_path / "none"), ("b", tmp_path), ("c", right)])
    assert installation is not None
    assert (installation.root, installation.base, installation.version, installation.found_by) == (
        right,
        right,
        "0.33.0",
        "c",
    )
    assert installation.models_directory == right / "models"
    assert installation.output_directory == right / "output"


def test_comfyui_inside_a_portable_folder_is_found(tmp_path: Path) -> None:
    inner = write_program(tmp_path / "ComfyUI", "folder_paths.py")
    installation = find_installation([("home", tmp_path)])
    assert installation is not None
    assert installation.root == inner


def test_base_directory_counts_only_if_configured(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "custom_nodes").mkdir()
    assert find_installation([("here", tmp_path)]) is None
    installation = find_installation([("config", tmp_path)], explicit={"config"})
    assert installation is not None
    assert installation.version is None


def test_models_alone_are_not_a_base_directory(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert find_installation([("config", tmp_path)], explicit=("config",)) is None


def test_impossible_path_is_not_comfyui(tmp_path: Path) -> None:
    assert not is_comfyui(tmp_path / ("x" * 5000))
    assert find_installation([("a", tmp_path / ("x" * 5000))], explicit=("a",)) is None


def test_version_is_read_from_pyproject_without_a_version_module(tmp_path: Path) -> None:
    put(tmp_path / "pyproject.toml", b'[project]\nname = "ComfyUI"\nversion = "0.3.64"\n')
    assert read_version(tmp_path) == "0.3.64"


@pytest.mark.parametrize("text", [b"", b"[project", b"project = 3", b"[project]\nversion = 3", b"\xff\xfe"])
def test_pyproject_without_version_gives_none(tmp_path: Path, text: bytes) -> None:
    put(tmp_path / "pyproject.toml", text)
    assert read_version(tmp_path) is None


def test_reading_the_version_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "PWN"
    put(tmp_path / "comfyui_version.py", f"open({str(marker)!r}, 'w')\n__version__ = '1.2'\n".encode())
    assert read_version(tmp_path) == "1.2"
    assert not marker.exists()
