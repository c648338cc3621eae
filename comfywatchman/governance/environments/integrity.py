"""Whether the files of an environment are those that its packages installed.

uv compares only names and versions. Environments that link to one cache share bytes, so a file that a node changes in
place changes in every one of them; and an interrupted installation leaves packages without files.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.text import shorten_list
from comfywatchman.governance.environments.copy_on_write import is_own_hook
from comfywatchman.governance.environments.file_owners import group_shared_files
from comfywatchman.governance.store.records import InstalledPackage, SharedFiles
from comfywatchman.governance.uv.client import SEEDS

_BLOCK_BYTES: Final = 1 << 20
_MAX_RECORD_BYTES: Final = 64 << 20
_MAX_WORKERS: Final = 8
_MAX_SHOWN: Final = 5
_RECORD_COLUMNS: Final = 2
_STARTUP_MODULES: Final = frozenset({"sitecustomize.py", "usercustomize.py"})
# Written by `uv venv` and by setuptools, a seed package whose RECORD is not read.
_KNOWN_STARTUP_FILES: Final = frozenset({"_virtualenv.pth", "distutils-precedence.pth"})


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """The result of comparing an environment with its packages' records.

    Attributes:
        status: `verified`; `modified` when something is not as installed; `unknown` when time ran out before all files
            were read, and those that were read are unchanged.
        modified_files: Changed and missing files, files that run at every start and belong to no package, and missing
            files without which no environment starts; relative to the environment.
        missing_record: Packages without a RECORD: their installation was interrupted.
        unexpected: Packages that should not be installed, or not in that version, as `name==version`.
        missing: Packages that should be installed, as `name==version`.
        modified_packages: The packages whose files changed.
    """

    status: Literal["verified", "modified", "unknown"]
    modified_files: tuple[str, ...] = ()
    missing_record: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    modified_packages: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return the result as text."""
        parts = []
        for label, names in (
            ("changed files", self.modified_files),
            ("packages without a RECORD", self.missing_record),
            ("unexpected packages", self.unexpected),
            ("missing packages", self.missing),
        ):
            if names:
                parts.append(f"{label}: {_shorten(names)}")
        return "; ".join(parts) or "nothing changed"


@dataclass(frozen=True, slots=True)
class _PackageFolder:
    package: InstalledPackage
    folder: Path


