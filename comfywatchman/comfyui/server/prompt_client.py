"""Submit prompts to a running ComfyUI, wait for their end, and cancel them.

The routes that a server offers are found by trying, not by its version: `/api/jobs/{id}` since 0.3.76,
`/api/jobs/{id}/cancel` since 0.26. The list `GET /api/jobs` is never read: one malformed prompt of any client
makes it fail for all.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_mapping, as_text
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.comfyui.server.prompt_queue import read_queue
from comfywatchman.comfyui.server.prompts import (
    Prompt,
    PromptResult,
    clean_extra_data,
    find_refusal,
    parse_history,
    parse_json_object,
)

if TYPE_CHECKING:
    from types import TracebackType

_OK: Final = 200
_MISSING_ROUTE: Final = frozenset({404, 405})
"""How ComfyUI answers to a route that it does not have; its static files match every path, but only for GET."""

_LOOK_SECONDS: Final = 2.0
"""How often a waiting client checks that the server still knows the prompt."""

_REPEAT_SECONDS: Final = 1.0
"""An interrupt that comes just before a prompt begins has no effect (`execute_async` resets it), so it is repeated."""


_PARTIAL_SECONDS: Final = 10.0
"""How long to wait for the end of a prompt that was accepted in part only."""

_PAUSE_SECONDS: Final = 0.05


class PromptState(Enum):
    """Where a prompt is."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


