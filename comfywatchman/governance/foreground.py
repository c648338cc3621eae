"""Starting ComfyUI in the production environment, in the foreground: ComfyUI takes the place of this program."""

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
    layout: GovLayout, installation: Installation, settings: RunTable, given: Sequence[str] = ()
) -> NoReturn:
    """Start ComfyUI with production's interpreter, by its real path, and never return.

    ComfyUI takes this process over, so that signals reach it and its exit status is ours; no lock is held meanwhile.
    A later promotion leaves its environment alone while it runs.

    Args:
        layout: The governed root.
        installation: The ComfyUI with its folders.
        settings: The `[run]` table.
        given: Further arguments of main.py; they come last and win.

    Raises:
        Failure: `gov-not-initialised` without a production environment, `comfyui-not-found` without main.py,
            `child-failed`.
    """
    python, main = find_production_interpreter(layout), installation.root / "main.py"
    if python is None or not python.is_file():
        raise Failure(
            "gov-not-initialised",
            f"{printable_path(layout.root)} has no environment in production.",
            hint="Run: gov init",
        )
    if not main.is_file():
        raise Failure(
            "comfyui-not-found",
            f"{printable_path(main)} is not there.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )
    command = [str(python), str(main), *build_folder_arguments(installation), *settings.extra_args, *given]
    variables = comfyui_variables(settings.environment)
    search_path = build_child_environment().get("PATH", "")
    exec_program(command, extra_environment=build_environment(python, search_path, variables), folder=installation.root)


def build_folder_arguments(installation: Installation) -> tuple[str, ...]:
    """Return the arguments that make ComfyUI use the folders it is known with; none for its own ones."""
    folders: list[tuple[str, Path | None]] = [
        ("--base-directory", installation.base if installation.base != installation.root else None),
        ("--models-directory", installation.models),
        ("--output-directory", installation.output),
        ("--input-directory", installation.input),
        *(("--extra-model-paths-config", path) for path in installation.extra_model_paths),
    ]
    return tuple(f"{name}={folder}" for name, folder in folders if folder is not None)
