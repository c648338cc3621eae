"""Switches ComfyUI to another environment for the loop, and back if it does not become ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.stop import StopEvent
from comfywatchman.supervisor.commands.answers import Phase
from comfywatchman.supervisor.evidence import describe_status, describe_verdict
from comfywatchman.supervisor.health_policy import Remedy
from comfywatchman.supervisor.lock import acquire_switch_lock, release_switch_lock
from comfywatchman.supervisor.mailbox import (
    FINAL_SWITCH_STATES,
    CommandName,
    SwitchState,
    cleanup_switch_request,
    cleanup_switch_status,
    read_switch_status,
    write_switch_status,
)
from comfywatchman.supervisor.run import ComfyRun
from comfywatchman.supervisor.runner import ComfyRunner
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.switch import Proof, ProofOutcome, SwitchResult, SwitchTransaction

_TICK_SECONDS: Final = 0.5


class EnvironmentSwitcher:
    """Switches environments; it is the `SwitchHost` of its transactions.

    Args:
        runner: Starts ComfyUI.
        stop: Set when the supervisor is asked to end.
    """

    def __init__(self, runner: ComfyRunner, stop: StopEvent) -> None:
        self._runner = runner
        self._stop = stop
        self._is_aborted = False
        self._shown_until: float | None = None

    def switch(self, target: str) -> SwitchResult[ComfyRun]:
        """Switch to another environment, or back; ComfyUI has ended."""
        runner = self._runner
        self._try_to_write(lambda: cleanup_switch_request(runner.metadata))
        # Nothing but this loop switches here, so a lock that cannot be written is no reason to stay without ComfyUI.
        self._try_to_write(lambda: acquire_switch_lock(runner.metadata, clock=runner.clock))
        self._is_aborted = False
        runner.publish(SupervisorState.SWITCHING, None)
        transaction: SwitchTransaction[ComfyRun] = SwitchTransaction(
            self, runner.metadata, runner.clock, runner.current, target
        )
        result = transaction.run()
        runner.log.info("switch ended", extra={"state": result.state.value, "target": target, "detail": result.reason})
        if result.environment is not None:
            runner.current = result.environment
        if result.state is SwitchState.COMPLETE:
            # A governed root calls whatever is in production by one name: later restarts follow its promotions.
            runner.current = runner.environments.current() or runner.current
            self._shown_until = runner.clock.monotonic() + runner.settings.success_seconds
        else:
            # A failure stays visible until the next switch; the lock must not.
            self._try_to_write(lambda: release_switch_lock(runner.metadata, clock=runner.clock))
        return result

    def hide_finished(self) -> None:
        """Remove status and lock of a successful switch once pages had time to show it."""
        if self._shown_until is None or self._runner.clock.monotonic() < self._shown_until:
            return
        self._shown_until = None
        # The lock first: whoever sees the status go may ask for the next switch.
        self._try_to_write(lambda: release_switch_lock(self._runner.metadata, clock=self._runner.clock))
        self._try_to_write(lambda: cleanup_switch_status(self._runner.metadata))

    def finish_interrupted(self) -> bool:
        """Give the switch of a killed supervisor a final status; the environment in use is the one that was proved.

        Returns:
            Whether there was one.
        """
        runner = self._runner
        status = read_switch_status(runner.metadata)
        if status is None or status.state in FINAL_SWITCH_STATES:
            return False
        self._try_to_write(
            lambda: write_switch_status(
                runner.metadata,
                SwitchState.FAILED,
                100,
                f"The supervisor ended during the switch; {runner.current!r} is started.",
                target_env=status.target_env,
                source_env=status.source_env,
                error="The supervisor ended during the switch.",
                clock=runner.clock,
            )
        )
        self._try_to_write(lambda: cleanup_switch_request(runner.metadata))
        return True

    def _try_to_write(self, write: Callable[[], object]) -> None:
        """Do without a file that cannot be written: on a full disk ComfyUI still has to run."""
        try:
            write()
        except Failure as failure:
            self._runner.log.warning("file of the switch not written", extra={"detail": failure.message})

    def check(self, name: str) -> None:
        """Raise a Failure when there is no such environment."""
        self._runner.environments.get(name)

    def prepare(self, name: str) -> None:
        """Bring an environment up to date."""

        def is_cancelled() -> bool:
            self._runner.renew_status()
            return self.is_abort_requested() or self.is_stopping()

        self._runner.environments.prepare(name, is_cancelled=is_cancelled)

    def start(self, name: str) -> ComfyRun:
        """Start ComfyUI in an environment."""
        return self._runner.start(name)

    def stop(self, run: ComfyRun) -> bool:
        """Stop a process with its whole tree; return whether that was possible."""
        if run.stop(self._runner.settings.stop) is None:
            return False
        run.close()
        return True

    def activate(self, name: str) -> None:
        """Make an environment the current one."""
        self._runner.environments.activate(name)

    def is_abort_requested(self) -> bool:
        """Return whether somebody asked to abort the switch."""
        self._take_commands()
        return self._is_aborted

    def is_stopping(self) -> bool:
        """Return whether the supervisor was asked to end."""
        return self._stop.is_set()

    def _take_commands(self) -> None:
        """Note an abort or a shutdown; other commands are refused meanwhile."""
        command = self._runner.inbox.take(Phase.SWITCHING)
        if command is None:
            return
        if command.command is CommandName.ABORT_SWITCH:
            self._is_aborted = True
        else:
            self._stop.set()

    def prove(self, run: ComfyRun, report: Callable[[float, int], None], *, can_abort: bool) -> Proof:
        """Wait until a process is proved ready, ends, turns out to be unhealthy, or the switch is aborted."""

        def is_aborted() -> bool:
            # On the way back too, commands are answered, and a shutdown is carried out.
            return self.is_abort_requested() and can_abort

        return wait_for_health(self._runner, run, self._stop, report, is_aborted=is_aborted)


def wait_for_health(
    runner: ComfyRunner,
    run: ComfyRun,
    stop: StopEvent,
    report: Callable[[float, int], None],
    *,
    is_aborted: Callable[[], bool],
) -> Proof:
    """Wait until a new process is proved ready, or cannot become it.

    Args:
        runner: Publishes the state meanwhile.
        run: The process.
        stop: Set when the supervisor is asked to end.
        report: Takes the elapsed seconds and the number of looks.
        is_aborted: Returns whether to give up.
    """
    looks, began_at = 0, runner.clock.monotonic()
    while True:
        status = run.wait(_TICK_SECONDS, also=[stop.fileno()])
        if status is not None:
            runner.note_crash(run, status)
            return Proof(ProofOutcome.FAILED, f"ComfyUI {describe_status(status)} before it was ready.")
        if stop.is_set():
            return Proof(ProofOutcome.STOPPING, "The supervisor was asked to end.")
        if is_aborted():
            return Proof(ProofOutcome.ABORTED, "The switch was aborted.")
        verdict = run.judge()
        looks += 1
        report(runner.clock.monotonic() - began_at, looks)
        runner.publish(SupervisorState.SWITCHING, run, reason=verdict.reason.value)
        if verdict.state is SupervisorState.READY:
            return Proof(ProofOutcome.READY)
        if verdict.remedy is Remedy.RESTART:
            reason = describe_verdict(verdict, run)
            runner.end_unhealthy(run, verdict)
            return Proof(ProofOutcome.FAILED, reason)
