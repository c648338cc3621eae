"""Build a wheel from the files of an installed package, for packages that no index has any more.

Format: "Binary distribution format" and "Recording installed projects" of the PyPA specifications.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import IO, Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_file, fsync_folder, read_regular, unwritable_failure
from comfywatchman.governance.adoption.old_environment import OldPackage

MAX_RECORD_BYTES: Final = 64 << 20
_COLUMNS: Final = 3
_OF_THE_INSTALLER: Final = frozenset(
    {
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
        "uv_cache.json",
        "uv_build.json",
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
    }
)
_TAG: Final = re.compile(r"[A-Za-z0-9_.]+(?:-[A-Za-z0-9_.]+){2}")
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold: the same files give the same wheel."""


class UnverifiableError(Exception):
    """The files of a package are not those that were installed, so that no wheel can be made of them."""


def build_wheel(package: OldPackage, folder: Path) -> Path:
    """Build a wheel of an installed package; each file is verified with the package's RECORD.

    Args:
        package: The package.
        folder: The folder for the wheel, created if missing.

    Raises:
        UnverifiableError: A file is missing or was changed, the package has no RECORD or lies partly elsewhere, or its
            version or tags do not make a valid file name.
        Failure: `state-unwritable`.
    """
    stem = _build_stem(package)
    files = list(_iter_files(package, stem))
    tags = HeaderParser().parsestr(_read(package.info / "WHEEL").decode("utf-8", "replace")).get_all("Tag", [])
    if not tags:
        raise UnverifiableError("its WHEEL file names no tag")
    target = folder / f"{stem}-{_compress_tags(tags)}.whl"
    partial = target.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_wheel(partial, files, info=f"{stem}.dist-info")
        fsync_file(partial)
        partial.replace(target)
        fsync_folder(folder)
    except OSError as error:
        raise unwritable_failure(target, error) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _iter_files(package: OldPackage, stem: str) -> Iterator[tuple[str, Path, str]]:
    """Yield the name in the wheel, the file, and the recorded hash of each file that the wheel needs."""
    site_packages = package.info.parent
    scripts = _read_script_names(package.info)
    for row in csv.reader(io.StringIO(_read(package.info / "RECORD").decode("utf-8", "replace"))):
        if len(row) < _COLUMNS:
            continue
        name, digest = row[0], row[1]
        path = PurePosixPath(name)
        is_record_of_installer = path.parent.name == package.info.name and path.name in _OF_THE_INSTALLER
        if is_record_of_installer or path.suffix == ".pyc":
            continue
        target = name
        if path.parts[:1] == (package.info.name,):
            # Old installers write `1.0_1` for `1.0-1`, and uv refuses an environment with such a folder.
            target = str(PurePosixPath(f"{stem}.dist-info", *path.parts[1:]))
        if ".." in path.parts or path.is_absolute():
            # The installer makes scripts of entry points itself.
            if path.name in scripts:
                continue
            target = _find_data_name(package, site_packages / name, stem)
        if not digest:
            raise UnverifiableError(f"its file {name} has no recorded hash")
        yield target, site_packages / name, digest


def _find_data_name(package: OldPackage, path: Path, stem: str) -> str:
    """Return the name in the wheel of a file outside of site-packages, such as a program in `bin`."""
    # site-packages is <prefix>/lib/python3.11/site-packages.
    prefix = package.info.parent.parents[2]
    inside = os.path.relpath(os.path.normpath(path), prefix)
    if inside.startswith(".."):
        raise UnverifiableError(f"its file {path} lies outside of the environment")
    data = f"{stem}.data"
    if not inside.startswith("bin/"):
        return f"{data}/data/{inside}"
    if _read(path).startswith(b"#!"):
        # Its first line names the interpreter of the old environment, and is part of what the hash covers.
        raise UnverifiableError(f"its script {inside} belongs to the old environment")
    return f"{data}/scripts/{inside.removeprefix('bin/')}"


def _read_script_names(info: Path) -> frozenset[str]:
    """Return the file names of the scripts that an installer makes from the entry points of a package."""
    import configparser

    path = info / "entry_points.txt"
    if not path.is_file():
        return frozenset()
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    # Names of scripts keep their case.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(_read(path).decode("utf-8", "replace"))
    except configparser.Error:
        return frozenset()
    names = [name for section in ("console_scripts", "gui_scripts") if section in parser for name in parser[section]]
    return frozenset(names)


def _write_wheel(target: Path, files: list[tuple[str, Path, str]], *, info: str) -> None:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path, digest in files:
            size = _add_file(archive, name, path, digest)
            writer.writerow((name, digest, size))
        writer.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", _MOMENT), rows.getvalue())


def _add_file(archive: zipfile.ZipFile, name: str, path: Path, digest: str) -> int:
    """Add a file while its hash is computed, so that the verified bytes are those in the wheel; return its size."""
    algorithm, _, expected = digest.partition("=")
    member = zipfile.ZipInfo(name, _MOMENT)
    member.compress_type = zipfile.ZIP_DEFLATED
    try:
        hasher = hashlib.new(algorithm)
        source = path.open("rb")
    except (OSError, ValueError) as error:
        raise UnverifiableError(f"its file {name} cannot be read") from error
    with source:
        mode = os.fstat(source.fileno()).st_mode
        # The executable bit of a program in a package, such as that of a bundled ffmpeg.
        member.external_attr = (mode & 0xFFFF) << 16
        with archive.open(member, "w", force_zip64=True) as target:
            shutil.copyfileobj(source, _Tee(hasher, target), 1 << 20)
        size = os.fstat(source.fileno()).st_size
    if base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode("ascii") != expected:
        raise UnverifiableError(f"its file {name} was changed since it was installed")
    return size


class _Tee:
    """Writes to a hash and to a file."""

    def __init__(self, hasher: hashlib._Hash, target: IO[bytes]) -> None:
        self._hasher = hasher
        self._target = target

    def write(self, block: bytes) -> int:
        """Write a block to both."""
        self._hasher.update(block)
        return self._target.write(block)


def _build_stem(package: OldPackage) -> str:
    """Return name and version as in a file name, where a hyphen separates the parts: `1.0-1` becomes `1.0.post1`."""
    try:
        version = Version(package.version)
    except InvalidVersion as error:
        raise UnverifiableError(f"its version {package.version!r} is not valid") from error
    return f"{canonicalize_name(package.name).replace('-', '_')}-{version}"


def _compress_tags(tags: list[str]) -> str:
    """Return the tags of a WHEEL file as in a file name: `py2.py3-none-any`."""
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UnverifiableError(f"its WHEEL file has an invalid tag, {tag!r}")
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(values)) for values in parts)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, max_bytes=MAX_RECORD_BYTES)
    except Failure as failure:
        raise UnverifiableError(f"its {path.name} cannot be read") from failure
