"""Checks whether the user's own files (pictures, sounds, videos) that workflows name are in ComfyUI's folders.

This runs in each cycle, one name at a time as the server does it: the cost depends on how many distinct names
workflows give, not on how many files the folders hold.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import (
    IMPOSSIBLE_TARGET,
    NO_SUCH_TARGET,
    Obstacle,
    describe_obstacle,
    describe_problem,
    explain_error,
    explain_missing_folder,
    explain_missing_target,
    find_mount_obstacle,
    list_unmounted,
)
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder, InputFile
from comfywatchman.readiness.status import MissingInput

_NO_SUCH_FILE_ERRNOS: Final = NO_SUCH_TARGET | IMPOSSIBLE_TARGET
"""Errors that prove that there is no such file, unless its folder is out of reach; after others it is not known."""


@dataclass(frozen=True, slots=True)
class _Lack:
    """A file that is not there, or could not be looked for; and the next step, for people."""

    fix: str
    obstacle: Obstacle | None = None


@dataclass(slots=True)
class InputFolders:
    """ComfyUI's folders of input, output and temporary files; each name is looked up once.

    Attributes:
        directories: The absolute path of each folder.
        names: The folders as a user would write them.
        bases: For each folder, the configured folder that it lies in: while that does not exist, nothing is known.
        required: Whether a missing file counts for the verdict.
        unmounted: Mount points without their disks.
        problems: Places that could not be looked at, with the reason, for people.
    """

    directories: Mapping[FileFolder, str]
    names: Mapping[FileFolder, str]
    bases: Mapping[FileFolder, str]
    required: bool
    unmounted: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    _lacks: dict[tuple[str, FileKind], _Lack | None] = field(default_factory=dict)

    def find_missing(self, input_files: Iterable[InputFile]) -> tuple[MissingInput, ...]:
        """Return the files that are not there, and, with an obstacle, those that could not be looked for."""
        missing = []
        for input_file in input_files:
            lack = self._find_lack(input_file)
            if lack is not None:
                missing.append(self._build_missing_input(input_file, lack))
        return tuple(missing)

    def _build_missing_input(self, input_file: InputFile, lack: _Lack) -> MissingInput:
        return MissingInput(
            name=input_file.name,
            folder=input_file.folder,
            kind=input_file.kind,
            node_type=input_file.node_type,
            node_path=input_file.node_path,
            input=input_file.input,
            fix=lack.fix,
            required=self.required,
            obstacle=lack.obstacle,
        )

    def _find_lack(self, input_file: InputFile) -> _Lack | None:
        """Return the next step for a file that is missing or could not be looked for; None for one that is there."""
        key = (input_file.name, input_file.kind)
        if key not in self._lacks:
            self._lacks[key] = self._look_for(input_file)
        return self._lacks[key]

    def _look_for(self, input_file: InputFile) -> _Lack | None:
        state = self._look_up(input_file.folder, input_file.relative, input_file.kind)
        if isinstance(state, Obstacle):
            problem = f"{state.path}: {describe_problem(state)}"
            if problem not in self.problems:
                self.problems.append(problem)
            return _Lack(describe_obstacle(state), state)
        return None if state else _Lack(self._describe_fix(input_file))

    def _look_up(self, folder: FileFolder, relative: str, kind: FileKind) -> bool | Obstacle:
        """Return whether a file is there, or why it could not be looked for."""
        path = self._resolve(folder, relative)
        if path is None:
            return False
        try:
            mode = os.stat(path).st_mode
        except ValueError:
            return False  # a NUL byte, which no file name can hold
        except OSError as error:
            return self._explain_error(folder, path, error) or False
        return stat.S_ISDIR(mode) is (kind == "folder")

    def _explain_error(self, folder: FileFolder, path: str, error: OSError) -> Obstacle | None:
        """Return why a file may exist although it was not found; None when it certainly does not."""
        if error.errno not in _NO_SUCH_FILE_ERRNOS:
            return explain_error(path, error)
        directory = self.directories[folder]
        if error.errno in IMPOSSIBLE_TARGET:
            return _explain_unusable_folder(directory)
        obstacle = find_mount_obstacle(os.path.realpath(path), self.unmounted)
        if obstacle is not None:
            return obstacle
        if os.path.islink(path):
            return explain_missing_target(path, self.unmounted)
        base = self.bases[folder]
        # An input folder that exists may well be empty.
        return explain_missing_folder(path, None if os.path.isdir(base) else base)

    def _resolve(self, folder: FileFolder, relative: str) -> str | None:
        """Return the path that a name leads to; None outside its folder, which newer versions of ComfyUI refuse."""
        directory = self.directories[folder]
        path = os.path.normpath(os.path.join(directory, relative))
        is_inside = path.startswith(directory.rstrip("/") + "/")
        return path if is_inside else None

    def _describe_fix(self, input_file: InputFile) -> str:
        folder, kind = input_file.folder, input_file.kind
        for name in _list_near_names(input_file):
            if self._look_up(folder, name, kind) is True:
                return f"It is there as {name}; choose that name in the node."
        if not input_file.relative:
            return f"Choose a {kind} in the node."
        if self._resolve(folder, input_file.relative) is None:
            return f"The name leads out of ComfyUI's {folder} folder; choose a {kind} of that folder in the node."
        if folder == "temp":
            return f"ComfyUI empties its temp folder at each start; choose a {kind} in the node again."
        target = os.path.join(self.names[folder], os.path.dirname(input_file.relative)).rstrip("/")
        return f"Put it into {target}, or choose another {kind} in the node."


def resolve_input_folders(installation: Installation, *, required: bool) -> InputFolders:
    """Return the folders of an installation; no file is looked up yet.

    Args:
        installation: The ComfyUI.
        required: Whether a missing file counts for the verdict.
    """
    paths: dict[FileFolder, Path] = {
        "input": installation.input_directory,
        "output": installation.output_directory,
        "temp": installation.temp_directory,
    }
    directories: dict[FileFolder, str] = {}
    names: dict[FileFolder, str] = {}
    bases: dict[FileFolder, str] = {}
    for folder, path in paths.items():
        directories[folder] = os.path.abspath(path)
        is_usual = path == installation.base / folder
        names[folder] = folder if is_usual else printable_path(path)
        # ComfyUI creates its own folder when it starts, but not the disk of a configured one.
        bases[folder] = os.path.abspath(installation.base) if is_usual else directories[folder]
    return InputFolders(directories, names, bases, required, list_unmounted())


def describe_missing_inputs(missing: Iterable[MissingInput], *, most: int = 3) -> str:
    """Describe missing files by kind: `a picture: a.png, b.png; a video that may be there: c.mp4`.

    Args:
        missing: The files.
        most: How many names of each kind are given.
    """
    # The inner dictionaries are ordered sets of names.
    names_by_kind: dict[str, dict[str, None]] = {}
    for missing_input in missing:
        kind: str = missing_input.kind
        if missing_input.obstacle is not None:
            kind += " that may be there"
        names_by_kind.setdefault(kind, {})[missing_input.name] = None
    parts = []
    for kind, names in names_by_kind.items():
        shown = shorten_list([name or "none chosen" for name in names], most=most)
        parts.append(f"a {kind}: {shown}")
    return "; ".join(parts)


def _explain_unusable_folder(directory: str) -> Obstacle | None:
    """Return why a folder cannot be looked at; None when it can."""
    try:
        os.stat(directory)
    except OSError as error:
        return explain_error(directory, error)
    return None


def _list_near_names(input_file: InputFile) -> list[str]:
    """Return other ways to write a name: with `/`, in another folder, its accents composed or decomposed."""
    posix = input_file.relative.replace("\\", "/")
    names = [posix, posix.rpartition("/")[2]]
    if input_file.kind == "3D file":
        # ComfyUI keeps 3D files in a subfolder, which older workflows do not name.
        names.append(f"3d/{posix}")
    if not posix.isascii():
        from unicodedata import normalize  # its tables cost start-up time that most hosts never need

        # macOS writes file names decomposed, everything else mostly composed.
        names += [to_nfc(posix), normalize("NFD", posix)]
    return [name for name in dict.fromkeys(names) if name not in {"", input_file.relative}]
