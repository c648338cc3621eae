"""The files that an installer would download, read from a pylock.toml (PyPA specification "pylock.toml")."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.markers import Environment, default_environment
from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock, PylockSelectError, PylockValidationError
from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.toml_text import parse_toml


@dataclass(frozen=True, slots=True)
class PackageFile:
    """The file of one package that an interpreter would install.

    Attributes:
        name: The package.
        version: Its version; empty for code that has none until it is built.
        filename: The name of the file; empty for a repository or folder.
        sha256: Its SHA-256; None when the index states none.
        size: Its size in bytes; None when the index states none.
    """

    name: str
    version: str
    filename: str
    sha256: str | None
    size: int | None


def list_package_files(text: str, python_version: str) -> tuple[PackageFile, ...]:
    """Return the files that CPython of a version would install on this machine.

    Args:
        text: The pylock.toml.
        python_version: The exact version, `3.11.9`.

    Raises:
        Failure: `version-environment-failed`: the text is no pylock.toml, or no file of a package fits.
    """
    try:
        lock = Pylock.from_dict(parse_toml(text))
        selected = tuple(lock.select(environment=_describe(python_version), tags=_list_tags(python_version)))
    except (tomllib.TOMLDecodeError, PylockValidationError, PylockSelectError) as error:
        raise Failure(
            "version-environment-failed",
            f"The packages cannot be resolved: {error}",
            hint="Use another Python (--python FILE); the packages have no files for this one.",
        ) from error
    return tuple(_read_file(package, file) for package, file in selected)


def sum_sizes(files: Iterable[PackageFile]) -> tuple[int, int]:
    """Return the bytes of all files whose size is known, and the number of the others."""
    sizes = [file.size for file in files]
    return sum(size for size in sizes if size is not None), sizes.count(None)


def _read_file(package: Package, file: object) -> PackageFile:
    version = str(package.version or "")
    if not isinstance(file, PackageWheel | PackageSdist):
        return PackageFile(package.name, version, "", None, None)
    address = file.url or file.path or ""
    path = unquote(urlsplit(address).path) if "://" in address else address
    filename = file.name or path.rsplit("/", 1)[-1]
    size = file.size
    if size is None:
        size = _measure(path)
    return PackageFile(package.name, version, filename, file.hashes.get("sha256"), size)


def _measure(path: str) -> int | None:
    """Return the size of a file in a folder of packages; None for one that is elsewhere."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _describe(python_version: str) -> Environment:
    environment = default_environment()
    environment["python_full_version"] = python_version
    environment["python_version"] = ".".join(python_version.split(".")[:2])
    environment["implementation_version"] = python_version
    return environment


def _list_tags(python_version: str) -> tuple[Tag, ...]:
    major, minor = (int(part) for part in python_version.split(".")[:2])
    platforms = list(platform_tags())
    interpreter = f"cp{major}{minor}"
    return (
        *cpython_tags((major, minor), platforms=platforms),
        *compatible_tags((major, minor), interpreter, platforms),
    )
