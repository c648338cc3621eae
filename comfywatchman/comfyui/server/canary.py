"""Minimal prompts that prove that a running ComfyUI computes, and that its events arrive."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.event_reader import EventReader
from comfywatchman.comfyui.server.events import EventBuffer, EventKind, ServerEvent
from comfywatchman.comfyui.server.log_text import clean_line
from comfywatchman.comfyui.server.probes import read_queue_length, read_system_stats
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.comfyui.server.prompt_queue import read_queue
from comfywatchman.comfyui.server.prompts import Prompt, PromptResult

_IMAGE_PROMPT: Final[Prompt] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
"""Creates a tensor and writes an image into the temporary folder: torch, numpy and Pillow must work together."""

_IMAGE_CLASSES: Final = frozenset({"EmptyImage", "PreviewImage"})
_COLOURS: Final = 1 << 24
_REQUEST_SECONDS: Final = 60.0
_PROBE_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 5.0
_CLEANUP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_QUEUE_SECONDS: Final = 1.0
"""How often a canary that waits looks for prompts of others."""


def choose_canary(classes: Collection[str], unique_text: str) -> Prompt | None:
    """Return a prompt that needs no file and no model; None when the server has no class for one.

    Args:
        classes: The server's node classes.
        unique_text: A text that no earlier prompt had, so that the server's cache cannot answer.
    """
    if frozenset(classes) >= _IMAGE_CLASSES:
        return _IMAGE_PROMPT
    if "PreviewAny" in classes:
        return _build_text_prompt(unique_text)
    return None


def run_canary(
    url: str, classes: Collection[str], *, limit_seconds: float, is_running: Callable[[], bool]
) -> PromptResult | None:
    """Run a minimal prompt on a server of our own; return None when the server has no class for one.

    One that does not end in time is interrupted.

    Args:
        url: The address of the server.
        classes: The server's node classes.
        limit_seconds: The time that the prompt may take.
        is_running: Returns whether the process of the server still runs, after a short wait.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    prompt_id = str(uuid.uuid4())
    prompt = choose_canary(classes, prompt_id)
    if prompt is None:
        return None
    with PromptClient(url, timeout_seconds=_REQUEST_SECONDS) as client:
        submission = client.submit(prompt, prompt_id=prompt_id)
        if submission.refusal is not None:
            return PromptResult("refused", submission.refusal)
        result = client.wait(submission.prompt_id, limit_seconds=limit_seconds, is_running=is_running)
        if result.outcome == "timeout":
            client.interrupt(submission.prompt_id)
        return result


class CanaryStatus(Enum):
    """The result of a canary.

    Attributes:
        RAN: It ran to its end, and its events arrived.
        EVENTS_MISSING: It ran to its end, but its events did not arrive.
        BUSY: Prompts of others run or wait; nothing was proved.
        REFUSED: The server did not accept it.
        FAILED: A node of it failed.
        TIMEOUT: The server answers and does not compute.
        LOST: The server ended, or does not answer.
    """

    RAN = "ran"
    EVENTS_MISSING = "events_missing"
    BUSY = "busy"
    REFUSED = "refused"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LOST = "lost"


class GpuCoverage(Enum):
    """Whether a canary computed on the GPU."""

    COVERED = "covered"
    NO_GPU = "no_gpu"
    NOT_COVERED = "not_covered"


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """A canary.

    Attributes:
        status: Its result.
        reason: Why it is not `RAN`, on one line; empty when the status says all.
        gpu: Whether it computed on the GPU; `NOT_COVERED` unless it ran.
        run_seconds: From submitting it to its entry in the history; None when it did not end.
        events_seconds: From submitting it to its last event; None when that did not arrive.
    """

    status: CanaryStatus
    reason: str = ""
    gpu: GpuCoverage = GpuCoverage.NOT_COVERED
    run_seconds: float | None = None
    events_seconds: float | None = None


def check_server(
    url: str,
    *,
    limit_seconds: float = 60.0,
    events_limit_seconds: float = 10.0,
    has_gpu: bool | None = None,
    is_running: Callable[[], bool] = lambda: True,
) -> CanaryResult:
    """Run a canary on a server with an empty queue; it leaves no file and no history entry.

    Args:
        url: The address of the server.
        limit_seconds: The time that the canary may take.
        events_limit_seconds: How much later than its end its events may arrive.
        has_gpu: Whether the server computes on a GPU; None to read it from the server.
        is_running: Returns whether the process of the server still runs.
    """
    try:
        with (
            PromptClient(url, timeout_seconds=_PROBE_SECONDS) as client,
            # A reader of its own for each canary: a long-lived one might hold a connection that the server forgot.
            EventReader(url) as reader,
        ):
            if read_queue_length(url, session=client.session):
                return CanaryResult(CanaryStatus.BUSY)
            if has_gpu is None:
                has_gpu = read_system_stats(url, session=client.session).has_gpu
            reader.wait_until_connected(_CONNECT_SECONDS)
            canary = _Canary(url, reader, is_running=is_running, has_gpu=has_gpu)
            return canary.run(limit_seconds, events_limit_seconds)
    except Failure as failure:
        return CanaryResult(CanaryStatus.LOST, clean_line(failure.message))


