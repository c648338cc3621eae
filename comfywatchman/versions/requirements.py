"""The packages of a lock as requirements files for an installer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from comfywatchman.base.errors import Failure
from comfywatchman.versions.lockfile import LockedPackage

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40,64}")
_URL: Final = re.compile(r"(https|http|ssh|file)://(git@)?[^\s\\;@#]*(#subdirectory=(?!/)[A-Za-z0-9._/-]+)?")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
NO_HASH: Final = "no-hash"
LOCAL_REPOSITORY: Final = "local-repository"


def find_package_gap(package: LockedPackage) -> str | None:
    """Return why a lock alone cannot restore a package (a reason of `Unpinned`); None when it can.

    This decides for both sides: what is recorded as unpinned, and what may reach an installer.
    """
    if not _NAME.fullmatch(package.name) or not _is_version(package.version):
        return "invalid-metadata"
    if package.source in {"editable", "path"}:
        return f"{package.source}-source"
    if package.source == "git":
        return _find_repository_gap(package)
    return _find_file_gap(package)


def _find_file_gap(package: LockedPackage) -> str | None:
    if package.source == "url" and not _is_address(package.url, {"https", "http"}):
        return "invalid-metadata"
    if not all(_HASH.fullmatch(digest) for digest in package.hashes):
        return "invalid-metadata"
    if package.hashes:
        return None
    return NO_HASH if package.source == "index" or _is_trusted(package.url or "") else "insecure-source"


def _find_repository_gap(package: LockedPackage) -> str | None:
    if not _is_address(package.url, {"https", "ssh", "http", "file"}):
        return "invalid-metadata"
    if not _COMMIT.fullmatch(package.commit or ""):
        return "no-commit"
    if urlsplit(package.url or "").scheme == "file":
        return LOCAL_REPOSITORY
    return None if _is_trusted(package.url or "") else "insecure-source"


def _is_address(url: str | None, schemes: set[str]) -> bool:
    if url is None or not _URL.fullmatch(url) or ".." in url:
        return False
    return urlsplit(url).scheme in schemes


def _is_trusted(url: str) -> bool:
    """Return whether nobody on the way can change what the address gives."""
    parts = urlsplit(url)
    return parts.scheme != "http" or parts.hostname in _LOOPBACK


def _is_version(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def write_requirements(folder: Path, packages: Iterable[LockedPackage]) -> tuple[Path | None, Path | None]:
    """Write the packages whose files have hashes, and the others, into two files; None for one that would be empty.

    The two cannot share a file: an installer that requires hashes refuses a repository.

    Raises:
        Failure: `version-lock-invalid`.
    """
    hashed: list[str] = []
    others: list[str] = []
    for package in packages:
        line = format_requirement(package)
        (hashed if "--hash=" in line else others).append(line)
    return _write(folder / "hashed.txt", hashed), _write(folder / "others.txt", others)


def format_requirement(package: LockedPackage) -> str:
    """Return the requirement line that installs exactly this package.

    Raises:
        Failure: `version-lock-invalid` for values that could become options of the installer: a lock may come from
            anybody.
    """
    if find_package_gap(package) not in {None, NO_HASH, LOCAL_REPOSITORY}:
        raise Failure(
            "version-lock-invalid",
            f"The lock describes the package {package.name!r} in a way that cannot be installed.",
            hint="Do not use this lock unless you made it; then make it again.",
        )
    if package.source == "git":
        address, mark, place = (package.url or "").partition("#")
        return f"{package.name} @ git+{address}@{package.commit}{mark}{place}"
    if package.source == "url":
        line = f"{package.name} @ {package.url}"
    else:
        line = f"{package.name}=={package.version}"
    return " ".join([line, *[f"--hash=sha256:{digest}" for digest in package.hashes]])


def _write(path: Path, lines: list[str]) -> Path | None:
    if not lines:
        return None
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path
