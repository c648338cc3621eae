"""What ComfyUI's last start said of its custom nodes, read from the log that ComfyUI-Manager keeps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import open_regular

_TAIL_BYTES: Final = 4 << 20
_HEADING: Final = b"Import times for custom nodes:"
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE: Final = re.compile(r"\d+\.\d+ seconds( \((?:IMPORT|PRESTARTUP) FAILED\))?: (.+)$")
_NAMES: Final = ("comfyui.log", "user/comfyui.log")


@dataclass(frozen=True, slots=True)
class LastStart:
    """What the last start logged.

    Attributes:
        path: The log.
        logged_ns: When it was last written, in nanoseconds; what changed later is not what was started.
        failed: Names in `custom_nodes` whose import failed.
        imported: Names whose import went well.
    """

    path: Path
    logged_ns: int
    failed: frozenset[str]
    imported: frozenset[str]


def last_start(base: Path) -> LastStart | None:
    """Return what the newest log below a base directory says; None when there is none that tells.

    The lines are those of ComfyUI 0.3.64 to 0.33.0 (measured): `   0.0 seconds (IMPORT FAILED): <path>` under the
    heading `Import times for custom nodes:`.
    """
    found = [start for path in _logs(base) if (start := _read(path)) is not None]
    return max(found, key=lambda start: start.logged_ns, default=None)


def _logs(base: Path) -> Iterable[Path]:
    yield from (base / name for name in _NAMES)
    yield from sorted((base / "user").glob("comfyui_*.log"))


def _read(path: Path) -> LastStart | None:
    try:
        with open_regular(path) as descriptor:
            facts = os.fstat(descriptor)
            tail = os.pread(descriptor, _TAIL_BYTES, max(0, facts.st_size - _TAIL_BYTES))
    except Failure:
        return None
    _before, heading, after = tail.rpartition(_HEADING)
    if not heading:
        return None
    failed, imported = _named(after.decode("utf-8", "replace"))
    return LastStart(path, facts.st_mtime_ns, failed, imported) if failed or imported else None


def _named(text: str) -> tuple[frozenset[str], frozenset[str]]:
    failed: set[str] = set()
    imported: set[str] = set()
    for line in text.splitlines()[1:]:
        found = _LINE.search(_ANSI.sub("", line))
        if found is None:
            if failed or imported:
                break
            continue
        name = re.split(r"[\\/]", found.group(2).strip())[-1].removesuffix(".py")
        (failed if found.group(1) else imported).add(name)
    return frozenset(failed), frozenset(imported)
