"""What is let through under a model's name: whole files of known formats, pickles only by choice and after a scan."""

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
    """Return the look at a finished file before it gets its name: its header first, and whether it is a pickle.

    Args:
        allow_pickle: Whether formats that can run code may pass; each is scanned, and a scanner that is missing or
            stumbles lets nothing pass. The scan is a hint, not a proof.
    """

    def check(descriptor: int, name: str, size: int) -> Failure | None:
        facts = check_descriptor(descriptor, name, size)
        if facts.problem is not None:
            return Failure(
                "download-wrong-content",
                f"{name} is no model that ComfyUI could load: {facts.problem}.",
                hint="Search again (comfywatchman resolve --refresh): there may be a whole one elsewhere.",
            )
        safe = facts.format == "safetensors" or (
            facts.format not in _PICKLES and get_suffix(name) not in PICKLE_EXTENSIONS
        )
        if safe:
            return None
        return _scan_pickle(descriptor, name) if allow_pickle else _refuse_pickle(name)

    return check


def _refuse_pickle(name: str) -> Failure:
    return Failure(
        "download-pickle-refused",
        f"{name} can run code when it is opened, and such files were not allowed.",
        hint="Look for a safetensors file of it; else set [downloads] allow_pickle, if you trust whoever made it.",
    )


def _scan_pickle(descriptor: int, name: str) -> Failure | None:
    if importlib.util.find_spec("picklescan") is None:
        return Failure(
            "download-pickle-refused",
            f"{name} can run code when it is opened, and there is no picklescan to look for that.",
            hint='Install it: pip install "comfywatchman[picklescan]"',
        )
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    # A child, because what a scanner reads here may be made to break it.
    command = (sys.executable, "-I", "-c", _SCAN_SCRIPT, path, get_suffix(name))
    try:
        ended = run_with_timeout(command, timeout_seconds=_SCAN_SECONDS)
    except Failure as failure:
        return _refuse(f"{name} could not be searched for code: {failure.message}")
    found = ended.output.decode("utf-8", "replace").split()
    if ended.status or not found:
        return _refuse(f"{name} could not be searched for code that it would run.")
    if found[0] != "clean":
        bad = ", ".join(found[1:])[:300]
        return _refuse(f"{name} would run code when it is opened: {bad or 'unknown'}.")
    return None


def _refuse(message: str) -> Failure:
    return Failure("download-pickle-refused", message, hint="Look for a safetensors file of the same model.")
