"""Read the Python environment that ComfyUI uses today: its packages with their origin. Nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import run_with_timeout
from comfywatchman.governance.uv.client import SEEDS

_QUERY_SECONDS: Final = 60.0
_MAX_BYTES: Final = 4 << 20
_FOLDERS: Final = ("python_embeded", ".venv", "venv")
"""Where users keep ComfyUI's environment: the portable edition (in its spelling), uv and Python's own tools."""

# With --system-site-packages, an environment has the packages of its base, too, behind its own in `sys.path`.
_QUERY: Final = (
    "import json, os, platform, sys, sysconfig; paths = sysconfig.get_paths();"
    "own = {paths['purelib'], paths['platlib']};"
    "folders = [p for p in sys.path if p in own or os.path.basename(p) in ('site-packages', 'dist-packages')];"
    "print(json.dumps([platform.python_version(), sys.prefix, list(dict.fromkeys(folders))]))"
)


class DirectOrigin(msgspec.Struct, frozen=True):
    """`direct_url.json` (PyPA specification "Direct URL Data Structure"): the URL that a package was installed from.

    Attributes:
        url: The URL of the file, repository or folder.
        vcs_info: `vcs` and `commit_id` of a repository.
        dir_info: `editable` of a folder; None when it was no folder.
        subdirectory: The folder of the package inside a repository.
    """

    url: str
    vcs_info: dict[str, Any] | None = None
    dir_info: dict[str, Any] | None = None
    subdirectory: str | None = None


@dataclass(frozen=True, slots=True)
class OldPackage:
    """An installed package.

    Attributes:
        name: Its normalised name.
        version: Its version, as in its metadata.
        info: Its `.dist-info` folder.
        requires: Its requirement lines.
        extras: The names of its extras.
        origin: Where it was installed from; None for an index.
    """

    name: str
    version: str
    info: Path
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    origin: DirectOrigin | None = None


@dataclass(frozen=True, slots=True)
class OldEnvironment:
    """The environment of an interpreter.

    Attributes:
        python: The interpreter.
        version: Its version, `3.11.7`.
        prefix: The folder of the environment.
        packages: Its packages by name, without pip, setuptools and wheel.
        unreadable: Packages without a `.dist-info` folder, which cannot be kept.
    """

    python: Path
    version: str
    prefix: Path
    packages: Mapping[str, OldPackage]
    unreadable: tuple[str, ...] = ()


def find_python(comfyui: Path, *, running: Path | None, active: str) -> Path | None:
    """Return the interpreter that ComfyUI is started with today; None when none is found.

    Args:
        comfyui: The folder with main.py.
        running: The interpreter of a running ComfyUI.
        active: The folder of the active environment (`VIRTUAL_ENV`, `CONDA_PREFIX`); empty when there is none.
    """
    folders = [comfyui / name for name in _FOLDERS]
    folders += [comfyui.parent / name for name in _FOLDERS]
    if active:
        folders.append(Path(active))
    candidates = [folder / "bin" / "python" for folder in folders]
    if running is not None:
        candidates.insert(0, running)
    return next((python for python in candidates if os.access(python, os.X_OK)), None)


def read_old_environment(python: Path) -> OldEnvironment:
    """Read the environment of an interpreter.

    Raises:
        Failure: `gov-python-missing` when the interpreter does not run.
    """
    try:
        result = run_with_timeout([str(python), "-I", "-c", _QUERY], timeout_seconds=_QUERY_SECONDS)
        version, prefix, folders = decode_json(result.output, tuple[str, str, list[str]])
    except (Failure, msgspec.MsgspecError) as error:
        raise Failure(
            "gov-python-missing",
            f"The interpreter {printable_path(python)} does not run.",
            hint="Name the one that ComfyUI is started with: gov init --adopt --python PATH",
        ) from error
    packages: dict[str, OldPackage] = {}
    unreadable = []
    for folder in map(Path, folders):
        for info in sorted(folder.glob("*.dist-info")):
            package = _read_package(info)
            if package is not None and package.name not in SEEDS:
                # Python takes the first one, too.
                packages.setdefault(package.name, package)
        unreadable += [path.name for path in sorted(folder.glob("*.egg-info")) if _is_foreign(path, packages)]
    return OldEnvironment(python, version, Path(prefix), packages, tuple(unreadable))


def _is_foreign(path: Path, packages: Mapping[str, OldPackage]) -> bool:
    """Return whether an `.egg-info` is that of a package in use: one found before hides it."""
    name = canonicalize_name(path.name.partition("-")[0].removesuffix(".egg-info").removesuffix(".egg"))
    return name not in SEEDS and name not in packages


def _read_package(info: Path) -> OldPackage | None:
    metadata = HeaderParser().parsestr(_read_text(info / "METADATA"))
    name, version = metadata.get("Name"), metadata.get("Version")
    if not name or not version:
        return None
    origin = None
    text = _read_text(info / "direct_url.json")
    if text:
        try:
            origin = decode_json(text.encode(), DirectOrigin)
        except msgspec.MsgspecError:
            # As without the file: the version is looked up in the index.
            origin = None
    return OldPackage(
        name=canonicalize_name(name),
        version=version,
        info=info,
        requires=tuple(metadata.get_all("Requires-Dist", [])),
        extras=tuple(metadata.get_all("Provides-Extra", [])),
        origin=origin,
    )


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    except Failure:
        return ""