def verify(
    environment: Path,
    expected: Iterable[InstalledPackage] | None,
    *,
    budget_seconds: float | None = None,
    since: Path | None = None,
    known: Collection[str] = (),
) -> IntegrityReport:
    """Compare an environment with the records of its packages, and with the packages that it should have.

    Args:
        environment: The environment's folder.
        expected: The packages that it should have; None when that does not matter.
        budget_seconds: When to stop reading files; None for no limit.
        since: Read only files that were written after this one, such as the mark of a generation: a second instead of
            ten. A file whose modification time was set back is missed.
        known: Files to ignore, relative to the environment (`GenerationMark.unverifiable`).
    """
    after = None if since is None else since.stat().st_mtime_ns
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    folders = _site_packages_dirs(environment)
    installed = _list_package_folders(environment)

    def find_changed(package_folder: _PackageFolder) -> list[str] | None:
        if deadline is not None and time.monotonic() > deadline:
            return None
        return [os.path.relpath(path, environment) for path in _iter_changed_files(package_folder, after)]

    # Threads help: hashing releases the GIL, and the libraries of a CUDA build have gigabytes.
    with ThreadPoolExecutor(min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        changed_by_package = list(pool.map(find_changed, installed))

    mismatched = {path for changed in changed_by_package for path in changed or ()}
    intact = _find_intact_shared(environment, installed, mismatched)
    changed_files = {*find_unowned_startup_files(environment), *find_missing_base_files(environment)}
    modified_packages = set()
    for package_folder, changed in zip(installed, changed_by_package, strict=True):
        unexplained = set(changed or ()) - set(known) - intact
        if unexplained:
            changed_files |= unexplained
            modified_packages.add(package_folder.package.name)
    without_record = [found.package.name for found in installed if not (found.folder / "RECORD").is_file()]
    unexpected, missing = _compare_packages(installed, expected)

    status: Literal["verified", "modified", "unknown"] = "verified"
    if changed_files or without_record or unexpected or missing or not folders:
        status = "modified"
    elif None in changed_by_package:
        status = "unknown"
    return IntegrityReport(
        status=status,
        modified_files=tuple(sorted(changed_files)),
        missing_record=tuple(sorted(without_record)),
        unexpected=unexpected,
        missing=missing,
        modified_packages=tuple(sorted({*modified_packages, *without_record})),
    )


def find_installed(environment: Path) -> dict[InstalledPackage, Path]:
    """Return the packages of an environment, each with its `.dist-info` folder; without pip, setuptools and wheel."""
    return {found.package: found.folder for found in _list_package_folders(environment)}


def find_changed_files(
    environment: Path, package: InstalledPackage, folder: Path, *, since: datetime | None = None
) -> tuple[str, ...]:
    """Return the changed and missing files of one package, relative to the environment.

    Args:
        environment: The environment's folder.
        package: The package.
        folder: Its `.dist-info` folder (`find_installed`).
        since: Read only files that were written after this time; one whose modification time was set back is missed.
    """
    after = None if since is None else int(since.timestamp()) * 1_000_000_000
    found = _PackageFolder(package, folder)
    changed = [os.path.relpath(path, environment) for path in _iter_changed_files(found, after)]
    if not changed:
        return ()
    intact = _find_intact_shared(environment, _list_package_folders(environment), set(changed))
    return tuple(path for path in changed if path not in intact)


def find_shared_files(environment: Path) -> tuple[SharedFiles, ...]:
    """Return the files of an environment that several packages own with different contents."""
    folders = _list_package_folders(environment)
    return group_shared_files({found.package.name: _read_record(found.folder) for found in folders})


def find_missing_base_files(environment: Path) -> tuple[str, ...]:
    """Return the missing files without which an environment does not start.

    The interpreter, a link, breaks when another version replaces the system's Python.
    """
    missing = []
    if not os.access(environment / "bin" / "python", os.X_OK):
        missing.append("bin/python")
    if not os.path.isfile(environment / "pyvenv.cfg"):
        missing.append("pyvenv.cfg")
    return tuple(missing)


def find_unowned_startup_files(environment: Path) -> tuple[str, ...]:
    """Return the files that run at every start of Python and belong to no package, relative to the environment."""
    unowned: list[Path] = []
    for folder in _site_packages_dirs(environment):
        installed = list(_iter_package_folders(folder))
        unowned += _iter_startup_files(folder, installed)
    return tuple(sorted(str(path.relative_to(environment)) for path in unowned))


def find_missing_toplevel(environment: Path, *, known: Collection[str] = ()) -> tuple[str, ...]:
    """Return the top-level folders and modules of packages that are missing from site-packages.

    Args:
        environment: The environment's folder.
        known: Files to ignore, relative to the environment (`GenerationMark.unverifiable`).
    """
    missing: set[str] = set()
    for folder in _site_packages_dirs(environment):
        existing = set(os.listdir(folder))
        for package_folder in _iter_package_folders(folder):
            for name, digest in _read_record(package_folder.folder):
                top = name.partition("/")[0]
                # Without a hash the file may never have existed; `..` leads to scripts outside of site-packages.
                if not digest or name.endswith(".pyc") or top == ".." or top in existing:
                    continue
                if str((folder / name).relative_to(environment)) not in known:
                    missing.add(str((folder / top).relative_to(environment)))
    return tuple(sorted(missing))


def _site_packages_dirs(environment: Path) -> list[Path]:
    return [folder for folder in environment.glob("lib/python*/site-packages") if folder.is_dir()]


def _list_package_folders(environment: Path) -> list[_PackageFolder]:
    found: list[_PackageFolder] = []
    for site_packages in _site_packages_dirs(environment):
        found.extend(_iter_package_folders(site_packages))
    return found


def _iter_package_folders(site_packages: Path) -> Iterator[_PackageFolder]:
    for folder in sorted(site_packages.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        package = InstalledPackage(canonicalize_name(name), version)
        if package.name not in SEEDS:
            yield _PackageFolder(package, folder)


def _compare_packages(
    installed: Iterable[_PackageFolder], expected: Iterable[InstalledPackage] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the unexpected and the missing packages."""
    if expected is None:
        return (), ()
    existing, wanted = {found.package for found in installed}, set(expected)
    return _format_packages(existing - wanted), _format_packages(wanted - existing)


def _format_packages(packages: Iterable[InstalledPackage]) -> tuple[str, ...]:
    return tuple(f"{package.name}=={package.version}" for package in sorted(packages))


def _iter_changed_files(package_folder: _PackageFolder, after: int | None = None) -> Iterator[str]:
    # Paths are strings here: an environment has tens of thousands of files, and Path objects are slow.
    site_packages = str(package_folder.folder.parent)
    for name, digest in _read_record(package_folder.folder):
        path = os.path.join(site_packages, name)
        if name.endswith(".pyc") or not digest or (after is not None and _is_older(path, after)):
            continue
        if not _has_digest(path, digest):
            yield path


def _find_intact_shared(environment: Path, folders: Iterable[_PackageFolder], paths: Collection[str]) -> set[str]:
    """Return those of some files that are as another of their owners installed them, relative to the environment."""
    digests: dict[str, list[str]] = {}
    if paths:
        for found in folders:
            for name, digest in _read_record(found.folder):
                path = os.path.relpath(os.path.join(found.folder.parent, name), environment)
                if digest and path in paths:
                    digests.setdefault(path, []).append(digest)
    intact = set()
    for path, owners in digests.items():
        if len(owners) > 1 and any(_has_digest(os.path.join(environment, path), digest) for digest in owners):
            intact.add(path)
    return intact


def _has_digest(path: str, digest: str) -> bool:
    algorithm, _, value = digest.partition("=")
    return _hash_file(path, algorithm) == value


def _is_older(path: str, moment: int) -> bool:
    try:
        facts = os.stat(path)
    except OSError:
        return False
    return facts.st_mtime_ns <= moment and bool(facts.st_mode & stat.S_IRUSR)


def _read_record(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and hash of each file in a package's RECORD: `sha256=<urlsafe base64>`, empty for files without."""
    try:
        text = read_regular(folder / "RECORD", max_bytes=_MAX_RECORD_BYTES).decode("utf-8")
    except (Failure, UnicodeDecodeError):
        return
    for row in csv.reader(text.splitlines()):
        if len(row) >= _RECORD_COLUMNS:
            yield row[0], row[1]


def _hash_file(path: str, algorithm: str) -> str | None:
    try:
        digest = hashlib.new(algorithm)
        # Non-blocking: opening a pipe in place of a file would block forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as stream:
            mode = os.fstat(descriptor).st_mode
            # Root can read files that their owner cannot, but uv installs no such file.
            if not (stat.S_ISREG(mode) and mode & stat.S_IRUSR):
                return None
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except (OSError, ValueError):
        return None
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


def _iter_startup_files(site_packages: Path, installed: Iterable[_PackageFolder]) -> Iterator[Path]:
    found = []
    for path in site_packages.iterdir():
        runs_at_start = path.suffix == ".pth" or path.name in _STARTUP_MODULES
        if runs_at_start and path.name not in _KNOWN_STARTUP_FILES and not is_own_hook(path):
            found.append(path)
    if not found:
        # The common case; reading every RECORD takes most of the time.
        return
    owned = {name for package_folder in installed for name, _digest in _read_record(package_folder.folder)}
    for path in found:
        if path.name not in owned:
            yield path


def _shorten(names: Sequence[str]) -> str:
    return shorten_list(names, most=_MAX_SHOWN)
