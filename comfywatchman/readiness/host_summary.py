"""The parts of the report on the cycle, the host and the latest acknowledgements."""

from __future__ import annotations

import msgspec


class CycleSummary(msgspec.Struct, frozen=True):
    """The cycle that wrote the report; `skipped_reason` is the code of the gate that skipped it."""

    id: str
    trigger: str
    started_at: str
    duration_seconds: float
    success: bool
    skipped_reason: str | None
    message: str | None = None


class GpuSummary(msgspec.Struct, frozen=True):
    """One GPU or MIG instance: memory in bytes, null when the driver does not report it."""

    index: int
    name: str | None
    memory_total_bytes: int | None
    memory_free_bytes: int | None
    mig: bool = False


class HostSummary(msgspec.Struct, frozen=True):
    """The host at the time of the cycle.

    Attributes:
        gpus: NVIDIA GPUs; empty when there is none or the driver did not respond (see `gpu_status`).
        gpu_status: `ok`, `none` or `unknown`.
        comfyui_root: The watched installation.
        comfyui_version: Its version; null when unknown.
        comfyui_running: Whether a server of this installation responded.
        ignored_server: Why the ComfyUI at `[comfyui] url` is not queried; null when none is ignored.
        sample: Whether this is the sample host of a first run.
    """

    gpus: tuple[GpuSummary, ...]
    gpu_status: str
    comfyui_root: str | None
    comfyui_version: str | None
    comfyui_running: bool
    sample: bool
    ignored_server: str | None = None


class RecentAcknowledgement(msgspec.Struct, frozen=True):
    """One recent acknowledgement."""

    at: str
    kind: str
    path: str
    source: str
    previous_path: str | None
