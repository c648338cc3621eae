"""Read the lines of `uv pip freeze`, to compare the packages of two environments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from comfywatchman.governance.nodes.deny_list import DenyList, enforce_deny_list
from comfywatchman.governance.store.records import InstalledPackage


@dataclass(frozen=True, slots=True)
class FrozenPackage:
    """One line of `uv pip freeze`.

    Attributes:
        name: The normalised name.
        version: The version; empty for a package that was installed from a URL.
        url: The URL; empty for a package that was installed from an index.
        line: The line itself; that of an editable installation begins with `-e`.
    """

    name: str
    version: str
    url: str
    line: str

    @property
    def is_local(self) -> bool:
        """Whether it was installed from a folder or file of this machine."""
        return self.line.startswith("-e ") or self.url.startswith("file:")


def parse_freeze(lines: Iterable[str]) -> dict[str, FrozenPackage]:
    """Return the packages of a freeze by normalised name; lines that are no requirements are left out."""
    packages = (_parse_line(line) for line in lines)
    return {package.name: package for package in packages if package is not None}


def list_versions(lines: Iterable[str]) -> tuple[InstalledPackage, ...]:
    """Return the packages of a freeze that have a version."""
    packages = parse_freeze(lines).values()
    return tuple(InstalledPackage(package.name, package.version) for package in packages if package.version)


def enforce_deny_list_on(deny_list: DenyList, lines: Iterable[str], *, subject: str = "The package") -> None:
    """Raise when a line names a blocked package.

    Args:
        deny_list: The deny list.
        lines: Lines of a freeze, or requirement lines.
        subject: The subject of the message; the line follows.

    Raises:
        Failure: `gov-denied`.
    """
    for package in parse_freeze(lines).values():
        entry = deny_list.find_package(package.name, package.version or None)
        enforce_deny_list(entry, f"{subject} {package.line}")


def _parse_line(line: str) -> FrozenPackage | None:
    if line.startswith("-e "):
        url = line.removeprefix("-e ")
        folder_name = urlsplit(url).path.rstrip("/").rpartition("/")[2]
        return FrozenPackage(canonicalize_name(folder_name), "", url, line)
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    # `uv pip freeze` prints exactly one `==` for each package of an index.
    version = next((specifier.version for specifier in requirement.specifier), "")
    return FrozenPackage(canonicalize_name(requirement.name), version, requirement.url or "", line)
