"""The state of ComfyUI as its supervisor reports it: for the readiness cycle, and before a job is sent to ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure

if TYPE_CHECKING:
    from comfywatchman.readiness.host_summary import SupervisorSummary
    from comfywatchman.supervisor.states import SupervisorState
    from comfywatchman.supervisor.status import SupervisorStatus
    from comfywatchman.supervisor.workspace import EnvironmentSet


@dataclass(frozen=True, slots=True)
class SupervisorWait:
    """Why no prompt should be sent to a supervised ComfyUI now.

    Attributes:
        state: The state that its supervisor reports.
        sentence: The state in words.
        next_step: The command or action that helps; empty when nothing is needed.
        is_temporary: Whether it passes without a person: ComfyUI is being started, restarted, switched or stopped.
    """

    state: SupervisorState
    sentence: str
    next_step: str
    is_temporary: bool

    @property
    def code(self) -> str:
        """Stable code for programs, such as `comfyui-switching`."""
        return f"comfyui-{self.state.value.replace('_', '-')}"


def reason_to_wait_for_supervisor(session: Session) -> SupervisorWait | None:
    """Return why a job must wait for the supervised ComfyUI; None when it is proved to work.

    None as well when no supervisor runs for it: nobody then knows more than a look at the server itself shows. The
    exception is a process that cannot be killed and holds the GPU until the machine is rebooted.

    Raises:
        Failure: A `config-…` code.
    """
    from comfywatchman.supervisor.states import SupervisorState

    environments = _find_environments(session)
    if environments is None:
        return None
    status = _read_status(session, environments)
    if _is_supervised(environments):
        return find_wait_reason(status)
    if status is not None and status.state is SupervisorState.HOST_NEEDS_REBOOT:
        return find_wait_reason(status)
    return None


def find_wait_reason(status: SupervisorStatus | None) -> SupervisorWait | None:
    """Return why a prompt must wait; None when ComfyUI is proved to work.

    Args:
        status: What a running supervisor publishes; None when it has published nothing yet, or nothing readable.
    """
    from comfywatchman.supervisor.states import CHANGING_STATES, WORKING_STATES, SupervisorState, describe_state

    if status is None:
        text = describe_state(SupervisorState.UNPROVEN)
        return SupervisorWait(SupervisorState.UNPROVEN, text.sentence, text.next_step, is_temporary=False)
    if status.state in WORKING_STATES:
        return None
    return SupervisorWait(status.state, status.sentence, status.next_step, status.state in CHANGING_STATES)


def has_supervisor(session: Session) -> bool:
    """Return whether a supervisor runs on this host.

    Raises:
        Failure: A `config-…` code.
    """
    environments = _find_environments(session)
    return environments is not None and _is_supervised(environments)


def has_workspace(session: Session) -> bool:
    """Return whether there is a workspace with an environment that `supervise run` can start.

    Raises:
        Failure: A `config-…` code.
    """
    environments = _find_environments(session)
    return environments is not None and bool(environments.names())


def has_job_ended_comfyui(session: Session, since: datetime) -> bool:
    """Return whether the supervised ComfyUI ended since a moment for a reason that counts against the running prompt.

    False as well when it ended because a client became unreachable, and when no incident was recorded.

    Raises:
        Failure: A `config-…` code.
    """
    from comfywatchman.base.clock import parse_utc
    from comfywatchman.supervisor.incidents import list_incidents

    environments = _find_environments(session)
    if environments is None:
        return False
    # The time of an incident is in whole seconds.
    begin = since.replace(microsecond=0)
    for incident in list_incidents(environments.metadata):
        if incident.blames_job and parse_utc(incident.at) >= begin:
            return True
    return False


def read_supervisor(session: Session) -> SupervisorSummary | None:
    """Return what the supervisor of the watched ComfyUI reports, for a cycle; None when none runs for it.

    Raises:
        Failure: A `config-…` code of the configuration.
    """
    from comfywatchman.readiness.host_summary import SupervisorSummary
    from comfywatchman.supervisor.states import CHANGING_STATES, WORKING_STATES

    environments = _find_environments(session)
    status = _read_status(session, environments)
    if environments is None or status is None or not _is_supervised(environments):
        return None
    if not _is_watched(session, environments, status.environment):
        return None
    return SupervisorSummary(
        state=status.state.value,
        sentence=status.sentence,
        since=status.since,
        environment=status.environment,
        proven_at=status.proven_at,
        is_working=status.state in WORKING_STATES,
        is_changing=status.state in CHANGING_STATES,
    )


def _find_environments(session: Session) -> EnvironmentSet | None:
    from comfywatchman.app.supervision import open_environments

    # Read here, so that a fault of the configuration is not taken for a host without a workspace.
    _settings = session.settings
    try:
        return open_environments(session)
    except Failure:
        # Without a workspace, or with a governed root that cannot be read, nothing is supervised.
        return None


def _read_status(session: Session, environments: EnvironmentSet | None) -> SupervisorStatus | None:
    from comfywatchman.supervisor.status import read_status

    return None if environments is None else read_status(environments.metadata, session.clock)


def _is_supervised(environments: EnvironmentSet) -> bool:
    from comfywatchman.base.lock import is_held
    from comfywatchman.supervisor.status import LOCK_NAME

    return is_held(environments.metadata / LOCK_NAME)


def _is_watched(session: Session, environments: EnvironmentSet, name: str | None) -> bool:
    """Return whether an environment runs the ComfyUI that the cycle watches."""
    watched = session.find_comfyui_folder()
    if name is None or watched is None:
        return False
    try:
        return environments.get(name).comfyui.resolve() == watched.resolve()
    except Failure:
        # It was deleted since.
        return False
