"""Candidates for the ComfyUI to watch: the running ones, then the folders in which ComfyUI is usually installed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.install.install import find_installation
from comfywatchman.comfyui.server.running import ComfyUIProcess

USUAL_FOLDERS: Final = (
    "~/ComfyUI",
    "~/comfy/ComfyUI",
    "~/Documents/ComfyUI",
    "/opt/ComfyUI",
    "/workspace/ComfyUI",
    "/app/ComfyUI",
)
"""By hand, by comfy-cli, by ComfyUI Desktop, and in the images of GPU hosts."""


@dataclass(frozen=True, slots=True)
class ComfyUICandidate:
    """A ComfyUI that could be watched.

    Attributes:
        folder: The folder of its `main.py`.
        version: Its version; None when its files do not state one.
        process: Its process; None when it does not run.
    """

    folder: Path
    version: str | None
    process: ComfyUIProcess | None


def find_candidates(folders: Iterable[Path], processes: Iterable[ComfyUIProcess]) -> tuple[ComfyUICandidate, ...]:
    """Return every ComfyUI once: the running ones first, then those in the given folders, in their order."""
    running = {process.folder.resolve(): process for process in processes}
    candidates: dict[Path, ComfyUICandidate] = {}
    for folder in (*running, *folders):
        installation = find_installation([("", folder)])
        if installation is None:
            continue
        root = installation.root.resolve()
        candidates.setdefault(
            root, ComfyUICandidate(folder=root, version=installation.version, process=running.get(root))
        )
    return tuple(candidates.values())
