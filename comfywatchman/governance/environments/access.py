"""Open a governed root for a command: take its process lock, finish an interrupted change, find the interpreter."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
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
from comfywatchman.governance.store.governed import find_governed_comfyui, has_governed_files
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import read_settings
from comfywatchman.governance.uv.client import Uv, find_uv, ignore_progress

LOCK_WAIT_SECONDS: Final = 60.0
"""How long a command waits for the lock."""

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
    on_wait: Callable[[str], None] | None = None,
    progress: Callable[[str], None] = ignore_progress,
) -> Iterator[GovContext]:
    """Hold the lock of a governed root while the block runs; an interrupted change is finished first.

    Args:
        root: The governed root.
        comfyui: The ComfyUI that comfywatchman is configured with; see `find_governed_comfyui`.
        command: The command, shown to other commands that wait for the lock.
        clock: The clock.
        network: Environment variables for network access (`base.config.network_variables`).
        is_new: Whether the root may be new (`gov init`).
        patience_seconds: How long to wait for the lock.
        on_wait: Called with a description of the lock's holder before waiting for it.
        progress: Called with a text when a step that takes long begins.

    Raises:
        Failure: `lock-held` after the wait, `gov-not-initialised`, `gov-root-misplaced`, `comfyui-not-found`,
            `gov-uv-missing`, `gov-python-missing`, a `config-…` of the root's config.toml, or
            `gov-recovery-impossible`.
    """
    layout = GovLayout(root.absolute())
    if not is_new:
        _require_root(layout)
    _require_valid_location(layout, find_governed_comfyui(layout, read_settings(layout.config), comfyui).resolve())
    if filesystem := find_network_filesystem(_nearest_existing(layout.root)):
        log.warning("governed root on a network filesystem, locks may not hold", extra={"type": filesystem})
    if is_held(layout.process_lock):
        holder = _describe_holder(layout)
        log.info("waiting for another command", extra={"holder": holder})
        if on_wait is not None:
            on_wait(holder)
    with hold_lock(layout.process_lock, command=command, clock=clock, patience_seconds=patience_seconds) as descriptor:
        try:
            # The settings are read again: the command that held the lock may have changed them.
            context = _build_context(layout, comfyui, clock, network, descriptor=descriptor, progress=progress)
            yield replace(context, note=commit.recover(context) or "")
        finally:
            end_lock_holders(layout.process_lock)


def read_context(root: Path, *, comfyui: Path | None, clock: Clock, network: Mapping[str, str]) -> GovContext:
    """Return the context without holding the lock, for commands that only read.

    An interrupted change is finished first, and files of killed commands are deleted, unless another command is
    running.

    Raises:
        Failure: As `open_context`, but never `lock-held`: the note then names the running command.
    """
    layout = GovLayout(root.absolute())
    try:
        _require_root(layout)
        has_journal = layout.journal.exists()
        has_leftovers = layout.work.is_dir() and any(layout.work.iterdir())
    except OSError as error:
        raise Failure(
            "file-unreadable", f"{printable_path(layout.root)} cannot be read: {os_error_text(error)}."
        ) from error
    context = _build_context(layout, comfyui, clock, network)
    if not has_journal:
        if has_leftovers:
            _sweep(context)
        return context
    try:
        with hold_lock(layout.process_lock, command="finish an interrupted change", clock=clock):
            return replace(context, note=commit.recover(context) or "")
    except Failure as failure:
        note = f"A change is in progress, so the output may show the state before or after it: {failure.message}"
        return replace(context, note=note)


def _sweep(context: GovContext) -> None:
    """Delete the files of killed commands, unless a command is running or they cannot be deleted."""
    # A command that only reads must not fail because of them.
    with (
        contextlib.suppress(Failure),
        hold_lock(context.layout.process_lock, command="delete files of killed commands", clock=context.clock),
    ):
        commit.recover(context)


def _build_context(
    layout: GovLayout,
    comfyui: Path | None,
    clock: Clock,
    network: Mapping[str, str],
    *,
    descriptor: int | None = None,
    progress: Callable[[str], None] = ignore_progress,
) -> GovContext:
    settings = read_settings(layout.config)
    comfyui_folder = find_governed_comfyui(layout, settings, comfyui)
    return GovContext(
        layout=layout,
        settings=settings,
        uv=Uv(find_uv(), network, settings.network, descriptor, progress, dies_with_us=True),
        clock=clock,
        comfyui=comfyui_folder,
        custom_nodes=comfyui_folder / "custom_nodes",
        python=find_interpreter(settings.runtime.python, comfyui_folder, layout.production),
        lock_descriptor=descriptor,
    )


def find_interpreter(configured: str, comfyui: Path, production: Path) -> Path:
    """Return the interpreter for new environments.

    The first of: the configured one; that of production, so that the version does not follow the environment that runs
    this program; that of ComfyUI's own environment; the one that runs this program. The `python` of an environment is
    resolved to the installation behind it, as the environment may be deleted.

    Raises:
        Failure: `gov-python-missing` when the configured one is not executable.
    """
    if configured:
        interpreter = Path(configured)
        if not os.access(interpreter, os.X_OK):
            raise Failure(
                "gov-python-missing",
                f"[runtime] python is {configured!r}, which is not an executable file.",
                hint="Name an interpreter, such as /usr/bin/python3.12, or leave it empty.",
            )
        return interpreter.resolve()
    for environment in (production, comfyui / ".venv", comfyui / "venv"):
        python = environment / "bin" / "python"
        if os.access(python, os.X_OK):
            return python.resolve()
    return Path(sys.executable).resolve()


def _require_root(layout: GovLayout) -> None:
    if not has_governed_files(layout):
        raise Failure(
            "gov-not-initialised",
            f"{printable_path(layout.root)} is not a governed root: it has no pyproject.toml.",
            hint="Run: gov init --adopt (keeps the packages that ComfyUI has), or gov init (a new environment)",
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
    return next(ancestor for ancestor in (folder, *folder.parents) if ancestor.exists())


def _describe_holder(layout: GovLayout) -> str:
    holder = read_holder(layout.process_lock)
    if holder is None:
        return "another process"
    return f"process {holder.pid} ({holder.command}, since {holder.since})"
