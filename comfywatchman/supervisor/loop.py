"""The supervisor's loop: starts ComfyUI, watches it, and carries out what its exits, its health and people ask for."""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.stop import StopEvent
from comfywatchman.supervisor.commands.answers import Phase
from comfywatchman.supervisor.commands.inbox import TICK_SECONDS
from comfywatchman.supervisor.evidence import describe_verdict
from comfywatchman.supervisor.health_policy import HealthVerdict, Remedy
from comfywatchman.supervisor.lock import release_switch_lock
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SupervisorCommand,
    cleanup_stale_temp_files,
    cleanup_switch_request,
    read_switch_request,
)
from comfywatchman.supervisor.metadata import create_metadata_folder
from comfywatchman.supervisor.process.launcher import extract_port, take_reboot_marker
from comfywatchman.supervisor.process.ports import can_connect, wait_for_free_port
from comfywatchman.supervisor.process_files import cleanup_orchestrator_pid, write_orchestrator_pid
from comfywatchman.supervisor.publisher import StatusObserver
from comfywatchman.supervisor.restart_policy import (
    ExitAction,
    ExitDecision,
    ExitEvent,
    StartHistory,
    decide_after_exit,
)
from comfywatchman.supervisor.run import ComfyRun, ProbeFactory
from comfywatchman.supervisor.runner import ComfyRunner
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME
from comfywatchman.supervisor.switch import ProofOutcome
from comfywatchman.supervisor.switching import EnvironmentSwitcher, wait_for_health
from comfywatchman.supervisor.workspace import ComfygitWorkspace, EnvironmentSet

_REQUEST_SECONDS: Final = 60.0
"""Age above which a switch request or a command that was left for an earlier supervisor is not carried out."""
_HANDOVER_SECONDS: Final = 30.0
"""How long the ComfyUI that started the supervisor may take to leave its port."""
_INTERRUPTED_STATUS: Final = 130
_FAILED_STATUS: Final = 1
"""The status that stands for a start that failed, and for a process that the supervisor had to stop."""


@dataclass(frozen=True, slots=True)
class WatchResult:
    """What ended a watch of ComfyUI.

    Attributes:
        status: ComfyUI's exit status.
        verdict: Its health, when it must be restarted.
        command: A command; without any of the three, the supervisor was asked to end.
    """

    status: int | None = None
    verdict: HealthVerdict | None = None
    command: SupervisorCommand | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """The supervisor waits without a ComfyUI until a person asks for one; the attributes are published."""

    state: SupervisorState
    detail: str = ""
    reason: str = ""


