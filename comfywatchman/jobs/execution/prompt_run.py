"""Run one prompt on ComfyUI to its end, or until it must stop; the history of the server is the truth."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Self

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.event_reader import EventReader
from comfywatchman.comfyui.server.events import EventBuffer, EventKind, ServerEvent
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.comfyui.server.outputs import list_output_files
from comfywatchman.comfyui.server.prompt_client import CancelOutcome, PromptClient, PromptState, Submission
from comfywatchman.comfyui.server.prompt_queue import read_queue
from comfywatchman.comfyui.server.prompts import Prompt, parse_history
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, RunLimits, RunProgress, StopCause, Watch

_CONNECT_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 10.0
_TRANSFER_SECONDS: Final = 600.0
_EVENT_SECONDS: Final = 0.25
_SERVER_ERROR: Final = 500
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.01
_UNKNOWN_LOOKS: Final = 2
"""A prompt that ends between two requests may be in neither answer; the second look finds it in the history."""


class PromptRunner:
    """Runs prompts on one server, one after the other, and receives their events.

    Used as a context manager: it keeps its connections from prompt to prompt.

    Args:
        url: The address of the server.
        limits: Time limits of each run.

    Attributes:
        url: The address of the server.
        limits: Time limits of the next run.
    """

    def __init__(self, url: str, limits: RunLimits) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self._reader = EventReader(self.url)
        self._client = PromptClient(self.url, client_id=self._reader.client_id, timeout_seconds=_REQUEST_SECONDS)
        self._transfers = HttpSession(timeout_seconds=_TRANSFER_SECONDS)

    def __enter__(self) -> Self:
        self._client.__enter__()
        self._reader.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._reader.close()
        self._client.__exit__(None, None, None)
        self._transfers.__exit__(None, None, None)

    @property
    def client(self) -> PromptClient:
        """The client, for further requests to the same server."""
        return self._client

    @property
    def transfers(self) -> HttpSession:
        """The HTTP session for files, which may take longer than other requests."""
        return self._transfers

    def run(self, prompt: Prompt, *, prompt_id: str, extra_data: Mapping[str, object], watch: Watch) -> PromptRun:
        """Submit a prompt and wait for its end. Prompts of others are waited for and never touched.

        Args:
            prompt: The prompt.
            prompt_id: Its id, a UUID in lower case that was never used before.
            extra_data: Data that stays with the prompt in queue and history.
            watch: Decides whether to go on.
        """
        # Progress is sent only to a client that is registered; without it, the history is enough.
        self._reader.wait_until_connected(_CONNECT_SECONDS)
        with self._reader.subscribe() as events:
            run = _Run(self._client, self._reader, events, self.limits, watch)
            return run.run(prompt, prompt_id, extra_data)


class _Run:
    """One prompt from its submission to its end."""

    def __init__(
        self, client: PromptClient, reader: EventReader, events: EventBuffer, limits: RunLimits, watch: Watch
    ) -> None:
        self._client = client
        self._reader = reader
        self._events = events
        self._limits = limits
        self._watch = watch
        self._prompt_id = ""
        self._progress = RunProgress()
        self._began_at: float | None = None
        self._submitted_at = self._answered_at = self._moved_at = time.monotonic()
        self._next_look_at = 0.0
        self._unknown_looks = 0
        self._is_accepted = False
        self._connections = reader.connections
        self._problem = ""

    def run(self, prompt: Prompt, prompt_id: str, extra_data: Mapping[str, object]) -> PromptRun:
        """Run it."""
        self._prompt_id = prompt_id
        refused = self._submit(prompt, extra_data)
        if refused is not None:
            return refused
        # Events come first: a short prompt has ended before the first look.
        self._next_look_at = time.monotonic() + _LOOK_SECONDS
        while True:
            is_over = self._read_events()
            cause = self._watch(self._progress) or self._find_overrun()
            if cause is not None:
                return self._stop(cause)
            if is_over or time.monotonic() >= self._next_look_at:
                ended = self._look()
                if ended is not None:
                    return ended
                if is_over:
                    time.sleep(_PAUSE_SECONDS)

    def _submit(self, prompt: Prompt, extra_data: Mapping[str, object]) -> PromptRun | None:
        try:
            submission = self._client.submit(prompt, prompt_id=self._prompt_id, extra_data=extra_data)
        except Failure as failure:
            # It may have arrived all the same: the looks decide.
            self._problem = clean_line(failure.message)
            return None
        self._prompt_id = submission.prompt_id
        self._answered_at = time.monotonic()
        self._is_accepted = True
        return None if submission.refusal is None else self._refuse(submission)

    def _refuse(self, submission: Submission) -> PromptRun:
        reason = describe_node_errors(submission.node_errors) or submission.refusal or ""
        # Also a malformed prompt is answered in this way, so the retries are limited.
        end = RunEnd.SERVER_ERROR if submission.status >= _SERVER_ERROR else RunEnd.REFUSED
        return PromptRun(end, self._prompt_id, reason, node_errors=submission.node_errors)

    def _read_events(self) -> bool:
        """Update the progress from events; return whether one of them ends the prompt."""
        is_over = False
        for event in self._events.take(_EVENT_SECONDS):
            if event.prompt_id == self._prompt_id:
                self._apply(event)
                is_over = is_over or event.ends_prompt
        return is_over

    def _apply(self, event: ServerEvent) -> None:
        self._begin()
        node_id = self._progress.node_id
        value, maximum = self._progress.value, self._progress.maximum
        if event.kind is EventKind.EXECUTING:
            node_id, value, maximum = event.node_id, 0.0, 0.0
        running = [node for node in event.nodes if node.state in {"running", ""}]
        if running:
            node_id, value, maximum = running[-1].node_id, running[-1].value, running[-1].maximum
        self._progress = RunProgress(True, node_id, value, maximum, 0, event.image or self._progress.preview)

    def _begin(self) -> None:
        self._moved_at = time.monotonic()
        if self._began_at is None:
            self._began_at = self._moved_at

    def _find_overrun(self) -> StopCause | None:
        is_late = self._began_at is not None and time.monotonic() - self._began_at > self._limits.run_seconds
        return StopCause.DEADLINE if is_late else None

    def _look(self) -> PromptRun | None:
        """Ask the server where the prompt is; return how it ended, or None to go on."""
        self._next_look_at = time.monotonic() + _LOOK_SECONDS
        try:
            entry = self._client.read_entry(self._prompt_id)
            if entry is not None:
                return self._judge(entry)
            state = self._client.find_state(self._prompt_id)
            if state is PromptState.PENDING:
                self._look_ahead()
        except Failure as failure:
            self._problem = clean_line(failure.message)
            is_away = time.monotonic() - self._answered_at > self._limits.away_seconds
            return self._end(RunEnd.AWAY, self._problem, is_gone=False) if is_away else None
        self._answered_at = time.monotonic()
        if state is not PromptState.UNKNOWN:
            self._is_accepted, self._problem = True, ""
        if state is PromptState.RUNNING:
            self._begin()
            self._progress = replace(self._progress, is_running=True, prompts_ahead=0)
        return self._count_unknown(state) or self._find_stall(state)

    def _look_ahead(self) -> None:
        queue = read_queue(self._client.session, self._client.url)
        if queue.running:
            self._moved_at = time.monotonic()
        ids = [prompt.prompt_id for prompt in queue.pending]
        waiting = ids.index(self._prompt_id) if self._prompt_id in ids else 0
        self._progress = RunProgress(False, prompts_ahead=len(queue.running) + waiting)

    def _count_unknown(self, state: PromptState) -> PromptRun | None:
        self._unknown_looks = self._unknown_looks + 1 if state is PromptState.UNKNOWN else 0
        if self._unknown_looks < _UNKNOWN_LOOKS:
            return None
        if not self._is_accepted:
            # A request that is still under way may yet arrive.
            return self._end(RunEnd.AWAY, self._problem, is_gone=False)
        if self._connections and self._reader.is_connected and self._reader.connections == self._connections:
            # A restart would have ended the connection.
            return self._end(RunEnd.INTERRUPTED, "Somebody removed the prompt from ComfyUI's queue or history.")
        # A server that ends at once sends no event of the prompt; only one that waited cannot be the cause.
        has_begun = self._began_at is not None or not self._progress.prompts_ahead
        reason = "ComfyUI no longer knows the prompt: it was restarted meanwhile."
        return self._end(RunEnd.RESTARTED, reason, has_begun=has_begun)

    def _find_stall(self, state: PromptState) -> PromptRun | None:
        if state is not PromptState.PENDING or time.monotonic() - self._moved_at <= self._limits.stall_seconds:
            return None
        is_gone = self._cancel() is not CancelOutcome.IGNORED
        return self._end(RunEnd.STALLED, "ComfyUI answers, but runs no prompt.", is_gone=is_gone)

    def _judge(self, entry: Mapping[str, object]) -> PromptRun | None:
        result = parse_history(entry)
        if result is None:
            return None
        if result.outcome == "success":
            return self._end(RunEnd.SUCCESS, entry=entry)
        end = RunEnd.INTERRUPTED if result.outcome == "interrupted" else RunEnd.FAILED
        return self._end(end, result.reason, has_begun=True)

    def _stop(self, cause: StopCause) -> PromptRun:
        """Cancel the prompt; one that ended by itself meanwhile counts as ended."""
        outcome = self._cancel()
        if outcome is CancelOutcome.FINISHED and cause is not StopCause.LEASE_LOST:
            try:
                entry = self._client.read_entry(self._prompt_id)
            except Failure:
                entry = None
            ended = self._judge(entry) if entry is not None else None
            if ended is not None:
                return ended
        is_gone = outcome in {CancelOutcome.CANCELLED, CancelOutcome.FINISHED, CancelOutcome.UNKNOWN}
        return self._end(RunEnd.STOPPED, "" if is_gone else "ComfyUI did not stop it.", is_gone=is_gone, stop=cause)

    def _cancel(self) -> CancelOutcome:
        try:
            return self._client.cancel(
                self._prompt_id,
                limit_seconds=self._limits.cancel_seconds,
                pause=lambda: time.sleep(_PAUSE_SECONDS),
            )
        except Failure:
            return CancelOutcome.IGNORED

    def _end(
        self,
        end: RunEnd,
        reason: str = "",
        *,
        entry: Mapping[str, object] | None = None,
        has_begun: bool | None = None,
        is_gone: bool = True,
        stop: StopCause | None = None,
    ) -> PromptRun:
        now = time.monotonic()
        began_at = now if self._began_at is None else self._began_at
        return PromptRun(
            end=end,
            prompt_id=self._prompt_id,
            reason=reason,
            entry=entry or {},
            has_begun=self._began_at is not None if has_begun is None else has_begun,
            is_gone=is_gone,
            stop=stop,
            queue_seconds=round(began_at - self._submitted_at, 3),
            run_seconds=round(now - began_at, 3),
        )


def describe_node_errors(node_errors: Mapping[str, object]) -> str:
    """Return ComfyUI's errors of single nodes on one line: the class, the message and the details of each."""
    texts: list[str] = []
    for node_id, node in sorted(node_errors.items()):
        facts = node if isinstance(node, dict) else {}
        name = f"node {node_id} ({facts['class_type']})" if facts.get("class_type") else f"node {node_id}"
        for error in facts.get("errors") or []:
            if isinstance(error, dict):
                text = f"{error.get('message') or error.get('type', '')}: {error.get('details', '')}"
                texts.append(f"{name}: {text.strip(': ')}")
    return clean_line("; ".join(texts))


