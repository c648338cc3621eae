from __future__ import annotations

from pathlib import Path

from comfywatchman.comfyui.install.folders import resolve_folders
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.versions.model_paths import write_model_paths
from tests.versions.hosts import commit_all, git


def test_comfyui_uses_the_models_of_the_home_first(tmp_path: Path) -> None:
    comfyui, models = tmp_path / "ComfyUI", tmp_path / 'my "models"'
    comfyui.mkdir()
    (comfyui / "main.py").write_text("")
    commit_all(comfyui)
    write_model_paths(comfyui, models)
    folders, blockers = resolve_folders(Installation(root=comfyui, version=None, base=comfyui))
    assert blockers == ()
    assert folders.target_directory("loras") == models / "loras"
    assert folders.target_directory("checkpoints").is_dir()
    assert git(comfyui, "status", "--porcelain", "--untracked-files=all") == ""


def test_line_of_git_is_added_once(tmp_path: Path) -> None:
    (tmp_path / ".git" / "info").mkdir(parents=True)
    exclude = tmp_path / ".git" / "info" / "exclude"
    exclude.write_text("*.log\n")
    for _ in range(2):
        write_model_paths(tmp_path, tmp_path / "models")
    assert exclude.read_text() == "*.log\n/extra_model_paths.yaml\n"


def test_bytes_of_the_user_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / ".git" / "info").mkdir(parents=True)
    exclude = tmp_path / ".git" / "info" / "exclude"
    exclude.write_bytes(b"caf\xe9/")
    write_model_paths(tmp_path, tmp_path / "models")
    assert exclude.read_bytes() == b"caf\xe9/\n/extra_model_paths.yaml\n"
