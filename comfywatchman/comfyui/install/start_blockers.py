"""Faults of the configuration on which ComfyUI exits at its start."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path


@dataclass(frozen=True, slots=True)
class StartBlocker:
    """A file or folder on which ComfyUI exits at its start, or that could not be checked.

    Attributes:
        path: The file to repair, or the folder.
        line: The line in the file, from 1; None when the fault has no line.
        reason: The fault, as a sentence without its full stop.
        fix: What to do, as a sentence.
        hides_folders: Whether it is not known which model folders the file names.
    """

    path: Path
    line: int | None
    reason: str
    fix: str
    hides_folders: bool = False

    @property
    def location(self) -> str:
        """The path, and the line where there is one."""
        shown = printable_path(self.path)
        return shown if self.line is None else f"{shown}, line {self.line}"


def require_known_folders(blockers: Iterable[StartBlocker]) -> None:
    """Refuse to go on while it is not known where models belong.

    Raises:
        Failure: `comfyui-config-invalid`.
    """
    for blocker in blockers:
        if blocker.hides_folders:
            reason = f"It is not known where models belong. {blocker.location}: {blocker.reason}."
            raise Failure("comfyui-config-invalid", reason, hint=blocker.fix)


def check_custom_nodes(directory: Path) -> str | None:
    """Return why ComfyUI cannot list a folder with node packs; None when it can.

    ComfyUI lists each of them at its start (`os.listdir` in `main.py` and `nodes.py`) and handles no error there.
    """
    try:
        with os.scandir(directory):
            return None
    except FileNotFoundError:
        return "does not exist"
    except NotADirectoryError:
        return "is not a folder"
    except OSError as error:
        return f"cannot be listed: {error.strerror}"
    # No path can hold a NUL byte.
    except ValueError:
        return "is not a possible path"
