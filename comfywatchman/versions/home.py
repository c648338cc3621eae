"""The home of versions: the folder with ComfyUI, its lock files, clones, workflows and models."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import (
    add_missing_lines,
    make_folder,
    printable_path,
    read_regular,
    to_json,
    unwritable_failure,
    write_atomic,
)
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import run_with_timeout
from comfywatchman.base.text import os_error_text

FOLDERS: Final = ("lockfiles", "models", "versions", "workflows")
"""Folders of a home; `lockfiles` and `workflows` belong into version control."""

_IGNORED: Final = (
    "/.cache/",
    "/.ComfyUI.partial/",
    "/.comfywatchman-home.json",
    "/ComfyUI/",
    "/log/",
    "/models/",
    "/output/",
    "/state/",
    "/versions/",
)
_CONFIG: Final = """\
# comfywatchman uses this folder as its home for commands that are run in it.
[comfyui]
root = "ComfyUI"
"""
_MAX_BYTES: Final = 1 << 20
_PROBE_SECONDS: Final = 30.0


class HomeMarker(msgspec.Struct, frozen=True, kw_only=True):
    """`.comfywatchman-home.json`: how far `version init` has come in a home.

    Attributes:
        repo: The repository that ComfyUI was cloned from; empty when it was there before.
        ref: The ref that was asked for; empty for the default branch.
        commit: The commit that was checked out; empty when ComfyUI was there before.
        environment: The Python environment that `version init` created; empty when it was there before.
        torch: The builds of torch that were asked for.
        requirements_sha256: The hash of the requirements that are installed; empty until they are.
        is_started: Whether ComfyUI has started once with them.
        schema_version: 1.
    """

    repo: str = ""
    ref: str = ""
    commit: str = ""
    environment: str = ""
    torch: str = ""
    requirements_sha256: str = ""
    is_started: bool = False
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class VersionHome:
    """The parts of a home.

    Attributes:
        root: Its folder.
    """

    root: Path

    @property
    def marker(self) -> Path:
        """The marker."""
        return self.root / ".comfywatchman-home.json"

    @property
    def comfyui(self) -> Path:
        """ComfyUI."""
        return self.root / "ComfyUI"

    @property
    def unfinished_code(self) -> Path:
        """ComfyUI's repository while it is being cloned."""
        return self.root / ".ComfyUI.partial"

    @property
    def models(self) -> Path:
        """Models for every ComfyUI of the home."""
        return self.root / "models"

    @property
    def package_cache(self) -> Path:
        """Packages of uv for a home on a volume, where the user's own cache would be lost with the container."""
        return self.root / ".cache" / "uv"


def make_home(home: VersionHome) -> None:
    """Create the folders of a home and its `.gitignore`; what exists is kept.

    Raises:
        Failure: `version-home-unusable` or `state-unwritable`.
    """
    try:
        make_folder(home.root)
        _check_usable(home.root)
        for name in FOLDERS:
            make_folder(home.root / name)
        # Models, caches and clones stay out of git; lines of the user stay as they are.
        add_missing_lines(home.root / ".gitignore", _IGNORED, max_bytes=_MAX_BYTES)
    except OSError as error:
        raise unwritable_failure(home.root, error, verb="created") from error


def write_home_config(home: VersionHome) -> None:
    """Write the config.toml that makes a folder a home; an existing one is kept.

    Raises:
        Failure: `state-unwritable`.
    """
    config = home.root / "config.toml"
    if not os.path.lexists(config):
        write_atomic(config, _CONFIG.encode())


def read_home_marker(home: VersionHome) -> HomeMarker:
    """Return the marker of a home; an empty one when there is none, or a damaged one."""
    try:
        return decode_json(read_regular(home.marker, max_bytes=_MAX_BYTES), HomeMarker)
    except (Failure, msgspec.MsgspecError):
        return HomeMarker()


def write_home_marker(home: VersionHome, marker: HomeMarker) -> None:
    """Write the marker of a home.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(home.marker, to_json(marker))


def _check_usable(folder: Path) -> None:
    """Check that an environment would work in a folder: programs run, and links and renames are possible.

    Volumes of containers may be mounted without the right to run programs, or map every file to another user.

    Raises:
        Failure: `version-home-unusable`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-") as name:
            program = Path(name) / "program"
            program.write_text("#!/bin/sh\nexit 0\n")
            program.chmod(0o700)
            os.symlink("program", Path(name) / "link")
            os.rename(Path(name) / "link", Path(name) / "renamed")
            status = run_with_timeout([str(Path(name) / "renamed")], timeout_seconds=_PROBE_SECONDS).status
    except OSError as error:
        raise _unusable(folder, os_error_text(error)) from error
    except Failure as failure:
        raise _unusable(folder, "programs in it cannot be run") from failure
    if status != 0:
        raise _unusable(folder, f"a program in it exited with status {status}")


def _unusable(folder: Path, reason: str) -> Failure:
    return Failure(
        "version-home-unusable",
        f"{printable_path(folder)} cannot hold a Python environment: {reason}.",
        hint="Mount the volume with `exec` and write access for this user, or name another folder: --path FOLDER",
    )