class _Canary:
    """Runs one canary."""

    def __init__(self, url: str, reader: EventReader, *, is_running: Callable[[], bool], has_gpu: bool) -> None:
        self._url = url.rstrip("/")
        self._reader = reader
        self._is_running = is_running
        self._has_gpu = has_gpu

    def run(self, limit_seconds: float, events_limit_seconds: float) -> CanaryResult:
        """Try the prompt for the GPU, and the one for servers without its classes when that is refused.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        gpu = GpuCoverage.COVERED if self._has_gpu else GpuCoverage.NO_GPU
        result = self._run_prompt(_build_gpu_prompt(), limit_seconds, events_limit_seconds)
        if result.status is CanaryStatus.REFUSED:
            gpu = GpuCoverage.NOT_COVERED if self._has_gpu else GpuCoverage.NO_GPU
            result = self._run_prompt(_build_text_prompt(uuid.uuid4().hex), limit_seconds, events_limit_seconds)
        return result if result.run_seconds is None else replace(result, gpu=gpu)

    def _run_prompt(self, prompt: Prompt, limit_seconds: float, events_limit_seconds: float) -> CanaryResult:
        prompt_id = str(uuid.uuid4())
        # Submitting has its own time limit: the request is not repeated.
        with (
            PromptClient(self._url, client_id=self._reader.client_id, timeout_seconds=_PROBE_SECONDS) as client,
            self._reader.subscribe() as events,
        ):
            began = time.monotonic()
            submission = client.submit(prompt, prompt_id=prompt_id)
            if submission.refusal is not None:
                return CanaryResult(CanaryStatus.REFUSED, submission.refusal)
            prompt_id = submission.prompt_id
            try:
                seen: list[ServerEvent] = []
                result = self._wait(client, prompt_id, events, seen, began + limit_seconds)
                if result is not None:
                    return result
                run_seconds = time.monotonic() - began
                events_seconds = _wait_for_events(prompt_id, events, seen, began, events_limit_seconds)
            finally:
                _clean_up(self._url, prompt_id)
        if events_seconds is None:
            reason = self._reader.problem or ""
            return CanaryResult(CanaryStatus.EVENTS_MISSING, reason, run_seconds=run_seconds)
        return CanaryResult(CanaryStatus.RAN, run_seconds=run_seconds, events_seconds=events_seconds)

    def _wait(
        self, client: PromptClient, prompt_id: str, events: EventBuffer, seen: list[ServerEvent], deadline: float
    ) -> CanaryResult | None:
        """Wait for success in the history; return any other result."""

        def is_running() -> bool:
            if not self._is_running():
                return False
            seen.extend(events.take(_POLL_SECONDS))
            return True

        def is_alone() -> bool:
            # Another client may be faster. Its prompt may take hours, which proves nothing about the server.
            return not read_queue(client.session, self._url).find_others(prompt_ids=(prompt_id,))

        result = client.wait(
            prompt_id,
            limit_seconds=deadline - time.monotonic(),
            is_running=is_running,
            keep_waiting=is_alone,
            look_seconds=_QUEUE_SECONDS,
        )
        match result.outcome:
            case "success":
                return None
            case "abandoned":
                return CanaryResult(CanaryStatus.BUSY)
            case "timeout" if not result.reason:
                return CanaryResult(CanaryStatus.TIMEOUT)
            case "timeout" | "lost":
                return CanaryResult(CanaryStatus.LOST, result.reason)
            case _:
                return CanaryResult(CanaryStatus.FAILED, result.reason)


def _build_text_prompt(unique_text: str) -> Prompt:
    return {"1": {"class_type": "PreviewAny", "inputs": {"source": unique_text}}}


def _build_gpu_prompt() -> Prompt:
    """Build a prompt that computes on the GPU without a model, and shows its result as text instead of in a file.

    `ImageBlur` moves its image to the device for computing and back (`comfy_extras/nodes_post_processing.py`). The
    colour changes each time, so that the cache cannot answer.
    """
    image = {"width": 16, "height": 16, "batch_size": 1, "color": secrets.randbelow(_COLOURS)}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 1, "sigma": 1.0}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }


def _wait_for_events(
    prompt_id: str, events: EventBuffer, seen: list[ServerEvent], began: float, limit_seconds: float
) -> float | None:
    """Wait until the first and the last event of a prompt have arrived; return when, or None at the time limit."""
    deadline = time.monotonic() + limit_seconds
    while True:
        own = [event for event in seen if event.prompt_id == prompt_id]
        has_begun = any(event.kind is EventKind.EXECUTION_START for event in own)
        if has_begun and any(event.ends_prompt for event in own):
            return time.monotonic() - began
        remaining_seconds = deadline - time.monotonic()
        if remaining_seconds <= 0:
            return None
        seen.extend(events.take(remaining_seconds))


def _clean_up(url: str, prompt_id: str) -> None:
    """Take the canary out of the queue, when it is still there, and out of the history."""
    # The session of the canary may have no time left.
    with PromptClient(url, timeout_seconds=_CLEANUP_SECONDS) as client:
        try:
            if client.read_entry(prompt_id) is None:
                client.cancel(prompt_id, limit_seconds=_CLEANUP_SECONDS, pause=lambda: time.sleep(_POLL_SECONDS))
            client.delete_entry(prompt_id)
        except Failure:
            # A server that does not answer is about to be restarted, and loses its history with that.
            return
