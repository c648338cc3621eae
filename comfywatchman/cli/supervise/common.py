"""Shared by the commands of `supervise`: the workspace, the supervisor's status, and checks before an order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from comfywatchman.app.session import Session
from comfywatchman.app.supervision import open_environments
from comfywatchman.supervisor.status import SupervisorStatus

if TYPE_CHECKING:
    from comfywatchman.supervisor.workspace import EnvironmentSet

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

DEFAULT_WAIT_SECONDS: Final = 3600.0
"""Longer than the longest switch: synchronising, a start at its limit, and the way back."""


def workspace_option(command: CommandT) -> CommandT:
    """Add `--workspace`, as the parameter `workspace`."""
    return click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        help="A comfygit workspace or governed root, instead of the configured one.",
    )(command)


def wait_options(command: CommandT) -> CommandT:
    """Add `--wait` and `--timeout`."""
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=DEFAULT_WAIT_SECONDS,
        metavar="SECONDS",
        help=f"How long to wait (default: {DEFAULT_WAIT_SECONDS:.0f}).",
    )(command)
    return click.option("--wait", is_flag=True, help="Wait until it is done, and exit with 1 if it fails.")(command)


def open_workspace(context: click.Context, workspace: Path | None) -> tuple[Session, EnvironmentSet]:
    """Return the session and the supervised environments.

    Raises:
        Failure: As `open_environments`.
    """
    session: Session = context.obj
    return session, open_environments(session, workspace)


def describe_status(status: SupervisorStatus | None) -> dict[str, object] | None:
    """Return a status for JSON, in fields and words; None without one."""
    if status is None:
        return None
    return {**msgspec.to_builtins(status), "sentence": status.sentence, "next_step": status.next_step}
