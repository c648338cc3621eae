"""Where the packages of an old environment come from today: the default index, an index of their own, or none.

The index of a package with a local version (`2.9.0+cu126`) is looked for among the indexes that requirement files name,
and at that of PyTorch's builds, whose address uv knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.uv.error_parser import classify
from comfywatchman.governance.uv.package_indexes import write_requirements
from comfywatchman.governance.uv.requirement_files import parse_name

_UNREACHABLE: Final = frozenset({"network", "other"})
"""Kinds of uv errors that do not show whether an index has a package."""

_TORCH_FAMILY: Final = ("torch", "torchvision", "torchaudio")
_BUILD: Final = re.compile(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$")
_INDEX_ANNOTATION: Final = re.compile(r"^ +# from (https://\S+)$", re.MULTILINE)
_MAX_URLS: Final = 10


def find_unavailable(
    context: GovContext, folder: Path, lines: Sequence[str], indexes: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the lines that no index can provide; halves of a list that fails are tried again.

    Args:
        context: The governed root; its interpreter is the one that counts.
        folder: A folder for temporary files.
        lines: Requirement lines.
        indexes: The packages of each index of its own, by its URL.

    Raises:
        Failure: `gov-lock-failed` when an index cannot be reached.
    """
    if not lines:
        return []
    requirements = write_requirements(folder, lines, indexes)
    result = context.uv.compile_hashes(requirements, python=context.python)
    if result.is_success:
        return []
    if not context.settings.network.offline and classify(result.status, result.errors) in _UNREACHABLE:
        raise Failure(
            "gov-lock-failed",
            f"The packages could not be looked up: {result.error_summary}",
            hint="Check the network and [network] of the governed root, then run: gov init --adopt",
        )
    if len(lines) == 1:
        return list(lines)
    half = len(lines) // 2
    return [
        *find_unavailable(context, folder, lines[:half], indexes),
        *find_unavailable(context, folder, lines[half:], indexes),
    ]


def find_indexes(
    context: GovContext, folder: Path, pins: Sequence[str], *, named: Sequence[str], installed: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the indexes that have packages which the configured ones lack, by URL with their packages.

    Args:
        context: The governed root.
        folder: A folder for temporary files.
        pins: The missing packages, `name==version`.
        named: URLs of indexes in requirement files.
        installed: The names of all packages of the old environment.
    """
    found: dict[str, tuple[str, ...]] = {}
    missing = list(pins)
    for url in [*named[:_MAX_URLS], *_find_torch_indexes(context, folder, pins)]:
        names = _find_provided(context, folder, missing, url)
        if not names:
            continue
        missing = [pin for pin in missing if parse_name(pin) not in names]
        if "torch" in names:
            # What a node requires later must be built for this torch, too.
            others = [name for name in _TORCH_FAMILY if name not in installed]
            names += _find_provided(context, folder, others, url)
        found[url] = tuple(sorted({*found.get(url, ()), *names}))
    return found


def _find_provided(context: GovContext, folder: Path, lines: Sequence[str], url: str) -> list[str]:
    """Return the names of the packages that an index provides; none when it cannot be reached."""
    names = [parse_name(line) for line in lines]
    try:
        unavailable = find_unavailable(context, folder, lines, {url: names})
    except Failure:
        return []
    return [name for name, line in zip(names, lines, strict=True) if line not in unavailable]


def _find_torch_indexes(context: GovContext, folder: Path, pins: Sequence[str]) -> list[str]:
    """Return the indexes of the builds of PyTorch that are among some packages; uv knows their addresses."""
    network = context.settings.network
    builds = {parse_name(pin): match[1] for pin in pins if (match := _BUILD.search(pin))}
    if network.offline or network.no_index or "torch" not in builds:
        return []
    requirements = folder / "torch.txt"
    requirements.write_text("torch\n", "utf-8")
    result = context.uv.compile_hashes(requirements, python=context.python, torch_backend=builds["torch"])
    return _INDEX_ANNOTATION.findall(result.output) if result.is_success else []
