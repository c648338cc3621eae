"""Checks a downloaded file before it gets its name: format, completeness, and pickles only after a scan."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import run_with_timeout
from comfywatchman.comfyui.models.file import check_descriptor
from comfywatchman.comfyui.models.suffixes import get_suffix
from comfywatchman.sources.download.fetch import FileCheck
from comfywatchman.sources.file_names import PICKLE_EXTENSIONS

_PICKLES: Final = frozenset({"pickle", "zip-pickle"})
_SCAN_SECONDS: Final = 900.0
_SCAN_SCRIPT: Final = """
import sys
from picklescan.scanner import scan_bytes
with open(sys.argv[1], "rb") as stream:
    found = scan_bytes(stream, "model", sys.argv[2])
if found.scan_err or not found.scanned_files:
    sys.exit(2)
bad = {f"{one.module}.{one.name}" for one in found.globals if one.safety.value == "dangerous"}
sys.stdout.buffer.write(" ".join(["bad" if found.issues_count else "clean", *sorted(bad)]).encode("utf-8", "replace"))
"""


def build_file_check(*, allow_pickle: bool) -> FileCheck:
    """Return the check of a finished download: whether its header is valid, and whether it is a pickle.

    Args:
        allow_pickle: Accept formats that can run code, after a scan. Without a working scanner none is accepted. The
            scan is a hint, not a proof.
    """

    def check(descriptor: int, name: str, size: int) -> Failure | None:
        file_info = check_descriptor(descriptor, name, size)
        if file_info.problem is not None:
            return Failure(
                "download-wrong-content",
                f"ComfyUI could not load {name}: {file_info.problem}.",
                hint="Search again (comfywatchman resolve --refresh): there may be an intact file elsewhere.",
            )
        if file_info.format == "safetensors":
            return None
        # A pickle under another extension is a pickle, and PyTorch may read any file of a pickle extension as one.
        is_pickle = file_info.format in _PICKLES or get_suffix(name) in PICKLE_EXTENSIONS
        if not is_pickle:
            return None
        return _scan_pickle(descriptor, name) if allow_pickle else _refuse_pickle(name)

    return check


def _refuse_pickle(name: str) -> Failure:
    return Failure(
        "download-pickle-refused",
        f"{name} can run code when it is opened, and such files are not allowed.",
        hint="Look for a safetensors file of the same model, or set [downloads] allow_pickle if you trust its author.",
    )


def _scan_pickle(descriptor: int, name: str) -> Failure | None:
    if importlib.util.find_spec("picklescan") is None:
        return Failure(
            "download-pickle-refused",
            f"{name} can run code when it is opened, and picklescan is not installed to check it.",
            hint='Install it: pip install "comfywatchman[picklescan]"',
        )
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    # In a child process, because the file may be made to break its scanner.
    command = (sys.executable, "-I", "-c", _SCAN_SCRIPT, path, get_suffix(name))
    try:
        result = run_with_timeout(command, timeout_seconds=_SCAN_SECONDS)
    except Failure as failure:
        return _refuse(f"{name} could not be scanned for code: {failure.message}")
    words = result.output.decode("utf-8", "replace").split()
    if result.status or not words:
        return _refuse(f"{name} could not be scanned for code that it would run.")
    if words[0] != "clean":
        dangerous = ", ".join(words[1:])[:300]
        return _refuse(f"{name} would run code when it is opened: {dangerous or 'unknown'}.")
    return None


def _refuse(message: str) -> Failure:
    return Failure("download-pickle-refused", message, hint="Look for a safetensors file of the same model.")