class CancelOutcome(Enum):
    """The result of cancelling a prompt, by what the server shows afterwards.

    Attributes:
        CANCELLED: It left the queue, or was interrupted.
        FINISHED: It had ended by itself.
        IGNORED: It still runs: the server does not react.
        UNKNOWN: The server did not know it.
    """

    CANCELLED = "cancelled"
    FINISHED = "finished"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submitted prompt.

    Attributes:
        prompt_id: The id that the server uses; usually the requested one.
        refusal: Why it was refused, as a whole or in part, on one line; None when it was accepted.
        error_type: ComfyUI's name for the reason, such as `prompt_outputs_failed_validation`; None without one.
        node_errors: ComfyUI's errors by node id.
        status: The HTTP status. From 500 on, the server failed: a refusal of that kind says little about the prompt.
    """

    prompt_id: str
    refusal: str | None = None
    error_type: str | None = None
    node_errors: Mapping[str, object] = field(default_factory=dict, repr=False)
    status: int = 200


class PromptClient:
    """Sends prompts to one server.

    Args:
        url: The address of the server.
        client_id: The id of the event reader that is to receive the events of the prompts; None for none.
        timeout_seconds: Time limit of one request.
    """

    def __init__(self, url: str, *, client_id: str | None = None, timeout_seconds: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._client_id = client_id
        # One attempt: a prompt that is sent twice runs twice.
        self._session = HttpSession(timeout_seconds=timeout_seconds)
        self._has_job_route = True
        self._has_cancel_route = True

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    @property
    def session(self) -> HttpSession:
        """The HTTP session, for further requests to the same server."""
        return self._session

    def submit(
        self,
        prompt: Prompt,
        *,
        prompt_id: str | None = None,
        extra_data: Mapping[str, object] | None = None,
        front: bool = False,
    ) -> Submission:
        """Submit a prompt. One that is accepted in part only is cancelled and counts as refused.

        When the answer is lost, the queue decides whether the prompt was accepted. If that fails too, the prompt may
        still enter the queue later: look for its id with `find_state` before submitting it again.

        Args:
            prompt: The prompt.
            prompt_id: The id to give it, a UUID in lower case; a new one when None.
            extra_data: Data that stays with the prompt in queue and history.
            front: Whether it goes before all prompts that wait.

        Raises:
            Failure: `http-unreachable` or `http-body`: it is not known whether the prompt was accepted.
        """
        requested_id = prompt_id or str(uuid.uuid4())
        body: dict[str, object] = {"prompt": prompt, "prompt_id": requested_id}
        if self._client_id is not None:
            body["client_id"] = self._client_id
        if extra_data:
            body["extra_data"] = clean_extra_data(extra_data)
        if front:
            body["front"] = True
        try:
            response = self._session.post_json(f"{self.url}/prompt", body)
        except Failure:
            if self.find_state(requested_id) is PromptState.UNKNOWN:
                raise
            return Submission(requested_id)
        answer = parse_json_object(response.body)
        # Old servers give every prompt an id of their own.
        accepted_id = as_text(answer.get("prompt_id")) or requested_id
        refusal = find_refusal(response.status, answer)
        if refusal is not None and response.status == _OK:
            # It may run already.
            self.cancel(accepted_id, limit_seconds=_PARTIAL_SECONDS, pause=lambda: time.sleep(_PAUSE_SECONDS))
        return Submission(
            prompt_id=accepted_id,
            refusal=refusal,
            error_type=as_text(as_mapping(answer.get("error")).get("type")),
            node_errors=as_mapping(answer.get("node_errors")),
            status=response.status,
        )

    def find_state(self, prompt_id: str) -> PromptState:
        """Return where a prompt is; `UNKNOWN` when it is neither in the queue nor in the history.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        if self._has_job_route:
            state = self._read_job_state(prompt_id)
            if state is not None:
                return state
        # The queue first: a prompt that ends between the two requests is then found in the history.
        queue = read_queue(self._session, self.url)
        if queue.is_running(prompt_id):
            return PromptState.RUNNING
        if queue.is_pending(prompt_id):
            return PromptState.PENDING
        return PromptState.UNKNOWN if self.read_entry(prompt_id) is None else PromptState.ENDED

    def read_entry(self, prompt_id: str) -> Mapping[str, object] | None:
        """Return the history entry of a prompt; None while it has none.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        history = as_mapping(self._session.get_json(f"{self.url}/history/{prompt_id}"))
        entry = history.get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def find_result(self, prompt_id: str) -> PromptResult | None:
        """Return how a prompt ended; None while it has not.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        return parse_history(self.read_entry(prompt_id))

    def wait(
        self,
        prompt_id: str,
        *,
        limit_seconds: float,
        is_running: Callable[[], bool],
        keep_waiting: Callable[[], bool] | None = None,
        look_seconds: float = _LOOK_SECONDS,
    ) -> PromptResult:
        """Wait for the end of a prompt; it is not cancelled at the time limit.

        Requests that fail are repeated: a busy server may be late with an answer.

        Args:
            prompt_id: The id that the server uses.
            limit_seconds: How long to wait.
            is_running: Returns whether the process of the server still runs, after a short wait: it paces the polling.
            keep_waiting: Returns whether to go on; it may send requests. Without it, the server must know the prompt.
            look_seconds: How often that is looked at.
        """
        deadline = time.monotonic() + limit_seconds
        next_look_at = time.monotonic() + look_seconds
        problem = ""
        while time.monotonic() < deadline:
            if not is_running():
                return PromptResult("lost", problem)
            try:
                result = self.find_result(prompt_id)
                if result is None and time.monotonic() >= next_look_at:
                    next_look_at = time.monotonic() + look_seconds
                    if keep_waiting is not None:
                        result = None if keep_waiting() else PromptResult("abandoned")
                    elif self.find_state(prompt_id) is PromptState.UNKNOWN:
                        result = PromptResult("lost", "The server no longer knows the prompt.")
                problem = ""
            except Failure as failure:
                result, problem = None, clean_line(failure.message)
            if result is not None:
                return result
        return PromptResult("timeout", problem)

    def cancel(self, prompt_id: str, *, limit_seconds: float, pause: Callable[[], object]) -> CancelOutcome:
        """Cancel a prompt and verify it. Other prompts are never touched.

        Args:
            prompt_id: The prompt, which must be one of ours.
            limit_seconds: How long it may go on running: a node is interrupted at its next step of progress only.
            pause: Waits shortly; paces the polling.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`: the server did not answer until the limit.
        """
        deadline = time.monotonic() + limit_seconds
        requested: PromptState | None = None
        repeat_at = 0.0
        while True:
            is_over = time.monotonic() >= deadline
            try:
                state = self.find_state(prompt_id)
                if state is PromptState.ENDED:
                    return self._judge_end(prompt_id)
                if state is PromptState.UNKNOWN:
                    return CancelOutcome.UNKNOWN if requested is None else CancelOutcome.CANCELLED
                if is_over and requested is not None:
                    return CancelOutcome.IGNORED
                if state is not requested or time.monotonic() >= repeat_at:
                    self._request_cancel(prompt_id, state)
                    requested, repeat_at = state, time.monotonic() + _REPEAT_SECONDS
            except Failure:
                if is_over:
                    raise
            pause()

    def interrupt(self, prompt_id: str) -> None:
        """Ask the server to interrupt a prompt if it runs; `cancel` does it when needed, and verifies it.

        Versions before 0.3.57 ignore the id and interrupt whatever runs.

        Raises:
            Failure: `http-unreachable` or `http-body`.
        """
        self._session.post_json(f"{self.url}/interrupt", {"prompt_id": prompt_id})

    def delete_entry(self, prompt_id: str) -> None:
        """Delete the history entry of a prompt.

        Raises:
            Failure: `http-unreachable` or `http-body`.
        """
        self._session.post_json(f"{self.url}/history", {"delete": [prompt_id]})

    def _read_job_state(self, prompt_id: str) -> PromptState | None:
        """Return where a prompt is by `/api/jobs/{id}`; None when the server has no such route, or it fails."""
        response = self._session.get(f"{self.url}/api/jobs/{prompt_id}")
        answer = parse_json_object(response.body)
        if response.status in _MISSING_ROUTE:
            # A server with the route explains in JSON that it does not know the job.
            self._has_job_route = "error" in answer
            return PromptState.UNKNOWN if self._has_job_route else None
        status = as_text(answer.get("status"))
        if response.status != _OK or status is None:
            return None
        states = {"pending": PromptState.PENDING, "in_progress": PromptState.RUNNING}
        return states.get(status, PromptState.ENDED)

    def _request_cancel(self, prompt_id: str, state: PromptState) -> None:
        if self._has_cancel_route:
            # Atomic: it cannot hit a prompt that begins meanwhile.
            response = self._session.post_json(f"{self.url}/api/jobs/{prompt_id}/cancel", {})
            if "cancelled" in parse_json_object(response.body):
                return
            self._has_cancel_route = response.status not in _MISSING_ROUTE
        if state is PromptState.PENDING:
            self._session.post_json(f"{self.url}/queue", {"delete": [prompt_id]})
        else:
            self.interrupt(prompt_id)

    def _judge_end(self, prompt_id: str) -> CancelOutcome:
        result = self.find_result(prompt_id)
        if result is not None and result.outcome == "interrupted":
            return CancelOutcome.CANCELLED
        return CancelOutcome.FINISHED
