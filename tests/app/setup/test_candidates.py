"""Candidates for the ComfyUI to watch."""

from __future__ import annotations

from pathlib import Path

from comfywatchman.app.setup.candidates import find_candidates
from comfywatchman.comfyui.server.running import ComfyUIProcess


def make_comfyui(folder: Path, version: str = "0.3.75") -> Path:
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


def test_running_comfyui_comes_first_and_once(tmp_path: Path) -> None:
    quiet, running = make_comfyui(tmp_path / "quiet"), make_comfyui(tmp_path / "running", "0.33.0")
    process = ComfyUIProcess(7, running)
    (tmp_path / "link").symlink_to(running)
    candidates = find_candidates([quiet, tmp_path / "link", tmp_path / "none"], [process])
    assert [(candidate.folder, candidate.version) for candidate in candidates] == [
        (running, "0.33.0"),
        (quiet, "0.3.75"),
    ]
    assert [candidate.process for candidate in candidates] == [process, None]


def test_comfyui_inside_a_folder_is_found(tmp_path: Path) -> None:
    inner = make_comfyui(tmp_path / "portable" / "ComfyUI")
    assert [candidate.folder for candidate in find_candidates([tmp_path / "portable"], [])] == [inner]
