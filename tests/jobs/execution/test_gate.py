"""Every reason to wait, and the order in which they are given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.jobs.execution.gate import GIB, GateFacts, GateLimits, find_wait_reason, should_run_next
from comfywatchman.jobs.records import WaitCode, WaitReason

LIMITS = GateLimits(min_free_disk_gb=2, min_free_vram_gb=4)
FREE = GateFacts(comfyui_url="http://x", vram_available_bytes=8 * GIB, free_disk_bytes=9 * GIB)
CYCLE = WaitReason(WaitCode.CYCLE_RUNNING, "A readiness cycle runs.")


def find_code(facts: GateFacts, limits: GateLimits = LIMITS) -> WaitCode | None:
    reason = find_wait_reason(facts, limits)
    if reason is None:
        return None
    assert reason.sentence.endswith((".", "?")) or ":" in reason.sentence
    return reason.code


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (FREE, None),
        (replace(FREE, is_paused=True), WaitCode.PAUSED),
        (replace(FREE, host_reason=CYCLE), WaitCode.CYCLE_RUNNING),
        (replace(FREE, comfyui_problem="nothing listens there."), WaitCode.COMFYUI_AWAY),
        (replace(FREE, other_prompts=1), WaitCode.FOREIGN_PROMPTS),
        (replace(FREE, vram_available_bytes=4 * GIB - 1), WaitCode.VRAM_SHORT),
        (replace(FREE, vram_available_bytes=4 * GIB), None),
        (replace(FREE, vram_available_bytes=None), None),
        (replace(FREE, vram_available_bytes=None, is_vram_unknown=True), WaitCode.VRAM_UNKNOWN),
        (replace(FREE, output_problem="it is read-only."), WaitCode.OUTPUT_UNWRITABLE),
        (replace(FREE, free_disk_bytes=2 * GIB - 1), WaitCode.DISK_SHORT),
        (replace(FREE, free_disk_bytes=2 * GIB), None),
        (replace(FREE, free_disk_bytes=None), None),
    ],
)
def test_each_obstacle_has_its_code(facts: GateFacts, code: WaitCode | None) -> None:
    assert find_code(facts) is code


def test_limits_of_zero_are_no_limits() -> None:
    facts = replace(FREE, vram_available_bytes=0, free_disk_bytes=0, is_vram_unknown=True)
    assert find_code(facts, GateLimits(min_free_disk_gb=0, min_free_vram_gb=0)) is None


def test_what_a_person_did_comes_first() -> None:
    everything = GateFacts(
        is_paused=True,
        host_reason=CYCLE,
        comfyui_problem="away.",
        other_prompts=2,
        vram_available_bytes=0,
        output_problem="full.",
    )
    assert find_code(everything) is WaitCode.PAUSED
    assert find_code(replace(everything, is_paused=False)) is WaitCode.CYCLE_RUNNING
    assert find_code(replace(everything, is_paused=False, host_reason=None)) is WaitCode.COMFYUI_AWAY


@pytest.mark.parametrize(
    ("can_supervise", "step"),
    [(False, "Start ComfyUI."), (True, "Start ComfyUI, or run: comfywatchman supervise run")],
)
def test_supervisor_is_named_only_with_a_workspace(can_supervise: bool, step: str) -> None:  # noqa: FBT001 - a case
    facts = replace(FREE, comfyui_problem="nothing listens there.", can_supervise=can_supervise)
    reason = find_wait_reason(facts, LIMITS)
    assert reason is not None
    assert reason.next_step == step


@pytest.mark.parametrize(("count", "words"), [(1, "1 prompt of"), (3, "3 prompts of")])
def test_prompts_of_others_are_counted(count: int, words: str) -> None:
    reason = find_wait_reason(replace(FREE, other_prompts=count), LIMITS)
    assert reason is not None
    assert words in reason.sentence


@pytest.mark.parametrize("is_busy", [True, False])
def test_next_job_runs_only_when_nothing_runs(is_busy: bool) -> None:  # noqa: FBT001 - the seed's signature
    assert should_run_next(is_busy) is not is_busy