def invoke_comfyui(api_base_url: str, payload: Prompt, timeout: float) -> dict[str, Any]:
    """Run a prompt and return its result; the seed's name for one run without a job.

    Args:
        api_base_url: The address of ComfyUI.
        payload: The prompt in API format.
        timeout: Seconds that it may run.

    Returns:
        `prompt_id`, `api_base_url`, `seconds`, and `outputs`: a list of `node_id`, `output`, `filename`, `subfolder`
        and `type`.

    Raises:
        RuntimeError: ComfyUI did not answer, refused the prompt, failed, or took too long.
    """
    limits = RunLimits(run_seconds=timeout, away_seconds=min(timeout, 60.0))
    with PromptRunner(api_base_url, limits) as runner:
        run = runner.run(payload, prompt_id=str(uuid.uuid4()), extra_data={}, watch=lambda _progress: None)
    if run.end is not RunEnd.SUCCESS:
        cause = run.stop.value if run.stop else run.end.value
        raise RuntimeError(f"ComfyUI did not finish the prompt ({cause}). {run.reason}".strip())
    files = [
        {
            "node_id": file.node_id,
            "output": file.output,
            "filename": file.filename,
            "subfolder": file.subfolder,
            "type": file.type,
        }
        for file in list_output_files(run.entry)
    ]
    return {"prompt_id": run.prompt_id, "api_base_url": api_base_url, "outputs": files, "seconds": run.run_seconds}
