"""What is called when a job has ended: a webhook or a program. Neither can harm the job or the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.process import run_with_timeout
from comfywatchman.jobs.execution.logger import get_logger
from comfywatchman.jobs.records import AttemptOutcome, Job, JobStatus
from comfywatchman.jobs.settings import JobSettings

_WEBHOOK_SECONDS: Final = 10.0
_WEBHOOK_ATTEMPTS: Final = 3
_COMMAND_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 90.0
_MAX_WAITING: Final = 1000
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class _Call:
    """A job that ended, and what to call."""

    webhook: str
    command: tuple[str, ...]
    facts: Mapping[str, Any]


class JobHooks:
    """Calls webhooks and programs in a thread of its own, in the order in which jobs end.

    Args:
        cfg: The limits and places of the job agent.
    """

    def __init__(self, cfg: JobSettings) -> None:
        self._cfg = cfg
        self._calls: queue.Queue[_Call | None] = queue.Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._log = get_logger("hooks")

    def call(self, job: Job, status: JobStatus, outcome: AttemptOutcome) -> None:
        """Queue the calls for a job; nothing is waited for."""
        webhook = job.spec.webhook or self._cfg.webhook
        command = job.spec.command or self._cfg.command
        if not webhook and not command:
            return
        try:
            self._calls.put_nowait(_Call(webhook, tuple(command), build_facts(job, status, outcome)))
        except queue.Full:
            self._log.warning("hook dropped", extra={"job": job.config_name})
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jobs-hooks", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for the calls that are under way or queued."""
        if self._thread is None:
            return
        try:
            self._calls.put(None, timeout=_CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            for action in (self._post, self._start):
                try:
                    action(call)
                except Failure as failure:
                    # Whatever a hook does, the next job's hook is called.
                    facts = {"job": call.facts["job"], "code": failure.code, "error": failure.message}
                    self._log.warning("hook failed", extra=facts)

    def _post(self, call: _Call) -> None:
        if not call.webhook:
            return
        with HttpSession(timeout_seconds=_WEBHOOK_SECONDS, attempts=_WEBHOOK_ATTEMPTS) as session:
            response = session.post_json(call.webhook, call.facts)
        if response.status not in _OK:
            facts = {"job": call.facts["job"], "status": response.status}
            self._log.warning("webhook refused", extra=facts)

    def _start(self, call: _Call) -> None:
        if not call.command:
            return
        result = run_with_timeout(
            call.command, timeout_seconds=_COMMAND_SECONDS, extra_environment=build_variables(call.facts)
        )
        if result.status:
            facts = {"job": call.facts["job"], "exit_status": result.status}
            self._log.warning("command failed", extra=facts)


def build_facts(job: Job, status: JobStatus, outcome: AttemptOutcome) -> dict[str, Any]:
    """Return what a webhook receives as JSON."""
    files: Sequence[Mapping[str, Any]] = outcome.metadata.get("files") or ()
    return {
        "event": "job-ended",
        "job": job.config_name,
        "status": status.value,
        "workflow_id": job.workflow_id,
        "attempt": job.attempt,
        "host": job.host,
        "error_code": outcome.error_code,
        "error": outcome.error_text,
        "folder": outcome.metadata.get("folder"),
        "files": [file["name"] for file in files],
    }


def build_variables(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that a program receives."""
    names = {"job": "JOB", "status": "STATUS", "folder": "FOLDER", "error_code": "ERROR_CODE"}
    return {f"COMFYWATCHMAN_{variable}": str(facts[name] or "") for name, variable in names.items()}
