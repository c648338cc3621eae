"""What the end of a prompt means for its job: done, retried, or not the fault of the job. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, StopCause
from comfywatchman.jobs.records import AttemptOutcome

NODE_FAILED: Final = "jobs-node-failed"
REFUSED: Final = "jobs-refused"
SERVER_ERROR: Final = "jobs-comfyui-error"
INTERRUPTED: Final = "jobs-prompt-interrupted"
RESTARTED: Final = "jobs-comfyui-restarted"
AWAY: Final = "jobs-comfyui-away"
STALLED: Final = "jobs-comfyui-stalled"
DEADLINE: Final = "jobs-deadline"
CANCELLED: Final = "jobs-cancelled"
LEASE_LOST: Final = "jobs-lease-lost"
AGENT_STOPPED: Final = "jobs-agent-stopped"
NO_OUTPUT: Final = "jobs-no-output"
BROKEN: Final = "jobs-agent-broken"

_PERMANENT: Final = frozenset(
    {
        REFUSED,
        NO_OUTPUT,
        "jobs-output-refused",
        "jobs-file-invalid",
        "jobs-template-invalid",
        "file-unreadable",
        "file-not-regular",
        "file-too-large",
    }
)
"""Another run would end in the same way."""

_HARMLESS: Final = frozenset({INTERRUPTED, AWAY, STALLED, LEASE_LOST, AGENT_STOPPED})
"""The job is not the cause, so none of its retries is used up."""

_OUTSIDE: Final = frozenset({"http-unreachable", "http-body"})


def judge_run(run: PromptRun, metadata: Mapping[str, Any], *, was_restart_ordered: bool = False) -> AttemptOutcome:
    """Return the outcome of an attempt whose prompt did not succeed.

    Args:
        run: The end of the prompt.
        metadata: What is known of the attempt.
        was_restart_ordered: Whether a person or a switch of environments restarted ComfyUI meanwhile.
    """
    if run.end is RunEnd.RESTARTED:
        # A prompt that had not begun cannot have ended the server.
        is_suspect = run.has_begun and not was_restart_ordered
        text = "ComfyUI was restarted while the job ran." if run.has_begun else "ComfyUI was restarted."
        return AttemptOutcome(
            success=False,
            error_code=RESTARTED,
            error_text=text,
            killed_comfyui=is_suspect,
            metadata=metadata,
            counts_against_job=False,
        )
    code, text = _explain(run)
    return AttemptOutcome(
        success=False,
        error_code=code,
        error_text=text,
        retryable=code not in _PERMANENT,
        metadata=metadata,
        counts_against_job=code not in _HARMLESS,
        was_cancelled=code == CANCELLED,
    )


def judge_failure(failure: Failure, metadata: Mapping[str, Any]) -> AttemptOutcome:
    """Return the outcome of an attempt that failed outside of ComfyUI's nodes."""
    is_outside = failure.code in _OUTSIDE or failure.code.startswith("jobs-database-")
    return AttemptOutcome(
        success=False,
        error_code=failure.code,
        error_text=str(failure),
        retryable=failure.code not in _PERMANENT,
        metadata=metadata,
        counts_against_job=not is_outside,
    )


def judge_missing_output(metadata: Mapping[str, Any]) -> AttemptOutcome:
    """Return the outcome of an attempt that ComfyUI reported as a success, twice, without any file."""
    return AttemptOutcome(
        success=False,
        error_code=NO_OUTPUT,
        error_text="ComfyUI reported success, but made no file. The workflow needs a node that saves its result.",
        retryable=False,
        metadata=metadata,
    )


def judge_defect(error: Exception) -> AttemptOutcome:
    """Return the outcome of an attempt that ended in a defect of this program; its log has the traceback."""
    text = f"comfywatchman failed unexpectedly ({type(error).__name__}); log/structured.log says where."
    return AttemptOutcome(success=False, error_code=BROKEN, error_text=text)


def judge_lost_lease() -> AttemptOutcome:
    """Return the outcome of an attempt whose job was given to another worker."""
    text = "The lease was lost, so nothing was published."
    return AttemptOutcome(success=False, error_code=LEASE_LOST, error_text=text, counts_against_job=False)


def _explain(run: PromptRun) -> tuple[str, str]:
    if run.end is RunEnd.STOPPED:
        return _explain_stop(run)
    explanations = {
        RunEnd.FAILED: (NODE_FAILED, run.reason or "A node failed; ComfyUI did not say why."),
        RunEnd.REFUSED: (REFUSED, f"ComfyUI refused the workflow: {run.reason}"),
        RunEnd.SERVER_ERROR: (SERVER_ERROR, f"ComfyUI failed to take the workflow: {run.reason}."),
        RunEnd.INTERRUPTED: (INTERRUPTED, run.reason or "Somebody interrupted the job in ComfyUI."),
        RunEnd.AWAY: (AWAY, f"ComfyUI did not answer any more: {run.reason}"),
        RunEnd.STALLED: (STALLED, run.reason),
    }
    return explanations[run.end]


def _explain_stop(run: PromptRun) -> tuple[str, str]:
    explanations = {
        StopCause.CANCELLED: (CANCELLED, "Cancelled by a person."),
        StopCause.DEADLINE: (DEADLINE, f"The job was stopped at its time limit, after {run.run_seconds:.0f} s."),
        StopCause.LEASE_LOST: (LEASE_LOST, "The database could not be reached in time, so the job was stopped."),
        StopCause.SHUTDOWN: (AGENT_STOPPED, "The agent was stopped."),
    }
    code, text = explanations[run.stop or StopCause.SHUTDOWN]
    return code, f"{text} {run.reason}".strip()
