"""The folders of a running ComfyUI (`/internal/folder_paths`)."""

from __future__ import annotations

from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_mapping
from comfywatchman.comfyui.install.folders import NOT_MODEL_FOLDERS


def fetch_model_folders(session: HttpSession, url: str) -> dict[str, tuple[Path, ...]]:
    """Return the directories of each model folder; none when the server does not list them.

    Raises:
        Failure: `http-unreachable`.
    """
    folders = fetch_folder_paths(session, url)
    return {key: paths for key, paths in folders.items() if key not in NOT_MODEL_FOLDERS}


def fetch_folder_paths(session: HttpSession, url: str) -> dict[str, tuple[Path, ...]]:
    """Return the directories of each folder, those of node packs included; none when the server does not list them.

    Raises:
        Failure: `http-unreachable`.
    """
    response = session.get(f"{url}/internal/folder_paths")
    try:
        return parse_folder_paths(response.parse_json())
    except Failure:
        # The route is internal: an older or newer server may not have it.
        return {}


def parse_folder_paths(answer: object) -> dict[str, tuple[Path, ...]]:
    """Return the directories of each folder in a response; none for a response of another shape."""
    folders = {}
    for key, paths in as_mapping(answer).items():
        if isinstance(paths, list):
            folders[key] = tuple(Path(path) for path in paths if isinstance(path, str))
    return folders
