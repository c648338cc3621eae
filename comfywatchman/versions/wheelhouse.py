"""A wheelhouse: the wheels and repositories of a version in one folder, to build it where there is no network.

Wheels that were built from source have hashes of their own, which no index knows. The manifest lists every file with
its hash, and the lock that it belongs to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import (
    fsync_file,
    fsync_folder,
    make_folder,
    printable_path,
    read_regular,
    to_json,
    unwritable_failure,
    write_atomic,
)
from comfywatchman.base.json_values import decode_json
from comfywatchman.versions.lockfile import LockedCode, LockedPackage, LockedPython, VersionLock
from comfywatchman.versions.package_files import PackageFile
from comfywatchman.versions.staging import hold_folder, remove_tree

SCHEMA: Final = "comfywatchman/wheelhouse@1"
MANIFEST_NAME: Final = "wheelhouse.json"
_MAX_MANIFEST_BYTES: Final = 16 << 20
_BUNDLE: Final = ".bundle"


class WheelhouseFile(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A file of a wheelhouse.

    Attributes:
        path: Its place in the folder: `wheels/tiny-1.0-py3-none-any.whl`, `repositories/ComfyUI.bundle`.
        sha256: Its SHA-256.
        size: Its size in bytes.
        package: The package that a wheel installs; empty for a repository.
        is_built: Whether the wheel was built from source, so that the lock does not have its hash.
    """

    path: str
    sha256: str
    size: int
    package: str = ""
    is_built: bool = False


class WheelhouseManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`wheelhouse.json`.

    Attributes:
        tag: The name of the version.
        content_sha256: The content hash of its lock.
        platform: The platform of its wheels, `linux-x86_64`.
        python: The version of Python that they are for.
        files: The files, sorted.
        schema: `comfywatchman/wheelhouse@1`.
    """

    tag: str
    content_sha256: str
    platform: str
    python: str
    files: tuple[WheelhouseFile, ...]
    schema: str = SCHEMA


@dataclass(frozen=True, slots=True)
class WheelhouseTools:
    """Functions of other parts of the program that building a wheelhouse uses. Each raises `Failure`.

    Attributes:
        build_wheels: Fetches or builds the wheels of packages into a folder.
        bundle_code: Writes the repository of a code, at its commit, into one file; None to leave repositories out.
        progress: Called with a text when a step begins.
    """

    build_wheels: Callable[[LockedPython, Path], None]
    bundle_code: Callable[[LockedCode, Path], None] | None
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A wheelhouse whose files are those of its manifest.

    Attributes:
        folder: Its folder.
        manifest: Its manifest.
    """

    folder: Path
    manifest: WheelhouseManifest

    @property
    def wheels(self) -> Path:
        """The folder of the wheels."""
        return self.folder / "wheels"

    def find_bundle(self, name: str) -> Path | None:
        """Return the file with the repository of ComfyUI, a node or a submodule; None when it is not there."""
        path = f"repositories/{name}{_BUNDLE}"
        return self.folder / path if any(file.path == path for file in self.manifest.files) else None

    def list_packages(self) -> tuple[PackageFile, ...]:
        """Return the wheels, with their sizes."""
        return tuple(
            PackageFile(file.package, "", Path(file.path).name, file.sha256, file.size)
            for file in self.manifest.files
            if file.package
        )

    def pin_packages(self, packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
        """Return packages as they are installed from here: from the index, with the hashes of these wheels."""
        hashes: dict[str, list[str]] = {}
        for file in self.manifest.files:
            hashes.setdefault(file.package, []).append(file.sha256)
        return tuple(
            msgspec.structs.replace(
                package, source="index", url=None, commit=None, hashes=tuple(sorted(hashes.get(package.name, ())))
            )
            for package in packages
        )


def name_submodule(code: str, path: str) -> str:
    """Return the name under which a wheelhouse holds a submodule: that of its code and its path, without slashes."""
    return quote(f"{code}/{path}", safe=" ")


def build_wheelhouse(lock: VersionLock, target: Path, tools: WheelhouseTools) -> Wheelhouse:
    """Collect the wheels and repositories of a version in a new folder.

    Until all are there, the files are in `<target>.partial`; an interrupted run is done anew.

    Raises:
        Failure: `version-target-taken`, `version-wheelhouse-incomplete`, or the failure of a step.
    """
    if os.path.lexists(target):
        raise Failure(
            "version-target-taken",
            f"{printable_path(target)} exists already.",
            hint="Name a folder that does not exist.",
        )
    if lock.python is None:
        raise Failure(
            "version-not-clonable",
            f"The version {lock.tag} has no Python environment, so there are no packages to collect.",
            hint="Make the version again, and name ComfyUI's Python environment: --venv FOLDER",
        )
    partial = target.with_name(f"{target.name}.partial")
    with hold_folder(partial):
        for path in sorted(partial.iterdir()):
            remove_tree(path)
        try:
            make_folder(partial / "wheels")
            make_folder(partial / "repositories")
            tools.progress(f"Collecting the wheels of {len(lock.python.packages)} packages")
            tools.build_wheels(lock.python, partial / "wheels")
            _bundle_code(lock, partial, tools)
            manifest = _list_files(lock, lock.python, partial)
            write_atomic(partial / MANIFEST_NAME, to_json(manifest))
            os.rename(partial, target)
            fsync_folder(target.parent)
        except OSError as error:
            raise unwritable_failure(target, error) from error
    return Wheelhouse(target, manifest)


def open_wheelhouse(folder: Path, lock: VersionLock) -> Wheelhouse:
    """Read a wheelhouse and compare every file with its manifest.

    Raises:
        Failure: `version-wheelhouse-invalid`.
    """
    path = folder / MANIFEST_NAME
    try:
        manifest = decode_json(read_regular(path, max_bytes=_MAX_MANIFEST_BYTES), WheelhouseManifest)
    except (Failure, msgspec.MsgspecError, RecursionError) as error:
        raise _invalid(folder, f"has no readable {MANIFEST_NAME}") from error
    if manifest.schema != SCHEMA:
        raise _invalid(folder, f"has the schema {manifest.schema!r}; this program reads {SCHEMA!r}")
    if manifest.content_sha256 != lock.content_sha256:
        raise _invalid(folder, f"was made for another lock than {lock.tag} ({manifest.content_sha256[:12]})")
    for file in manifest.files:
        if not {"", ".", ".."}.isdisjoint(file.path.split("/")) or file.path.count("/") != 1:
            raise _invalid(folder, f"names the file {file.path!r}")
        if _describe(folder / file.path) != (file.size, file.sha256):
            raise _invalid(folder, f"has another {file.path} than its manifest says")
    wheelhouse = Wheelhouse(folder, manifest)
    missing = _find_missing(lock.python, manifest.files)
    if missing:
        raise _invalid(folder, f"lacks {', '.join(missing[:5])}")
    return wheelhouse


def _bundle_code(lock: VersionLock, partial: Path, tools: WheelhouseTools) -> None:
    if tools.bundle_code is None:
        return
    for code in (lock.comfyui, *lock.nodes):
        if code.source == "git":
            tools.progress(f"Packing the repository of {code.name}")
            tools.bundle_code(code, partial / "repositories" / f"{code.name}{_BUNDLE}")


def _list_files(lock: VersionLock, python: LockedPython, partial: Path) -> WheelhouseManifest:
    known = {package.name: package.hashes for package in python.packages}
    files = []
    for folder in ("repositories", "wheels"):
        for path in sorted((partial / folder).iterdir()):
            fsync_file(path)
            size, sha256 = _describe(path)
            package = _read_package_name(path.name) if folder == "wheels" else ""
            is_built = bool(package) and sha256 not in known.get(package, ())
            files.append(
                WheelhouseFile(
                    path=f"{folder}/{path.name}", sha256=sha256, size=size, package=package, is_built=is_built
                )
            )
    missing = _find_missing(python, files)
    if missing:
        raise Failure(
            "version-wheelhouse-incomplete",
            f"No wheel was built for {', '.join(missing[:5])}.",
            hint="Build it by hand and name its folder: --find-links FOLDER",
        )
    return WheelhouseManifest(
        tag=lock.tag,
        content_sha256=lock.content_sha256,
        platform=python.platform,
        python=python.version,
        files=tuple(sorted(files)),
    )


def _find_missing(python: LockedPython | None, files: Sequence[WheelhouseFile]) -> list[str]:
    present = {file.package for file in files}
    return [package.name for package in (python.packages if python else ()) if package.name not in present]


def _read_package_name(filename: str) -> str:
    try:
        return canonicalize_name(parse_wheel_filename(filename)[0])
    except InvalidWheelFilename as error:
        raise Failure(
            "version-wheelhouse-incomplete", f"{filename} is not a wheel.", hint="Name a folder of wheels."
        ) from error


def _describe(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as stream:
            return path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return -1, ""


def _invalid(folder: Path, problem: str) -> Failure:
    return Failure(
        "version-wheelhouse-invalid",
        f"The wheelhouse {printable_path(folder)} {problem}.",
        hint="Make it again where there is a network: comfywatchman version wheelhouse VERSION FOLDER",
    )