class Orchestrator:
    """Keeps one ComfyUI running.

    Args:
        workspace_root: The workspace.
        initial_env: The environment to start.
        args: Arguments of main.py, in addition to the configured ones.
        probes: Builds the probes of a process.
        environments: The environments; those of a comfygit workspace when None.
        settings: The limits.
        clock: The clocks.
        log: The program's log.
        observers: Take each published status, in the thread of the loop.

    Raises:
        Failure: `lock-held` when another supervisor runs here, `state-unwritable`.
    """

    def __init__(
        self,
        workspace_root: Path,
        initial_env: str,
        args: Sequence[str] = (),
        *,
        probes: ProbeFactory,
        environments: EnvironmentSet | None = None,
        settings: SupervisorSettings | None = None,
        clock: Clock | None = None,
        log: logging.Logger | None = None,
        observers: Sequence[StatusObserver] = (),
    ) -> None:
        self.workspace_root = workspace_root
        self.comfyui_args = tuple(args)
        limits = settings or SupervisorSettings()
        self.settings = replace(limits, port=extract_port(self.comfyui_args, limits.port))
        self._environments = environments or ComfygitWorkspace(workspace_root)
        self.metadata_dir = self._environments.metadata
        self._clock = clock or SystemClock()
        self._log = log or logging.getLogger("comfywatchman.supervisor")
        self._resources = contextlib.ExitStack()
        create_metadata_folder(self.metadata_dir)
        lock = hold_lock(self.metadata_dir / LOCK_NAME, command="supervise run", clock=self._clock)
        self._resources.enter_context(lock)
        self._stop = self._resources.enter_context(StopEvent())
        cleanup_stale_temp_files(self.metadata_dir)
        write_orchestrator_pid(self.metadata_dir, clock=self._clock)
        self._runner = ComfyRunner(
            self._environments,
            initial_env,
            self.comfyui_args,
            probes=probes,
            settings=self.settings,
            clock=self._clock,
            log=self._log,
            observers=observers,
        )
        self._switcher = EnvironmentSwitcher(self._runner, self._stop)
        self._rest: Rest | None = None

    @property
    def current_env_name(self) -> str:
        """The environment that runs, or ran last."""
        return self._runner.current

    def run_forever(self) -> int:
        """Supervise until ComfyUI ends by itself with status 0, a signal comes, or a command asks to end.

        Returns:
            The exit status of the program: 130 after SIGINT, else 0.

        Raises:
            Failure: The first start failed.
        """
        # Python allows handlers in the main thread only; elsewhere `request_stop` ends the loop.
        if threading.current_thread() is threading.main_thread():
            self._stop.set_on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        try:
            was_interrupted = self._switcher.finish_interrupted()
            self._runner.inbox.discard_old(limit_seconds=_REQUEST_SECONDS)
            run = self._runner.adopt(is_proved=not was_interrupted)
            if run is None and self._runner.watch_foreign(self._stop):
                run = self._begin()
            while run is not None or self._rest is not None:
                run = self._supervise(run) if run is not None else self._wait_for_person()
        finally:
            self._cleanup()
        return _INTERRUPTED_STATUS if self._stop.signal == signal.SIGINT else 0

    def _begin(self) -> ComfyRun | None:
        """Start the first ComfyUI, in the environment that a pending request asks for, if any.

        A ComfyUI that was started by hand writes the request, starts the supervisor, and exits two seconds later.
        """
        request = read_switch_request(self.metadata_dir)
        if request is None:
            return self._start_first()
        age_seconds = self._clock.now().timestamp() - request.timestamp
        if not 0 <= age_seconds <= _REQUEST_SECONDS:
            # It is left from an earlier run, and its page no longer waits for an answer.
            cleanup_switch_request(self.metadata_dir)
            return self._start_first()
        # A port that is still taken ends the switch, with a status that names its holder.
        wait_for_free_port(self.settings.port, self._stop, limit_seconds=_HANDOVER_SECONDS)
        if self._stop.is_set():
            return None
        return self._handle_switch_request(request.target_env)

    def _start_first(self) -> ComfyRun | None:
        self._sync_environment(self.current_env_name)
        return None if self._stop.is_set() else self._start_comfyui(self.current_env_name)

    def call_at_end(self, function: Callable[[], None]) -> None:
        """Call a function when the supervisor ends, before another one can begin."""
        self._resources.callback(function)

    def request_stop(self) -> None:
        """Ask the loop to end; from any thread."""
        self._stop.set()

    def _handle_sigterm(self, _number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        self.request_stop()

    def _handle_sigint(self, _number: int = signal.SIGINT, _frame: FrameType | None = None) -> None:
        self.request_stop()

    def _start_comfyui(self, name: str, *, without_extra: bool = False, as_proved: bool = False) -> ComfyRun:
        return self._runner.start(name, without_extra=without_extra, as_proved=as_proved)

    def _sync_environment(self, name: str) -> None:
        self._runner.synchronise(name, self._stop)

    def _wait_for_health(self, run: ComfyRun) -> bool:
        """Wait until a process is proved ready; return False when it ends, is unhealthy, or the supervisor ends."""
        proof = wait_for_health(self._runner, run, self._stop, lambda _elapsed, _looks: None, is_aborted=lambda: False)
        return proof.outcome is ProofOutcome.READY

    def _check_port_connection(self, port: int) -> bool:
        """Return whether a port accepts connections: the fallback for something that is not ComfyUI."""
        return can_connect(port)

    def _supervise(self, run: ComfyRun) -> ComfyRun | None:
        """Watch a process, act on what ends the watch, and return the process to go on with."""
        result = self._watch(run)
        if result.status is not None:
            return self._handle_exit(run, result.status)
        if result.verdict is not None:
            return self._recover(run, result.verdict)
        if result.command is not None:
            return self._handle_command(run, result.command)
        self._end_with_supervisor(run)
        return None

    def _watch(self, run: ComfyRun) -> WatchResult:
        """Watch a process until something is to be done."""
        while True:
            status = run.wait(TICK_SECONDS, also=[self._stop.fileno()])
            if status is not None:
                return WatchResult(status=status)
            if self._stop.is_set():
                return WatchResult()
            command = self._runner.inbox.take(Phase.RUNNING, current=self.current_env_name, comfyui=run)
            if command is not None:
                return WatchResult(command=command)
            verdict = run.judge()
            self._runner.note_health(run, verdict)
            if verdict.remedy is Remedy.RESTART:
                return WatchResult(verdict=verdict)
            self._switcher.hide_finished()

    def _handle_exit(self, run: ComfyRun, status: int) -> ComfyRun | None:
        """Act on an exit that the supervisor did not cause."""
        request = read_switch_request(self.metadata_dir)
        event = ExitEvent(
            status,
            switch_target=request.target_env if request is not None else None,
            reboot_marker=take_reboot_marker(self.metadata_dir),
        )
        decision = self._decide(event)
        if decision.is_crash:
            self._runner.note_crash(run, status)
        run.close()
        if decision.action is ExitAction.SWITCH and request is not None:
            return self._handle_switch_request(request.target_env)
        return self._go_on(decision)

    def _recover(self, run: ComfyRun, verdict: HealthVerdict) -> ComfyRun | None:
        """Stop an unhealthy process with its evidence, and go on as after a crash."""
        detail = describe_verdict(verdict, run)
        self._runner.publish(SupervisorState.RECOVERING, run, reason=verdict.reason.value, detail=detail)
        if self._runner.end_unhealthy(run, verdict) is None:
            return self._wait_for_reboot(run)
        run.close()
        return self._go_on(self._decide(ExitEvent(_FAILED_STATUS)))

    def _handle_command(self, run: ComfyRun, command: SupervisorCommand) -> ComfyRun | None:
        """Stop ComfyUI for a command; prompts were asked for when it was taken."""
        self._runner.publish(SupervisorState.STOPPING, run)
        if run.stop(self.settings.stop) is None:
            return self._wait_for_reboot(run)
        run.close()
        return self._begin_anew(command)

    def _begin_anew(self, command: SupervisorCommand) -> ComfyRun | None:
        """Carry out a command while no ComfyUI runs."""
        self._rest = None
        if command.command is CommandName.SHUTDOWN:
            return None
        # A person asked for this start: it begins a new budget.
        self._runner.history = StartHistory()
        if command.target_env is not None:
            return self._handle_switch_request(command.target_env)
        self._sync_environment(self.current_env_name)
        if self._stop.is_set():
            return None
        try:
            return self._start_comfyui(self.current_env_name)
        except Failure as failure:
            self._log.error("comfyui not started", extra={"code": failure.code, "detail": failure.message})
            self._rest = Rest(SupervisorState.STOPPED, failure.message, failure.code)
            return None

    def _handle_switch_request(self, target: str) -> ComfyRun | None:
        """Switch to another environment; ComfyUI has ended."""
        result = self._switcher.switch(target)
        if result.is_stopping:
            if result.run is not None:
                self._end_with_supervisor(result.run)
            return None
        if result.run is not None:
            return self._wait_for_reboot(result.run) if result.is_stuck else result.run
        self._rest = Rest(SupervisorState.GAVE_UP, result.reason)
        return None

    def _decide(self, event: ExitEvent) -> ExitDecision:
        decision = decide_after_exit(
            event,
            self._runner.history,
            self.settings.restarts,
            now_seconds=self._clock.boottime(),
            jitter=random.random(),  # noqa: S311 - spreads restarts, guards nothing
            is_stopping=self._stop.is_set(),
        )
        self._runner.history = decision.history
        return decision

    def _go_on(self, decision: ExitDecision) -> ComfyRun | None:
        """Carry out a decision; a start that fails is decided upon like a crash."""
        detail = ""
        while decision.action is ExitAction.START:
            self._runner.publish(SupervisorState.RECOVERING, None, reason=decision.kind.value)
            command = self._runner.inbox.wait(self._stop, decision.delay_seconds)
            if command is not None:
                return self._begin_anew(command)
            if decision.prepare and not self._stop.is_set():
                self._sync_environment(self.current_env_name)
            if self._stop.is_set():
                return None
            try:
                is_reduced = decision.without_extra_arguments and bool(self.settings.arguments)
                as_proved = decision.is_crash and not is_reduced
                return self._start_comfyui(self.current_env_name, without_extra=is_reduced, as_proved=as_proved)
            except Failure as failure:
                self._log.error("comfyui not started", extra={"code": failure.code, "detail": failure.message})
                self._runner.publish(SupervisorState.RECOVERING, None, reason=failure.code, detail=failure.message)
                self._runner.count_start()
                detail = failure.message
                decision = self._decide(ExitEvent(_FAILED_STATUS))
        if decision.action is ExitAction.GIVE_UP:
            self._rest = Rest(SupervisorState.GAVE_UP, detail)
        return None

    def _wait_for_person(self) -> ComfyRun | None:
        """Wait without a ComfyUI for a command, and carry it out; the end of the supervisor ends the wait."""
        while self._rest is not None:
            self._runner.publish(self._rest.state, None, reason=self._rest.reason, detail=self._rest.detail)
            command = self._runner.inbox.wait(self._stop, TICK_SECONDS)
            if command is not None:
                return self._begin_anew(command)
            if self._stop.is_set():
                self._rest = None
        return None

    def _wait_for_reboot(self, run: ComfyRun) -> ComfyRun | None:
        """Wait for the end of a process that survived SIGKILL; no second one is started on the same GPU."""
        while True:
            self._runner.publish(SupervisorState.HOST_NEEDS_REBOOT, run)
            if run.process.wait(TICK_SECONDS, also=[self._stop.fileno()]) is not None:
                # The driver let it go after all.
                run.close()
                return self._go_on(self._decide(ExitEvent(_FAILED_STATUS)))
            # Only a shutdown is carried out meanwhile.
            if self._stop.is_set() or self._runner.inbox.take(Phase.STUCK) is not None:
                run.close()
                return None

    def _end_with_supervisor(self, run: ComfyRun) -> None:
        """Stop ComfyUI because the supervisor ends; a kept one goes on."""
        if not self.settings.is_kept:
            self._runner.publish(SupervisorState.STOPPING, run)
            run.stop(self.settings.stop)
        run.close()

    def _cleanup(self) -> None:
        """Publish the end, and release what belongs to this supervisor."""
        if not self.settings.is_kept:
            self._runner.publish(SupervisorState.STOPPED, None)
        try:
            release_switch_lock(self.metadata_dir, clock=self._clock)
            cleanup_orchestrator_pid(self.metadata_dir)
        except Failure as failure:
            # Both locks are released with this process, and its identity in the files shows that it has ended.
            self._log.warning("files not deleted", extra={"detail": failure.message})
        self._resources.close()
