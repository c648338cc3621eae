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
_HEADING: Final = "Import times for custom nodes:"
_PRESTARTUP_HEADING: Final = "Prestartup times for custom nodes:"
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE: Final = re.compile(r"\d+\.\d+ seconds( \((?:IMPORT|PRESTARTUP) FAILED\))?: (.+)$")
_REASONS: Final = (
    re.compile(r"Cannot import (.+) module for custom nodes: (.*)"),
    re.compile(r"Skip (.+) module for custom nodes due to (.*)"),
    re.compile(r"(?<=calling comfy_entrypoint in )(.+?): (.*)"),
    re.compile(r"comfy_entrypoint in (.+?) (is not .*|did not .*)"),
    re.compile(r"Failed to execute startup-script: (.+)[\\/]prestartup_script\.py / (.*)"),
)
"""What ComfyUI 0.3.64 to 0.33.0 say of a pack that they could not load (read in nodes.py and main.py)."""

_ERROR: Final = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b")
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


def read_last_start(base: Path) -> LastStart | None:
    """Return what the newest log below a base directory says; None when there is none that tells.

    The lines are those of ComfyUI 0.3.64 to 0.33.0 (measured): `   0.0 seconds (IMPORT FAILED): <path>` under the
    heading `Import times for custom nodes:`.
    """
    found = [start for path in _find_logs(base) if (start := _read_log(path)) is not None]
    return max(found, key=lambda start: start.logged_ns, default=None)


def _find_logs(base: Path) -> Iterable[Path]:
    yield from (base / name for name in _NAMES)
    yield from sorted((base / "user").glob("comfyui_*.log"))


def _read_log(path: Path) -> LastStart | None:
    try:
        with open_regular(path) as descriptor:
            facts = os.fstat(descriptor)
            tail = os.pread(descriptor, _TAIL_BYTES, max(0, facts.st_size - _TAIL_BYTES))
    except Failure:
        return None
    told = parse_import_times(tail.decode("utf-8", "replace"))
    return LastStart(path, facts.st_mtime_ns, *told) if told is not None else None


def parse_import_times(text: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return which names in `custom_nodes` failed and which were imported at the last start that a log tells of.

    A pack counts as failed when its prestartup script failed too, which is listed on its own.

    Returns:
        Both; None when the log has no such list.
    """
    before, heading, after = text.rpartition(_HEADING)
    if not heading:
        return None
    _earlier, early_heading, early = before.rpartition(_HEADING)[2].rpartition(_PRESTARTUP_HEADING)
    failed, imported = _parse_pack_names(after)
    failed |= _parse_pack_names(early)[0] if early_heading else frozenset()
    return (failed, imported - failed) if failed or imported else None


def parse_failure_reasons(text: str, failed: Iterable[str]) -> dict[str, str]:
    """Return the last line that a log says of each failed import: the error, or why ComfyUI passed the pack over.

    Args:
        text: The log.
        failed: Names in `custom_nodes`, as `import_times` gives them.
    """
    lines = [_ANSI.sub("", line).strip() for line in text.splitlines()]
    said: dict[str, str] = {}
    for place, line in enumerate(lines):
        for pattern in _REASONS:
            found = pattern.search(line)
            if found is not None:
                said[_get_pack_name(found.group(1))] = _find_traceback_error(lines, place) or found.group(2)
    return {name: said.get(name, "") for name in failed}


def _find_traceback_error(lines: list[str], place: int) -> str | None:
    """Return the line that ends a traceback, when one ends just before this place."""
    before = [line for line in lines[max(0, place - 3) : place] if line]
    return before[-1] if before and _ERROR.match(before[-1]) else None


def _parse_pack_names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    failed: set[str] = set()
    imported: set[str] = set()
    for line in text.splitlines()[1:]:
        found = _LINE.search(_ANSI.sub("", line))
        if found is None:
            if failed or imported:
                break
            continue
        (failed if found.group(1) else imported).add(_get_pack_name(found.group(2)))
    return frozenset(failed), frozenset(imported)


def _get_pack_name(path: str) -> str:
    return re.split(r"[\\/]", path.strip())[-1].removesuffix(".py")
