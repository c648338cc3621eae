"""Packages with an index of their own (`[network.indexes]`), where uv gets requirement lines instead of a lock.

uv looks up the index of a package in a pyproject.toml only, and only for direct requirements. Otherwise it takes the
package from the default index, such as a torchvision for another build of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from comfywatchman.base.parsing.toml_text import parse_toml
from comfywatchman.governance.store.truth import render_requirements
from comfywatchman.governance.uv.client import Uv


def write_requirements(folder: Path, lines: Sequence[str], indexes: Mapping[str, Sequence[str]]) -> Path:
    """Write requirement lines as a file for `uv pip`, with the indexes of packages, and return it.

    Args:
        folder: The folder for it, without a pyproject.toml of its own.
        lines: PEP 508 requirement lines.
        indexes: The packages of each index, by its URL.
    """
    if not indexes:
        path = folder / "requirements.txt"
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return path
    path = folder / "pyproject.toml"
    path.write_text(render_requirements(lines, indexes), "utf-8")
    return path


def add_indexed_dependencies(
    uv: Uv, folder: Path, lines: Sequence[str], *, python: Path, indexes: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Return requirement lines with the packages that they need from indexes of their own as direct requirements.

    Args:
        uv: The uv client.
        folder: A folder for a temporary file, without a pyproject.toml of its own.
        lines: PEP 508 requirement lines.
        python: The interpreter.
        indexes: The packages of each index, by its URL.
    """
    indexed = {canonicalize_name(name) for packages in indexes.values() for name in packages}
    added: set[str] = set()
    # A package of an index may need another one of them.
    while True:
        path = write_requirements(folder, [*lines, *sorted(added)], indexes)
        result = uv.resolve_files([path], python=python)
        if not result.is_success:
            # The installation fails for the same reason, and reports it.
            return (*lines, *sorted(added))
        packages = parse_toml(result.output).get("packages", ())
        needed = {canonicalize_name(str(package["name"])) for package in packages} & indexed
        if needed <= added:
            return (*lines, *sorted(added))
        added |= needed
