"""Pictures, sounds, videos and other files of the person's own that workflows name: whether they are there.

Asked in each cycle and one name at a time, as the server does: what that costs depends on how many distinct names
workflows give, not on how many files the folders hold.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder, InputFile
from comfywatchman.readiness.status import MissingInput

_NO_SUCH_FILE_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What says that there is no such file; any other error says that it is not known."""


@dataclass(slots=True)
class InputFolders:
    """ComfyUI's folders of input, output and temporary files, each name looked for once.

    Attributes:
        places: The folders.
        names: How a person is told of them.
        required: Whether a missing file counts for the verdict.
        problems: What could not be looked at, in words.
    """

    places: Mapping[FileFolder, str]
    names: Mapping[FileFolder, str]
    required: bool
    problems: list[str] = field(default_factory=list)
    _fixes: dict[tuple[str, FileKind], str | None] = field(default_factory=dict)

    def missing(self, needed: Iterable[InputFile]) -> tuple[MissingInput, ...]:
        """Return what is not there; a file of which that is not known counts as there, and is reported."""
        return tuple(self._finding(one, fix) for one in needed if (fix := self._fix_if_missing(one)) is not None)

    def _finding(self, one: InputFile, fix: str) -> MissingInput:
        return MissingInput(
            name=one.name,
            folder=one.folder,
            kind=one.kind,
            node_type=one.node_type,
            node_path=one.node_path,
            input=one.input,
            fix=fix,
            required=self.required,
        )

    def _fix_if_missing(self, one: InputFile) -> str | None:
        key = (one.name, one.kind)
        if key not in self._fixes:
            self._fixes[key] = None if self._has(one.folder, one.relative, one.kind) else self._fix(one)
        return self._fixes[key]

    def _has(self, folder: FileFolder, relative: str, kind: FileKind) -> bool:
        path = self._path(folder, relative)
        if path is None:
            return False
        try:
            return stat.S_ISDIR(os.stat(path).st_mode) is (kind == "folder")
        except ValueError:
            return False
        except OSError as error:
            if error.errno not in _NO_SUCH_FILE_ERRNOS:
                self.problems.append(f"{printable_path(path)} cannot be looked at: {error.strerror}")
            return error.errno not in _NO_SUCH_FILE_ERRNOS

    def _path(self, folder: FileFolder, relative: str) -> str | None:
        """Return where a name leads; None outside its folder, where newer versions of ComfyUI refuse to look."""
        base = self.places[folder]
        path = os.path.normpath(os.path.join(base, relative))
        return path if path.startswith(base.rstrip("/") + "/") else None

    def _fix(self, one: InputFile) -> str:
        near = next((name for name in _find_near_names(one) if self._has(one.folder, name, one.kind)), None)
        if near is not None:
            return f"It is there as {near}; choose that name in the node."
        if not one.relative:
            return f"Choose a {one.kind} in the node."
        if self._path(one.folder, one.relative) is None:
            return (
                f"The name leads out of ComfyUI's {one.folder} folder; choose a {one.kind} of that folder in the node."
            )
        if one.folder == "temp":
            return f"ComfyUI empties its temp folder at each start; choose a {one.kind} in the node again."
        place = os.path.join(self.names[one.folder], os.path.dirname(one.relative)).rstrip("/")
        return f"Put it into {place}, or choose another {one.kind} in the node."


def resolve_input_folders(installation: Installation, *, required: bool) -> InputFolders:
    """Return the folders of an installation, not looked at yet.

    Args:
        installation: The ComfyUI.
        required: Whether a missing file counts for the verdict.
    """
    places: dict[FileFolder, Path] = {
        "input": installation.input_directory,
        "output": installation.output_directory,
        "temp": installation.temp_directory,
    }
    names: dict[FileFolder, str] = {
        name: name if path == installation.base / name else printable_path(path) for name, path in places.items()
    }
    return InputFolders({name: os.path.abspath(path) for name, path in places.items()}, names, required)


def describe_missing_inputs(missing: Iterable[MissingInput], *, most: int = 3) -> str:
    """Return what a workflow needs of the person, in words: `a picture: a.png, b.png; a video: c.mp4`.

    Args:
        missing: What is not there.
        most: How many names of a kind are given.
    """
    by_kind: dict[str, dict[str, None]] = {}
    for one in missing:
        by_kind.setdefault(one.kind, {})[one.name] = None
    return "; ".join(f"a {kind}: {_join_names(list(names), most)}" for kind, names in by_kind.items())


def _join_names(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or "none chosen" for name in names[:most]) + more


def _find_near_names(one: InputFile) -> Iterator[str]:
    """Return other ways to write a name: with `/`, in another folder, its accents composed or decomposed."""
    relative = one.relative
    posix = relative.replace("\\", "/")
    names = [posix, posix.rpartition("/")[2], *([f"3d/{posix}"] if one.kind == "3D file" else [])]
    if not relative.isascii():
        from unicodedata import normalize

        names += [to_nfc(posix), normalize("NFD", posix)]
    return (name for name in dict.fromkeys(names) if name not in {"", relative})
