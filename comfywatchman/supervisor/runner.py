"""Starts and adopts ComfyUI, and keeps what the supervisor knows of it: the starts so far and the published state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.stop import StopEvent
from comfywatchman.supervisor.commands.answers import Phase
from comfywatchman.supervisor.commands.inbox import CommandInbox
from comfywatchman.supervisor.evidence import describe_verdict, record_crash, record_kill
from comfywatchman.supervisor.health_policy import HealthReason, HealthVerdict
from comfywatchman.supervisor.incidents import Incident
from comfywatchman.supervisor.process.child import ProcessRecord, StartCommand, SupervisedProcess
from comfywatchman.supervisor.process.foreign import ForeignProcess, WatchedProcess
from comfywatchman.supervisor.process.gpu_memory import GpuMemoryReader
from comfywatchman.supervisor.process.launcher import build_start
from comfywatchman.supervisor.process.ports import check_port_is_free
from comfywatchman.supervisor.process.scope import SystemdPrograms, find_usable_systemd
from comfywatchman.supervisor.process_files import read_startup_state, write_startup_state
from comfywatchman.supervisor.publisher import StatusObserver, StatusPublisher
from comfywatchman.supervisor.restart_policy import StartHistory, record_start
from comfywatchman.supervisor.run import ComfyRun, ProbeFactory
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.states import WORKING_STATES, SupervisorState
from comfywatchman.supervisor.workspace import EnvironmentSet

_TICK_SECONDS: Final = 0.5
_DUMP_SECONDS: Final = 3.0


class ComfyRunner:
    """Starts ComfyUI for the loop and for a switch.

    Args:
        environments: The environments.
        current: The environment to begin with.
        arguments: Arguments of main.py, in addition to the configured ones.
        probes: Builds the probes of a process.
        settings: The limits.
        clock: The clocks.
        log: The program's log.
        observers: Take each published status.

    Attributes:
        history: The starts so far.
        current: The environment that runs, or ran last.
        publisher: Writes the status.
        inbox: Takes commands.
    """

    def __init__(
        self,
        environments: EnvironmentSet,
        current: str,
        arguments: Sequence[str],
        *,
        probes: ProbeFactory,
        settings: SupervisorSettings,
        clock: Clock,
        log: logging.Logger,
        observers: Sequence[StatusObserver] = (),
    ) -> None:
        self.environments = environments
        self.current = current
        self.settings = settings
        self.clock = clock
        self.log = log
        self.history = StartHistory()
        self.metadata = environments.metadata
        self.publisher = StatusPublisher(
            self.metadata,
            clock,
            port=settings.port,
            policy=settings.restarts,
            proof=settings.health.kind,
            observers=observers,
        )
        self.inbox = CommandInbox(self.metadata, clock, log, self.publisher)
        self._arguments = tuple(arguments)
        self._probes = probes
        self._gpu_memory = GpuMemoryReader(clock)
        self._runs_without_extra = False
        self._command: StartCommand | None = None
        self._proved_command: StartCommand | None = None

    @cached_property
    def _systemd(self) -> SystemdPrograms | None:
        """The programs of systemd, if ComfyUI can be started in scopes."""
        return find_usable_systemd()

    def adopt(self, *, is_proved: bool = True) -> ComfyRun | None:
        """Return the ComfyUI that an earlier supervisor left running (`on_exit = "keep"`); None without one.

        Args:
            is_proved: Whether it may be of another environment than the one in use. One that a switch started and did
                not prove is stopped instead, and returned only when it cannot be killed.
        """
        process = SupervisedProcess.adopt(self.metadata, boot_id=self.clock.boot_id(), systemd=self._systemd)
        if process is None:
            return None
        self.log.info("comfyui adopted", extra={"pid": process.main_pid})
        in_use, self.current = self.current, process.record.environment
        if not is_proved and self.current != in_use and process.stop(self.settings.stop) is not None:
            process.release()
            self.current = in_use
            return None
        self.count_start()
        self._command = read_start_command(self.metadata, process.record)
        return self._watch(process)

    def watch_foreign(self, stop: StopEvent) -> bool:
        """Watch a ComfyUI that somebody else started on the port (`foreign = "adopt"`), until it ends.

        It is never stopped or restarted; commands other than `shutdown` are refused.

        Returns:
            Whether to start one of our own now; False when the supervisor was asked to end.
        """
        run = self._find_foreign()
        if run is None:
            return not stop.is_set()
        try:
            while run.wait(_TICK_SECONDS, also=[stop.fileno()]) is None:
                if stop.is_set():
                    return False
                self.note_health(run, run.judge())
                if self.inbox.take(Phase.FOREIGN) is not None:
                    # Only a shutdown is carried out here.
                    return False
        finally:
            run.close()
        return True

    def _find_foreign(self) -> ComfyRun | None:
        if not self.settings.adopts_foreign:
            return None
        process = ForeignProcess.find(
            self.settings.port,
            self.metadata,
            environment=self.current,
            boot_id=self.clock.boot_id(),
            now_seconds=self.clock.boottime(),
        )
        if process is None:
            return None
        self.log.info("foreign comfyui watched", extra={"pid": process.leader})
        return self._watch(process)

    def start(self, name: str, *, without_extra: bool = False, as_proved: bool = False) -> ComfyRun:
        """Start ComfyUI in an environment.

        Args:
            name: The environment.
            without_extra: Whether to leave out the configured arguments: one of them may be what breaks the start.
                Given ones stay, for they may name the folders and the device of this very ComfyUI.
            as_proved: Whether to start exactly what was proved to work before it crashed: interpreter, arguments,
                folder and variables. What was changed meanwhile waits for a restart that a person asks for.

        Raises:
            Failure: `supervisor-environment-unknown`, `supervisor-port-taken`, `child-failed`, `state-unwritable`.
        """
        environment = self.environments.get(name)
        check_port_is_free(self.settings.port, self.clock)
        extra = () if without_extra else self.settings.arguments
        command = self._take_proved_command(name) if as_proved else None
        if command is None:
            arguments = (*extra, *self._arguments)
            command = build_start(environment, self.metadata, port=self.settings.port, arguments=arguments)
        self.count_start()
        process = SupervisedProcess.start(
            command,
            self.metadata,
            boot_id=self.clock.boot_id(),
            now_seconds=self.clock.boottime(),
            is_kept=self.settings.is_kept,
            systemd=self._systemd,
        )
        self.current = name
        # Without any there is nothing that this start leaves out.
        self._runs_without_extra = without_extra and bool(self.settings.arguments)
        self._command, self._proved_command = command, None
        self._record_start(name, command)
        self.log.info("comfyui started", extra={"environment": name, "pid": process.leader})
        return self._watch(process)

    def _take_proved_command(self, name: str) -> StartCommand | None:
        """Return the command of the process that was proved in an environment; None without one that can be used."""
        command = self._proved_command
        if command is None or command.environment != name or command.port != self.settings.port:
            return None
        return command if Path(command.argv[0]).is_file() and command.folder.is_dir() else None

    def _record_start(self, name: str, command: StartCommand) -> None:
        try:
            write_startup_state(
                self.metadata,
                python_executable=command.argv[0],
                working_directory=str(command.folder),
                argv=command.argv[2:],
                environment_name=name,
                workspace_root=str(self.environments.root),
                port=command.port,
                variables=command.variables,
                clock=self.clock,
            )
        except Failure as failure:
            # ComfyUI runs: that it cannot be written down is no reason to end it.
            self.log.warning("start not recorded", extra={"detail": failure.message})

    def count_start(self) -> None:
        """Count a start against the budget."""
        self.history = record_start(self.history, now_seconds=self.clock.boottime())

    def synchronise(self, name: str, stop: StopEvent) -> None:
        """Bring an environment up to date; a failure is logged, and ComfyUI starts with what is there."""

        def is_cancelled() -> bool:
            self.renew_status()
            return stop.is_set()

        try:
            self.environments.prepare(name, is_cancelled=is_cancelled)
        except Failure as failure:
            self.log.warning("environment not synchronised", extra={"environment": name, "detail": failure.message})

    def note_health(self, run: ComfyRun, verdict: HealthVerdict) -> None:
        """Publish a state, and remember since when ComfyUI has been ready."""
        if verdict.state in WORKING_STATES and self.history.ready_since is None:
            self.history = replace(self.history, ready_since=self.clock.boottime())
        if verdict.state in WORKING_STATES and not self._runs_without_extra:
            self._proved_command = self._command
        if verdict.state is SupervisorState.STALLED:
            self.history = replace(self.history, ready_since=None)
        self.publish(verdict.state, run, reason=verdict.reason.value, detail=_describe_stall(run, verdict))

    def note_crash(self, run: ComfyRun, status: int) -> None:
        """Record that ComfyUI ended by itself."""
        limit = self.settings.max_incidents
        self._note_incident(lambda: record_crash(self.metadata, run, status, self.clock, max_incidents=limit))

    def note_kill(self, run: ComfyRun, verdict: HealthVerdict, status: int | None) -> None:
        """Record that an unhealthy ComfyUI was ended, or could not be."""
        limit = self.settings.max_incidents
        self._note_incident(
            lambda: record_kill(self.metadata, run, verdict, self.clock, max_incidents=limit, status=status)
        )

    def end_unhealthy(self, run: ComfyRun, verdict: HealthVerdict) -> int | None:
        """Stop an unhealthy process and record the evidence; return its status, None when it cannot be killed."""
        status = run.stop(replace(self.settings.stop, dump=_DUMP_SECONDS))
        self.note_kill(run, verdict, status)
        return status

    def _note_incident(self, record: Callable[[], Incident]) -> None:
        try:
            incident = record()
        except Failure as failure:
            # On a full disk the evidence is lost, but ComfyUI is still started again.
            self.log.warning("incident not recorded", extra={"detail": failure.message})
            return
        self.publisher.last_incident = incident.name
        self.log.error("comfyui ended", extra={"incident": incident.name, "detail": incident.sentence})

    def renew_status(self) -> None:
        """Publish the last state again when it would soon no longer be believed."""
        try:
            self.publisher.renew()
        except Failure as failure:
            self.log.warning("status not written", extra={"detail": failure.message})

    def publish(self, state: SupervisorState, run: ComfyRun | None, *, reason: str = "", detail: str = "") -> None:
        """Publish a state; on a full disk ComfyUI goes on, and readers see that the status is no longer renewed."""
        try:
            self.publisher.publish(
                state,
                reason=reason,
                detail=detail,
                environment=self.current,
                run=run,
                history=self.history,
                without_extra_arguments=self._runs_without_extra,
            )
        except Failure as failure:
            self.log.warning("status not written", extra={"detail": failure.message})

    def _watch(self, process: WatchedProcess) -> ComfyRun:
        return ComfyRun(
            process, self._probes, self.settings, self.clock, self.log, read_gpu_memory=self._gpu_memory.read
        )


def read_start_command(metadata: Path, record: ProcessRecord) -> StartCommand | None:
    """Return the command that started a process; None when its variables are not known."""
    state = read_startup_state(metadata)
    if (
        state is None
        or state.variables is None
        or (state.python_executable, *state.argv)
        != (
            record.argv[0],
            *record.argv[2:],
        )
    ):
        return None
    return StartCommand(record.environment, record.argv, Path(record.folder), state.variables, record.port)


def _describe_stall(run: ComfyRun, verdict: HealthVerdict) -> str:
    if verdict.reason is HealthReason.CLIENT_DOES_NOT_READ:
        client = run.signals.canary.unread_client
        return f"The client at {client} stopped reading, which holds back all events: close it."
    return describe_verdict(verdict, run) if verdict.state is SupervisorState.STALLED else ""
