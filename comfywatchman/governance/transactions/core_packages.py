"""The packages that everything stands on: what a change does to them, and whether they fit one another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from packaging.version import InvalidVersion, Version

from comfywatchman.governance.checks.gpu_driver import find_cuda_version
from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.transactions.plan import FrozenPackage, parse_freeze

ABSENT_VERSION: Final = "none"
"""What stands for a version where there is no package."""

_TORCH_FAMILY: Final = ("torch", "torchvision", "torchaudio")
_TORCHVISION_MINOR_OFFSET: Final = 15
"""torchvision 0.N is built for torch 2.(N-15), from torch 2.0 on (its README, table "Installation")."""

_FIRST_FORWARD_COMPATIBLE_TORCHVISION: Final = 29
"""torchvision 0.29.2 asks for `torch>=2.14.0` (its metadata): from there on one build serves later torches too."""


def find_core_changes(pre: Iterable[str], post: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return what happens to core packages, each as `name old -> new`, sorted.

    Args:
        pre: Lines of `uv pip freeze` before, addresses (`torch @ https://…`) and editable ones included.
        post: The same after.
        patterns: Names of core packages; `*` stands for any characters, `-`, `_`, `.` and case are one.
    """
    before, after = parse_freeze(pre), parse_freeze(post)
    wanted = [re.sub(r"[-_.]+", "-", pattern).lower() for pattern in patterns]
    changed = (
        name for name in before.keys() | after.keys() if _version_or_url(before, name) != _version_or_url(after, name)
    )
    core = (name for name in changed if any(fnmatchcase(name, pattern) for pattern in wanted))
    return tuple(f"{name} {_version_or_url(before, name)} -> {_version_or_url(after, name)}" for name in sorted(core))


def find_torch_mismatches(packages: Iterable[InstalledPackage]) -> tuple[str, ...]:
    """Return why the torch family cannot work together, each as a sentence; empty when it can.

    Package metadata says none of this: `torchvision 0.23.0+cpu` asks for `torch==2.8.0`, which any build satisfies.
    Whether the GPU driver serves the build is a check of its own (`checks.packages.driver_result`).

    Args:
        packages: What is installed, or would be.
    """
    installed = tuple(packages)
    versions = {one.name: one.version for one in installed if one.name in _TORCH_FAMILY}
    if "torch" not in versions:
        return ()
    cuda = find_cuda_version({one.name: one.version for one in installed})
    return (*_find_build_mismatches(versions, cuda), *_find_torchvision_mismatch(versions))


def _find_build_mismatches(versions: Mapping[str, str], cuda: tuple[int, int] | None) -> list[str]:
    tags = {name: _parse_build_tag(version) for name, version in versions.items()}
    torch = tags["torch"] or (f"cu{cuda[0]}{cuda[1]}" if cuda else "")
    others = sorted(name for name, tag in tags.items() if tag and torch and tag != torch)
    return [
        f"{name} {versions[name]} is built for {tags[name]}, torch {versions['torch']} for {torch}." for name in others
    ]


def _find_torchvision_mismatch(versions: Mapping[str, str]) -> list[str]:
    torch, vision = _parse_release(versions["torch"]), _parse_release(versions.get("torchvision", ""))
    if torch is None or vision is None or torch[0] != 2 or vision[0] != 0:  # noqa: PLR2004 - the numbering of 2.x
        return []
    wanted = torch[1] + _TORCHVISION_MINOR_OFFSET
    is_lasting = vision[1] >= _FIRST_FORWARD_COMPATIBLE_TORCHVISION and wanted > vision[1]
    if vision[1] == wanted or is_lasting:
        return []
    have = f"torchvision {versions['torchvision']} is not built for torch {versions['torch']}"
    return [f"{have}, which needs torchvision 0.{wanted}."]


def _parse_build_tag(version: str) -> str:
    local = version.partition("+")[2]
    return local if re.match(r"(?:cu\d|cpu|rocm|xpu)", local) else ""


def _parse_release(version: str) -> tuple[int, int] | None:
    try:
        release = Version(version).release
    except InvalidVersion:
        return None
    return (release[0], release[1]) if len(release) > 1 else None


def _version_or_url(found: Mapping[str, FrozenPackage], name: str) -> str:
    one = found.get(name)
    return ABSENT_VERSION if one is None else one.version or one.url
