"""The installed packages of a Python environment, read from its metadata; nothing of it is run.

Works for environments that pip, uv or conda made: each leaves a `.dist-info` folder with RECORD (PyPA specification
"Recording installed projects") and, for anything but an index, `direct_url.json`.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from packaging.utils import canonicalize_name

from comfywatchman.base.address import strip_repository_credentials
from comfywatchman.base.files import read_regular, write_atomic
from comfywatchman.base.json_values import decode_json
from comfywatchman.versions.lockfile import LockedPackage, PackageSource

_INSTALLER_FILES: Final = frozenset(
    {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
"""Files of a `.dist-info` folder that the installer writes; they differ between installers and places."""

_PACKAGE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})
_MAX_ORIGIN_BYTES: Final = 1 << 20
_TORCH_BACKEND: Final = re.compile(r"[a-z0-9.]+")


class _VcsInfo(msgspec.Struct, frozen=True):
    vcs: str = ""
    commit_id: str = ""


class _DirectoryInfo(msgspec.Struct, frozen=True):
    editable: bool = False


class _ArchiveInfo(msgspec.Struct, frozen=True):
    hash: str | None = None
    hashes: dict[str, str] | None = None


class _DirectUrl(msgspec.Struct, frozen=True):
    """`direct_url.json`, as PyPA's specification "Recording the direct URL origin" has it."""

    url: str
    subdirectory: str | None = None
    vcs_info: _VcsInfo | None = None
    archive_info: _ArchiveInfo | None = None
    dir_info: _DirectoryInfo | None = None


def read_packages(paths: Sequence[Path]) -> tuple[LockedPackage, ...]:
    """Read the packages installed in folders such as `site-packages`, sorted by name.

    Of a package that is in two folders the first one counts, as for imports.
    """
    packages: dict[str, LockedPackage] = {}
    for path in paths:
        # The system's order of names differs between machines.
        for distribution in sorted(distributions(path=[os.fspath(path)]), key=_find_folder_name):
            package = _read_package(distribution, path)
            if package is not None:
                packages.setdefault(package.name, package)
    return tuple(packages[name] for name in sorted(packages))


