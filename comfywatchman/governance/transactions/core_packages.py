"""Core (protected) packages such as torch: upgrades, downgrades and removals by a change, and broken builds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from packaging.version import InvalidVersion, Version

from comfywatchman.governance.checks.gpu_driver import find_cuda_version
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.transactions.freeze import FrozenPackage, parse_freeze

ABSENT_VERSION: Final = "none"
"""The version of a package that is not installed, in the description of a change."""

_TORCH_FAMILY: Final = ("torch", "torchvision", "torchaudio")
_TORCH_MAJOR: Final = 2
_TORCHVISION_MAJOR: Final = 0
_TORCHVISION_MINOR_OFFSET: Final = 15
"""torchvision 0.N is built for torch 2.(N-15), from torch 2.0 on (its README, table "Installation")."""

_FIRST_FORWARD_COMPATIBLE_TORCHVISION: Final = 29
"""torchvision 0.29.2 requires `torch>=2.14.0` (its metadata): from there on a build also works with later torches."""


def find_core_changes(pre: Iterable[str], post: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the changes of core packages, each as `name old -> new`, sorted.

    Args:
        pre: Lines of `uv pip freeze` before, with URLs (`torch @ https://…`) and editable ones.
        post: The same after.
        patterns: Names of core packages; `*` matches any characters, `-`, `_`, `.` and case do not matter.
    """
    before, after = parse_freeze(pre), parse_freeze(post)
    normalized_patterns = [re.sub(r"[-_.]+", "-", pattern).lower() for pattern in patterns]
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = _version_or_url(before, name), _version_or_url(after, name)
        is_core = any(fnmatchcase(name, pattern) for pattern in normalized_patterns)
        if is_core and old != new:
            changes.append(f"{name} {old} -> {new}")
    return tuple(changes)


def find_torch_mismatches(packages: Iterable[InstalledPackage]) -> tuple[str, ...]:
    """Return why the packages of the torch family cannot work together, each as a sentence; empty when they can.

    Package metadata does not tell: `torchvision 0.23.0+cpu` requires `torch==2.8.0`, which any build satisfies.
    Whether the GPU driver supports the build is checked by `checks.gpu_driver`.

    Args:
        packages: The packages that are or would be installed.
    """
    versions = {package.name: package.version for package in packages}
    family = {name: version for name, version in versions.items() if name in _TORCH_FAMILY}
    if "torch" not in family:
        return ()
    cuda = find_cuda_version(versions)
    mismatches = _find_build_mismatches(family, cuda)
    mismatch = _find_torchvision_mismatch(family)
    if mismatch is not None:
        mismatches.append(mismatch)
    return tuple(mismatches)


def _find_build_mismatches(versions: Mapping[str, str], cuda: tuple[int, int] | None) -> list[str]:
    """Return the packages whose build tag (`+cu128`, `+cpu`) differs from that of torch."""
    torch_tag = _parse_build_tag(versions["torch"])
    if not torch_tag and cuda is not None:
        # A torch from PyPI has no tag, but its CUDA runtime shows its build.
        torch_tag = f"cu{cuda[0]}{cuda[1]}"
    if not torch_tag:
        return []
    mismatches = []
    for name, version in sorted(versions.items()):
        tag = _parse_build_tag(version)
        if tag and tag != torch_tag:
            mismatches.append(f"{name} {version} is built for {tag}, torch {versions['torch']} for {torch_tag}.")
    return mismatches


def _find_torchvision_mismatch(versions: Mapping[str, str]) -> str | None:
    """Return that torchvision was built for another torch; None when it fits, or when that is unknown."""
    torch = _parse_release(versions["torch"])
    torchvision = _parse_release(versions.get("torchvision", ""))
    if torch is None or torchvision is None:
        return None
    if torch[0] != _TORCH_MAJOR or torchvision[0] != _TORCHVISION_MAJOR:
        # The offset between the minor versions only holds for these.
        return None
    needed_minor = torch[1] + _TORCHVISION_MINOR_OFFSET
    is_forward_compatible = torchvision[1] >= _FIRST_FORWARD_COMPATIBLE_TORCHVISION and needed_minor > torchvision[1]
    if torchvision[1] == needed_minor or is_forward_compatible:
        return None
    return (
        f"torchvision {versions['torchvision']} is not built for torch {versions['torch']}, "
        f"which needs torchvision 0.{needed_minor}."
    )


def _parse_build_tag(version: str) -> str:
    local = version.partition("+")[2]
    return local if re.match(r"(?:cu\d|cpu|rocm|xpu)", local) else ""


def _parse_release(version: str) -> tuple[int, int] | None:
    """Return major and minor version; None for a version without either."""
    try:
        release = Version(version).release
    except InvalidVersion:
        return None
    return (release[0], release[1]) if len(release) > 1 else None


def _version_or_url(packages: Mapping[str, FrozenPackage], name: str) -> str:
    package = packages.get(name)
    if package is None:
        return ABSENT_VERSION
    return package.version or package.url
