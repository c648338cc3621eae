"""The page of one background task, and the button that starts a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.pages.recorded_changes import RecordedChange, describe_gaps, read_changes
from comfywatchman.app.tasks.records import TaskKind
from comfywatchman.app.tasks.start import list_tasks, read_task, read_task_log, start_task, stop_task
from comfywatchman.base.errors import Failure

if TYPE_CHECKING:
    from comfywatchman.app.tasks.records import TaskSnapshot


@dataclass(frozen=True, slots=True)
class TaskView:
    """The page of a background task: how far it is, and the last lines of its output."""

    task: TaskSnapshot
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TasksView:
    """The background tasks and the changes over the page.

    Attributes:
        tasks: The tasks, the newest first.
        running: How many of them run.
        changes: The last changes, the newest first.
        gaps: What the list of changes may lack, for people; empty for nothing.
        changes_command: The command that shows the changes.
    """

    tasks: tuple[TaskSnapshot, ...]
    running: int
    changes: tuple[RecordedChange, ...] = ()
    gaps: str = ""
    changes_command: str = ""


def view_tasks(request: PageRequest) -> TasksView:
    """Return the list of background tasks."""
    tasks = list_tasks(request.host.session)
    session = request.host.session
    command = session.format_command("web", "--changes")
    changes = read_changes(session)
    running = sum(task.is_running for task in tasks)
    return TasksView(tasks, running, changes, describe_gaps(session, changes), command)


def stop_background_task(request: ActionRequest) -> ActionResult:
    """Stop a background task, as SIGTERM does.

    Raises:
        Failure: `web-task-unknown`.
    """
    task_id = request.form.get("task", "")
    if read_task(request.host.session, task_id) is None:
        raise Failure("web-task-unknown", "There is no such background task. It may have ended long ago.")
    was_running = stop_task(request.host.session, task_id)
    return ActionResult("It was stopped." if was_running else "It had ended already.", f"tasks/{task_id}")


def view_task(request: PageRequest) -> TaskView:
    """Return the page of a background task.

    Raises:
        Failure: `web-task-unknown`.
    """
    task = read_task(request.host.session, request.path["id"])
    if task is None:
        raise Failure("web-task-unknown", "There is no such background task. It may have ended long ago.")
    return TaskView(task, read_task_log(task))


def start_check(request: ActionRequest) -> ActionResult:
    """Start a readiness cycle in the background.

    Raises:
        Failure: `child-failed` or `state-unwritable`.
    """
    task = start_task(request.host.session, TaskKind.CYCLE, ["--run-cycle"])
    return ActionResult("The check has started.", f"tasks/{task.id}")


def start_command(
    request: ActionRequest, kind: TaskKind, *arguments: str, sentence: str, subject: str = ""
) -> ActionResult:
    """Start a command in the background, and show its page.

    Args:
        request: The press of the button.
        kind: Kind of the task.
        arguments: The arguments of comfywatchman.
        sentence: What has begun.
        subject: What the task is about.

    Raises:
        Failure: As `start_task`.
    """
    task = start_task(request.host.session, kind, arguments, subject=subject)
    return ActionResult(sentence, f"tasks/{task.id}")
