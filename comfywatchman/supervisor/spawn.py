"""Starting the supervisor for a ComfyUI that runs without one: not before its first switch (lazy supervision)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.config import comfyui_variables, network_variables, variables_for_children
from comfywatchman.base.process import ProcessIdentity, read_process_identity, start_detached
from comfywatchman.supervisor.mailbox import cleanup_switch_request, write_switch_request
from comfywatchman.supervisor.metadata import METADATA
from comfywatchman.supervisor.process_files import ORCHESTRATOR_LOG
from comfywatchman.supervisor.venv import ORCHESTRATOR, get_orchestrator_python
from comfywatchman.supervisor.workspace import should_spawn_orchestrator_for_switch

PROGRAM: Final = ("-I", "-m", "comfywatchman")
"""This program, as arguments of the supervisor's interpreter."""
RUN_ARGUMENTS: Final = ("supervise", "run")
"""The supervisor, as arguments of this program."""


@dataclass(frozen=True, slots=True)
class OrchestratorStart:
    """The parameters of a supervisor's start.

    Attributes:
        workspace: The workspace's folder.
        environment: The environment that runs now; None when it is not a managed one.
        custom_node_root: The folder with the supervisor's environment; that in `.metadata/` when None.
        arguments: The arguments that ComfyUI was started with, after `main.py`.
        metadata: The folder for state files; the workspace's `.metadata/` when None.
    """

    workspace: Path
    environment: str | None
    custom_node_root: Path | None = None
    arguments: tuple[str, ...] = ()
    metadata: Path | None = None

    @property
    def metadata_folder(self) -> Path:
        """The folder for state files."""
        return self.workspace / METADATA if self.metadata is None else self.metadata


def extract_comfyui_args(argv: Sequence[str] | None = None) -> list[str]:
    """Return the arguments after the program's name, of this process unless others are given."""
    return list((sys.argv if argv is None else argv)[1:])


def build_orchestrator_command(
    python: Path, workspace: Path, environment: str | None, arguments: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs the supervisor.

    Args:
        python: The interpreter of its environment.
        workspace: The workspace's folder.
        environment: The environment that it starts with; the workspace's current one when None.
        arguments: The arguments of ComfyUI's `main.py`.
    """
    command = [str(python), *PROGRAM, *RUN_ARGUMENTS, "--workspace", str(workspace)]
    if environment is not None:
        command += ["--environment", environment]
    # After `--`, nothing is taken for an option of ours.
    return [*command, "--", *arguments]


def spawn_orchestrator(start: OrchestratorStart, target_env: str) -> ProcessIdentity:
    """Write the switch request, then start the supervisor, which outlives this process.

    Raises:
        OrchestratorVenvMissing: `supervisor-venv-missing`; then no request is left behind.
        Failure: `state-unwritable` or `child-failed`.
    """
    root = start.custom_node_root
    python = get_orchestrator_python(start.metadata_folder / ORCHESTRATOR if root is None else root)
    # The request comes first: the supervisor may read it as soon as it runs.
    metadata = start.metadata_folder
    write_switch_request(metadata, target_env, source_env=start.environment)
    try:
        pid = start_detached(
            build_orchestrator_command(python, start.workspace, start.environment, start.arguments),
            log=metadata / ORCHESTRATOR_LOG,
            extra_environment={**comfyui_variables(), **network_variables(), **variables_for_children()},
            # Not the workspace: a governed root has a config.toml of its own, which is not the program's.
            folder=metadata,
        )
    except BaseException:
        cleanup_switch_request(metadata)
        raise
    boot_id = SystemClock().boot_id()
    # It may have ended already; its log says why.
    return read_process_identity(pid, boot_id=boot_id) or ProcessIdentity(boot_id, pid, 0)


def begin_switch(start: OrchestratorStart, target_env: str) -> ProcessIdentity | None:
    """Ask for a switch; ComfyUI exits with status 43 afterwards.

    Returns:
        The supervisor that was started for it; None when one runs already, or this process is supervised.

    Raises:
        Failure: As `spawn_orchestrator`.
    """
    if should_spawn_orchestrator_for_switch(start.metadata_folder):
        return spawn_orchestrator(start, target_env)
    write_switch_request(start.metadata_folder, target_env, source_env=start.environment)
    return None
