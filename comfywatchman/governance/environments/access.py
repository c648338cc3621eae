"""Opening the context of governance: the lock is held, and what a kill left half done is finished first."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.filesystem import find_network_filesystem
from comfywatchman.base.lock import hold_lock, is_held, read_holder
from comfywatchman.base.text import os_error_text
from comfywatchman.comfyui.server.stray_processes import end_lock_holders
from comfywatchman.governance.environments import commit
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import GovSettings, read_settings
from comfywatchman.governance.uv.client import Uv, find_uv

__all__ = ["LOCK_WAIT_SECONDS", "GovContext", "find_interpreter", "open_context", "read_context"]

LOCK_WAIT_SECONDS: Final = 60.0
"""How long a command waits for another one."""

log = logging.getLogger(__name__)


@contextmanager
def open_context(
    root: Path,
    *,
    comfyui: Path | None,
    command: str,
    clock: Clock,
    network: Mapping[str, str],
    is_new: bool = False,
    patience_seconds: float = LOCK_WAIT_SECONDS,
) -> Iterator[GovContext]:
    """Hold the root's lock while the block runs, with everything that a kill left half done finished first.

    Args:
        root: The governed root.
        comfyui: The ComfyUI that comfywatchman is configured with; `[paths] comfyui_dir` comes before it.
        command: What is done, for people who wait.
        clock: The clocks of this machine.
        network: How this machine reaches the network (`base.config.network_variables`).
        is_new: Whether the root may be a new one (`gov init`).
        patience_seconds: How long to wait for another command.

    Raises:
        Failure: `lock-held` after the wait, `gov-not-initialised`, `gov-root-misplaced`, `comfyui-not-found`,
            `gov-uv-missing`, `gov-python-missing`, a `config-…` of the root's config.toml, or
            `gov-recovery-impossible`.
    """
    layout = GovLayout(root.absolute())
    if not is_new:
        _require_root(layout)
    _require_valid_location(layout, _find_comfyui(layout, read_settings(layout.config), comfyui).resolve())
    if kind := find_network_filesystem(_nearest_existing(layout.root)):
        log.warning("governed root on a network filesystem, locks may not hold", extra={"type": kind})
    if is_held(layout.lock_file):
        log.info("waiting for another command", extra={"holder": _describe_holder(layout)})
    with hold_lock(layout.lock_file, command=command, clock=clock, patience_seconds=patience_seconds) as descriptor:
        try:
            context = _build_context(layout, comfyui, clock, network, descriptor)
            yield replace(context, note=commit.recover(context) or "")
        finally:
            end_lock_holders(layout.lock_file)


def read_context(root: Path, *, comfyui: Path | None, clock: Clock, network: Mapping[str, str]) -> GovContext:
    """Return the context without its lock, for commands that only read; what a kill left is finished if nobody works.

    Raises:
        Failure: As `open_ground`, but never `lock-held`: the note then says who works.
    """
    layout = GovLayout(root.absolute())
    try:
        _require_root(layout)
        is_cut_off = layout.journal.exists()
    except OSError as error:
        raise Failure(
            "file-unreadable", f"{printable_path(layout.root)} cannot be read: {os_error_text(error)}."
        ) from error
    context = _build_context(layout, comfyui, clock, network, None)
    if not is_cut_off:
        return context
    try:
        with hold_lock(layout.lock_file, command="finish a change that was cut off", clock=clock):
            return replace(context, note=commit.recover(context) or "")
    except Failure as failure:
        note = f"A change is under way, so what is shown may be of before or after it: {failure.message}"
        return replace(context, note=note)


def _build_context(
    layout: GovLayout, comfyui: Path | None, clock: Clock, network: Mapping[str, str], descriptor: int | None
) -> GovContext:
    settings = read_settings(layout.config)
    place = _find_comfyui(layout, settings, comfyui)
    return GovContext(
        layout=layout,
        settings=settings,
        uv=Uv(find_uv(), network, settings.network, descriptor),
        clock=clock,
        comfyui=place,
        custom_nodes=place / "custom_nodes",
        python=find_interpreter(settings.runtime.python, place, layout.production),
        lock_descriptor=descriptor,
    )


def find_interpreter(configured: str, comfyui: Path, production: Path) -> Path:
    """Return the interpreter for new environments.

    The configured one; else that of production, so that nothing changes with the environment that runs this program;
    else that of ComfyUI's own environment; else the one that runs this program. An environment's `python` is followed
    to the installation behind it, as the environment may be deleted.

    Raises:
        Failure: `gov-python-missing` when the configured one is not there.
    """
    if configured:
        chosen = Path(configured).expanduser()
        if not (chosen.is_absolute() and os.access(chosen, os.X_OK)):
            raise Failure(
                "gov-python-missing",
                f"[runtime] python is {configured!r}, which is no absolute path of a program.",
                hint="Name an interpreter, such as /usr/bin/python3.12, or leave it empty.",
            )
        return chosen.resolve()
    known = (folder / "bin" / "python" for folder in (production, comfyui / ".venv", comfyui / "venv"))
    return next((path.resolve() for path in known if os.access(path, os.X_OK)), Path(sys.executable).resolve())


def _find_comfyui(layout: GovLayout, settings: GovSettings, given: Path | None) -> Path:
    named = settings.paths.comfyui_dir
    if named:
        return (layout.root / Path(named).expanduser()).absolute()
    if given is None:
        raise Failure(
            "comfyui-not-found",
            "No ComfyUI is known whose environment could be governed.",
            hint=f"Name its folder: --comfyui, COMFYUI_ROOT, or comfyui_dir in {printable_path(layout.config)}.",
        )
    return given.absolute()


def _require_root(layout: GovLayout) -> None:
    # Where pyproject.toml was lost, the snapshots are the way back.
    has_past = layout.journal.exists() or any(layout.snapshots.glob("*/meta.json"))
    if not layout.pyproject.is_file() and not has_past:
        raise Failure(
            "gov-not-initialised",
            f"{printable_path(layout.root)} is no governed root yet: it has no pyproject.toml.",
            hint="Run: gov init",
        )


def _require_valid_location(layout: GovLayout, comfyui: Path) -> None:
    root = layout.root.resolve()
    if root == comfyui or (comfyui / "custom_nodes") in (root, *root.parents):
        raise Failure(
            "gov-root-misplaced",
            f"{printable_path(layout.root)} cannot be a governed root: ComfyUI keeps its own files there.",
            hint="Choose another folder: --root, or [governance] root in the configuration.",
        )


def _nearest_existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _describe_holder(layout: GovLayout) -> str:
    holder = read_holder(layout.lock_file)
    return f"process {holder.pid} ({holder.command}, since {holder.since})" if holder else "another process"
