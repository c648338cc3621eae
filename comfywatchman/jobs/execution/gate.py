"""Whether the next job may start now: pure decisions on one reading of the host, ComfyUI and the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfywatchman.jobs.records import WaitCode, WaitReason

GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a host must have before a job starts.

    Attributes:
        min_free_disk_gb: Free space on the disk of the outputs, in GiB; 0: any.
        min_free_vram_gb: GPU memory that no other program holds, in GiB; 0: any.
    """

    min_free_disk_gb: float = 2.0
    min_free_vram_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class GateFacts:
    """One reading.

    Attributes:
        is_paused: Whether a person paused the queue.
        host_reason: Why the rest of this program needs the host for itself: a cycle, a candidate environment, or a
            supervisor that is not ready.
        comfyui_url: The address of ComfyUI.
        comfyui_problem: Why ComfyUI did not answer; None when it did.
        can_supervise: Whether there is a workspace whose ComfyUI `supervise run` can start.
        other_prompts: How many prompts of others it runs or has waiting.
        vram_available_bytes: GPU memory that ComfyUI can use, its own models included; None without a GPU.
        is_vram_unknown: Whether there is a GPU, and ComfyUI does not report its free memory.
        free_disk_bytes: Free space on the disk of the outputs; None when it could not be read.
        output_problem: Why the finished tree cannot be written; None when it can.
    """

    is_paused: bool = False
    host_reason: WaitReason | None = None
    comfyui_url: str = ""
    comfyui_problem: str | None = None
    can_supervise: bool = False
    other_prompts: int = 0
    vram_available_bytes: int | None = None
    is_vram_unknown: bool = False
    free_disk_bytes: int | None = None
    output_problem: str | None = None


def find_wait_reason(facts: GateFacts, limits: GateLimits) -> WaitReason | None:
    """Return why no job may start now, by the first check that fails; None when one may."""
    return (
        _check_pause(facts)
        or facts.host_reason
        or _check_comfyui(facts)
        or _check_vram(facts, limits)
        or _check_disk(facts, limits)
    )


def should_run_next(current_busy: bool) -> bool:  # noqa: FBT001 - the seed's signature
    """Return whether the next job may start: one at a time per GPU."""
    return not current_busy


def _check_pause(facts: GateFacts) -> WaitReason | None:
    if not facts.is_paused:
        return None
    return WaitReason(WaitCode.PAUSED, "The queue is paused.", "Resume it: comfywatchman jobs resume")


def _check_comfyui(facts: GateFacts) -> WaitReason | None:
    if facts.comfyui_problem is not None:
        return WaitReason(
            WaitCode.COMFYUI_AWAY,
            f"ComfyUI at {facts.comfyui_url} does not answer: {facts.comfyui_problem}",
            "Start ComfyUI, or run: comfywatchman supervise run" if facts.can_supervise else "Start ComfyUI.",
        )
    if not should_run_next(facts.other_prompts > 0):
        noun = "prompt" if facts.other_prompts == 1 else "prompts"
        return WaitReason(
            WaitCode.FOREIGN_PROMPTS,
            f"ComfyUI has {facts.other_prompts} {noun} of other clients; jobs start after them.",
        )
    return None


def _check_vram(facts: GateFacts, limits: GateLimits) -> WaitReason | None:
    if limits.min_free_vram_gb > 0 and facts.is_vram_unknown:
        # Unknown is neither 0 GiB nor enough.
        return WaitReason(
            WaitCode.VRAM_UNKNOWN,
            "ComfyUI does not report the free memory of its GPU.",
            "Set [jobs] min_free_vram_gb to 0 to run jobs all the same.",
        )
    if limits.min_free_vram_gb <= 0 or facts.vram_available_bytes is None:
        return None
    available_gb = facts.vram_available_bytes / GIB
    if available_gb >= limits.min_free_vram_gb:
        return None
    return WaitReason(
        WaitCode.VRAM_SHORT,
        f"ComfyUI can use {available_gb:.1f} GiB of GPU memory; a job needs {limits.min_free_vram_gb:g} GiB.",
        "Close other programs that use the GPU, or lower [jobs] min_free_vram_gb.",
    )


def _check_disk(facts: GateFacts, limits: GateLimits) -> WaitReason | None:
    if facts.output_problem is not None:
        return WaitReason(
            WaitCode.OUTPUT_UNWRITABLE,
            f"Outputs cannot be written: {facts.output_problem}",
            "Fix the permissions of that folder, or name another one: [jobs] root.",
        )
    if limits.min_free_disk_gb <= 0 or facts.free_disk_bytes is None:
        return None
    free_gb = facts.free_disk_bytes / GIB
    if free_gb >= limits.min_free_disk_gb:
        return None
    return WaitReason(
        WaitCode.DISK_SHORT,
        f"The disk of the outputs has {free_gb:.1f} GiB of free space; a job needs {limits.min_free_disk_gb:g} GiB.",
        "Free space, or lower [jobs] min_free_disk_gb.",
    )
