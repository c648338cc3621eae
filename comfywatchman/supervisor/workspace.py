"""Workspaces, and the environments in them that ComfyUI can be started in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec
import orjson

from comfywatchman.base.config import (
    comfyui_variables,
    default_workspace,
    is_supervised,
    named_workspace,
    network_variables,
)
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.lock import is_held
from comfywatchman.supervisor.metadata import MAX_STATE_BYTES, METADATA, read_metadata_file
from comfywatchman.supervisor.process.guarded import run_guarded
from comfywatchman.supervisor.process.launcher import ManagedEnvironment
from comfywatchman.supervisor.process_files import cleanup_orchestrator_pid, find_orchestrator
from comfywatchman.supervisor.status import LOCK_NAME

ENVIRONMENTS: Final = "environments"
COMFYUI: Final = "ComfyUI"
WORKSPACE_FILE: Final = "workspace.json"
"""comfygit's settings of a workspace, which name the active environment."""

_PROJECT: Final = ".cec"
"""comfygit's folder in an environment with its pyproject.toml and uv.lock."""
_SYNC_SECONDS: Final = 600.0
_TORCH_FAMILY: Final = ("torch", "torchvision", "torchaudio")


class EnvironmentSet(Protocol):
    """The environments of a workspace: a comfygit workspace, or a governed root with its generations."""

    @property
    def root(self) -> Path:
        """The workspace's folder."""

    @property
    def metadata(self) -> Path:
        """The folder for the supervisor's state files."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the environments, sorted."""

    def current(self) -> str | None:
        """Return the name of the environment in use; None when none is."""

    def get(self, name: str) -> ManagedEnvironment:
        """Return an environment.

        Raises:
            Failure: `supervisor-environment-unknown`.
        """

    def prepare(self, name: str, *, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Make an environment hold the packages that it should hold.

        Args:
            name: The environment.
            is_cancelled: Returns whether to give up; it is asked again and again.

        Raises:
            Failure: `supervisor-environment-unknown`, or `supervisor-sync-failed`, when cancelled too.
        """

    def activate(self, name: str) -> None:
        """Make an environment the one in use; on return this survives a power cut.

        Raises:
            Failure: `supervisor-environment-unknown` or `state-unwritable`.
        """


def find_workspace_root(*, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Path | None:
    """Return the workspace: `COMFYGIT_HOME`, else `~/comfygit`, else the nearest one upwards; None without one.

    Args:
        environment: The environment variables; those of this process when None.
        folder: Where the search upwards begins; the current folder when None.
    """
    return next(iter(_find_candidates(environment, folder)), None)


def detect_environment_type(
    *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[bool, Path | None, str | None]:
    """Return whether this is the ComfyUI of a managed environment, its workspace, and the environment's name.

    It is when the current folder is `<workspace>/environments/<name>/ComfyUI`. The name is None otherwise.

    Args:
        environment: The environment variables; those of this process when None.
        folder: The current folder.
    """
    candidates = _find_candidates(environment, folder)
    here = _resolve(folder)
    if here is not None and here.name == COMFYUI:
        for root in candidates:
            if here.parent.parent == _resolve(root / ENVIRONMENTS):
                return True, root, here.parent.name
    return False, next(iter(candidates), None), None


def should_spawn_orchestrator_for_switch(
    metadata: Path | None = None, *, environment: Mapping[str, str] | None = None
) -> bool:
    """Return whether a switch needs a supervisor to be started first; deletes the PID file of a dead one.

    Args:
        metadata: The workspace's `.metadata/`; that of the found workspace when None.
        environment: The environment variables; those of this process when None.

    Raises:
        Failure: `state-unwritable` when the PID file of a dead supervisor cannot be deleted.
    """
    if is_supervised(environment):
        return False
    if metadata is None:
        root = find_workspace_root(environment=environment)
        if root is None:
            return True
        metadata = root / METADATA
    # One that is just starting holds its lock before it writes its PID file.
    if find_orchestrator(metadata) is not None or is_held(metadata / LOCK_NAME):
        return False
    cleanup_orchestrator_pid(metadata)
    return True


@dataclass(frozen=True)
class ComfygitWorkspace:
    """A workspace with environments in `environments/<name>/`: `ComfyUI/`, `.venv/`, and `.cec/` with its lock.

    Attributes:
        root: The workspace's folder.
        uv: uv, with which `prepare` installs an environment's locked packages; without it, nothing is installed.
        inherited: Names of variables that ComfyUI inherits, in addition to those of the GPU and the network.
    """

    root: Path
    uv: Path | None = None
    inherited: tuple[str, ...] = ()

    @property
    def metadata(self) -> Path:
        """The folder for the supervisor's state files."""
        return self.root / METADATA

    def names(self) -> tuple[str, ...]:
        """Return the names of the environments with a ComfyUI, sorted."""
        try:
            entries = sorted(os.listdir(self.root / ENVIRONMENTS))
        except OSError:
            return ()
        return tuple(name for name in entries if self._has_comfyui(name))

    def current(self) -> str | None:
        """Return the active environment that comfygit's settings name; None when there is none."""
        settings = read_metadata_file(self.metadata / WORKSPACE_FILE, dict[str, object])
        name = settings.get("active_environment") if settings else None
        return name if isinstance(name, str) and self._has_comfyui(name) else None

    def get(self, name: str) -> ManagedEnvironment:
        """Return an environment.

        Raises:
            Failure: `supervisor-environment-unknown` when there is none of this name, or it has no interpreter.
        """
        folder = self.root / ENVIRONMENTS / name
        if not self._has_comfyui(name):
            raise self._unknown(f"There is no environment {name!r} in {printable_path(self.root)}.")
        python = folder / ".venv" / "bin" / "python"
        if not python.is_file():
            raise self._unknown(
                f"The environment {name!r} has no interpreter: {printable_path(python)} does not exist."
            )
        return ManagedEnvironment(name, python, folder / COMFYUI, (), comfyui_variables(self.inherited))

    def prepare(self, name: str, *, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Install the packages of an environment's uv.lock that are missing or of another version.

        Nothing is removed, and PyTorch is left alone: comfygit keeps it out of the lock, as its build depends on the
        GPU. Without a lock or without uv there is nothing to do.

        Args:
            name: The environment.
            is_cancelled: Returns whether to give up.

        Raises:
            Failure: `supervisor-environment-unknown` or `supervisor-sync-failed`.
        """
        environment = self.get(name)
        project = self.root / ENVIRONMENTS / name / _PROJECT
        if self.uv is None or not (project / "uv.lock").is_file() or not (project / "pyproject.toml").is_file():
            return
        argv = [str(self.uv), "--color", "never", "--no-progress", "sync", "--frozen", "--inexact", "--all-groups"]
        argv += ["--no-install-project", "--project", str(project)]
        for package in _TORCH_FAMILY:
            argv += ["--no-install-package", package]
        variables = {"UV_PROJECT_ENVIRONMENT": str(environment.python.parents[1]), "UV_PYTHON_DOWNLOADS": "never"}
        try:
            result = run_guarded(
                argv,
                timeout_seconds=_SYNC_SECONDS,
                extra_environment={**network_variables(), **variables},
                is_cancelled=is_cancelled,
            )
        except Failure as failure:
            raise _sync_failure(name, failure.message) from failure
        if result.status:
            lines = result.output.decode("utf-8", "replace").split("\n")
            text = " ".join(line.strip() for line in lines[-5:] if line.strip())
            raise _sync_failure(name, text or f"uv exited with status {result.status}")

    def activate(self, name: str) -> None:
        """Make an environment the active one in comfygit's settings; the other settings stay as they are.

        Raises:
            Failure: `supervisor-environment-unknown`, `supervisor-workspace-damaged` or `state-unwritable`.
        """
        self.get(name)
        path = self.metadata / WORKSPACE_FILE
        settings: dict[str, object] = {"version": 1, "created_at": "", "global_model_directory": None}
        if os.path.lexists(path):
            settings = _read_settings(path)
        # It may hold keys of model sites.
        write_atomic(path, to_json({**settings, "active_environment": name}), mode=0o600)

    def _unknown(self, message: str) -> Failure:
        names = ", ".join(self.names()) or "none"
        return Failure("supervisor-environment-unknown", message, hint=f"Environments: {names}.")

    def _has_comfyui(self, name: str) -> bool:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            return False
        return (self.root / ENVIRONMENTS / name / COMFYUI / "main.py").is_file()


def _find_candidates(environment: Mapping[str, str] | None, folder: Path | None) -> tuple[Path, ...]:
    """Return the workspaces that the current process may belong to, the preferred one first."""
    named = named_workspace(environment)
    if named is not None:
        # Another workspace than the named one would be a surprise, even where the named one is not there.
        return (named,) if is_folder(named) else ()
    candidates = [root for root in [default_workspace(environment)] if _is_workspace(root)]
    here = _resolve(folder)
    if here is not None:
        candidates += [root for root in (here, *here.parents) if _is_workspace(root)][:1]
    return tuple(candidates)


def _is_workspace(folder: Path) -> bool:
    # Not `.metadata/` alone: a workspace that was not used yet has none, and those of Eclipse have one.
    if not is_folder(folder / ENVIRONMENTS):
        return False
    return is_folder(folder / METADATA) or (folder / "pyproject.toml").is_file()


def _resolve(folder: Path | None) -> Path | None:
    try:
        return (Path.cwd() if folder is None else folder).resolve()
    except (OSError, RuntimeError):
        # The current folder may have been deleted.
        return None


def _read_settings(path: Path) -> dict[str, object]:
    try:
        settings = msgspec.convert(orjson.loads(read_regular(path, max_bytes=MAX_STATE_BYTES)), dict[str, object])
    except (Failure, ValueError, msgspec.ValidationError, RecursionError) as error:
        raise Failure(
            "supervisor-workspace-damaged",
            f"{printable_path(path)} cannot be read: {error}",
            hint="Correct the file, or restore it from a backup.",
        ) from error
    return settings


def _sync_failure(name: str, reason: str) -> Failure:
    return Failure(
        "supervisor-sync-failed",
        f"The packages of the environment {name!r} could not be installed: {reason}",
        hint="ComfyUI is started with the packages that are there; try it again with: comfywatchman supervise restart",
    )
