from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.cli.jobs.live import format_progress, format_worker_line
from comfywatchman.jobs.records import WaitCode, WaitReason


class Worker:
    """What the line reads of a worker."""

    def __init__(self, progress: dict[str, Any], wait_reason: WaitReason | None = None) -> None:
        self.progress = progress
        self.wait_reason = wait_reason


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({}, "starting"),
        ({"prompts_ahead": 0}, "starting"),
        ({"prompts_ahead": 2}, "waits for 2 other prompts in ComfyUI"),
        ({"running": True}, "running"),
        ({"running": True, "node": "7"}, "node 7"),
        ({"running": True, "node": "7", "value": 3.0, "maximum": 20.0}, "node 7, step 3 of 20"),
        ({"running": True, "node": "7", "value": 0, "maximum": 0}, "node 7"),
    ],
)
def test_progress_is_short(progress: dict[str, Any], text: str) -> None:
    assert format_progress(progress) == text


def test_line_names_the_job_or_the_reason_to_wait() -> None:
    assert format_worker_line(Worker({"job": "a.yaml", "running": True})) == "a: running"  # type: ignore[arg-type]
    reason = WaitReason(WaitCode.PAUSED, "The queue is paused.")
    assert format_worker_line(Worker({}, reason)) == "Waiting: The queue is paused."  # type: ignore[arg-type]
    assert format_worker_line(Worker({})) == "Waiting for jobs."  # type: ignore[arg-type]
