"""The server page: what the supervisor knows of ComfyUI, its memory, its incidents and its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from comfywatchman.app.pages.chart import LineChart, build_chart
from comfywatchman.app.pages.forms import read_field
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.session import Session
from comfywatchman.app.supervision import open_environments
from comfywatchman.app.supervisor_orders import give_order, is_supervisor_running
from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.incidents import Incident, list_incidents, read_incident_log, read_last_lines
from comfywatchman.supervisor.mailbox import (
    FINAL_SWITCH_STATES,
    CommandName,
    PromptPolicy,
    SwitchState,
    SwitchStatus,
    read_switch_status,
)
from comfywatchman.supervisor.memory_file import read_memory
from comfywatchman.supervisor.process.child import LOG_NAME
from comfywatchman.supervisor.status import SupervisorStatus, read_status

if TYPE_CHECKING:
    from comfywatchman.supervisor.workspace import EnvironmentSet

LOG_LINES: Final = 200
_SEARCHED_LINES: Final = 20_000
_SHOWN_INCIDENTS: Final = 20


@dataclass(frozen=True, slots=True)
class ServerView:
    """The server page.

    Attributes:
        problem: Why nothing can be supervised; empty when something can.
        hint: What to do about that.
        is_running: Whether a supervisor runs.
        status: What it published last; None when none ever ran.
        switch: A switch that is under way; None without one.
        environments: The environments that ComfyUI can be switched to.
        memory: Memory of ComfyUI's processes; None when it is not known.
        gpu_memory: Used memory of all GPUs.
        incidents: The last incidents, the newest first.
        incident_count: Number of incidents on record.
        lines: The last lines of ComfyUI's log that match.
        text: The words that the log is searched for.
        commands: The commands behind the buttons, by name.
    """

    problem: str
    hint: str
    is_running: bool
    status: SupervisorStatus | None
    switch: SwitchStatus | None
    environments: tuple[str, ...]
    memory: LineChart | None
    gpu_memory: LineChart | None
    incidents: tuple[Incident, ...]
    incident_count: int
    lines: tuple[str, ...]
    text: str
    commands: dict[str, str]


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One incident: its facts, its memory before the end, its log, and the command that shows it."""

    incident: Incident
    memory: LineChart | None
    gpu_memory: LineChart | None
    lines: tuple[str, ...]
    command: str


def view_server(request: PageRequest) -> ServerView:
    """Return the server page.

    Raises:
        Failure: A `config-…` code of the configuration.
    """
    session = request.host.session
    # Read here, so that a fault of the configuration is not taken for a host without a workspace.
    _settings = session.settings
    text = request.query.get("log", "")
    commands = _build_commands(session)
    try:
        environments = open_environments(session)
        names = environments.names()
    except Failure as failure:
        return ServerView(
            failure.message, failure.hint or "", False, None, None, (), None, None, (), 0, (), text, commands
        )
    metadata = environments.metadata
    status = read_status(metadata, session.clock)
    switch = read_switch_status(metadata)
    if switch is not None and (switch.state in FINAL_SWITCH_STATES or switch.state is SwitchState.IDLE):
        switch = None
    incidents = list_incidents(metadata)
    memory = read_memory(metadata)
    return ServerView(
        problem="",
        hint="",
        is_running=is_supervisor_running(metadata),
        status=status,
        switch=switch,
        environments=names,
        memory=build_chart([(sample.at, sample.resident_bytes) for sample in memory]),
        gpu_memory=build_chart([(sample.at, sample.gpu_used_bytes) for sample in memory if sample.gpu_used_bytes]),
        incidents=incidents[::-1][:_SHOWN_INCIDENTS],
        incident_count=len(incidents),
        lines=_read_log(environments, text),
        text=text,
        commands=commands,
    )


def view_incident(request: PageRequest) -> IncidentView:
    """Return the page of one incident.

    Raises:
        Failure: `supervisor-incident-unknown`, `supervisor-no-workspace`, or a `config-…` code.
    """
    session, name = request.host.session, request.path["name"]
    metadata = open_environments(session).metadata
    for incident in list_incidents(metadata):
        if incident.name == name:
            memory = incident.memory
            return IncidentView(
                incident=incident,
                memory=build_chart([(sample.at, sample.resident_bytes) for sample in memory]),
                gpu_memory=build_chart([(s.at, s.gpu_used_bytes) for s in memory if s.gpu_used_bytes]),
                lines=tuple(read_incident_log(metadata, name).splitlines()),
                command=session.format_command("supervise", "incidents", name),
            )
    raise Failure("supervisor-incident-unknown", "There is no such incident.", hint="It was deleted since.")


def restart_server(request: ActionRequest) -> ActionResult:
    """Order a restart.

    Raises:
        Failure: As `give_order`; `web-form-invalid`.
    """
    _order(request, CommandName.RESTART)
    return ActionResult("The supervisor was asked to restart ComfyUI.", "server")


def stop_server(request: ActionRequest) -> ActionResult:
    """Order the end of ComfyUI and its supervisor.

    Raises:
        Failure: As `give_order`; `web-form-invalid`.
    """
    _order(request, CommandName.SHUTDOWN)
    return ActionResult("The supervisor was asked to stop.", "server")


def switch_server(request: ActionRequest) -> ActionResult:
    """Order a switch to another environment.

    Raises:
        Failure: As `give_order`; `web-form-invalid`.
    """
    target = read_field(request, "environment")
    _order(request, CommandName.SWITCH, target=target)
    return ActionResult(f"The supervisor was asked to switch to {target}.", "server")


def _order(request: ActionRequest, command: CommandName, *, target: str | None = None) -> None:
    session = request.host.session
    prompts = _POLICIES.get(request.form.get("prompts", "refuse"))
    if prompts is None:
        raise Failure("web-form-invalid", "The field prompts must be refuse, wait or end.", hint="Load the page again.")
    give_order(open_environments(session), session.clock, command, prompts=prompts, target=target)


_POLICIES: Final = {"refuse": PromptPolicy.REFUSE, "wait": PromptPolicy.WAIT, "end": PromptPolicy.END}


def _read_log(environments: EnvironmentSet, text: str) -> tuple[str, ...]:
    log = environments.metadata / LOG_NAME
    content = read_last_lines(log, count=_SEARCHED_LINES if text else LOG_LINES)
    lines = [line.decode("utf-8", "replace") for line in content.splitlines()]
    if text:
        lines = [line for line in lines if text.lower() in line.lower()]
    return tuple(lines[-LOG_LINES:])


def _build_commands(session: Session) -> dict[str, str]:
    return {
        "run": session.format_command("supervise", "run"),
        "restart": session.format_command("supervise", "restart", "--wait-queue"),
        "restart_now": session.format_command("supervise", "restart", "--now"),
        "stop": session.format_command("supervise", "stop", "--wait-queue"),
        "stop_now": session.format_command("supervise", "stop", "--now"),
        "switch": session.format_command("supervise", "switch", "ENVIRONMENT", "--wait-queue"),
        "logs": session.format_command("supervise", "logs", "-n", str(LOG_LINES)),
    }
