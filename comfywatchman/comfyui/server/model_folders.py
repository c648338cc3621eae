"""The model folders of a running ComfyUI (`/internal/folder_paths`)."""

from __future__ import annotations

from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.install.folders import NOT_MODEL_FOLDERS


def fetch_model_folders(session: HttpSession, url: str) -> dict[str, tuple[Path, ...]]:
    """Return the directories of each model folder; none when the server does not list them.

    Raises:
        Failure: `http-unreachable`.
    """
    response = session.get(f"{url}/internal/folder_paths")
    try:
        return parse_model_folders(response.parse_json())
    except Failure:
        # The route is internal: an older or newer server may not have it.
        return {}


def parse_model_folders(answer: object) -> dict[str, tuple[Path, ...]]:
    """Return the directories of each model folder in a response; none for a response of another shape."""
    if not isinstance(answer, dict):
        return {}
    folders = {}
    for key, paths in answer.items():
        if isinstance(key, str) and isinstance(paths, list) and key not in NOT_MODEL_FOLDERS:
            folders[key] = tuple(Path(path) for path in paths if isinstance(path, str))
    return folders
