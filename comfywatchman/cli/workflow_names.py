"""Workflow arguments of commands: paths, and every name of a workflow that an output prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.render import printable
from comfywatchman.comfyui.install.reachability import explain_unreachable
from comfywatchman.readiness.report.render import shorten_paths
from comfywatchman.readiness.report.write import read_own_report
from comfywatchman.readiness.status import MasterStatus
from comfywatchman.readiness.workflows.names import match_name


def read_last_report(session: Session) -> MasterStatus | None:
    """Return the last report about the watched ComfyUI; None when there is none."""
    report = read_own_report(session.layout, session.watched_comfyui(), only_look=True)
    return report if isinstance(report, MasterStatus) else None


def find_workflow(session: Session, name: str, report: MasterStatus | None = None) -> Path | None:
    """Return the path that an argument stands for; None when no workflow is called so.

    Args:
        session: The session.
        name: A path, a label such as `official/x.json`, or a file name that is unique.
        report: The last report, if it was read already.

    Raises:
        Failure: `workflow-unknown` when several workflows are called so.
    """
    path = Path(name)
    if path.exists() or explain_unreachable(os.fsdecode(name)) is not None:
        return path
    report = report or read_last_report(session)
    if report is None:
        return None
    match = match_name(name, [entry.path for entry in report.workflows])
    if len(match.found) > 1:
        labels = shorten_paths(entry.path for entry in report.workflows)
        names = ", ".join(printable(labels[found]) for found in match.found)
        message = f"{len(match.found)} workflows are named {printable(name)}."
        raise Failure("workflow-unknown", message, hint=f"Use the full name: {names}.")
    return _find_real_path(match.found[0]) if match.found else None


def _find_real_path(shown: str) -> Path:
    """Return the path of a file from its printable form, in which odd bytes and backslashes are escaped."""
    path = Path("/")
    for segment in shown.split("/"):
        child = path / segment
        if segment and not os.path.lexists(child) and path.is_dir():
            names = [name for name in os.listdir(path) if printable_path(name) == segment]
            child = path / names[0] if names else child
        path = child
    return path


def require_workflow(session: Session, name: str) -> Path:
    """Return the path that an argument stands for.

    Raises:
        Failure: `workflow-unknown` when no workflow is called so, or several are.
    """
    path = find_workflow(session, name)
    if path is None:
        raise unknown_workflow_failure(session, name)
    return path


def unknown_workflow_failure(session: Session, name: str, others: Sequence[str] = ()) -> Failure:
    """Return the failure for a name that no workflow has, with what was probably meant.

    Args:
        session: The session.
        name: The name.
        others: Further names that may be meant, such as those of models.
    """
    report = read_last_report(session)
    labels = shorten_paths(entry.path for entry in report.workflows) if report is not None else {}
    suggestions = [*match_name(name, labels.values()).suggestions, *others][:3]
    what = "No workflow or model" if others else "No workflow"
    hint = "comfywatchman status --all lists the workflows."
    if report is None:
        hint = f"Give a path, or check the workflows first: {session.format_command('--run-cycle')}"
    if suggestions:
        hint = f"Did you mean {' or '.join(printable(found) for found in suggestions)}?"
    return Failure("workflow-unknown", f"{what} is named {printable(name)}.", hint=hint)
