"""The parts of the report on the cycle, the host, the counts and the latest acknowledgements."""

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


class SupervisorSummary(msgspec.Struct, frozen=True):
    """The state of the watched ComfyUI as its supervisor reported it at the start of the cycle.

    Attributes:
        state: Its state; docs/reference/supervise.md lists them.
        sentence: The state in words.
        since: Since when it holds, UTC.
        environment: The environment that runs, or ran last.
        proven_at: When ComfyUI was last proved to work, UTC; null before the first proof.
        is_working: Whether it is proved to work now.
        is_changing: Whether it is being started, restarted, switched or stopped.
    """

    state: str
    sentence: str
    since: str
    environment: str | None = None
    proven_at: str | None = None
    is_working: bool = False
    is_changing: bool = False


class HostSummary(msgspec.Struct, frozen=True):
    """The host at the time of the cycle.

    Attributes:
        gpus: NVIDIA GPUs; empty when there is none or the driver did not respond (see `gpu_status`).
        gpu_status: `ok`, `none` or `unknown`.
        comfyui_root: The watched installation.
        comfyui_version: Its version; null when unknown.
        comfyui_running: Whether a server of this installation responded.
        ignored_server: Why the ComfyUI at `[comfyui] url` is not queried; null when none is ignored.
        supervisor: What its supervisor reports; null when no supervisor runs for it.
        sample: Whether this is the sample host of a first run.
    """

    gpus: tuple[GpuSummary, ...]
    gpu_status: str
    comfyui_root: str | None
    comfyui_version: str | None
    comfyui_running: bool
    sample: bool
    ignored_server: str | None = None
    supervisor: SupervisorSummary | None = None


class RecentAcknowledgement(msgspec.Struct, frozen=True):
    """One recent acknowledgement."""

    at: str
    kind: str
    path: str
    source: str
    previous_path: str | None


class Summary(msgspec.Struct, frozen=True):
    """Counts: workflows by verdict, and the distinct missing models, node classes and input files of all of them.

    `unknown_models` and `unknown_inputs` could not be looked for; they are no part of `missing_models` and
    `missing_inputs`. `unknown_workflows` could not be read; they are counted in `workflows` and `uncertain`, too.
    `found_models` and `uncertain_models` are the missing models whose search result is FOUND or UNCERTAIN, and
    `uncertain_model_workflows` the workflows that lack one of the latter, whatever their verdict.
    """

    workflows: int = 0
    ready: int = 0
    missing: int = 0
    uncertain: int = 0
    invalid: int = 0
    missing_models: int = 0
    missing_nodes: int = 0
    missing_inputs: int = 0
    unknown_models: int = 0
    unknown_workflows: int = 0
    unknown_inputs: int = 0
    found_models: int = 0
    uncertain_models: int = 0
    uncertain_model_workflows: int = 0
