"""Start, list and stop background tasks, for the web page.

A task is the command itself in a process of its own, so that it survives the page and its server, and does exactly what
the command does.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from comfywatchman.app.session import own_command
from comfywatchman.app.tasks.records import (
    LOG_SUFFIX,
    ORDER_SUFFIX,
    PROGRESS_SUFFIX,
    TaskKind,
    TaskOrder,
    TaskProgress,
    TaskSnapshot,
    decide_state,
)
from comfywatchman.base.clock import format_utc
from comfywatchman.base.config import connection_variables, network_variables, variables_for_children
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.process import ProcessIdentity, end_stray_process, read_process_identity, start_detached
from comfywatchman.base.state.state_file import read_state, write_state
from comfywatchman.comfyui.install.install import find_installation
from comfywatchman.supervisor.process_files import is_running

if TYPE_CHECKING:
    from comfywatchman.app.session import Session

KEPT_TASKS: Final = 50
"""Older tasks that have ended are deleted."""

_STOP_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 10.0
_MAX_LOG_BYTES: Final = 64 << 10


def start_task(session: Session, kind: TaskKind, arguments: Sequence[str], *, subject: str = "") -> TaskSnapshot:
    """Start a command in the background; one of the same kind and subject that still runs is returned instead.

    Args:
        session: The session; the command gets its home, configuration and ComfyUI.
        kind: Kind of the task.
        arguments: The arguments of comfywatchman.
        subject: What the task is about.

    Raises:
        Failure: `state-unwritable`, or `child-failed` when the command could not be started.
    """
    folder = _create_folder(session)
    # Two clicks at once start one task.
    with hold_lock(folder / "tasks.lock", command="web", clock=session.clock, patience_seconds=_LOCK_SECONDS):
        tasks = list_tasks(session)
        for task in tasks:
            if task.is_running and (task.order.kind, task.order.subject) == (kind, subject):
                return task
        _delete_old(folder, [task for task in tasks if not task.is_running])
        started_at = format_utc(session.clock.now())
        command = shlex.join([*session.program(), *arguments])
        order = TaskOrder(kind, command, started_at, subject, boot_id=session.clock.boot_id())
        task_id = _choose_id(folder, kind, started_at)
        path = folder / f"{task_id}{ORDER_SUFFIX}"
        write_state(path, order)
        pid = _start_command(session, folder, task_id, arguments)
        identity = read_process_identity(pid, boot_id=order.boot_id)
        order = msgspec.structs.replace(order, pid=pid, started_ticks=identity.started_ticks if identity else 0)
        write_state(path, order)
        return _build_task(session, folder, task_id, order)


def list_tasks(session: Session) -> tuple[TaskSnapshot, ...]:
    """Return the tasks of this home, the newest first."""
    names = sorted((path.name for path in _folder(session).glob(f"*{ORDER_SUFFIX}")), reverse=True)
    tasks = (read_task(session, name.removesuffix(ORDER_SUFFIX)) for name in names)
    return tuple(task for task in tasks if task is not None)


def read_task(session: Session, task_id: str) -> TaskSnapshot | None:
    """Return a task; None when there is none of that id, or its record is damaged."""
    folder = _folder(session)
    # The id comes from an address.
    if not task_id or Path(task_id).name != task_id or "\0" in task_id:
        return None
    order = read_state(folder / f"{task_id}{ORDER_SUFFIX}", TaskOrder, only_look=True)
    if not isinstance(order, TaskOrder):
        return None
    return _build_task(session, folder, task_id, order)


def read_task_log(task: TaskSnapshot) -> tuple[str, ...]:
    """Return the last lines of a task's output."""
    try:
        with task.log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _MAX_LOG_BYTES))
            content = file.read()
    except OSError:
        return ()
    return tuple(content.decode("utf-8", "replace").splitlines())


def stop_task(session: Session, task_id: str) -> bool:
    """Stop a task with SIGTERM, and with SIGKILL when it has not ended 5 s later; return whether it was running.

    Downloads can be resumed, and a change of the environment is either complete or did not happen.
    """
    task = read_task(session, task_id)
    if task is None or not task.is_running or task.order.pid is None:
        return False
    identity = ProcessIdentity(task.order.boot_id, task.order.pid, task.order.started_ticks)
    return end_stray_process(identity, grace_seconds=_STOP_SECONDS)


def _folder(session: Session) -> Path:
    return session.home_layout.home.state / "tasks"


def _create_folder(session: Session) -> Path:
    folder = _folder(session)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error
    return folder


def _delete_old(folder: Path, ended: Sequence[TaskSnapshot]) -> None:
    for task in ended[KEPT_TASKS - 1 :]:
        # The order comes last: without it, nobody would find the others.
        for suffix in (LOG_SUFFIX, PROGRESS_SUFFIX, ORDER_SUFFIX):
            with contextlib.suppress(OSError):
                (folder / f"{task.id}{suffix}").unlink(missing_ok=True)


def _start_command(session: Session, folder: Path, task_id: str, arguments: Sequence[str]) -> int:
    installation = None
    if session.comfyui_option:
        installation = find_installation([("--comfyui", session.comfyui_option)])
    progress = folder / f"{task_id}{PROGRESS_SUFFIX}"
    return start_detached(
        [*own_command(), *session.arguments(installation), "--task", str(progress), *arguments],
        log=folder / f"{task_id}{LOG_SUFFIX}",
        extra_environment={**network_variables(), **connection_variables(), **variables_for_children()},
        folder=session.home_layout.home.folder,
    )


def _build_task(session: Session, folder: Path, task_id: str, order: TaskOrder) -> TaskSnapshot:
    stored = read_state(folder / f"{task_id}{PROGRESS_SUFFIX}", TaskProgress, only_look=True)
    progress = stored if isinstance(stored, TaskProgress) else TaskProgress()
    state = decide_state(progress, is_alive=_is_alive(session, order))
    return TaskSnapshot(task_id, order, progress, state, folder / f"{task_id}{LOG_SUFFIX}")


def _choose_id(folder: Path, kind: TaskKind, started_at: str) -> str:
    stamp = started_at.replace("-", "").replace(":", "")
    task_id, number = f"{stamp}-{kind.value}", 1
    while (folder / f"{task_id}{ORDER_SUFFIX}").exists():
        number += 1
        task_id = f"{stamp}-{kind.value}-{number}"
    return task_id


def _is_alive(session: Session, order: TaskOrder) -> bool:
    if order.pid is None or order.boot_id != session.clock.boot_id():
        return False
    return is_running(ProcessIdentity(order.boot_id, order.pid, order.started_ticks))
