"""Whose the prompts in a queue are."""

from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.prompt_queue import PromptQueue, QueuedPrompt
from comfywatchman.jobs.execution.prompt_tags import (
    PromptOwner,
    PromptTag,
    build_extra_data,
    read_tag,
    split_queue,
)
from comfywatchman.jobs.records import Lease
from tests.jobs.execution.samples import build_job

LEASE = Lease(build_job(), attempt=3, worker_id="w-1", lease_seconds=60)


def queued(prompt_id: str, extra_data: dict[str, Any]) -> QueuedPrompt:
    return QueuedPrompt(prompt_id, 0, "client", extra_data)


def test_tag_survives_the_queue() -> None:
    tag = read_tag(queued("p", {**build_extra_data(LEASE), "client_id": "c"}))
    assert tag == PromptTag("T2I_20260131093000_1_cat.yaml", 7, 3, "w-1")


@pytest.mark.parametrize(
    "extra_data",
    [
        {},
        {"comfywatchman": None},
        {"comfywatchman": {"job": "x", "job_id": "7", "attempt": 3, "worker": "w"}},
        {"comfywatchman": {"job": "x", "job_id": 7, "attempt": None, "worker": "w"}},
        {"comfywatchman": {"job_id": 7, "attempt": 3, "worker": "w"}},
        {"comfywatchman": {"job": "x", "job_id": 7, "attempt": 3}},
    ],
)
def test_prompt_of_somebody_else_has_no_tag(extra_data: dict[str, Any]) -> None:
    assert read_tag(queued("p", extra_data)) is None


def test_only_prompts_of_lost_runs_are_orphans() -> None:
    ours = [queued(owner.value, build_extra_data(LEASE)) for owner in PromptOwner]
    foreign = queued("foreign", {})
    owners = iter(PromptOwner)
    shares = split_queue(PromptQueue((ours[0],), (*ours[1:], foreign)), lambda _tag: next(owners))
    assert [prompt.prompt_id for prompt in shares.orphans] == ["orphan"]
    assert [prompt.prompt_id for prompt in shares.others] == ["other", "held", "foreign"]
