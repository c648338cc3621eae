"""What a pack does to classes that are not its own, as far as its source shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.packs.replacements import find_replacements
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES

_LISTS: Final = rb"\b(?:SAMPLERS|SAMPLER_NAMES|KSAMPLER_NAMES|SCHEDULERS|SCHEDULER_NAMES|SCHEDULER_HANDLERS)\b"
_CHANGE: Final = rb"\s*(?:\+=|\.\s*(?:append|extend|insert|update|setdefault)\b|\[[^\]\n]*\]\s*=[^=])"
_EXTENSION: Final = re.compile(
    rb"|".join([_LISTS + _CHANGE, rb"\.\s*" + _LISTS + rb"\s*=[^=]", rb"\bsetattr\s*\([^)\n]*" + _LISTS])
)
"""A statement that changes one of the lists of `comfy.samplers`, as packs with samplers of their own do."""


@dataclass(slots=True)
class SourceMarks:
    """What a pack does to classes that are not its own.

    Attributes:
        replacements: New class by old class, of classes that it has replaced.
        computes_replacements: Whether it replaces further classes, whose names the source does not show.
        extends_samplers: Whether it may add to ComfyUI's lists of samplers and schedulers.
    """

    replacements: dict[str, str] = field(default_factory=dict)
    computes_replacements: bool = False
    extends_samplers: bool = False


def find_source_marks(root: Path, sources: Iterable[str]) -> SourceMarks:
    """Search the source of a pack.

    Args:
        root: The pack's folder, or the one file of a one-file pack.
        sources: Paths of its files, relative to the folder.
    """
    marks = SourceMarks()
    for path in [root / name for name in sorted(sources) if name.endswith(".py")] or [root]:
        try:
            content = read_regular(path, max_bytes=MAX_SOURCE_BYTES)
        except Failure:
            continue  # such a file is reported when the pack's classes are read
        found = find_replacements(content)
        marks.replacements = found.by_class | marks.replacements
        marks.computes_replacements = marks.computes_replacements or found.has_computed
        marks.extends_samplers = marks.extends_samplers or _EXTENSION.search(content) is not None
    return marks
