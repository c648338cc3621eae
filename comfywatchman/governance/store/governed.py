"""Which ComfyUI a governed root governs (`state/comfyui.json`): its environment is that of no other one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import read_state, write_state
from comfywatchman.comfyui.install.identity import ComfyUIIdentity, identify_comfyui
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import GovSettings


class GovernedComfyUI(msgspec.Struct, frozen=True):
    """`state/comfyui.json`: the ComfyUI that the environments of this root are built for."""

    comfyui: ComfyUIIdentity
    schema_version: Literal[1] = 1


def has_governed_files(layout: GovLayout) -> bool:
    """Return whether a folder is a governed root: it has pyproject.toml, or files to restore or withdraw it."""
    # A root that lost its pyproject.toml is still one: its snapshots can restore the file.
    if layout.pyproject.is_file() or layout.journal.exists() or any(layout.snapshots.glob("*/meta.json")):
        return True
    # A withdrawal that was killed can be completed: it moves the record of the operation last.
    withdrawn = (folder.name.removeprefix("undone-") for folder in layout.root.glob("undone-*"))
    return any((layout.operations / f"{op_id}.json").is_file() for op_id in withdrawn)


def record_governed(layout: GovLayout, comfyui: Path) -> None:
    """Record that a root governs the ComfyUI in a folder.

    Raises:
        Failure: `state-unwritable`.
    """
    write_state(layout.comfyui, GovernedComfyUI(identify_comfyui(comfyui)))


def read_governed(layout: GovLayout) -> ComfyUIIdentity | None:
    """Return the ComfyUI that a root governs; None when an older version made the root, or the record is damaged."""
    stored = read_state(layout.comfyui, GovernedComfyUI, only_look=True)
    return stored.comfyui if isinstance(stored, GovernedComfyUI) else None


def find_governed_comfyui(layout: GovLayout, settings: GovSettings, configured: Path | None) -> Path:
    """Return the folder of the governed ComfyUI: `[paths] comfyui_dir`, else the recorded one, else the configured one.

    Args:
        layout: The governed root.
        settings: Its settings.
        configured: The ComfyUI that comfywatchman is configured with.

    Raises:
        Failure: `comfyui-not-found`.
    """
    if settings.paths.comfyui_dir:
        return Path(settings.paths.comfyui_dir)
    recorded = read_governed(layout)
    # The governed one may have been moved; then the configuration knows where it is now.
    if recorded is not None and (configured is None or not identify_comfyui(configured).is_same(recorded)):
        return Path(recorded.root)
    if configured is None:
        raise Failure(
            "comfyui-not-found",
            "No ComfyUI is configured for this governed root.",
            hint=f"Name its folder: --comfyui, COMFYUI_ROOT, or comfyui_dir in {printable_path(layout.config)}.",
        )
    return configured.absolute()


def require_governed(root: Path, governed: Path, named: Path) -> None:
    """Refuse a command that names another ComfyUI than the governed one.

    Raises:
        Failure: `gov-other-comfyui`.
    """
    if identify_comfyui(named).is_same(identify_comfyui(governed)):
        return
    raise Failure(
        "gov-other-comfyui",
        f"The root {printable_path(root)} governs the ComfyUI in {printable_path(governed)}, not the one in "
        f"{printable_path(named)}.",
        hint=f"Give each ComfyUI its own root: gov --root FOLDER --comfyui {printable_path(named)} init",
    )
