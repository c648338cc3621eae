"""Pinning a requirements file: exact versions, with the hashes of their files."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.config import network_variables
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.governance.store.settings import NetworkTable
from comfywatchman.governance.uv.client import Uv, find_uv

_PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?==\S+")
_COMMIT: Final = re.compile(r"@[0-9a-f]{40}\b")


@dataclass(frozen=True, slots=True)
class PinnedRequirements:
    """The result of pinning.

    Attributes:
        text: The requirements file with pins and hashes.
        package_count: The number of packages in it.
        unpinned: Lines that do not name bytes: no hash, or a repository without a commit.
    """

    text: str
    package_count: int
    unpinned: tuple[str, ...]


def pin_requirements(requirements: Path, python: Path | None, network: NetworkTable) -> PinnedRequirements:
    """Resolve a requirements file for one interpreter.

    Args:
        requirements: The file; included files are followed.
        python: The interpreter; None for the one that runs this program.
        network: Where packages come from.

    Raises:
        Failure: `version-pin-failed`.
    """
    uv = Uv(find_uv(), network_variables(), network)
    interpreter = (python or Path(sys.executable)).absolute()
    result = uv.pin(requirements.absolute(), python=interpreter)
    if not result.is_success:
        raise Failure(
            "version-pin-failed",
            f"{printable_path(requirements)} cannot be resolved: {result.error_summary}",
            hint="Correct the line that uv names; packages of another index need --index or --find-links.",
        )
    return summarize_pins(result.output)


def summarize_pins(text: str) -> PinnedRequirements:
    """Count the packages of a compiled requirements file, and find the lines that do not name bytes."""
    unpinned = []
    count = 0
    for joined in text.replace("\\\n", " ").splitlines():
        line = " ".join(joined.split())
        if not line or line.startswith("#"):
            continue
        count += 1
        has_hash = "--hash=" in line
        is_commit = "git+" in line and _COMMIT.search(line) is not None
        if not (has_hash and (_PIN.match(line) or " @ " in line)) and not is_commit:
            unpinned.append(line)
    return PinnedRequirements(text, count, tuple(unpinned))