def find_ambiguous_packages(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the packages with metadata of two versions in one folder, sorted: a sign of an interrupted update."""
    ambiguous: set[str] = set()
    for path in paths:
        seen: set[str] = set()
        for folder in sorted(path.glob("*.dist-info")):
            name = canonicalize_name(folder.name.partition("-")[0])
            if name in seen:
                ambiguous.add(name)
            seen.add(name)
    return tuple(sorted(ambiguous))


def record_origins(paths: Sequence[Path], packages: Iterable[LockedPackage]) -> None:
    """Complete the `direct_url.json` of packages from an address or repository, or the next lock would differ.

    pip records the hash of an archive; uv checks it and records none (0.9). A package that was installed from a
    wheelhouse has no such file at all.
    """
    origins = {package.name: package for package in packages if package.source in {"url", "git"}}
    for path in paths:
        for folder in sorted(path.glob("*.dist-info")):
            package = origins.get(canonicalize_name(folder.name.partition("-")[0]))
            if package is not None:
                _record_origin(folder / "direct_url.json", package)


def _record_origin(path: Path, package: LockedPackage) -> None:
    if path.exists():
        content = decode_json(read_regular(path, max_bytes=_MAX_ORIGIN_BYTES), dict[str, object])
    else:
        url, _, fragment = (package.url or "").partition("#")
        content = {"url": url}
        if fragment.startswith("subdirectory="):
            content["subdirectory"] = fragment.removeprefix("subdirectory=")
        if package.source == "git":
            content["vcs_info"] = {"vcs": "git", "commit_id": package.commit}
    if package.source == "url" and len(package.hashes) == 1:
        content["archive_info"] = {"hashes": {"sha256": package.hashes[0]}}
    write_atomic(path, msgspec.json.encode(content))


def find_torch_backend(packages: Iterable[LockedPackage]) -> str | None:
    """Return the local part of torch's version (`cu126`, `cpu`), or None when there is none."""
    for package in packages:
        if package.name == "torch":
            backend = package.version.partition("+")[2]
            return backend if _TORCH_BACKEND.fullmatch(backend) else None
    return None


def _find_folder_name(distribution: Distribution) -> str:
    # `PathDistribution` is what `distributions(path=…)` yields; its folder has no public name.
    return os.path.basename(os.fspath(getattr(distribution, "_path", "")))


def _read_package(distribution: Distribution, path: Path) -> LockedPackage | None:
    name, version = _read_identity(distribution)
    # An uninstallation that was interrupted leaves a folder without metadata.
    if not name or not version:
        return None
    source, url, commit, hashes = _read_origin(_read_text(distribution, "direct_url.json"))
    if _find_folder_name(distribution).endswith(".egg-info") and path.name not in _PACKAGE_FOLDERS:
        # `setup.py develop` leaves the metadata beside the source.
        source = "editable"
    return LockedPackage(
        name=canonicalize_name(name),
        version=version,
        source=source,
        url=url,
        commit=commit,
        hashes=hashes,
        installed_sha256=_hash_record(_read_text(distribution, "RECORD")),
    )


def _read_identity(distribution: Distribution) -> tuple[str, str]:
    """Return name and version of a package, by the name of its folder when its metadata is not UTF-8."""
    try:
        metadata = distribution.metadata
        return metadata["Name"] or "", metadata["Version"] or ""
    except (UnicodeDecodeError, KeyError):
        name, _, version = _find_folder_name(distribution).removesuffix(".dist-info").partition("-")
        return name, version


def _read_text(distribution: Distribution, name: str) -> str | None:
    try:
        return distribution.read_text(name)
    except (OSError, UnicodeDecodeError):
        return "" if name == "direct_url.json" else None


def _read_origin(text: str | None) -> tuple[PackageSource, str | None, str | None, tuple[str, ...]]:
    """Return source, address, commit and file hashes by the content of `direct_url.json`."""
    if text is None:
        return "index", None, None, ()
    try:
        origin = decode_json(text, _DirectUrl)
        url = strip_repository_credentials(origin.url)
        scheme = urlsplit(url or "").scheme
    except (msgspec.DecodeError, ValueError, RecursionError):
        # It was not installed from an index, but the source is unknown.
        return "path", None, None, ()
    if url is not None and origin.subdirectory:
        url = f"{url}#subdirectory={origin.subdirectory}"
    if origin.vcs_info is not None:
        return "git", url, origin.vcs_info.commit_id or None, ()
    if origin.dir_info is not None and origin.dir_info.editable:
        return "editable", None, None, ()
    hashes = _read_archive_hashes(origin.archive_info)
    if origin.dir_info is not None or scheme not in {"http", "https"}:
        return "path", None, None, hashes
    return "url", url, None, hashes


def _read_archive_hashes(archive: _ArchiveInfo | None) -> tuple[str, ...]:
    if archive is None:
        return ()
    sha256 = (archive.hashes or {}).get("sha256")
    if sha256 is None and archive.hash is not None:
        # The older form is `sha256=<hex>`.
        algorithm, _, digest = archive.hash.partition("=")
        sha256 = digest if algorithm == "sha256" else None
    return (sha256.lower(),) if sha256 else ()


def _hash_record(text: str | None) -> str | None:
    """Return one hash over the installed files of a package, the same wherever and by whichever tool it was installed.

    Only files with a hash in RECORD count. Scripts are left out: their first line names the interpreter's place.
    """
    if text is None:
        return None
    lines = []
    try:
        for row in csv.reader(text.splitlines()):
            name = row[0] if row else ""
            recorded = row[1] if len(row) > 1 else ""
            if not recorded or name.startswith("../") or os.path.basename(name) in _INSTALLER_FILES:
                continue
            lines.append(f"{name}\0{recorded}\n")
    except csv.Error:
        return None
    if not lines:
        return None
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()
