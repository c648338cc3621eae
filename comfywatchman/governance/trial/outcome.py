"""The outcome of one start of ComfyUI: exit code, imported packs, failed imports, node classes, minimal prompt."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from comfywatchman.governance.store.records import Finding

TIMED_OUT: Final = 124
"""The exit code of a start that neither served nor exited, as that of timeout(1)."""

NOT_STARTED: Final = 2

CUSTOM_NODES_PREFIX: Final = "custom_nodes."
"""The beginning of a class's `python_module` in `/object_info` when it comes from a custom node."""


class StartOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One start; the baseline is stored in this form.

    Attributes:
        how: `exit` when main.py exited by itself, `server` when it served, `none` when it did neither.
        exit_code: Its exit status (negative for a signal), 124 at the time limit, 0 while it served.
        trouble: Why it did not serve, or could not be queried; None when all went well.
        packs: The module that each class comes from; None when the server was not queried.
        failures: Packs whose import failed, with the reason.
        imported: Packs that were imported.
        probe: The result of the minimal prompt; None when it was not run.
        model_folders: Model folder keys by class and input of packs.
        widget_places: Positions of those inputs among the widgets of their class.
        model_directories: Directories of model folders that only packs have, relative to `models/`.
        unasked: An option that a trial needs and this ComfyUI does not support; None when it supports all.
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

    @property
    def has_started(self) -> bool:
        """Whether ComfyUI served, or exited by itself with status 0."""
        return self.trouble is None and self.exit_code == 0
