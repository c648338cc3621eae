"""Hashes of the files that a package index has for exact versions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from comfywatchman.governance.store.records import InstalledPackage
from comfywatchman.governance.uv.client import Uv

_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_UNKNOWN: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) was not found|no version of ([A-Za-z0-9._-]+?)(?:\[|==| )")
_MAX_UNKNOWN: Final = 30
"""How many packages the index may lack: each costs one more call of uv."""


def find_file_hashes(
    uv: Uv, packages: Iterable[InstalledPackage], *, python: Path, torch_backend: str | None = None
) -> Mapping[InstalledPackage, tuple[str, ...]]:
    """Ask the package index for the hashes of exact versions; the ones that it does not have are left out.

    Nothing is installed. Without a network the result is empty.

    Args:
        uv: The uv client.
        packages: The packages.
        python: The interpreter whose platform counts, an absolute path.
        torch_backend: The builds of torch, whose index has them; None for those of the package index.
    """
    wanted: dict[str, InstalledPackage] = {canonicalize_name(package.name): package for package in packages}
    with tempfile.TemporaryDirectory(prefix="comfywatchman-pins-") as name:
        requirements = Path(name) / "pins.txt"
        for _ in range(_MAX_UNKNOWN):
            if not wanted:
                return {}
            lines = [f"{package.name}=={package.version}\n" for package in wanted.values()]
            requirements.write_text("".join(lines), "utf-8")
            result = uv.compile_hashes(requirements, python=python, torch_backend=torch_backend)
            if result.is_success:
                return parse_hashes(result.output, wanted)
            unknown = _find_unknown(result.errors, wanted)
            if not unknown:
                return {}
            for package_name in unknown:
                del wanted[package_name]
    return {}


def parse_hashes(text: str, wanted: Mapping[str, InstalledPackage]) -> dict[InstalledPackage, tuple[str, ...]]:
    """Parse a requirements file with hashes.

    Args:
        text: The file; each pin is followed by its hashes on continued lines.
        wanted: The packages by normalised name; others are ignored.
    """
    hashes: dict[InstalledPackage, tuple[str, ...]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        pin = _PIN.match(line)
        package = wanted.get(canonicalize_name(pin[1])) if pin else None
        digests = _HASH.findall(line)
        if package is not None and digests:
            hashes[package] = tuple(sorted(set(digests)))
    return hashes


def _find_unknown(errors: str, wanted: Mapping[str, InstalledPackage]) -> set[str]:
    """Return the packages that uv's error names as unknown to the index."""
    names = {canonicalize_name(first or second) for first, second in _UNKNOWN.findall(errors)}
    return {name for name in names if name in wanted}
