"""Whether an environment's files are those that its packages brought.

uv looks at names and versions only. Environments that link to one cache share bytes, so a file that a node changes in
place changes in every one of them; and an installation that was cut off leaves packages without files.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from packaging.utils import canonicalize_name

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.governance.environments.copy_on_write import is_own_hook
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.uv.client import SEEDS

_BLOCK: Final = 1 << 20
_MOST_RECORD_BYTES: Final = 64 << 20
_WORKERS: Final = 8
_STARTUP: Final = frozenset({"sitecustomize.py", "usercustomize.py"})
_UVS_OWN: Final = frozenset({"_virtualenv.pth"})


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What was found in an environment.

    Attributes:
        status: `verified`; `modified` when something is not as it was installed; `unknown` when time ran out before
            everything was seen, and what was seen was well.
        modified_files: Files that changed, are gone, or run at every start and belong to no package, and what no
            environment starts without; relative to the environment.
        missing_record: Packages without a RECORD: their installation was cut off.
        unexpected: Packages that should not be there, or not in that version, as `name==version`.
        missing: Packages that should be there, as `name==version`.
        modified_packages: The packages whose files changed.
    """

    status: Literal["verified", "modified", "unknown"]
    modified_files: tuple[str, ...] = ()
    missing_record: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    modified_packages: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return what was found, for people."""
        parts = (
            ("changed files", self.modified_files),
            ("packages without a RECORD", self.missing_record),
            ("unexpected packages", self.unexpected),
            ("missing packages", self.missing),
        )
        return "; ".join(f"{what}: {_shorten(names)}" for what, names in parts if names) or "nothing changed"


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
    """Compare an environment with what its packages recorded, and with what should be in it.

    Args:
        environment: The environment's folder.
        expected: What should be in it; None when that does not matter.
        budget_seconds: When to stop reading files; None for no end.
        since: Read only files that were written after this one, such as the mark of a generation; a second where
            reading everything takes ten. Who sets back the time of a file that he changed is not seen.
        known: Files that do not count, relative to the environment (`GenerationMark.unverifiable`).
    """
    after = None if since is None else since.stat().st_mtime_ns
    until = None if budget_seconds is None else time.monotonic() + budget_seconds
    places = _site_packages_dirs(environment)
    installed = [one for place in places for one in _iter_package_folders(place)]
    others = {*find_unowned_startup_files(environment), *find_missing_base_files(environment)}
    unexpected, missing = _compare_packages(installed, expected)

    def seen(one: _PackageFolder) -> list[str] | None:
        if until is not None and time.monotonic() > until:
            return None
        return [os.path.relpath(path, environment) for path in _iter_changed_files(one, after)]

    # Hashing runs beside Python: the libraries of a CUDA build are gigabytes.
    with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
        paths = list(pool.map(seen, installed))
    named = ((path, one.package.name) for one, found in zip(installed, paths, strict=True) for path in found or ())
    changed = {path: name for path, name in named if path not in known}
    out_of_time = None in paths
    broken = tuple(sorted(one.package.name for one in installed if not (one.folder / "RECORD").is_file()))
    is_modified = bool(changed or others or broken or unexpected or missing or not places)
    return IntegrityReport(
        status="modified" if is_modified else "unknown" if out_of_time else "verified",
        modified_files=tuple(sorted(changed.keys() | others)),
        missing_record=broken,
        unexpected=unexpected,
        missing=missing,
        modified_packages=tuple(sorted({*changed.values(), *broken})),
    )


def find_installed(environment: Path) -> dict[InstalledPackage, Path]:
    """Return the packages of an environment, each with its folder of facts; without pip, setuptools and wheel."""
    return {
        one.package: one.folder for place in _site_packages_dirs(environment) for one in _iter_package_folders(place)
    }


def find_changed_files(environment: Path, package: InstalledPackage, folder: Path) -> tuple[str, ...]:
    """Return the files of one package that changed or are gone, relative to the environment.

    Args:
        environment: The environment's folder.
        package: The package.
        folder: Its folder of facts (`installed_in`).
    """
    return tuple(os.path.relpath(path, environment) for path in _iter_changed_files(_PackageFolder(package, folder)))


def find_missing_base_files(environment: Path) -> tuple[str, ...]:
    """Return what an environment needs to start and is gone: its interpreter, which a link leads to, or its settings.

    The interpreter goes when the Python of the system is replaced by another version.
    """
    has_python = os.access(environment / "bin" / "python", os.X_OK)
    has_settings = os.path.isfile(environment / "pyvenv.cfg")
    named = ((has_python, "bin/python"), (has_settings, "pyvenv.cfg"))
    return tuple(name for is_there, name in named if not is_there)


def find_unowned_startup_files(environment: Path) -> tuple[str, ...]:
    """Return the files that run at every start and belong to no package, relative to the environment."""
    found = ((place, list(_iter_package_folders(place))) for place in _site_packages_dirs(environment))
    return tuple(
        sorted(str(path.relative_to(environment)) for place, here in found for path in _iter_startup_files(place, here))
    )


def find_missing_toplevel(environment: Path, *, known: Collection[str] = ()) -> tuple[str, ...]:
    """Return the folders and modules at the top of site-packages that packages brought and that are there no longer.

    Args:
        environment: The environment's folder.
        known: Files that do not count, relative to the environment (`GenerationMark.unverifiable`).
    """
    found: set[str] = set()
    for place in _site_packages_dirs(environment):
        here = set(os.listdir(place))
        for name in (
            name for one in _iter_package_folders(place) for name, digest in _read_record(one.folder) if digest
        ):
            top = name.partition("/")[0]
            if top not in here and top != ".." and not name.endswith(".pyc"):
                path = str((place / name).relative_to(environment))
                found |= set() if path in known else {str((place / top).relative_to(environment))}
    return tuple(sorted(found))


def _site_packages_dirs(environment: Path) -> list[Path]:
    return [place for place in environment.glob("lib/python*/site-packages") if place.is_dir()]


def _iter_package_folders(place: Path) -> Iterator[_PackageFolder]:
    for folder in sorted(place.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        package = InstalledPackage(canonicalize_name(name), version)
        if package.name not in SEEDS:
            yield _PackageFolder(package, folder)


def _compare_packages(
    installed: Iterable[_PackageFolder], expected: Iterable[InstalledPackage] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if expected is None:
        return (), ()
    here, wanted = {one.package for one in installed}, set(expected)
    texts = ([f"{one.name}=={one.version}" for one in sorted(group)] for group in (here - wanted, wanted - here))
    unexpected, missing = map(tuple, texts)
    return unexpected, missing


def _iter_changed_files(one: _PackageFolder, after: int | None = None) -> Iterator[str]:
    # Paths are texts here: an environment has tens of thousands of files.
    place = str(one.folder.parent)
    for name, digest in _read_record(one.folder):
        path = os.path.join(place, name)
        if name.endswith(".pyc") or not digest or (after is not None and _is_older(path, after)):
            continue
        algorithm, _, value = digest.partition("=")
        if _hash_file(path, algorithm) != value:
            yield path


def _is_older(path: str, moment: int) -> bool:
    try:
        facts = os.stat(path)
        return facts.st_mtime_ns <= moment and bool(facts.st_mode & stat.S_IRUSR)
    except OSError:
        return False


def _read_record(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        text = read_regular(folder / "RECORD", max_bytes=_MOST_RECORD_BYTES).decode("utf-8")
    except (Failure, UnicodeDecodeError):
        return
    for row in csv.reader(text.splitlines()):
        if len(row) >= 2:  # noqa: PLR2004 - path, hash, size
            yield row[0], row[1]


def _hash_file(path: str, algorithm: str) -> str | None:
    try:
        digest = hashlib.new(algorithm)
        # A pipe or device in a file's place is never waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as stream:
            mode = os.fstat(descriptor).st_mode
            # What its owner may not read, only root reads: uv installs no such file.
            if not (stat.S_ISREG(mode) and mode & stat.S_IRUSR):
                return None
            while block := stream.read(_BLOCK):
                digest.update(block)
    except (OSError, ValueError):
        return None
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


def _iter_startup_files(place: Path, installed: Iterable[_PackageFolder]) -> Iterator[Path]:
    found = [path for path in place.iterdir() if path.suffix == ".pth" or path.name in _STARTUP]
    found = [path for path in found if not is_own_hook(path)]
    if any(path.name not in _UVS_OWN for path in found):
        owned = {name for one in installed for name, _digest in _read_record(one.folder)}
        seeds = {"distutils-precedence.pth"}
        yield from (path for path in found if path.name not in owned | _UVS_OWN | seeds)


def _shorten(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"  # noqa: PLR2004 - what fits a line
