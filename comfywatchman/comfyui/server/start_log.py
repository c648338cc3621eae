"""Read from a start log of ComfyUI which custom nodes it imported; ComfyUI-Manager keeps such a log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

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
"""Log lines of ComfyUI 0.3.64 to 0.33.0 for a pack that cannot be loaded (nodes.py and main.py)."""

_ERROR: Final = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b")
_NAMES: Final = ("comfyui.log", "user/comfyui.log")


class ImportTimes(NamedTuple):
    """What a start of ComfyUI made of the names in `custom_nodes`.

    Attributes:
        failed: Those that it failed to import.
        imported: Those that it imported.
        failed_prestartup: Those whose `prestartup_script.py` failed; ComfyUI imports them all the same.
    """

    failed: frozenset[str]
    imported: frozenset[str]
    failed_prestartup: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LastStart:
    """The result of the last logged start.

    Attributes:
        path: The log.
        logged_ns: Its modification time in nanoseconds; files that changed later were not part of that start.
        failed: Names in `custom_nodes` whose import failed.
        imported: Names whose import succeeded.
    """

    path: Path
    logged_ns: int
    failed: frozenset[str]
    imported: frozenset[str]


def read_last_start(base: Path) -> LastStart | None:
    """Return the start in the newest log below a base directory; None when no log lists import times."""
    newest: LastStart | None = None
    for path in _find_logs(base):
        start = _read_log(path)
        if start is not None and (newest is None or start.logged_ns > newest.logged_ns):
            newest = start
    return newest


def _find_logs(base: Path) -> list[Path]:
    logs = [base / name for name in _NAMES]
    logs.extend(sorted((base / "user").glob("comfyui_*.log")))
    return logs


def _read_log(path: Path) -> LastStart | None:
    try:
        with open_regular(path) as descriptor:
            log_stat = os.fstat(descriptor)
            tail = os.pread(descriptor, _TAIL_BYTES, max(0, log_stat.st_size - _TAIL_BYTES))
    except Failure:
        return None
    import_times = parse_import_times(tail.decode("utf-8", "replace"))
    if import_times is None:
        return None
    return LastStart(path, log_stat.st_mtime_ns, import_times.failed, import_times.imported)


def parse_import_times(text: str) -> ImportTimes | None:
    """Return the imports of the last start in a log; None when the log lists none.

    The lines are those of ComfyUI 0.3.64 to 0.33.0 (measured): `   0.0 seconds (IMPORT FAILED): <path>` under the
    heading `Import times for custom nodes:`.
    """
    before, heading, after = text.rpartition(_HEADING)
    if not heading:
        return None
    times = _parse_pack_names(after)
    failed_prestartup: frozenset[str] = frozenset()
    # Failed prestartup scripts have a list of their own, before the imports of the same start.
    this_start = before.rpartition(_HEADING)[2]
    _earlier, prestartup_heading, prestartup = this_start.rpartition(_PRESTARTUP_HEADING)
    if prestartup_heading:
        failed_prestartup = _parse_pack_names(prestartup).failed
    if not times.failed and not times.imported:
        return None
    return ImportTimes(times.failed, times.imported, failed_prestartup)


def parse_failure_reasons(text: str, failed: Iterable[str]) -> dict[str, str]:
    """Return the reason that a log gives for each failed import: its error, or why ComfyUI skipped the pack.

    Args:
        text: The log.
        failed: Names in `custom_nodes`, from `parse_import_times`.
    """
    lines = [_ANSI.sub("", line).strip() for line in text.splitlines()]
    reasons: dict[str, str] = {}
    for index, line in enumerate(lines):
        for pattern in _REASONS:
            match = pattern.search(line)
            if match is not None:
                pack = _get_pack_name(match.group(1))
                reasons[pack] = _find_traceback_error(lines, index) or match.group(2)
    return {name: reasons.get(name, "") for name in failed}


def _find_traceback_error(lines: list[str], index: int) -> str | None:
    """Return the last line of a traceback that ends just before this line; blank lines may follow it."""
    before = [line for line in lines[max(0, index - 3) : index] if line]
    if before and _ERROR.match(before[-1]):
        return before[-1]
    return None


def _parse_pack_names(text: str) -> ImportTimes:
    failed: set[str] = set()
    imported: set[str] = set()
    for line in text.splitlines()[1:]:
        match = _LINE.search(_ANSI.sub("", line))
        if match is not None:
            name = _get_pack_name(match.group(2))
            (failed if match.group(1) else imported).add(name)
        elif failed or imported:
            # The list ends at the first other line; before it there may be some.
            break
    return ImportTimes(frozenset(failed), frozenset(imported))


def _get_pack_name(path: str) -> str:
    # The log of a ComfyUI on Windows has backslashes.
    return re.split(r"[\\/]", path.strip())[-1].removesuffix(".py")
