"""What came of one start of ComfyUI."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from comfywatchman.governance.store.records import Finding

TIMED_OUT: Final = 124
"""The exit code of a start that neither served nor ended, as timeout(1) has it."""

NOT_STARTED: Final = 2


class StartOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One start; kept as it is for the comparison start.

    Attributes:
        how: `exit` when main.py ended by itself, `server` when it served, `none` when it was not started.
        exit_code: The status that it ended with (negative: the signal), 124 at the time limit, 0 while it served.
        trouble: What kept it from serving or from being asked, in words; None when all went well.
        packs: Every class that it lists, with the module it comes from; None when it was not asked.
        failures: Packs whose import failed, with the reason.
        imported: Packs whose import went well.
        probe: How the minimal prompt went; None when it was not run.
        model_folders: Model folder keys by class and input of packs.
        widget_places: Places of those inputs among the widgets of their class.
        model_directories: Directories of the folders that only packs have, relative to the model folder.
        unasked: Arguments of a trial that this ComfyUI does not know, in words.
    """

    how: Literal["exit", "server", "none"]
    exit_code: int
    trouble: str | None = None
    packs: dict[str, str] | None = None
    failures: dict[str, str] = {}
    imported: frozenset[str] = frozenset()
    probe: Finding | None = None
    model_folders: dict[str, dict[str, str]] = {}
    widget_places: dict[str, dict[str, int]] = {}
    model_directories: dict[str, tuple[str, ...]] = {}
    unasked: str | None = None
