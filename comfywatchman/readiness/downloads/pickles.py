"""What is let through under a model's name: whole files of known formats, pickles only by choice and after a scan."""

from __future__ import annotations

import os
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.model_file import check_descriptor, suffix_of
from comfywatchman.sources.download import Check
from comfywatchman.sources.file_names import PICKLE_EXTENSIONS

_PICKLES: Final = frozenset({"pickle", "zip-pickle"})


def file_check(*, allow_pickle: bool) -> Check:
    """Return the look at a finished file before it gets its name: its header first, and whether it is a pickle.

    Args:
        allow_pickle: Whether formats that can run code may pass; each is scanned, and a scanner that is missing or
            stumbles lets nothing pass. The scan is a hint, not a proof.
    """

    def check(descriptor: int, name: str, size: int) -> Failure | None:
        facts = check_descriptor(descriptor, name, size)
        if facts.problem is not None:
            return Failure("download-wrong-content", f"{name} is no model that ComfyUI could load: {facts.problem}.")
        safe = facts.format == "safetensors" or (
            facts.format not in _PICKLES and suffix_of(name) not in PICKLE_EXTENSIONS
        )
        if safe:
            return None
        return _scanned(descriptor, name) if allow_pickle else _not_allowed(name)

    return check


def _not_allowed(name: str) -> Failure:
    return Failure(
        "download-pickle-refused",
        f"{name} can run code when it is opened, and such files were not allowed.",
        hint="Look for a safetensors file of it; else set [downloads] allow_pickle, if you trust whoever made it.",
    )


def _scanned(descriptor: int, name: str) -> Failure | None:
    try:
        from picklescan.scanner import scan_bytes
    except ImportError:
        return Failure(
            "download-pickle-refused",
            f"{name} can run code when it is opened, and there is no picklescan to look for that.",
            hint='Install it: pip install "comfywatchman[picklescan]"',
        )
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        found = scan_bytes(stream, name, suffix_of(name))
    if found.issues_count or found.infected_files:
        bad = sorted({f"{one.module}.{one.name}" for one in found.globals if one.safety.value == "dangerous"})
        return Failure("download-pickle-refused", f"{name} would run code when it is opened: {', '.join(bad)[:300]}.")
    if found.scan_err or not found.scanned_files:
        return Failure("download-pickle-refused", f"{name} could not be searched for code that it would run.")
    return None
