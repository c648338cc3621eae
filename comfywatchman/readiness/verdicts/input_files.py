"""Checks whether the user's own files (pictures, sounds, videos) that workflows name are in ComfyUI's folders.

This runs in each cycle, one name at a time as the server does it: the cost depends on how many distinct names
workflows give, not on how many files the folders hold.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder, InputFile
from comfywatchman.readiness.status import MissingInput

_NO_SUCH_FILE_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that prove that there is no such file; after any other error it is not known."""


@dataclass(slots=True)
class InputFolders:
    """ComfyUI's folders of input, output and temporary files; each name is looked up once.

    Attributes:
        directories: The absolute path of each folder.
        names: The folders as a user would write them.
        required: Whether a missing file counts for the verdict.
        problems: Files that could not be checked, with the reason, for people.
    """

    directories: Mapping[FileFolder, str]
    names: Mapping[FileFolder, str]
    required: bool
    problems: list[str] = field(default_factory=list)
    _fixes: dict[tuple[str, FileKind], str | None] = field(default_factory=dict)

    def find_missing(self, input_files: Iterable[InputFile]) -> tuple[MissingInput, ...]:
        """Return the files that are not there. A file that cannot be checked counts as there and becomes a problem."""
        missing = []
        for input_file in input_files:
            fix = self._find_fix(input_file)
            if fix is not None:
                missing.append(self._build_missing_input(input_file, fix))
        return tuple(missing)

    def _build_missing_input(self, input_file: InputFile, fix: str) -> MissingInput:
        return MissingInput(
            name=input_file.name,
            folder=input_file.folder,
            kind=input_file.kind,
            node_type=input_file.node_type,
            node_path=input_file.node_path,
            input=input_file.input,
            fix=fix,
            required=self.required,
        )

    def _find_fix(self, input_file: InputFile) -> str | None:
        """Return the next step for a missing file; None for one that is there."""
        key = (input_file.name, input_file.kind)
        if key not in self._fixes:
            is_there = self._has(input_file.folder, input_file.relative, input_file.kind)
            self._fixes[key] = None if is_there else self._describe_fix(input_file)
        return self._fixes[key]

    def _has(self, folder: FileFolder, relative: str, kind: FileKind) -> bool:
        path = self._resolve(folder, relative)
        if path is None:
            return False
        try:
            mode = os.stat(path).st_mode
        except ValueError:
            return False  # a NUL byte, which no file name can hold
        except OSError as error:
            if error.errno in _NO_SUCH_FILE_ERRNOS:
                return False
            self.problems.append(f"{printable_path(path)} cannot be looked at: {error.strerror}")
            return True
        return stat.S_ISDIR(mode) is (kind == "folder")

    def _resolve(self, folder: FileFolder, relative: str) -> str | None:
        """Return the path that a name leads to; None outside its folder, which newer versions of ComfyUI refuse."""
        directory = self.directories[folder]
        path = os.path.normpath(os.path.join(directory, relative))
        is_inside = path.startswith(directory.rstrip("/") + "/")
        return path if is_inside else None

    def _describe_fix(self, input_file: InputFile) -> str:
        folder, kind = input_file.folder, input_file.kind
        for name in _list_near_names(input_file):
            if self._has(folder, name, kind):
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
    for folder, path in paths.items():
        directories[folder] = os.path.abspath(path)
        is_usual = path == installation.base / folder
        names[folder] = folder if is_usual else printable_path(path)
    return InputFolders(directories, names, required)


def describe_missing_inputs(missing: Iterable[MissingInput], *, most: int = 3) -> str:
    """Describe missing files by kind: `a picture: a.png, b.png; a video: c.mp4`.

    Args:
        missing: The files.
        most: How many names of each kind are given.
    """
    # The inner dictionaries are ordered sets of names.
    names_by_kind: dict[str, dict[str, None]] = {}
    for missing_input in missing:
        names_by_kind.setdefault(missing_input.kind, {})[missing_input.name] = None
    parts = []
    for kind, names in names_by_kind.items():
        shown = shorten_list([name or "none chosen" for name in names], most=most)
        parts.append(f"a {kind}: {shown}")
    return "; ".join(parts)


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
