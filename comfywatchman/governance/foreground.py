"""`gov run`: start ComfyUI with the production environment; ComfyUI replaces this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from comfywatchman.base.config import comfyui_variables
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.process import build_child_environment, exec_program
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.server.command import build_environment
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.settings import RunTable
from comfywatchman.governance.trial.trial import find_production_interpreter


def run_in_foreground(
    layout: GovLayout, installation: Installation, settings: RunTable, arguments: Sequence[str] = ()
) -> NoReturn:
    """Replace this process by ComfyUI, started with the real path of production's interpreter.

    Signals reach ComfyUI, and its exit status is that of the command. No lock is held meanwhile: a later promotion
    switches production, and leaves the environment of the running ComfyUI alone.

    Args:
        layout: The governed root.
        installation: The ComfyUI with its folders.
        settings: The `[run]` table.
        arguments: Further arguments of main.py; they come last and so take precedence.

    Raises:
        Failure: `gov-not-initialised` without a production environment, `comfyui-not-found` without main.py,
            `child-failed`.
    """
    python, main = find_production_interpreter(layout), installation.root / "main.py"
    if python is None or not python.is_file():
        raise Failure(
            "gov-not-initialised",
            f"{printable_path(layout.root)} has no production environment.",
            hint="Run: gov init",
        )
    if not main.is_file():
        raise Failure(
            "comfyui-not-found",
            f"{printable_path(main)} does not exist.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )
    command = [str(python), str(main), *build_folder_arguments(installation), *settings.extra_args, *arguments]
    variables = comfyui_variables(settings.environment)
    search_path = build_child_environment().get("PATH", "")
    exec_program(command, extra_environment=build_environment(python, search_path, variables), folder=installation.root)


def build_folder_arguments(installation: Installation) -> tuple[str, ...]:
    """Return the arguments for the folders of an installation that are not ComfyUI's defaults."""
    base = None if installation.base == installation.root else installation.base
    folders: list[tuple[str, Path | None]] = [
        ("--base-directory", base),
        ("--models-directory", installation.models),
        ("--output-directory", installation.output),
        ("--input-directory", installation.input),
    ]
    folders += [("--extra-model-paths-config", path) for path in installation.extra_model_paths]
    return tuple(f"{name}={folder}" for name, folder in folders if folder is not None)
