"""Installing the panel: a custom node pack in ComfyUI with its settings and the supervisor's environment."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_file, fsync_folder, printable_path, to_json, unwritable_failure, write_atomic
from comfywatchman.supervisor.metadata import read_metadata_file
from comfywatchman.supervisor.spawn import PROGRAM, RUN_ARGUMENTS
from comfywatchman.supervisor.venv import ORCHESTRATOR, VENV, ensure_orchestrator_venv, interpreter_of

PACK_NAME: Final = "comfywatchman-panel"
"""The pack's folder in custom_nodes."""
COMFYGIT_FILES: Final = "environments/*/ComfyUI/main.py"
"""A file that each environment of a comfygit workspace has."""

_SETTINGS: Final = "panel.json"


class PanelFile(msgspec.Struct, frozen=True):
    """The panel's settings (`panel.json`), which mark its folder as ours.

    Attributes:
        workspace: The workspace.
        metadata: The folder for state files.
        environment_files: Pattern of a file that each environment has, below the workspace; the first `*` is its name.
        environment_names: Names of further environments, such as `production` of a governed root.
        working_directory: Where the supervisor runs: the folder whose config.toml it reads.
        orchestrator: The command that runs the supervisor, without environment and arguments.
        venv_command: The command that creates the supervisor's environment.
        allow_remote: Whether other machines may restart, stop and switch; a person sets this.
        schema_version: Version of this shape.
    """

    workspace: str
    metadata: str
    environment_files: str
    orchestrator: tuple[str, ...]
    venv_command: tuple[str, ...]
    environment_names: tuple[str, ...] = ()
    working_directory: str = ""
    allow_remote: bool = False
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class PanelTarget:
    """Where the panel is installed, and for which workspace.

    Attributes:
        custom_nodes: ComfyUI's folder for node packs.
        workspace: The workspace.
        metadata: The folder for state files.
        environment_files: As in `PanelFile`.
        environment_names: As in `PanelFile`.
        working_directory: As in `PanelFile`; the folder for state files when None.
        run_arguments: The arguments of `comfywatchman` that run the supervisor; those for the workspace when None.
    """

    custom_nodes: Path
    workspace: Path
    metadata: Path
    environment_files: str = COMFYGIT_FILES
    environment_names: tuple[str, ...] = ()
    working_directory: Path | None = None
    run_arguments: tuple[str, ...] | None = None

    @property
    def pack(self) -> Path:
        """The pack's folder."""
        return self.custom_nodes / PACK_NAME

    @property
    def venv(self) -> Path:
        """The supervisor's environment, which all panels of a workspace share."""
        return self.metadata / ORCHESTRATOR / VENV


def install_panel(target: PanelTarget) -> Path:
    """Install the panel, or bring it up to date, with the supervisor's environment; return the pack's folder.

    A running ComfyUI loads it at its next start.

    Raises:
        Failure: `comfyui-not-found` without the folder for node packs, `supervisor-panel-taken` when the pack's folder
            holds something else, `supervisor-venv-failed`, `state-unwritable`.
    """
    if not target.custom_nodes.is_dir():
        raise Failure(
            "comfyui-not-found",
            f"{printable_path(target.custom_nodes)} does not exist.",
            hint="Name the folder that holds ComfyUI's main.py: --comfyui, COMFYUI_ROOT or [comfyui] root.",
        )
    pack = target.pack
    old = read_metadata_file(pack / _SETTINGS, PanelFile)
    if old is None and os.path.lexists(pack):
        raise Failure(
            "supervisor-panel-taken",
            f"{printable_path(pack)} exists and is not the panel.",
            hint="Move it away, then install the panel again.",
        )
    try:
        if old is None:
            _create_pack(target)
        else:
            _copy_pack(pack)
            write_atomic(pack / _SETTINGS, to_json(_build_settings(target, allow_remote=old.allow_remote)))
    except OSError as error:
        raise unwritable_failure(pack, error) from error
    ensure_orchestrator_venv(target.venv)
    return pack


def panel_is_installed(target: PanelTarget) -> bool:
    """Return whether the panel is there, for this workspace, with the files of this version."""
    installed = read_metadata_file(target.pack / _SETTINGS, PanelFile)
    if installed is None or installed != _build_settings(target, allow_remote=installed.allow_remote):
        return False
    with resources.as_file(_find_source()) as source:
        return all(_is_same(source / name, target.pack / name) for name in _list_files(source))


def _create_pack(target: PanelTarget) -> None:
    """Build the pack beside its place, where ComfyUI does not look, and rename it."""
    building = Path(tempfile.mkdtemp(prefix=".comfywatchman-panel-", dir=target.custom_nodes))
    try:
        building.chmod(0o755)
        _copy_pack(building)
        write_atomic(building / _SETTINGS, to_json(_build_settings(target, allow_remote=False)))
        os.rename(building, target.pack)
        fsync_folder(target.custom_nodes)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _copy_pack(pack: Path) -> None:
    with resources.as_file(_find_source()) as source:
        for name in _list_files(source):
            path = pack / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # A running ComfyUI may read it at this moment.
            write_atomic(path, (source / name).read_bytes())
            fsync_file(path)


def _find_source() -> resources.abc.Traversable:
    return resources.files("comfywatchman.supervisor.panel") / "pack"


def _list_files(source: Path) -> Sequence[Path]:
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    return [path for path in files if path.suffix != ".pyc"]


def _is_same(source: Path, installed: Path) -> bool:
    try:
        return source.read_bytes() == installed.read_bytes()
    except OSError:
        return False


def _build_settings(target: PanelTarget, *, allow_remote: bool) -> PanelFile:
    venv = target.venv.absolute()
    workspace = str(target.workspace.absolute())
    arguments = target.run_arguments
    if arguments is None:
        arguments = (*RUN_ARGUMENTS, "--workspace", workspace)
    return PanelFile(
        workspace=workspace,
        metadata=str(target.metadata.absolute()),
        environment_files=target.environment_files,
        environment_names=target.environment_names,
        working_directory=str(target.working_directory or target.metadata.absolute()),
        orchestrator=(str(interpreter_of(venv)), *PROGRAM, *arguments),
        venv_command=(sys.executable, "-I", "-m", "comfywatchman.supervisor.venv", str(venv)),
        allow_remote=allow_remote,
    )
